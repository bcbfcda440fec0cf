"""How many elements fall where: ones, or weights, added up at the places of the elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....dtypes import F32, F64, HALVES, I64
from ....program.program import Instruction
from ..expressions import literal
from ..loops import C, Load, Loop, Store
from ..place import Place
from ..plan import Plan, kernel
from .indexing import check, integers, scatter
from .movement import converted, copy, fill, possible
from .reductions import given


def counted(plan: Plan, at: Place, weights: Place | None, size: int, dtype: Any) -> Place:
    """What falls on each of `size` places, added up in this type; nothing does at -1."""
    out = plan.scratch((size,), dtype)
    fill(plan, out)
    one = plan.constant(np.ones((), dtype)) if weights is None else weights
    scatter(plan, "sum", out.seen(at.shape, (0,)), one.broadcast(at.shape), at, range(1), size, 1)
    return out


@kernel("bincount")
def bincount(plan: Plan, i: Instruction) -> Any:
    (x, weights), size, value = (*i.inputs, None)[:2], given(i)["size"], i.outputs[0]
    if not possible(x, weights) or x.ndim != 1 or x.dtype.kind not in "iu":
        return False
    if weights is not None and weights.shape != x.shape:
        return False
    at, dtype = integers(plan, x), I64 if weights is None else F64
    check(plan, x, at, size)
    heavy = None if weights is None else converted(plan, plan.dense(weights), dtype)
    copy(plan, counted(plan, at, heavy, size, dtype), plan.out(value, dense=True))
    return None


@kernel("histogram")
def histogram(plan: Plan, i: Instruction) -> Any:
    """Over a range that is known."""
    (x, weights), (value, edges), options = (*i.inputs, None)[:2], i.outputs, given(i)
    bins, low, high = options["bins"], options["low"], options["high"]
    if not possible(x, weights) or bins < 1 or not low < high or not math.isfinite(high - low):
        return False
    dtype = F32 if value.dtype in HALVES else value.dtype
    first, last, width, many = (literal(float(dtype.type(n)), C[dtype]) for n in (low, high, high - low, bins))
    line = converted(plan, plan.dense(x), dtype).seen((math.prod(x.shape),), (1,))
    at = plan.scratch(line.shape, I64)
    lines = [f"int64_t v = !(x >= {first} && x <= {last}) ? -1 : (int64_t)((x - {first}) * {many} / {width});",
             f"v = v < {bins} ? v : {bins - 1};"]  # fmt: skip
    if line.size:
        plan.add(Loop(line.shape, [Load("x", line)], lines, [Store("v", at)], [i]))
    heavy = None if weights is None else converted(plan, plan.dense(weights), F64).seen(line.shape, (1,))
    copy(plan, counted(plan, at, heavy, bins, I64 if heavy is None else F64), plan.out(value, dense=True))
    plan.places[edges] = plan.constant(np.linspace(low, high, bins + 1).astype(dtype).astype(edges.dtype))
    return None
