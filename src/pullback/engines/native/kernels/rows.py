"""Rows: softmax and its kin, cross-entropy, the place of an extreme. Other dimensions than the last are moved there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....dtypes import I64
from ....ops.losses import class_dim
from ....ops.reduction import dims_of
from ....program.program import Instruction, Value
from ..expressions import suffix
from ..place import Place, in_order
from ..plan import Plan, kernel
from .reductions import U64, converted, finish, given, in_rows, target, wide


def lines(plan: Plan, x: Value, dims: Sequence[int], dtype: Any) -> Place:
    """x in rows along dims, in this type."""
    return in_rows(plan, converted(plan, plan.at(x), dtype), dims)


def result(plan: Plan, value: Value, dims: Sequence[int], dtype: Any) -> Place:
    """Memory for a result in rows along dims; `finish` makes the result of it, if it has another type."""
    order = [*(d for d in range(value.ndim) if d not in dims), *dims]
    made = plan.scratch([value.shape[d] for d in order], dtype)
    if value.dtype == dtype:
        plan.places[value] = turned_back(made, order)
    return made


def turned_back(x: Place, order: Sequence[int]) -> Place:
    """What stands in the order of these dimensions, seen in its own."""
    back = [order.index(d) for d in range(len(order))]
    return x.seen([x.shape[d] for d in back], [x.strides[d] for d in back])


def close(plan: Plan, value: Value, made: Place, dims: Sequence[int]) -> None:
    """Convert a result that was computed in another type."""
    order = [*(d for d in range(value.ndim) if d not in dims), *dims]
    finish(plan, value, turned_back(made, order))


def extent(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, int]:
    """How many rows, and how long they are."""
    n = math.prod([shape[d] for d in dims])
    return math.prod([m for d, m in enumerate(shape) if d not in dims]), n


def dims_at(dim: int, ndim: int) -> tuple[int, ...]:
    return (dim % ndim,) if ndim else ()


@kernel("softmax", "log_softmax", "softmax_pullback", "log_softmax_pullback")
def softmax(plan: Plan, i: Instruction) -> None:
    value, dtype = i.outputs[0], wide(i.inputs[0].dtype)
    dims = dims_at(given(i)["dim"], value.ndim)
    operands = [lines(plan, x, dims, dtype) for x in i.inputs]
    out = result(plan, value, dims, dtype)
    sizes = extent(value.shape, dims)
    plan.call("rows", f"pb_{i.op.name}_{suffix(dtype)}", out, *operands, *sizes, writes=[out], in_place=[out])
    close(plan, value, out, dims)


@kernel("logsumexp")
def logsumexp(plan: Plan, i: Instruction) -> None:
    x, value = i.inputs[0], i.outputs[0]
    dtype, dims = wide(value.dtype), dims_of(given(i)["dim"], x.ndim)
    if not x.shape:
        dims = ()
    made = lines(plan, x, dims, dtype)
    out = target(plan, value, dtype)
    plan.call("rows", f"pb_logsumexp_{suffix(dtype)}", out, made, *extent(x.shape, dims), writes=[out])
    finish(plan, value, out)


@kernel("argmax", "argmin", "max_along", "min_along")
def pick(plan: Plan, i: Instruction) -> Any:
    x, dim = i.inputs[0], given(i)["dim"]
    if x.dtype == U64:
        return False
    dims = tuple(range(x.ndim)) if dim is None else dims_at(dim, x.ndim)
    dtype, index = wide(x.dtype), i.outputs[-1]
    made, place = lines(plan, x, dims, dtype), plan.out(index, dense=True)
    out = target(plan, i.outputs[0], dtype) if len(i.outputs) == 2 else None
    name = f"pb_pick_{'largest' if 'max' in i.op.name else 'smallest'}_{suffix(dtype)}"
    writes = [place] if out is None else [place, out]
    plan.call("rows", name, out, place, made, *extent(x.shape, dims), writes=writes)
    return finish(plan, i.outputs[0], out) if out is not None else None


# -- cross-entropy ---------------------------------------------------------------------------------------------------


def in_line(plan: Plan, x: Any, dtype: Any) -> Any:
    """The place of x in order, in this type; None stays."""
    if x is None:
        return None
    if type(x) is not Value:
        return plan.constant(np.array(x, dtype))
    place = converted(plan, plan.at(x), dtype)
    return place.seen(place.shape, in_order(place.shape)) if place.dense else plan.copied(place)


def losses_of(x: Value, i: Instruction) -> tuple[Any, tuple[int, ...], tuple[int, int], dict[str, Any]]:
    """The type that is computed in, the dim of classes, rows and classes, and options."""
    dims = (class_dim(x),)
    return wide(x.dtype), dims, extent(x.shape, dims), given(i)


@kernel("cross_entropy")
def cross_entropy(plan: Plan, i: Instruction) -> None:
    x, value = i.inputs[0], i.outputs[0]
    dtype, dims, (rows, classes), options = losses_of(x, i)
    made = lines(plan, x, dims, dtype)
    index, weight = in_line(plan, i.inputs[1], I64), in_line(plan, i.inputs[2], dtype)
    out = target(plan, value, dtype)
    reduced = options["reduction"] != "none"
    weights, tops, sums = (plan.scratch((rows,), dtype) for _ in range(3))
    losses = plan.scratch((rows,), dtype) if reduced else out
    chosen = [options["ignore_index"], float(options["label_smoothing"]), reduced, options["reduction"] == "mean"]
    kept = [losses, weights, tops, sums]
    plan.call("rows", f"pb_cross_entropy_{suffix(dtype)}", out, *kept, made, index, weight, rows, classes, *chosen,
              len(plan.steps), writes=[out, *kept], fails=True)  # fmt: skip
    plan.kept["softmax", x] = tops, sums
    finish(plan, value, out)


@kernel("cross_entropy_gradient")
def cross_entropy_gradient(plan: Plan, i: Instruction) -> None:
    (g, x, index, weight), value = i.inputs, i.outputs[0]
    dtype, dims, (rows, classes), options = losses_of(x, i)
    slope, made = in_line(plan, g, dtype), lines(plan, x, dims, dtype)
    targets, weights = in_line(plan, index, I64), in_line(plan, weight, dtype)
    tops, sums = plan.kept.get(("softmax", x), (None, None))
    out = result(plan, value, dims, dtype)
    step = int(options["reduction"] == "none")
    chosen = [step, options["ignore_index"], float(options["label_smoothing"]), options["reduction"] == "mean"]
    name = f"pb_cross_entropy_gradient_{suffix(dtype)}"
    plan.call("rows", name, out, slope, tops, sums, made, targets, weights, rows, classes, *chosen, len(plan.steps),
              writes=[out], fails=True, in_place=[out])  # fmt: skip
    close(plan, value, out, dims)


@kernel("binary_cross_entropy")
def binary_cross_entropy(plan: Plan, i: Instruction) -> None:
    value = i.outputs[0]
    dtype = wide(value.dtype)
    x, y = (converted(plan, plan.at(v), dtype).broadcast(value.shape) for v in i.inputs)
    x, y = (place if place.dense else plan.copied(place) for place in (x, y))
    out = target(plan, value, dtype)
    name, step = f"pb_binary_cross_entropy_{suffix(dtype)}", len(plan.steps)
    plan.call("rows", name, out, x, y, value.size, step, writes=[out], fails=True)
    plan.steps[step].complaint = (
        "binary_cross_entropy: all elements of input should be between 0 and 1",
        "apply sigmoid, or use ..._with_logits",
    )
    finish(plan, value, out)
