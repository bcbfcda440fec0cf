"""x + zeros into which rows are added at indices: the rows are added to x instead.

So where a language model's embedding is its head, too, there is one gradient of that size: the head's, to which those
of the tokens' rows are added.
"""

from __future__ import annotations

from collections import Counter

from ...ops.indexing import put_at
from ...program.program import Instruction, Program, Value
from .kernels.indexing import can_add


def accumulate(program: Program) -> Program:
    """The same Program, without matrices that are only made to be added to others."""
    uses = Counter(v for i in program.instructions for v in i.values)
    uses.update(program.results)
    laid = {i.outputs[0]: i for i in program.instructions if lays(i) and uses[i.outputs[0]] == 1}
    instructions: list[Instruction] = []
    gone = set[Value]()
    for i in program.instructions:
        if i.op.name == "add" and (rows := next((v for v in i.values if v in laid), None)) is not None:
            x, y = i.inputs
            if (changed := added(i, y if x is rows else x, laid[rows])) is not None:
                gone.add(rows)
                i = changed
        instructions.append(i)
    return program.replaced(instructions=[i for i in instructions if gone.isdisjoint(i.outputs)])


def lays(i: Instruction) -> bool:
    return i.op.name in ("unembed", "lay_at") and i.params.get("padding_idx") is None and can_add(i.outputs[0])


def added(i: Instruction, x: object, rows: Instruction) -> Instruction | None:
    """i = x + rows as one instruction; None if one is spread out to the other's shape, or converted."""
    value = rows.outputs[0]
    if type(x) is not Value or any((v.shape, v.dtype) != (value.shape, value.dtype) for v in (x, i.outputs[0])):
        return None
    g, index = rows.inputs
    params = {"dims": rows.params.get("dims", (0,)), "accumulate": True, "wrap": rows.op.name == "lay_at"}
    return i.changed(op=put_at, inputs=(x, index, g), params=params)


__all__ = ["accumulate"]
