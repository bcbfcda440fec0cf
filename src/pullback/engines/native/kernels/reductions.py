"""Folds over dimensions: sums, products, norms, extremes, any and all; and sums and products so far.

A fold is over rows (what is folded lies side by side) or over columns (what is kept does): up to two dimensions of
each, after those that follow each other in memory are made one. What lies otherwise is copied into order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ....dtypes import BOOL, F32, F64, HALVES, I64
from ....ops.reduction import count, dims_of
from ....program.program import Instruction, Shape, Value
from ..expressions import suffix
from ..loops import Load, Loop, Store, kind
from ..place import Place, in_order
from ..plan import Plan, kernel
from .movement import copying

U8, U64 = np.dtype(np.uint8), np.dtype(np.uint64)
Extent = tuple[int, int]  # of a dimension: its size and its stride
PART = 1 << 15  # elements that one thread folds at a stretch
MOST = 64  # parts
NARROW = 64  # columns: fewer are taken together with those of the next rows

# -- dtypes ----------------------------------------------------------------------------------------------------------


def wide(dtype: Any) -> Any:
    """The type that a fold of this type is computed in."""
    return dtype if dtype in (F32, F64) else F32 if dtype in HALVES else I64


def converted(plan: Plan, x: Place, dtype: Any) -> Place:
    """The same numbers in another type."""
    if x.dtype == dtype:
        return x
    made = plan.scratch(x.shape, dtype)
    plan.add(copying(x, made, plan.instruction))
    return made


def computed(plan: Plan, x: Place, expression: str, dtype: Any) -> Place:
    """An expression of x."""
    made = plan.scratch(x.shape, dtype)
    formula(plan, x, expression, made)
    return made


def formula(plan: Plan, x: Place, expression: str, out: Place) -> None:
    """out = an expression of x."""
    line = f"{kind(out.dtype)} y = {expression};"
    assert plan.instruction is not None
    plan.add(Loop(out.shape, [Load("x", x)], [line], [Store("y", out)], [plan.instruction]))


def target(plan: Plan, value: Value, dtype: Any) -> Place:
    """Memory for a result that is computed in this type; `finish` makes the result of it."""
    return plan.out(value, dense=True) if value.dtype == dtype else plan.scratch(value.shape, dtype)


def finish(plan: Plan, value: Value, made: Place) -> None:
    """Convert a result to the type that it has to have."""
    if value not in plan.places:
        plan.add(copying(made, plan.out(value, dense=True), plan.instruction))


# -- folds -----------------------------------------------------------------------------------------------------------


def merged(dims: Iterable[Extent]) -> list[Extent]:
    """(size, stride) of dimensions, those that follow each other in memory made one."""
    found: list[Extent] = []
    for n, s in dims:
        if n == 1:
            continue
        if found and found[-1][1] == n * s:
            found[-1] = (found[-1][0] * n, s)
        else:
            found.append((n, s))
    return found


def in_rows(plan: Plan, x: Place, dims: Sequence[int]) -> Place:
    """x in order, with these dimensions last."""
    order = [*(d for d in range(x.ndim) if d not in dims), *dims]
    seen = x.seen([x.shape[d] for d in order], [x.strides[d] for d in order])
    return seen.seen(seen.shape, in_order(seen.shape)) if seen.dense else plan.copied(seen)


def fold(plan: Plan, name: str, x: Place, dims: Sequence[int], out: Place, wide_type: Any, number: int = 1,
         correction: float = 0.0, root: bool = False, centre: Place | None = None) -> None:  # fmt: skip
    """out = x folded over dims, in order of the dimensions kept."""
    if out.size == 0:
        return
    options = [number, float(correction), root]
    if x.size == 0:
        rows(plan, name, x, out, wide_type, centre, [(out.size, 0)], [(0, 1)], options)
        return
    kept = merged((x.shape[d], x.strides[d]) for d in range(x.ndim) if d not in dims)
    folded, offset = [], 0
    for n, s in sorted(((x.shape[d], x.strides[d]) for d in dims), key=lambda d: -abs(d[1]) or -math.inf):
        offset += (n - 1) * s if s < 0 else 0  # the order in which elements are folded does not matter
        folded.append((n, abs(s)))
    folded, x = merged(folded), x.seen(x.shape, x.strides, offset)
    if len(kept) <= 2 and len(folded) <= 2:
        if kept and kept[-1][1] == 1 and (not folded or folded[-1][1] != 1):
            columns(plan, name, x, out, wide_type, centre, kept, folded, options)
            return
        if not folded or folded[-1][1] == 1:
            rows(plan, name, x, out, wide_type, centre, kept, folded, options)
            return
    x = in_rows(plan, x.seen(x.shape, x.strides, -offset), dims)
    n = math.prod(x.shape[x.ndim - len(dims) :])
    rows(plan, name, x, out, wide_type, centre, [(out.size, n)], [(n, 1)], options)


def two(dims: Sequence[Extent]) -> tuple[Extent, Extent]:
    """Two dimensions, where there may be fewer."""
    first, second = [(1, 0)] * (2 - len(dims)) + list(dims)
    return first, second


def rows(plan: Plan, name: str, x: Place, out: Place, wide_type: Any, centre: Place | None,
         kept: Sequence[Extent], folded: Sequence[Extent], options: Sequence[Any]) -> None:  # fmt: skip
    """A fold of what lies side by side."""
    k, (outer, inner) = two(kept), two(folded)
    parts = max(1, min(MOST, -(-outer[0] * inner[0] // PART)))
    partial = plan.scratch((out.size, parts if parts > 1 else 0), wide_type)
    sizes = [*k[0], *k[1], *outer, inner[0], parts]
    writes = [out, partial]
    plan.call("reductions", f"pb_{name}_rows", out, partial, x, centre, *sizes, *options, writes=writes)


def columns(plan: Plan, name: str, x: Place, out: Place, wide_type: Any, centre: Place | None,
            kept: Sequence[Extent], folded: Sequence[Extent], options: Sequence[Any]) -> None:  # fmt: skip
    """A fold where what is kept lies side by side."""
    ((k0, dk0), (k1, _)), ((f0, df0), (f1, df1)) = two(kept), two(folded)
    several = 1
    if f0 == 1 and df1 == k1 and centre is None:  # rows follow each other: some of them are one long row
        while several * k1 < NARROW and f1 % (2 * several) == 0:
            several *= 2
        k1, f1, df1 = k1 * several, f1 // several, df1 * several
    lines = f0 * f1
    parts = max(1, min(MOST, -(-lines * k1 // PART), -(-lines // 64)))
    partial = plan.scratch((k0, parts, k1 if parts * several > 1 else 0), wide_type)
    sizes = [k0, dk0, k1, f0, df0, f1, df1, parts, several]
    writes = [out, partial]
    plan.call("reductions", f"pb_{name}_columns", out, partial, x, centre, *sizes, *options, writes=writes)


# -- ops -------------------------------------------------------------------------------------------------------------


def given(i: Instruction) -> dict[str, Any]:
    return {**i.op.defaults, **i.params}


def summed(plan: Plan, x: Place, dims: Sequence[int], out: Place, number: int = 1, name: str = "sum",
           root: bool = False) -> None:  # fmt: skip
    """out = (sum over dims of x) / number; F32 and F64 add up in double."""
    t = suffix(x.dtype)
    fold(plan, f"{name}_{t}", x, dims, out, F64 if x.dtype in (F32, F64) else I64, number, root=root)


@kernel("sum")
def sum_(plan: Plan, i: Instruction) -> None:
    value, x = i.outputs[0], plan.at(i.inputs[0])
    if x.dtype not in (BOOL, U8):
        x = converted(plan, x, wide(x.dtype))
    out = target(plan, value, wide(x.dtype))
    summed(plan, x, dims_of(given(i)["dim"], x.ndim), out)
    finish(plan, value, out)


@kernel("mean")
def mean(plan: Plan, i: Instruction) -> None:
    value, x, dim = i.outputs[0], plan.at(i.inputs[0]), given(i)["dim"]
    x = converted(plan, x, wide(x.dtype))
    out = target(plan, value, x.dtype)
    summed(plan, x, dims_of(dim, x.ndim), out, count(x.shape, dim))
    finish(plan, value, out)


@kernel("var", "std")
def var(plan: Plan, i: Instruction) -> None:
    value, x, options = i.outputs[0], plan.at(i.inputs[0]), given(i)
    x = converted(plan, x, wide(x.dtype))
    dims, n = dims_of(options["dim"], x.ndim), count(x.shape, options["dim"])
    out = target(plan, value, x.dtype)
    centre = plan.scratch(value.shape, x.dtype)
    summed(plan, x, dims, centre, n)
    name, root = f"spread_{suffix(x.dtype)}", i.op.name == "std"
    fold(plan, name, x, dims, out, F64, n, float(options["correction"]), root, centre)
    finish(plan, value, out)


def nonzero(plan: Plan, x: Place, dims: Sequence[int], out: Place) -> None:
    """How many are not 0."""
    summed(plan, x if x.dtype == BOOL else computed(plan, x, "x != 0", BOOL), dims, out)


@kernel("count_nonzero")
def count_nonzero(plan: Plan, i: Instruction) -> None:
    x = plan.at(i.inputs[0])
    nonzero(plan, x, dims_of(given(i)["dim"], x.ndim), plan.out(i.outputs[0], dense=True))


@kernel("any", "all")
def truth(plan: Plan, i: Instruction) -> None:
    x, dim = plan.at(i.inputs[0]), given(i)["dim"]
    found = plan.scratch(i.outputs[0].shape, I64)
    nonzero(plan, x, dims_of(dim, x.ndim), found)
    if i.op.name == "any":
        formula(plan, found, "x != 0", plan.out(i.outputs[0], dense=True))
    else:
        of = plan.constant(np.array(count(x.shape, dim), I64)).broadcast(found.shape)
        out = plan.out(i.outputs[0], dense=True)
        line = "uint8_t y = x == n;"
        plan.add(Loop(found.shape, [Load("x", found), Load("n", of)], [line], [Store("y", out)], [i]))


@kernel("prod")
def prod(plan: Plan, i: Instruction) -> None:
    value, x, dim = i.outputs[0], plan.at(i.inputs[0]), given(i)["dim"]
    x = converted(plan, x, wide(x.dtype))
    out = target(plan, value, x.dtype)
    fold(plan, f"product_{suffix(x.dtype)}", x, dims_of(dim, x.ndim), out, x.dtype)
    finish(plan, value, out)


def extreme(plan: Plan, name: str, x: Place, dims: Sequence[int], out: Place) -> None:
    fold(plan, f"{name}_{suffix(x.dtype)}", x, dims, out, x.dtype)


@kernel("amax", "amin", "max", "min")
def largest(plan: Plan, i: Instruction) -> Any:
    value, x, dim = i.outputs[0], plan.at(i.inputs[0]), given(i).get("dim")
    if x.dtype == U64:
        return False
    x = converted(plan, x, wide(x.dtype))
    out = target(plan, value, x.dtype)
    extreme(plan, "largest" if i.op.name.endswith("max") else "smallest", x, dims_of(dim, x.ndim), out)
    return finish(plan, value, out)


@kernel("norm")
def norm(plan: Plan, i: Instruction) -> None:
    value, x, options = i.outputs[0], plan.at(i.inputs[0]), given(i)
    x, p, dims = converted(plan, x, wide(x.dtype)), options["p"], dims_of(options["dim"], x.ndim)
    out = target(plan, value, x.dtype)
    if p == 2:
        summed(plan, x, dims, out, name="squares", root=True)
    elif p == 1:
        summed(plan, computed(plan, x, f"abs_{suffix(x.dtype)}(x)", x.dtype), dims, out)
    elif p == 0:
        found = plan.scratch(value.shape, I64)
        nonzero(plan, x, dims, found)
        plan.add(copying(found, out, i))
    elif math.isinf(p):
        size = computed(plan, x, f"abs_{suffix(x.dtype)}(x)", x.dtype)
        extreme(plan, "largest" if p > 0 else "smallest", size, dims, out)
    else:
        power = "pow" + "f" * (x.dtype == F32)
        total = plan.scratch(value.shape, x.dtype)
        summed(plan, computed(plan, x, f"{power}(fabs(x), {float(p)!r})", x.dtype), dims, total)
        formula(plan, total, f"{power}(x, {1 / p!r})", out)
    finish(plan, value, out)


@kernel("cumsum", "cumprod")
def scan(plan: Plan, i: Instruction) -> None:
    value, x, dim = i.outputs[0], plan.at(i.inputs[0]), given(i)["dim"]
    x = converted(plan, x, wide(x.dtype))
    x = x.seen(x.shape, in_order(x.shape)) if x.dense else plan.copied(x)
    shape: Shape = x.shape or (1,)
    dim %= len(shape)
    out = target(plan, value, x.dtype)
    sizes = [math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :])]
    plan.call("reductions", f"pb_{i.op.name}_{suffix(x.dtype)}", out, x, *sizes, writes=[out])
    finish(plan, value, out)
