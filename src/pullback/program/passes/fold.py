"""What depends on nothing but constants is computed once, now.

Random numbers depend on a generator's state, which is an input: they are not constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.create import full_like
from ..program import Instruction, Program, Value

Array = np.ndarray[Any, Any]

SMALL = 1 << 10  # bytes: a constant of this size is always welcome
LARGEST = 1 << 20  # bytes: larger ones are computed by the Program, rather than carried around in it,
GROWTH = 16  # and so are those that would be so many times larger than what they are computed from


def fold(program: Program) -> Program:
    """With constants for the results of instructions whose operands are all constants or numbers."""
    known = dict(program.constants)
    kept = []
    for instruction in program.instructions:
        results = computed(instruction, known)
        if results is None:
            kept.append(instruction)
        else:
            known.update(zip(instruction.outputs, results, strict=True))
    return program.replaced(constants=known, instructions=kept)


def computed(instruction: Instruction, known: dict[Value, Array]) -> tuple[Array, ...] | None:
    """The results, if they are constants and not too large."""
    operands, given = [], 0
    for x in instruction.inputs:
        if type(x) is Value:
            if instruction.op is full_like:
                x = outline(x)
            elif (array := known.get(x)) is not None:
                x, given = array, given + array.nbytes
            else:
                return None
        operands.append(x)
    size = sum([value.nbytes for value in instruction.outputs])
    if size > SMALL and size > min(LARGEST, GROWTH * given):
        return None
    try:
        out = instruction.op(*operands, **instruction.params)
    except Exception:  # an error belongs to the step that runs, not to its capture
        return None
    results = out if type(out) is tuple else (out,)
    fits = all(a.shape == v.shape and a.dtype == v.dtype for a, v in zip(results, instruction.outputs, strict=True))
    return results if fits else None


def outline(x: Value) -> Array:
    """An array for an op that looks at nothing but shape and dtype."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)
