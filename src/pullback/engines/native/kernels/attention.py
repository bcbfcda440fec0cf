"""Attention and its adjoint, on places as they lie: only the last dimension has to be in order.

Results are laid out as the queries, keys and values are; so where these were made by splitting rows into heads, what is
made of them is put together again without a copy.
"""

from __future__ import annotations

import os
from typing import Any

from ....dtypes import BOOL, F32, F64, HALVES
from ....program.program import Instruction, Value
from ..place import ARENA, Memory, Place
from ..plan import Plan, kernel
from .movement import converted, copy, row_major

VECTOR = 16  # numbers, at most: rows are filled up to a multiple of it
SCORES = 1 << 16  # numbers of a block of scores, which is read and written a few times in cache
TALLEST, LOWEST = 64, 8  # rows of a block
UNITS = 16  # pieces of work that there should be at least


def heads(plan: Plan, x: Place, ordered: bool = True) -> Place:
    """x as (batches, heads, rows, columns); the columns of a row in order, if they must be."""
    batches = row_major(x.shape[:-3], [x.strides[:-3]])
    if batches is None or (ordered and x.strides[-1] != 1 and x.shape[-1] != 1):
        x = plan.copied(x)
        batches = row_major(x.shape[:-3], [x.strides[:-3]])
    assert batches is not None
    count, (step,) = batches
    return x.seen((count, *(1, *x.shape)[-3:]), (step, *(0, *x.strides)[-3:]))


def like(plan: Plan, value: Value, x: Place) -> Place:
    """Memory for a result, its dimensions in the same order as those of x; each row of it in order."""
    order = sorted(range(value.ndim - 1), key=lambda d: -x.strides[d])
    strides, step = [1] * value.ndim, value.shape[-1]
    for d in reversed(order):
        strides[d] = step
        step *= value.shape[d]
    place = plan.places[value] = Place(Memory(ARENA, value.nbytes), value.dtype, value.shape, tuple(strides))
    return place


def operands(plan: Plan, i: Instruction) -> list[Any]:
    """The inputs; half types in float32."""
    places = [None if x is None else plan.at(x) for x in i.inputs]
    return [x and converted(plan, x, F32 if x.dtype in HALVES else x.dtype) for x in places]


def results(plan: Plan, i: Instruction, *given: Place) -> list[Place]:
    """Places for the results, laid out as what was given; float32 ones if they are of a half type."""
    if i.outputs[0].dtype not in HALVES:
        return [like(plan, value, x) for value, x in zip(i.outputs, given, strict=True)]
    return [plan.scratch(value.shape, F32) for value in i.outputs]


def rounded(plan: Plan, i: Instruction, made: list[Place]) -> None:
    """Results of a half type from those in float32."""
    if i.outputs[0].dtype in HALVES:
        for value, x in zip(i.outputs, made, strict=True):
            copy(plan, x, plan.out(value))


class Outline:
    """Sizes, and how the work is cut into pieces; the same for any number of threads."""

    def __init__(self, q: Place, v: Place) -> None:
        (batches, count, self.rows, self.depth), (_, kinds, self.keys, self.columns) = q.shape, v.shape
        self.group = count // max(kinds, 1)
        self.height = min(TALLEST, max(LOWEST, SCORES // max(self.keys, 1) // LOWEST * LOWEST))
        self.heads = batches * kinds
        blocks = self.group * -(-self.rows // self.height)
        self.chunks = max(1, min(blocks, -(-UNITS // max(1, self.heads))))
        self.slots = max(1, min(os.cpu_count() or 1, self.heads * self.chunks))  # threads with memory to work in
        self.numbers = [batches, kinds, self.group, self.rows, self.keys, self.depth, self.columns, self.chunks,
                        self.height]  # fmt: skip


def wide(n: int) -> int:
    return -(-n // VECTOR) * VECTOR


def settings(plan: Plan, i: Instruction, mask: Place | None) -> tuple[Any, Any, list[Any]]:
    """The mask as numbers to add, or as what may be seen; its strides, and the options."""
    given = {**i.op.defaults, **i.params}
    options = [int(given["causal"]), float(given["scale"])]
    if mask is None:
        return None, None, [0, 0, 0, 0, *options]
    q, k = i.inputs[-4:-2]
    table = heads(plan, mask.broadcast((*q.shape[:-1], k.shape[-2])), ordered=False)
    return *((None, table) if mask.dtype == BOOL else (table, None)), [*table.strides, *options]


@kernel("attention")
def attention(plan: Plan, i: Instruction) -> Any:
    if i.outputs[0].dtype not in (F32, F64, *HALVES):
        return False
    *given, mask = operands(plan, i)
    q, k, v = (heads(plan, x) for x in given)
    bias, sees, options = settings(plan, i, mask)
    made = results(plan, i, given[0])
    y, o = heads(plan, made[0]), Outline(q, v)
    size = wide(o.keys) * (o.depth + o.height) + (o.keys + o.height) * wide(o.columns) + wide(o.height)
    scratch = plan.scratch((o.slots, wide(size)), q.dtype)
    strides = [s for x in (y, q, k, v) for s in x.strides[:3]]
    plan.call("attention", f"pb_attention_{'f32' if q.dtype == F32 else 'f64'}", y, q, k, v, bias, sees, scratch,
              o.slots, wide(size), *o.numbers, *strides, *options, writes=[y, scratch])  # fmt: skip
    rounded(plan, i, made)
    return None


@kernel("attention_gradient")
def attention_gradient(plan: Plan, i: Instruction) -> Any:
    if i.outputs[0].dtype not in (F32, F64, *HALVES):
        return False
    *given, mask = operands(plan, i)
    g, q, k, v = (heads(plan, x) for x in given)
    bias, sees, options = settings(plan, i, mask)
    made = results(plan, i, *given[1:])
    (dq, dk, dv), o = (heads(plan, x) for x in made), Outline(q, v)
    size = (wide(o.keys) * (o.depth + o.columns + 2 * o.height) + (o.keys + 2 * o.height) * wide(o.depth)
            + o.height * wide(o.columns) + wide(o.height))  # fmt: skip
    scratch = plan.scratch((o.slots, wide(size)), q.dtype)
    copies = o.heads * o.chunks if o.chunks > 1 else o.slots
    sums = plan.scratch((copies, o.keys * (wide(o.depth) + wide(o.columns))), q.dtype)
    strides = [s for x in (dq, dk, dv, g, q, k, v) for s in x.strides[:3]]
    plan.call("attention", f"pb_attention_gradient_{'f32' if q.dtype == F32 else 'f64'}", dq, dk, dv, g, q, k, v, bias,
              sees, scratch, sums, o.slots, wide(size), *o.numbers, *strides, *options,
              writes=[dq, dk, dv, scratch, sums])  # fmt: skip
    rounded(plan, i, made)
    return None
