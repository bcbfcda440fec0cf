"""Loops and branches: the steps of a body stand between those around it, in a loop or a branch of C.

What is carried has memory of its own. A step of the body writes its new content over the old one, if nobody reads
that any more; else it is copied there when the turn is over. What is kept of each turn is made where it is to be; what
a turn is given is looked at there. If NumPy has to run something in a body, it runs the whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ....program.program import Instruction, Program, Value
from ..loops import Loop
from ..place import ARENA, Memory, Place
from ..plan import Call, Else, End, Fork, Opening, Plan, Step, Test, Turns, kernel, microseconds, runs
from .movement import copy, operand

WAIT = 1.0  # microseconds that threads wait for each other after a step
ENDLESS = 2**63 - 1  # turns
LIKELY = 16  # turns of a loop of which it is not known how many it takes


class Block:
    """The steps of a control instruction in the making."""

    def __init__(self, plan: Plan, i: Instruction) -> None:
        self.plan, self.i = plan, i
        self.known = len(plan.steps), len(plan.constants), len(plan.report)
        self.homes: set[int] = set()  # memory that results have been put into

    @property
    def on_host(self) -> bool:
        """Is there something that NumPy has to run? Then it runs all of it."""
        plan, (steps, constants, report) = self.plan, self.known
        names = ", ".join(dict.fromkeys(instruction.op.name for instruction, _ in plan.report[report:]))
        if names:
            del plan.steps[steps:], plan.constants[constants:], plan.report[report:]
            plan.on_host(self.i, f"NumPy has to run {names} in it")
        return bool(names)

    def given(self, inputs: Sequence[Any], body: Program) -> list[Place]:
        """Where a body's inputs lie, or what they are taken from."""
        return [operand(self.plan, x, want.value.dtype) for x, want in zip(inputs, body.inputs, strict=True)]

    def open(self, opening: Opening) -> None:
        self.opening, self.start = opening, len(self.plan.steps)
        self.plan.add(opening)

    @contextmanager
    def run(self, body: Program, given: Sequence[Place]) -> Iterator[list[Place]]:
        """A body's steps, whose inputs lie in these places; gives where its results are."""
        from ..expand import expand
        from ..lower import fill

        body = expand(body)
        with self.plan.inside(body, given):
            fill(self.plan, body)
            self.plan.instruction = self.i
            yield [self.plan.at(value) for value in body.outputs]

    def close(self) -> None:
        plan, opening = self.plan, self.opening
        steps = plan.steps[self.start + 1 :]
        opening.reads = merged([*opening.reads, *itertools.chain(*(step.reads for step in steps))])
        opening.writes = merged([*itertools.chain(*(step.writes for step in steps))])
        end = End(opening, any(step.fails for step in steps))
        if isinstance(opening, Turns):
            gain = sum(n * microseconds(step) / 2 for step, n in runs(steps) if shared(step))
            if gain < WAIT * sum(n for _, n in runs(steps)):
                for step in steps:
                    step.begins = step.ends = False
                opening.begins = end.ends = True
            else:
                gather(steps)
        plan.add(end)

    # -- results -------------------------------------------------------------------------------------------------------

    def put(self, place: Place, home: Place) -> None:
        """A result where it is to be."""
        if self.own(place) and lies_like(place, home):
            self.replace(place.memory, home)
        else:
            copy(self.plan, place, home)

    def own(self, place: Place) -> bool:
        """Is it made in this body, and not yet put anywhere?"""
        memory = place.memory
        writers = [k for k, step in enumerate(self.plan.steps) if memory in step.writes]
        return memory.kind == ARENA and id(memory) not in self.homes and bool(writers) and writers[0] > self.start

    def replace(self, memory: Memory, home: Place) -> None:
        """What was to be made in some memory is made at home."""
        plan = self.plan
        known = itertools.chain(plan.places.values(), *plan.kept.values())
        for place in itertools.chain(known, *(step.places for step in plan.steps[self.start :])):
            if place.memory is memory:
                place.memory, place.moving = home.memory, (*place.moving, *home.moving)
                place.offset += home.offset
        for step in plan.steps[self.start :]:
            step.reads = [home.memory if m is memory else m for m in step.reads]
            step.writes = [home.memory if m is memory else m for m in step.writes]
        self.homes.add(id(home.memory))

    def carry(self, results: Sequence[Place], carried: Sequence[Place]) -> None:
        """What the next turn starts from."""
        plan = self.plan
        left: list[tuple[Place, Place]] = []
        for place, home in zip(results, carried, strict=True):
            if place.memory is home.memory and (place.offset, place.strides) == (home.offset, home.strides):
                continue
            if self.own(place) and lies_like(place, home) and not self.read_later(place.memory, home, results):
                self.replace(place.memory, home)
            else:
                left.append((place, home))
        for k, (place, home) in enumerate(left):
            if any(place.memory is other.memory for other in carried):  # it becomes what another was
                kept = plan.scratch(place.shape, place.dtype)
                copy(plan, place, kept)
                left[k] = kept, home
        for place, home in left:
            copy(plan, place, home)

    def read_later(self, memory: Memory, home: Place, results: Sequence[Place]) -> bool:
        """Does anybody read what was carried once its new content is being made?"""
        if any(place.memory is home.memory for place in results):
            return True
        steps = self.plan.steps[self.start :]
        first = next(k for k, step in enumerate(steps) if memory in step.writes)
        for k, step in enumerate(steps[first:], first):
            if home.memory in step.reads:
                here = [(p.offset, p.strides, p.moving) for p in step.places if p.memory is home.memory]
                alike = set(here) == {(home.offset, home.strides, home.moving)}
                if k > first or not (alike and step.makes_in_place(memory)):
                    return True
        return False


def shared(step: Step) -> bool:
    """Is it so much work that threads share it?"""
    most = max([place.size for place in step.places], default=0)
    return most > 1 << 14 or sum(i.flops for i in step.instructions) >= 1 << 18


def gather(steps: Sequence[Step]) -> None:
    """Little steps that follow each other are all done by one thread: nobody waits between them."""
    group: list[Step] = []
    alone = 0
    for step in steps:
        alone += step.begins
        if alone or not isinstance(step, (Call, Loop)) or shared(step):
            mark(group)
        else:
            group.append(step)
        alone -= step.ends
    mark(group)


def mark(group: list[Step]) -> None:
    if len(group) > 1:
        group[0].begins = group[-1].ends = True
    group.clear()


def merged(memories: Sequence[Memory]) -> list[Memory]:
    return list({id(memory): memory for memory in memories}.values())


def lies_like(place: Place, home: Place) -> bool:
    """Can a whole piece of memory take this part of another's place?"""
    return (not place.offset and not place.moving and place.strides == home.strides and place.dtype == home.dtype
            and place.memory.nbytes == home.size * home.dtype.itemsize)  # fmt: skip


def started(plan: Plan, i: Instruction, places: Sequence[Place]) -> list[Place]:
    """Memory for what is carried, with what it is at first; after the last turn it is the result."""
    carried = [plan.out(value) for value in i.outputs[: len(places)]]
    for place, home in zip(places, carried, strict=True):
        copy(plan, place, home)
    return carried


def alike(xs: Sequence[Any], values: Sequence[Value]) -> bool:
    """Is what is carried of the same kind at first as later?"""
    return all((x.shape, x.dtype) == (y.shape, y.dtype) for x, y in zip(xs, values, strict=False))


@kernel("loop")
def loop(plan: Plan, i: Instruction) -> bool | None:
    options = {**i.op.defaults, **i.params}
    body, n, rows = options["body"], options["carries"], options["rows"]
    if not alike([given.value for given in body.inputs[:n]], body.outputs):
        return False
    block = Block(plan, i)
    places = block.given(i.inputs, body)
    carried = started(plan, i, places[:n])
    kept = [plan.out(value) for value in i.outputs[n:]]
    turns = Turns(i, options["length"], options["reverse"])
    block.open(turns)
    now = [row(place, turns, options["start"]) for place in places[n : n + rows]]
    with block.run(body, [*carried, *now, *places[n + rows :]]) as results:
        for place, whole in zip(results[n:], kept, strict=True):
            block.put(place, row(whole, turns))
        block.carry(results[:n], carried)
    if not block.on_host:
        block.close()
    return None


def row(place: Place, turns: Turns, start: int = 0) -> Place:
    """A place's row of this turn, if that of the first is `start`."""
    made = place.seen(place.shape[1:], place.strides[1:], start * place.strides[0])
    made.moving = (*made.moving, (turns, place.strides[0] * place.dtype.itemsize))
    return made


@kernel("repeat")
def repeat(plan: Plan, i: Instruction) -> bool | None:
    options = {**i.op.defaults, **i.params}
    condition, body, n, most = (options[name] for name in ("condition", "body", "carries", "most"))
    if not alike([given.value for given in body.inputs[:n]], body.outputs):
        return False
    block = Block(plan, i)
    places = block.given(i.inputs, body)
    carried = started(plan, i, places[:n])
    most = ENDLESS if most is None else most
    block.open(Turns(i, most, likely=min(most, LIKELY)))
    with block.run(condition, [*carried, *places[n:]]) as (more,):
        plan.add(Test(more))
    with block.run(body, [*carried, *places[n:]]) as results:
        block.carry(results, carried)
    if not block.on_host:
        block.close()
    return None


@kernel("branch")
def branch(plan: Plan, i: Instruction) -> bool | None:
    bodies = i.params["true"], i.params["false"]
    block = Block(plan, i)
    homes = [plan.out(value) for value in i.outputs]
    fork = Fork(i, plan.at(i.inputs[0]))
    for body in bodies:
        places = block.given(i.inputs[1:], body)
        if body is bodies[0]:
            block.open(fork)
        else:
            plan.add(Else())
        with block.run(body, places) as results:
            for place, home in zip(results, homes, strict=True):
                block.put(place, home)
    if not block.on_host:
        block.close()
    return None
