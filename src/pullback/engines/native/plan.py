"""A Program as steps on places in memory: what the native engine runs, in order.

Kernels (kernels/<family>.py) turn instructions into calls of C functions; elementwise instructions become loops, as
many of them in one loop as may be; what has neither is run by NumPy, between two halves of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...program.program import Instruction, Program, Value
from .place import ARENA, CONSTANT, INPUT, NUMBER, OUTPUT, Memory, Place, in_order, strides_of

Argument = Any  # a Place, an int (a size or a stride), a float, a bool or None


class Step:
    """Something that is done, with the memory that it reads and writes."""

    reads: Sequence[Memory] = ()
    writes: Sequence[Memory] = ()
    fails = False  # may it find an index out of range, or raise?
    complaint: tuple[str, str] | None = None  # what is wrong then, and what to do, if it is not an index
    in_place: Sequence[Place] = ()  # results of which it writes an element after it has read all in the same place
    instructions: Sequence[Instruction] = ()
    begins, ends = False, False  # is it the first, the last of those that one thread does alone?

    @property
    def places(self) -> list[Place]:
        """All places that it reads or writes."""
        return []

    def makes_in_place(self, memory: Memory) -> bool:
        """Is what lies there one of these results?"""
        return any(place.memory is memory for place in self.in_place)


class Call(Step):
    """A call of a kernel."""

    def __init__(self, family: str, function: str, arguments: Sequence[Argument], instruction: Instruction | None,
                 writes: Sequence[Memory], fails: bool = False, in_place: Sequence[Place] = ()) -> None:  # fmt: skip
        self.family, self.function, self.arguments = family, function, list(arguments)
        self.instructions = [] if instruction is None else [instruction]
        self.writes, self.fails, self.in_place = writes, fails, in_place
        self.reads = [x.memory for x in arguments if isinstance(x, Place)]

    @property
    def places(self) -> list[Place]:
        return [x for x in self.arguments if isinstance(x, Place)]


class Host(Step):
    """An instruction that NumPy runs."""

    fails = True

    def __init__(self, instruction: Instruction, operands: Sequence[Any], results: Sequence[Place], why: str) -> None:
        self.instructions, self.operands, self.results, self.why = [instruction], operands, results, why
        self.reads = [x.memory for x in operands if isinstance(x, Place)]
        self.writes = [place.memory for place in results]

    @property
    def places(self) -> list[Place]:
        return [*(x for x in self.operands if isinstance(x, Place)), *self.results]


class Opening(Step):
    """The steps from here to its End are run many times, or not at all. `reads` and `writes` are all of theirs."""

    def __init__(self, instruction: Instruction) -> None:
        self.instructions = [instruction]
        self.reads, self.writes = list[Memory](), list[Memory]()


class Turns(Opening):
    """... so many times, `last` to first if `reverse`; as long as a Test on the way holds, if there is one."""

    def __init__(self, instruction: Instruction, count: int, reverse: bool = False, likely: int | None = None) -> None:
        super().__init__(instruction)
        self.count, self.reverse = count, reverse
        self.likely = count if likely is None else likely  # turns, to reckon with


class Fork(Opening):
    """... if what lies there is not zero; from its Else on, if it is."""

    def __init__(self, instruction: Instruction, place: Place) -> None:
        super().__init__(instruction)
        self.place = place
        self.reads = [place.memory]

    @property
    def places(self) -> list[Place]:
        return [self.place]


class Else(Step):
    """The other steps of a Fork."""


class Test(Step):
    """No more turns, if what lies there is zero; or if an index was out of range, on which it may depend."""

    def __init__(self, place: Place) -> None:
        self.place, self.reads = place, [place.memory]

    @property
    def places(self) -> list[Place]:
        return [self.place]


class End(Step):
    """Of what an Opening has opened."""

    def __init__(self, opening: Opening, fails: bool) -> None:
        self.opening, self.fails = opening, fails
        self.reads, self.writes = opening.reads, opening.writes


Kernel = Callable[["Plan", Instruction], Any]
KERNELS: dict[str, Kernel] = {}


def kernel(*names: str) -> Callable[[Kernel], Kernel]:
    """Enter what lowers these ops. It returns False for what it does not do (a dtype, an option)."""

    def enter(function: Kernel) -> Kernel:
        for name in names:
            KERNELS[name] = function
        return function

    return enter


class Plan:
    """Steps in the making."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps: list[Step] = []
        self.places: dict[Value, Place] = {}
        self.constants: list[np.ndarray[Any, Any]] = []
        self.report: list[tuple[Instruction, str]] = []  # what NumPy runs, and why
        self.instruction: Instruction | None = None  # that is being lowered
        self.safe = 0  # from this step on nothing can fail: state may be written
        self.fresh: list[Place] = []  # results in new arrays
        self.results: list[tuple[str, int]] = []  # where each result is: ("input" or "fresh", which)
        self.size = 0  # of the arena
        self.used = uses(program)
        self.kept: dict[Any, Sequence[Place]] = {}  # what a forward kernel leaves for that of its gradient
        for k, given in enumerate(program.inputs):
            value = given.value
            kind = NUMBER if given.kind == "number" else INPUT
            self.places[value] = Place(Memory(kind, value.nbytes, k), value.dtype, value.shape, elements(value))
        for value, array in program.constants.items():
            self.places[value] = self.constant(array, value.dtype)

    def constant(self, array: Any, dtype: Any = None) -> Place:
        """The place of an array that is known."""
        array = np.ascontiguousarray(array, dtype).reshape(np.shape(array))
        self.constants.append(array)
        memory = Memory(CONSTANT, array.nbytes, len(self.constants) - 1)
        return Place(memory, array.dtype, array.shape, in_order(array.shape))

    # -- for kernels ---------------------------------------------------------------------------------------------------

    def at(self, x: Value) -> Place:
        """Where a value lies, whatever its strides."""
        return self.places[x]

    def dense(self, x: Value) -> Place:
        """Where a value lies in order; it is copied if it does not."""
        place = self.places[x]
        if place.dense:
            return place.seen(place.shape, in_order(place.shape))
        return self.copied(place)

    def copied(self, place: Place) -> Place:
        """The same elements, in order."""
        from .kernels.movement import copying

        made = self.scratch(place.shape, place.dtype)
        self.add(copying(place, made, self.instruction))
        return made

    def out(self, value: Value, dense: bool = False) -> Place:
        """New memory for a result; in order if asked for, else as the value lies in NumPy."""
        strides = in_order(value.shape) if dense else strides_of(value)
        place = self.places[value] = Place(Memory(ARENA, value.nbytes), value.dtype, value.shape, strides)
        return place

    def scratch(self, shape: Sequence[int], dtype: Any) -> Place:
        """Memory that only the steps now being made use."""
        shape, dtype = tuple(shape), np.dtype(dtype)
        memory = Memory(ARENA, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        return Place(memory, dtype, shape, in_order(shape))

    def call(self, family: str, function: str, *arguments: Argument, writes: Sequence[Place], fails: bool = False,
             in_place: Sequence[Place] = ()) -> None:  # fmt: skip
        """A call of c/<family>.c's function(T *t, arguments...)."""
        made = Call(family, function, arguments, self.instruction, [place.memory for place in writes], fails, in_place)
        self.add(made)

    def add(self, step: Step) -> None:
        self.steps.append(step)

    @contextmanager
    def inside(self, body: Program, given: Sequence[Place]) -> Iterator[None]:
        """A body is being lowered, whose inputs lie in these places. Its values have a place only there."""
        outside = self.places, self.kept, self.used, self.instruction
        self.places = {**self.places, **dict(zip([x.value for x in body.inputs], given, strict=True))}
        self.kept, self.used = {}, uses(body)
        for value, array in body.constants.items():
            self.places[value] = self.constant(array, value.dtype)
        try:
            yield
        finally:
            self.places, self.kept, self.used, self.instruction = outside

    # -- the whole Program ---------------------------------------------------------------------------------------------

    def lower(self, instruction: Instruction) -> None:
        """Make an instruction's steps."""
        self.instruction = instruction
        known = len(self.steps), len(self.constants)
        function = KERNELS.get(instruction.op.name)
        why = "it has no kernel"
        if function is not None:
            if function(self, instruction) is not False:
                return
            del self.steps[known[0] :], self.constants[known[1] :]
            why = "its kernel does not do these dtypes or options"
        self.on_host(instruction, why)

    def on_host(self, instruction: Instruction, why: str) -> None:
        operands = [self.places[x] if type(x) is Value else x for x in instruction.inputs]
        results = [self.out(value) for value in instruction.outputs]
        self.report.append((instruction, why))
        self.add(Host(instruction, operands, results, why))


def uses(program: Program) -> set[Value]:
    """Values that are read, or are results."""
    return {v for i in program.instructions for v in i.values} | set(program.results)


def microseconds(step: Step) -> float:
    """About how long a step takes: 20 operations or 8 bytes in a nanosecond."""
    moved = sum(min(place.size * place.dtype.itemsize, place.memory.nbytes) for place in step.places)
    return sum(i.flops for i in step.instructions) / 20e3 + moved / 8e3


def runs(steps: Sequence[Step]) -> Iterator[tuple[Step, int]]:
    """The steps that do something, and how often."""
    turns = [1]
    for step in steps:
        if isinstance(step, Opening):
            turns.append(turns[-1] * (step.likely if isinstance(step, Turns) else 1))
        elif isinstance(step, End):
            turns.pop()
        else:
            yield step, turns[-1]


def elements(value: Value) -> tuple[int, ...]:
    """An input's strides, in elements."""
    return tuple([s // value.dtype.itemsize for s in value.strides])


__all__ = ["INPUT", "KERNELS", "NUMBER", "OUTPUT", "Call", "Else", "End", "Fork", "Host", "Opening", "Plan", "Step",
           "Test", "Turns", "kernel", "microseconds", "runs"]  # fmt: skip
