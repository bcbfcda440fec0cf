"""What a Program costs: arithmetic operations and bytes moved, for each instruction and in sum.

An instruction reads its operands and writes its results, each once; a view does neither. A loop costs what its body
does, times its length. These are counts of what the instructions say, not measurements: an engine that joins several
instructions into one moves fewer bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import ArgumentError, fail
from .program import PHASES, Instruction, Line, Program, Value
from .text import figure, human, in_order, size, table

WAYS = ("module", "line", "phase", "op")
COLOURS = dict(zip(PHASES, ("tab:blue", "tab:orange", "tab:green"), strict=True))
PICKING = {
    "take_at",
    "gather",
    "gather_at",
    "take_along",
    "embedding",
}  # of the first operand, they read what they give
OUTLINE = {"full_like"}  # these look at a shape


class Sum(NamedTuple):
    """Operations and bytes of some instructions."""

    calls: int = 0
    flops: int = 0
    read: int = 0
    written: int = 0

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return self.read + self.written

    @property
    def intensity(self) -> float:
        """Operations per byte moved."""
        return self.flops / self.moved if self.moved else 0.0


class Row(NamedTuple):
    """What one instruction costs, or one of a loop's body in all of its turns."""

    number: int  # of the instruction in the Program
    op: str
    phase: str
    module: str
    line: Line | None
    calls: int
    flops: int
    read: int
    written: int


class Cost:
    """What `program.cost()` gives; str() is a table."""

    def __init__(self, program: Program) -> None:
        self.name = program.name
        self.rows = list(rows_of(program))

    @property
    def total(self) -> Sum:
        """Of the whole Program."""
        return total(self.rows)

    def by(self, way: str) -> dict[str, Sum]:
        """Sums by "module", "line", "phase" or "op", in the order in which these first come."""
        if way not in WAYS:
            fail(ArgumentError, f"a cost is not known by {way!r}", f"use one of {', '.join(WAYS)}")
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(_key(row, way), []).append(row)
        return {key: total(rows) for key, rows in groups.items()}

    def table(self, way: str = "op") -> str:
        """The sums, the costliest first."""
        whole, sums = self.total, self.by(way)
        titles = (way, "calls", "FLOPs", "share", "bytes moved", "share", "FLOPs/byte")
        cells: list[tuple[str, ...]] = [titles]
        for key in sorted(sums, key=lambda k: (-sums[k].flops, -sums[k].moved, k)):
            cells.append((key, *_cells(sums[key], whole)))
        cells.append(("total", *_cells(whole, whole)))
        return table(cells)

    def __str__(self) -> str:
        whole = self.total
        head = f"{self.name}: {human(whole.flops)} FLOPs, {size(whole.read)} read, {size(whole.written)} written"
        ways = ["phase", "op", *(["module"] if len(self.by("module")) > 1 else [])]
        return "\n\n".join([head, *(self.table(way) for way in ways)])

    __repr__ = __str__

    def draw(self, path: str | os.PathLike[str], way: str = "module") -> None:
        """A picture: bars of operations and of bytes, coloured by phase."""
        keys = list(self.by(way))
        picture = figure("the cost", 10, 1.5 + 0.25 * len(keys))
        for axes, title in zip(picture.subplots(1, 2, sharey=True), ("FLOPs", "bytes moved"), strict=True):
            start = [0] * len(keys)
            for phase in PHASES:
                sums = [total(r for r in self.rows if (r.phase, _key(r, way)) == (phase, key)) for key in keys]
                widths = [s.flops if title == "FLOPs" else s.moved for s in sums]
                axes.barh(keys, widths, left=start, color=COLOURS[phase], label=phase)
                start = [a + b for a, b in zip(start, widths, strict=True)]
            axes.set_xlabel(title)
        axes.invert_yaxis()
        axes.legend()
        picture.savefig(path, dpi=120)


def total(rows: Iterable[Row]) -> Sum:
    """The rows added up."""
    columns = zip(*[(row.calls, row.flops, row.read, row.written) for row in rows], strict=True)
    return Sum(*map(sum, columns))


def _key(row: Row, way: str) -> str:
    return str(getattr(row, way) or "-")


def rows_of(program: Program) -> Iterator[Row]:
    """A row for each instruction; for one with a body, a row for each of the body's."""
    for number, instruction in enumerate(program.instructions):
        bodies = nested(instruction)
        if not bodies:
            names = (number, instruction.op.name, instruction.phase, instruction.module, instruction.line)
            yield Row(*names, 1, instruction.flops, *moved(instruction))
        turns = instruction.params.get("length") or 1
        for row in (row for body in bodies for row in rows_of(body)):
            yield Row(
                number,
                row.op,
                instruction.phase,
                row.module or instruction.module,
                row.line or instruction.line,
                *(turns * n for n in (row.calls, row.flops, row.read, row.written)),
            )


def nested(instruction: Instruction) -> list[Program]:
    """The Programs among an instruction's parameters: a loop's body, the branches of a condition."""
    found = []
    for param in instruction.params.values():
        found += [p for p in (param if isinstance(param, (tuple, list)) else (param,)) if isinstance(p, Program)]
    return found


def moved(instruction: Instruction) -> tuple[int, int]:
    """Bytes read and written."""
    if shares(instruction):
        return 0, 0
    written = sum(map(stored, instruction.outputs))
    name, values = instruction.op.name, list(dict.fromkeys(instruction.values))
    if name in OUTLINE:
        return 0, written
    read = sum(map(stored, values))
    if name in PICKING and values and values[0] is instruction.inputs[0]:
        read += min(stored(values[0]), written) - stored(values[0])
    return read, written


def shares(instruction: Instruction) -> bool:
    """Do the results lie in the first operand's memory? All views do, but a reshape that had to reorder elements."""
    x = instruction.inputs[0] if instruction.inputs else None
    if not instruction.op.view or type(x) is not Value:
        return False
    return instruction.op.name != "reshape" or in_order(x) or not in_order(instruction.outputs[0])


def stored(value: Value) -> int:
    """Bytes of memory that the elements lie in: those of a broadcast value, or of windows that overlap, count once."""
    if not value.size:
        return 0
    places = list(zip(value.shape, value.strides, strict=True))
    reach = value.dtype.itemsize + sum((n - 1) * abs(stride) for n, stride in places)
    return min(reach, math.prod(n for n, stride in places if stride) * value.dtype.itemsize)


def _cells(part: Sum, whole: Sum) -> tuple[str, ...]:
    flops, bytes_ = part.flops / (whole.flops or 1), part.moved / (whole.moved or 1)
    shown = (f"{part.calls:,}", human(part.flops), f"{flops:.1%}", size(part.moved), f"{bytes_:.1%}")
    return *shown, f"{part.intensity:.2f}"
