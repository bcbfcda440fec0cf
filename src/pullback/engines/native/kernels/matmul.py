"""Products of matrices: one C function, whatever the strides and the batches; and one for groups."""

from __future__ import annotations

from typing import Any

from ....dtypes import F32, F64, HALVES
from ....ops.grouped import complaint, limit
from ....program.program import Instruction, Value
from ..loops import collapsed
from ..place import Place, in_order
from ..plan import Plan, kernel
from .movement import copying


@kernel("matmul")
def matmul(plan: Plan, i: Instruction) -> bool | None:
    x, y = i.inputs
    return product(plan, plan.at(x), plan.at(y), None, i.outputs[0])


@kernel("linear")
def linear(plan: Plan, i: Instruction) -> bool | None:
    x, weight, bias = (*i.inputs, None)[:3]
    w = plan.at(weight)
    w = w.seen(w.shape[::-1], w.strides[::-1])
    return product(plan, plan.at(x), w, None if bias is None else plan.dense(bias), i.outputs[0])


def product(plan: Plan, x: Place, y: Place, bias: Place | None, value: Value) -> bool | None:
    """value = x y + bias; the bias is a row."""
    if x.dtype.kind not in "iu" and x.dtype not in (F32, F64, *HALVES):
        return False
    made = plan.out(value)
    if not made.dense:
        made = plan.out(value, dense=True)
    if not made.size:
        return None
    out = made
    if x.dtype in HALVES:  # computed in float32, rounded once
        x, y, bias = widened(plan, x), widened(plan, y), None if bias is None else widened(plan, bias)
        out = plan.scratch(made.shape, F32)
    # A 1-D x is a row, a 1-D y a column.
    c_shape, c_strides = list(out.shape), list(in_order(out.shape))
    if y.ndim == 1:
        y = y.seen((*y.shape, 1), (*y.strides, 1))
        c_shape, c_strides = [*c_shape, 1], [*c_strides, 1]
    if x.ndim == 1:
        x = x.seen((1, *x.shape), (0, *x.strides))
        c_shape, c_strides = [*c_shape[:-1], 1, c_shape[-1]], [*c_strides[:-1], 0, c_strides[-1]]
    c, batch = out.seen(c_shape, c_strides), tuple(c_shape[:-2])
    a, b = x.broadcast((*batch, *x.shape[-2:])), y.broadcast((*batch, *y.shape[-2:]))
    loops, m, cr, ar = batches(c, a, b)
    if len(loops) > 2:  # more than C loops over
        a, b = plan.copied(a), plan.copied(b)
        loops, m, cr, ar = batches(c, a, b)
    (n0, c0, a0, b0), (n1, c1, a1, b1) = ([(1, 0, 0, 0)] * 2 + loops)[-2:]
    strides = (c0, c1, cr, a0, a1, ar, a.strides[-1], b0, b1, *b.strides[-2:])
    sizes = (n0, n1, m, c.shape[-1], a.shape[-1])
    plan.call("gemm", f"pb_matmul_{suffix(x.dtype)}", c, a, b, bias, *sizes, *strides, writes=[c])
    finished(plan, out, made)
    return None


def finished(plan: Plan, out: Place, made: Place) -> None:
    """What was computed in another type is rounded."""
    if out is not made:
        plan.add(copying(out, made, plan.instruction))


@kernel("grouped_mm")
def grouped_mm(plan: Plan, i: Instruction) -> None:
    """Where groups end is looked up by C: neither the plan nor the text depends on it."""
    mat_a, mat_b, offs = i.inputs
    x, y, ends, value = plan.at(mat_a), plan.at(mat_b), plan.dense(offs), i.outputs[0]
    out = made = plan.out(value, dense=True)
    if x.dtype in HALVES:  # computed in float32, rounded once
        x, y, out = widened(plan, x), widened(plan, y), plan.scratch(made.shape, F32)
    over = 2 if x.ndim == y.ndim else 3 - y.ndim  # which are in groups: rows, columns or terms
    sizes = (x.shape[-2], y.shape[-1], x.shape[-1])
    (ce, cr, _), (ae, ar, ac), (be, br, bc) = ([0] * (3 - p.ndim) + list(p.strides) for p in (out, x, y))
    seen, step = ("ends", offs, limit(x, y)), len(plan.steps)
    known = seen in plan.kept
    plan.kept[seen] = ()
    plan.call("gemm", f"pb_grouped_{suffix(x.dtype)}", out, x, y, ends, ends.size, over, *sizes, ce, cr, ae, ar, ac, be,
              br, bc, -1 if known else step, writes=[out], fails=not known)  # fmt: skip
    plan.steps[step].complaint = complaint(limit(x, y))
    if out is not made:
        plan.add(copying(out, made, plan.instruction))


def batches(c: Place, a: Place, b: Place) -> tuple[list[tuple[int, ...]], int, int, int]:
    """Loops over batches: (size, strides of c, a and b); and of each product the rows, and their strides in c and a."""
    m, cr, ar = c.shape[-2], c.strides[-2], a.strides[-2]
    shape = c.shape[:-2]
    sizes, steps = collapsed(shape, [place.strides[:-2] for place in (a, b, c)])
    loops = [(n, *s) for n, *s in zip(sizes, steps[2], steps[0], steps[1], strict=True) if n != 1]
    if loops and loops[-1][3] == 0 and (m == 1 or loops[-1][1:3] == (m * cr, m * ar)):
        size, c_step, a_step, _ = loops.pop()  # y serves them all: they are rows of one product
        m, cr, ar = m * size, *((c_step, a_step) if m == 1 else (cr, ar))
    return loops, m, cr, ar


def widened(plan: Plan, x: Place) -> Place:
    """The same elements in float32."""
    made = plan.scratch(x.shape, F32)
    plan.add(copying(x, made, plan.instruction))
    return made


def suffix(dtype: Any) -> str:
    """How C functions for a dtype end: integers of a size are one, as they wrap around in the same way."""
    return {F32: "f32", F64: "f64", **dict.fromkeys(HALVES, "f32")}.get(dtype) or f"i{8 * dtype.itemsize}"
