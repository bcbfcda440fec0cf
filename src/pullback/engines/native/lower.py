"""From a Program to a plan: groups, steps, and which memory is which."""

from __future__ import annotations

from typing import Any

from ...program.program import Program, Value
from . import kernels as kernels
from .arena import lay_out
from .build import debugging
from .debug import apart
from .expand import expand
from .expressions import is_loop, line_of
from .fuse import Group, fuse
from .kernels.movement import copying as copy
from .loops import Load, Loop, Store, kind
from .place import ARENA, OUTPUT, Memory, Place, strides_of
from .plan import End, Opening, Plan
from .reuse import reuse


def lower(program: Program) -> Plan:
    """All steps of a Program, in places."""
    program = expand(program)
    plan = Plan(program)
    fill(plan, program)
    settle(plan)
    return plan


def fill(plan: Plan, program: Program) -> None:
    """A Program's instructions as steps."""
    groups = fuse(program, is_loop, lambda i: i.op.view)
    needed = wanted(program, groups)
    for group in groups:
        if group.shape is None:
            plan.lower(group.instructions[0])
        else:
            plan.add(loop(plan, group, needed))


def wanted(program: Program, groups: list[Group]) -> set[Value]:
    """Values that have to be in memory: results, and what is read outside of the loop that makes it."""
    found = set(program.results)
    for group in groups:
        if group.shape is None:
            found.update(group.instructions[0].values)
        else:
            found.update(v for v in group.given if v not in group.made)
    return found


def loop(plan: Plan, group: Group, needed: set[Value]) -> Loop:
    """A group as one loop."""
    assert group.shape is not None
    names: dict[Value, str] = {}
    loads: list[Load] = []
    lines: list[str] = []
    stores: list[Store] = []
    for i in group.instructions:
        for v in i.values:
            if v not in names:
                names[v] = f"x{len(loads)}"
                loads.append(Load(names[v], plan.at(v).broadcast(group.shape)))
        text = line_of(i, [names.get(x, "") if type(x) is Value else "" for x in i.inputs])
        value = i.outputs[0]
        names[value] = f"v{len(lines)}"
        lines.append(f"{kind(value.dtype)} {names[value]} = {text};")
        if value in needed:
            stores.append(Store(names[value], plan.out(value)))
    return Loop(group.shape, loads, lines, stores, group.instructions)


# -- which memory is which -------------------------------------------------------------------------------------------


def settle(plan: Plan) -> None:
    """Results are made where they have to be; state is written in place, once nothing can fail any more."""
    program, steps = plan.program, plan.steps
    plan.safe = max((k for k, step in enumerate(steps) if step.fails), default=-1) + 1
    outputs = len(program.outputs)
    targets = [target(program, write) for write in program.writes]
    written = {id(plan.places[t].memory) for t in targets if t is not None}
    for value in [*program.outputs, *(w.value for w, t in zip(program.writes, targets, strict=True) if t is None)]:
        place = plan.places[value]
        home = Place(Memory(OUTPUT, value.nbytes, len(plan.fresh)), value.dtype, value.shape, strides_of(value))
        plan.fresh.append(home)
        if place.memory.kind != ARENA or not replaces(place, home):
            plan.add(copy(place, home))
    new = iter(range(outputs, len(plan.fresh)))
    plan.results = [("fresh", k) for k in range(outputs)]
    moves = []
    for write, old_value in zip(program.writes, targets, strict=True):
        if old_value is None:
            plan.results.append(("fresh", next(new)))
            continue
        place, old = plan.places[write.value], plan.places[old_value]
        plan.results.append(("input", old.memory.index))
        if place.memory is old.memory and (place.strides, place.offset) == (old.strides, old.offset):
            continue  # it stays as it is
        if id(place.memory) in written:  # state becomes what other state was
            kept = plan.scratch(place.shape, place.dtype)
            plan.add(copy(place, kept))
            place = kept
        moves.append((place, old))
    last = [(place, old) for place, old in moves if not (may_replace(plan, place, old) and replaces(place, old))]
    plan.steps += [copy(place, old) for place, old in last]
    lives(plan)


def target(program: Program, write: Any) -> Value | None:
    """The input whose memory a write goes into; None if it is not at hand."""
    if write.input is None:
        return None
    value = program.inputs[write.input].value
    return value if (value.shape, value.dtype) == (write.value.shape, write.value.dtype) else None


def replaces(place: Place, home: Place) -> bool:
    """Let what is made in one place be made in another, if it lies there in the same way."""
    if place.offset or place.strides != home.strides or place.memory.nbytes != home.memory.nbytes:
        return False
    place.memory.kind, place.memory.index = home.memory.kind, home.memory.index
    return True


def lives(plan: Plan) -> None:
    """From which step to which each piece of memory is used, and where in the arena it lies."""
    pieces: dict[int, Memory] = {}
    blocks: list[tuple[int, int, list[Memory]]] = []
    opened: list[int] = []
    for k, step in enumerate(plan.steps):
        used = [memory for memory in (*step.reads, *step.writes) if memory.kind in (ARENA, OUTPUT)]
        if isinstance(step, Opening):
            opened.append(k)
            used = [place.memory for place in step.places if place.memory.kind in (ARENA, OUTPUT)]
        elif isinstance(step, End):
            first = opened.pop()
            blocks.append((first, k, used))
            used = []
        for memory in used:
            pieces[id(memory)] = memory
            memory.first = k if memory.first < 0 else memory.first
            memory.last = k if memory.kind == ARENA else len(plan.steps)
    for first, last, used in blocks:  # what is there before or after a loop is there in every turn
        for memory in used:
            if memory.first < first or memory.last > last:
                memory.first, memory.last = min(memory.first, first), max(memory.last, last)
    if not debugging():
        reuse(plan.steps)
    own = [memory for memory in pieces.values() if memory.kind == ARENA and memory.base is None]
    plan.size = (apart if debugging() else lay_out)(own)
    for memory in pieces.values():
        memory.offset = memory.base.offset if memory.base else memory.offset


def may_replace(plan: Plan, place: Place, old: Place) -> bool:
    """Can what is made there be made over the old content of the state?"""
    if place.memory.kind != ARENA or place.memory.nbytes != old.memory.nbytes:
        return False
    first = next(k for k, step in enumerate(plan.steps) if place.memory in step.writes)
    if first < plan.safe:
        return False
    for k, step in enumerate(plan.steps[first:], first):
        if old.memory in step.reads:
            if k > first or not step.makes_in_place(place.memory):
                return False
            if any(p.memory is old.memory and (p.strides, p.offset) != (old.strides, old.offset) for p in places(step)):
                return False
    return True


def places(step: Any) -> list[Place]:
    if isinstance(step, Loop):
        return [load.place for load in step.loads]
    return [x for x in getattr(step, "arguments", ()) if isinstance(x, Place)]
