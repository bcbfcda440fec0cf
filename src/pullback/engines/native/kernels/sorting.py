"""Elements in order along a dimension, the first of them, and where among them something would go."""

from __future__ import annotations

from typing import Any

from ....dtypes import BF16, I64, result_dtype
from ....program.program import Instruction, Value
from ..expressions import suffix
from ..plan import Plan, kernel
from .movement import converted, possible
from .reductions import given, in_rows
from .rows import dims_at, extent, result

FEW = 64  # elements: so many are put in order one by one, and need no other memory; c/sorting.c has the same


def named(dtype: Any) -> str:
    return "bf16" if dtype == BF16 else suffix(dtype)


@kernel("sort", "topk")
def sort(plan: Plan, i: Instruction) -> Any:
    x, (values, order), options = i.inputs[0], i.outputs, given(i)
    if not possible(x):
        return False
    dims = dims_at(options["dim"], x.ndim)
    rows, n = extent(x.shape, dims)
    k = options.get("k", n)
    place = result(plan, order, dims, I64)
    writes, kept = [place], None
    if values in plan.used:
        kept = result(plan, values, dims, values.dtype)
        writes.append(kept)
    if not place.size:
        return None
    spare = plan.scratch((rows, n if k == n else 2 * n), I64) if k > FEW else None
    last = options["largest"] if "k" in options else options["descending"]
    line = in_rows(plan, plan.at(x), dims)
    plan.call("sorting", f"pb_sort_{named(x.dtype)}", kept, place, line, spare, rows, n, k, int(last),
              writes=writes if spare is None else [*writes, spare])  # fmt: skip
    return None


@kernel("searchsorted")
def searchsorted(plan: Plan, i: Instruction) -> Any:
    """Row by row, if the boundaries are in rows."""
    boundaries, x = i.inputs
    if type(boundaries) is not Value or type(x) is not Value or not possible(boundaries, x):
        return False
    dtype = result_dtype([boundaries, x])
    edges, points = (converted(plan, plan.dense(v), dtype) for v in (boundaries, x))
    out = plan.out(i.outputs[0], dense=True)
    n = edges.shape[-1]
    m = x.shape[-1] if boundaries.ndim > 1 else out.size
    if out.size:
        plan.call("sorting", f"pb_search_{named(dtype)}", out, edges, points, out.size // m, m, n,
                  n if boundaries.ndim > 1 else 0, int(bool(given(i)["right"])), writes=[out])  # fmt: skip
    return None
