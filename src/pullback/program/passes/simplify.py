"""Algebra that holds to the last bit, for nan, inf, -0.0 and every dtype.

x * 1, x / 1, x - 0 and x + (-0.0) are x. But x + 0 is not where x is -0.0, x * 0 is not 0 where x is inf, x * (-1) and
-x differ in the sign of nan, and the sum of a single -0.0 is 0.0: so none of those are here. In half types each op
rounds its result once: an op is only left out if it had nothing to round.

A value stands in for another only if it also lies in memory the same way, because NumPy adds up numbers in the order in
which they lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...dtypes import BOOL, FLOATS, promote, rank
from ...ops.arithmetic import add, div, mul, neg, sub
from ...ops.compare import where
from ...ops.create import cast, clone, full_like
from ...ops.matmul import linear, matmul
from ...ops.record import Op
from ...ops.shape import expand, permute, reshape, slice_
from ..program import Instruction, Program, Value, contiguous, renamed

SMALL = 1 << 12  # bytes: constants up to here are looked at


def simplify(program: Program) -> Program:
    """With simpler instructions, or none, in one sweep: operands are simple already when their users are looked at."""
    new: dict[Value, Any] = {}
    seen = Seen(program)
    kept = []
    for instruction in program.instructions:
        if not new.keys().isdisjoint(instruction.values):
            instruction = instruction.changed(inputs=renamed(instruction.inputs, new))
        found = simpler(instruction, seen)
        if isinstance(found, Instruction):
            kept.append(found)
            seen.note(found)
        else:
            new[instruction.outputs[0]] = found
    return program.replaced(
        instructions=kept,
        outputs=renamed(program.outputs, new),
        writes=[write._replace(value=new.get(write.value, write.value)) for write in program.writes],
    )


class Seen:
    """What is known of the values made so far."""

    def __init__(self, program: Program) -> None:
        self.makers: dict[Value, Instruction] = {}
        self.numbers: dict[Value, float] = {}  # of values that are one number everywhere
        for value, array in program.constants.items():
            if value.size and value.nbytes <= SMALL:
                content = array.tobytes()
                if value.size == 1 or content == content[: value.dtype.itemsize] * value.size:
                    self.numbers[value] = float(array.flat[0])

    def note(self, instruction: Instruction) -> None:
        """One more instruction."""
        self.makers.update(dict.fromkeys(instruction.outputs, instruction))
        if instruction.op is full_like:
            value, number = instruction.outputs[0], instruction.params["value"]
            if number in (0, 1):  # which every dtype has
                self.numbers[value] = float(value.dtype.type(number))
        elif instruction.op.view and (number := self.number(instruction.inputs[0])) is not None:
            self.numbers.update(dict.fromkeys(instruction.outputs, number))

    def number(self, x: Any) -> float | None:
        """The number that an operand is, or is full of."""
        return self.numbers.get(x) if type(x) is Value else x

    def behind(self, x: Any, op: Op, user: Instruction) -> Any:
        """What x was made from, if by that op; but what comes into a checkpointed region is all that is kept for it."""
        maker = self.makers.get(x)
        return maker.inputs[0] if maker is not None and maker.op is op and maker.region == user.region else None


Rule = Callable[[Instruction, Seen], Any]  # gives an instruction, an operand that is the result, or None


def simpler(instruction: Instruction, seen: Seen) -> Value | Instruction:
    """The value that is the result, or an instruction that makes it."""
    while (rule := RULES.get(instruction.op)) is not None:
        found = rule(instruction, seen)
        if type(found) is not Instruction:
            return found if type(found) is Value and alike(found, instruction.outputs[0]) else instruction
        instruction = found
    return instruction


def alike(x: Value, y: Value) -> bool:
    """Do they have the same shape and dtype, and lie in memory the same way?"""
    if (x.shape, x.dtype, x.weak) != (y.shape, y.dtype, y.weak):
        return False
    steps = zip(x.shape, x.strides, y.strides, strict=True)
    return x.strides == y.strides or all(n == 1 or s == t for n, s, t in steps)


# -- arithmetic --------------------------------------------------------------------------------------------------------


def is_zero(number: float | None, sign: float) -> bool:
    """Is it a zero of that sign?"""
    return number == 0 and math.copysign(1, number) == sign


def _mul(i: Instruction, seen: Seen) -> Any:
    """x * 1 = 1 * x = x"""
    x, y = i.inputs
    return x if seen.number(y) == 1 else y if seen.number(x) == 1 else None


def _div(i: Instruction, seen: Seen) -> Any:
    """x / 1 = x"""
    x, y = i.inputs
    return x if seen.number(y) == 1 else None


def _add(i: Instruction, seen: Seen) -> Any:
    """x + (-0.0) = (-0.0) + x = x; of integers, x + 0 = x"""
    x, y = i.inputs
    sign = -1.0 if i.outputs[0].dtype in FLOATS else 1.0
    return x if is_zero(seen.number(y), sign) else y if is_zero(seen.number(x), sign) else None


def _sub(i: Instruction, seen: Seen) -> Any:
    """x - 0.0 = x"""
    x, y = i.inputs
    return x if is_zero(seen.number(y), 1.0) else None


def _neg(i: Instruction, seen: Seen) -> Any:
    """-(-x) = x"""
    return seen.behind(i.inputs[0], neg, i)


def _where(i: Instruction, seen: Seen) -> Any:
    """x where true, else y = x;  x where c, else x = x"""
    condition, x, y = i.inputs
    number = seen.number(condition)
    return x if x is y or number else y if number == 0 else None


# -- dtypes ------------------------------------------------------------------------------------------------------------


def holds(wide: Any, narrow: Any) -> bool:
    """Is every number of the one dtype one of the other?"""
    return promote(wide, narrow) == wide and (rank(wide) == rank(narrow) or narrow == BOOL)


def _cast(i: Instruction, seen: Seen) -> Any:
    """To its own dtype: x. To a wider one and back: x. To a wider one and to a third: to the third."""
    x, dtype = i.inputs[0], i.outputs[0].dtype
    if x.dtype == dtype:
        return x
    first = seen.behind(x, cast, i)
    if first is None or not holds(x.dtype, first.dtype):
        return None
    if first.dtype == dtype:
        return first
    return i.changed(inputs=(first,)) if {first.dtype, dtype} <= FLOATS else None


# -- places ------------------------------------------------------------------------------------------------------------


def _clone(i: Instruction, seen: Seen) -> Any:
    """Values never change: a copy is as good as what was copied."""
    return i.inputs[0]


def _reshape(i: Instruction, seen: Seen) -> Any:
    """To its own shape: x. A reshape of a reshape: the last one, unless the first put the elements in order."""
    x = i.inputs[0]
    if x.shape == i.outputs[0].shape:
        return x
    first = seen.behind(x, reshape, i)
    in_order = first is not None and first.strides == contiguous(first.shape, first.dtype.itemsize)
    return i.changed(inputs=(first,)) if in_order else None


def _permute(i: Instruction, seen: Seen) -> Any:
    """In the order there is: x. A permute of a permute: one."""
    x = i.inputs[0]
    dims = order(i)
    if dims == tuple(range(x.ndim)):
        return x
    first = seen.behind(x, permute, i)
    if first is None:
        return None
    before = order(seen.makers[x])
    return i.changed(inputs=(first,), params={"dims": tuple([before[d] for d in dims])})


def order(i: Instruction) -> tuple[int, ...]:
    """The dims of a permute, counted from 0."""
    dims = i.params["dims"]
    return tuple([d % len(dims) for d in dims])


def _expand(i: Instruction, seen: Seen) -> Any:
    """To its own shape: x. An expand of an expand: the last one."""
    x = i.inputs[0]
    if x.shape == i.outputs[0].shape:
        return x
    first = seen.behind(x, expand, i)
    return None if first is None else i.changed(inputs=(first,))


def _slice(i: Instruction, seen: Seen) -> Any:
    """Nothing but whole dimensions: x."""
    x = i.inputs[0]
    whole = all(k is ... or (type(k) is slice and k.step in (None, 1)) for k in i.params["key"])
    return x if whole and x.shape == i.outputs[0].shape else None


# -- products ----------------------------------------------------------------------------------------------------------


def _matmul(i: Instruction, seen: Seen) -> Any:
    """x w^T is what linear computes: nothing has to be transposed first."""
    x, y = i.inputs
    weight = seen.behind(y, permute, i)
    if weight is None or weight.ndim != 2 or order(seen.makers[y]) != (1, 0) or x.dtype == BOOL:
        return None
    return i.changed(op=linear, inputs=(x, weight, None))


RULES: dict[Op, Rule] = {
    add: _add, sub: _sub, mul: _mul, div: _div, neg: _neg, where: _where, cast: _cast, clone: _clone,
    reshape: _reshape, permute: _permute, expand: _expand, slice_: _slice, matmul: _matmul,
}  # fmt: skip
