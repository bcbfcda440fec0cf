"""A Program: a whole step as one straight line of instructions, each on values that are made once and never change.

    %7 = matmul(%1, %3)        float32[32, 10]      forward   model.fc2   train.py:12

What a step reads comes in through its inputs: arguments, state (parameters, buffers, gradients, optimizer state,
generators) and numbers that may differ from call to call (a learning rate). What it leaves behind goes out through
`outputs` and through `writes`, the new content of state. Nothing else happens: so a Program can be read, checked,
costed, changed by passes and run by any engine.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import Position, locate
from ..ops.record import Op

if TYPE_CHECKING:
    from .cost import Cost
    from .memory import Memory

Shape = tuple[int, ...]

FORWARD, BACKWARD, UPDATE = PHASES = ("forward", "backward", "update")


class Value:
    """What one instruction makes, or an input: known by its shape, strides (in bytes) and dtype."""

    __slots__ = ("dtype", "id", "shape", "strides", "weak")

    def __init__(self, id: int, shape: Shape, dtype: np.dtype[Any], strides: Shape | None = None, weak: bool = False):
        self.id, self.shape, self.dtype = id, shape, dtype
        self.strides = contiguous(shape, dtype.itemsize) if strides is None else strides
        self.weak = weak  # a Python number, which does not widen what it is computed with

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"%{self.id}"


def contiguous(shape: Shape, itemsize: int) -> Shape:
    """The strides of an array whose elements lie in order."""
    strides, step = [], itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


class Input(NamedTuple):
    """A value that comes from outside."""

    value: Value
    kind: str  # "argument", "state" or "number"
    name: str  # `x`, `model.fc1.weight`, `optimizer.param_groups[0]['lr']`


class Write(NamedTuple):
    """The new content of a piece of state."""

    name: str
    value: Value
    input: int | None  # which input holds its old content, if one does


class Line(NamedTuple):
    """A line of the user's program."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class Instruction:
    """One op on values, numbers and None, with its parameters; and where it comes from."""

    __slots__ = ("_line", "inputs", "module", "op", "outputs", "params", "phase", "position", "region")

    def __init__(
        self,
        op: Op,
        inputs: Sequence[Any],
        params: dict[str, Any],
        outputs: Sequence[Value],
        position: Position | None = None,
        module: str = "",
        phase: str = FORWARD,
        region: int = 0,
        line: Line | None = None,
    ) -> None:
        self.op, self.inputs, self.params, self.outputs = op, tuple(inputs), params, tuple(outputs)
        self.position = position  # the user's line, not yet looked up ...
        self._line = line  # ... or as a file had it
        self.module = module  # the path of the layer: "encoder.layers.0.linear1"
        self.phase = phase
        self.region = region  # which checkpointed region computed again this belongs to; 0 is none

    @property
    def line(self) -> Line | None:
        """The user's line."""
        if self._line is None and self.position is not None:
            self._line = Line(*locate(self.position))
        return self._line

    @property
    def values(self) -> list[Value]:
        """The inputs that are values."""
        return [x for x in self.inputs if type(x) is Value]

    @property
    def flops(self) -> int:
        """Arithmetic operations."""
        return int(self.op.flops(self.inputs, {**self.op.defaults, **self.params}, self.result))

    @property
    def result(self) -> Any:
        """The one output, or all of them."""
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    def changed(self, **fields: Any) -> Instruction:
        """This instruction with other fields."""
        names = ("op", "inputs", "params", "outputs", "position", "module", "phase", "region")
        return Instruction(**{**{n: getattr(self, n) for n in names}, "line": self._line, **fields})

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self.params.items())
        given = ", ".join(map(repr, self.inputs))
        return f"{', '.join(map(repr, self.outputs))} = {self.op.name}({given}{options})"


class Program:
    """See the top of this file. A Program is not changed once made; passes make new ones that share values."""

    def __init__(
        self,
        name: str,
        inputs: Sequence[Input],
        constants: dict[Value, np.ndarray[Any, Any]],
        instructions: Sequence[Instruction],
        outputs: Sequence[Value],
        writes: Sequence[Write] = (),
        names: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.names = tuple(names) if len(names) == len(outputs) else ("",) * len(outputs)  # of the outputs
        self.inputs, self.outputs, self.writes = tuple(inputs), tuple(outputs), tuple(writes)
        self.constants = constants
        self.instructions = tuple(instructions)

    @property
    def results(self) -> list[Value]:
        """All that an engine must give: outputs, then writes."""
        return [*self.outputs, *(write.value for write in self.writes)]

    def replaced(self, **fields: Any) -> Program:
        """This Program with other fields."""
        names = ("name", "inputs", "constants", "instructions", "outputs", "writes", "names")
        return Program(**{**{n: getattr(self, n) for n in names}, **fields})

    def makers(self) -> dict[Value, Instruction]:
        """The instruction that makes each value."""
        return {value: instruction for instruction in self.instructions for value in instruction.outputs}

    def last_uses(self) -> dict[Value, int]:
        """The number of the last instruction that reads each value; what leaves the Program is read at its end."""
        last = {value: i for i, instruction in enumerate(self.instructions) for value in instruction.values}
        last.update(dict.fromkeys(self.results, len(self.instructions)))
        return last

    def values(self) -> Iterator[Value]:
        """Every value, in the order in which they come to be."""
        yield from (given.value for given in self.inputs)
        yield from self.constants
        for instruction in self.instructions:
            yield from instruction.outputs

    def check(self) -> Program:
        """Raise if a value is used before it is made, or made twice; returns the Program."""
        known = {given.value for given in self.inputs} | self.constants.keys()
        for instruction in self.instructions:
            missing = [v for v in instruction.values if v not in known]
            again = [v for v in instruction.outputs if v in known]
            if missing or again:
                raise ValueError(f"{instruction!r}: not made yet: {missing}, made before: {again}")
            known.update(instruction.outputs)
        if lost := [v for v in self.results if v not in known]:
            raise ValueError(f"{self.name} gives values that nothing makes: {lost}")
        return self

    def __len__(self) -> int:
        return len(self.instructions)

    # -- reading one ---------------------------------------------------------------------------------------------------

    def show(self, full: bool = False) -> str:
        """The Program as text to read; `full` leaves nothing out."""
        from .show import show

        return show(self, full)

    __str__ = show

    def cost(self) -> Cost:
        """Operations and bytes moved: by instruction, module, line, phase and op."""
        from .cost import Cost

        return Cost(self)

    def memory(self) -> Memory:
        """Live bytes at each instruction, their peak, and what holds them."""
        from .memory import Memory

        return Memory(self)

    def draw(self, path: str | os.PathLike[str]) -> None:
        """The graph as .dot, .mmd or .svg."""
        from .draw import draw

        draw(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, which `load` reads."""
        from .files import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Program:
        """Read a file that `save` wrote."""
        from .files import load

        return load(path)


def renamed(inputs: Iterable[Any], new: dict[Value, Any]) -> tuple[Any, ...]:
    """Operands, with some values replaced."""
    return tuple([new.get(x, x) if type(x) is Value else x for x in inputs])
