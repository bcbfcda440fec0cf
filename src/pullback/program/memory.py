"""How much memory a Program holds, instruction by instruction, and for what.

A value lives from its making to its last use; a view lives in its base. Inputs and constants are there throughout,
outputs stay to the end. The new content of state takes the place of the old, unless that is read once more.
"""

from __future__ import annotations

import os
from collections import defaultdict
from itertools import accumulate, groupby
from typing import NamedTuple

from ..dtypes import FLOATS
from .cost import COLOURS, nested, shares, stored
from .program import BACKWARD, FORWARD, Instruction, Line, Program, Value
from .text import figure, place, size, table

MADE = {FORWARD: "activation", BACKWARD: "gradient"}  # made in update: "update"


class Held(NamedTuple):
    """A piece of memory: what it is, where it was made, and from which instruction to which it lives."""

    value: Value
    bytes: int
    kind: (
        str  # parameter, state, argument, number, constant; activation, gradient or update, by the phase it is made in
    )
    name: str  # of what comes in or is written; else the op
    module: str
    line: Line | None
    begin: int
    end: int


class Memory:
    """What `program.memory()` gives; str() is a table.

    `live[i]`: bytes at instruction i, its operands and its results among them. `saved`: bytes made in forward that
    backward reads, by module.
    """

    def __init__(self, program: Program) -> None:
        self.name, self.instructions = program.name, program.instructions
        self.bases = bases_of(program)
        self.held = list(_held(program, self.bases))
        self.live = _live(self.held, self.instructions)
        self.at = max(range(len(self.live)), key=self.live.__getitem__) if self.live else None
        self.peak = sum(h.bytes for h in self.held) if self.at is None else self.live[self.at]
        self.saved = _saved(program, self.bases)

    @property
    def owners(self) -> list[Held]:
        """What is held at the peak, the largest first."""
        at = self.at
        there = [h for h in self.held if at is None or h.begin <= at <= h.end]
        return sorted(there, key=lambda h: (-h.bytes, h.begin, h.value.id))

    def kinds(self) -> dict[str, int]:
        """Bytes at the peak by kind, the most first."""
        sums: dict[str, int] = defaultdict(int)
        for owner in self.owners:
            sums[owner.kind] += owner.bytes
        if inside := self.peak - sum(sums.values()):
            sums["inside a loop"] = inside
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        head = f"{self.name}: {size(self.peak)} at the peak"
        if self.at is not None:
            at = self.instructions[self.at]
            head += f", at instruction {self.at} of {len(self.live)}: {at.op.name}, {_where(at)}"
        kinds = [("kind", "bytes", "share")]
        kinds += [(kind, size(n), f"{n / (self.peak or 1):.1%}") for kind, n in self.kinds().items()]
        owners = [("largest", "kind", "module", "line", "bytes")]
        owners += [(h.name, h.kind, h.module, place(h.line) if h.line else "", size(h.bytes)) for h in self.owners[:10]]
        parts = [head, table(kinds), table(owners, left=4)]
        if self.saved:
            saved = [("kept for backward", "bytes"), *((module or "-", size(n)) for module, n in self.saved.items())]
            parts.append(table([*saved, ("total", size(sum(self.saved.values())))]))
        return "\n\n".join(parts)

    __repr__ = __str__

    def draw(self, path: str | os.PathLike[str]) -> None:
        """A picture: live bytes over the instructions, coloured by phase."""
        picture = figure("the memory", 10, 4)
        axes, named = picture.subplots(), set()
        for phase, run in groupby(range(len(self.live)), lambda i: self.instructions[i].phase):
            places = list(run)
            edges, heights = [*places, places[-1] + 1], [self.live[i] for i in [*places, places[-1]]]
            label = phase if phase not in named else None
            named.add(phase)
            axes.fill_between(edges, heights, step="post", color=COLOURS[phase], linewidth=0, label=label)
        axes.axhline(self.peak, color="grey", linewidth=0.8, linestyle="--")
        axes.set(xlabel="instruction", ylabel="live bytes", title=f"{self.name}: {size(self.peak)} at the peak")
        if named:
            axes.legend()
        picture.savefig(path, dpi=120)


def bases_of(program: Program) -> dict[Value, Value]:
    """The value in whose memory each value lies."""
    bases = {value: value for value in program.values()}
    for instruction in program.instructions:
        if shares(instruction):
            bases.update(dict.fromkeys(instruction.outputs, bases[instruction.inputs[0]]))
    return bases


def _held(program: Program, bases: dict[Value, Value]) -> list[Held]:
    """Every piece of memory with its life."""
    last = len(program) - 1
    used: dict[Value, int] = {}
    for i, instruction in enumerate(program.instructions):
        used.update(dict.fromkeys((bases[v] for v in (*instruction.values, *instruction.outputs)), i))
    used.update(dict.fromkeys((bases[v] for v in program.results), last))
    begins = {v: i for i, instruction in enumerate(program.instructions) for v in instruction.outputs if bases[v] is v}
    kinds = _kinds(program, bases)
    ends = {given.value: last for given in program.inputs}
    for write in program.writes:
        new = bases[write.value]
        if write.input is not None and new in begins:
            old, begin = program.inputs[write.input].value, begins[new]
            ends[old] = used[old] if used.get(old, -1) > begin else begin - 1  # written over by what reads it last
    held = [Held(g.value, stored(g.value), kinds[g.value], g.name, "", None, 0, ends[g.value]) for g in program.inputs]
    held += [Held(c, stored(c), "constant", "constant", "", None, 0, last) for c in program.constants]
    names = {bases[write.value]: write.name for write in program.writes}
    for value, i in begins.items():
        by = program.instructions[i]
        kind = kinds.get(value) or MADE.get(by.phase, by.phase)
        held.append(Held(value, stored(value), kind, names.get(value, by.op.name), by.module, by.line, i, used[value]))
    return held


def _kinds(program: Program, bases: dict[Value, Value]) -> dict[Value, str]:
    """The kind of what comes in and of what is written. State that forward reads and does not write is a parameter."""
    read = {bases[v] for i in program.instructions if i.phase == FORWARD for v in i.values}
    makers = program.makers()
    kinds: dict[Value, str] = {given.value: given.kind for given in program.inputs}
    written = {w.input for w in program.writes if w.value in makers and makers[w.value].phase == FORWARD}
    for i, given in enumerate(program.inputs):
        if given.kind == "state" and given.name.endswith(".grad"):
            kinds[given.value] = "gradient"
        elif given.kind == "state" and given.value in read and i not in written and given.value.dtype in FLOATS:
            kinds[given.value] = "parameter"
    for write in program.writes:
        old = "gradient" if write.name.endswith(".grad") else "state"
        kinds.setdefault(bases[write.value], old if write.input is None else kinds[program.inputs[write.input].value])
    return kinds


def _live(held: list[Held], instructions: tuple[Instruction, ...]) -> list[int]:
    """Bytes at each instruction; a loop also holds what its body makes."""
    change = [0] * (len(instructions) + 1)
    for h in held:
        if h.end >= h.begin:
            change[h.begin] += h.bytes
            change[h.end + 1] -= h.bytes
    inside = [sum(_made_at_most(body) for body in nested(instruction)) for instruction in instructions]
    return [n + extra for n, extra in zip(accumulate(change[:-1]), inside, strict=True)]


def _made_at_most(body: Program) -> int:
    return Memory(body).peak - sum(stored(given.value) for given in body.inputs)


def _saved(program: Program, bases: dict[Value, Value]) -> dict[str, int]:
    """Bytes made in forward and read in backward, by the module that made them."""
    makers = program.makers()
    sums: dict[str, int] = defaultdict(int)
    for value in dict.fromkeys(bases[v] for i in program.instructions if i.phase == BACKWARD for v in i.values):
        if value in makers and makers[value].phase == FORWARD:
            sums[makers[value].module] += stored(value)
    return dict(sums)


def _where(instruction: Instruction) -> str:
    line = place(instruction.line) if instruction.line else ""
    return ", ".join(part for part in (instruction.phase, instruction.module, line) if part)
