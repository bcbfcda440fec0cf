"""Views: no step at all, only another way of looking at the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ops.record import OPS, Op
from ....program.capture.layout import reshaped
from ....program.program import Instruction
from ..place import Place, in_order
from ..plan import Plan, kernel


def looked_at(op: Op, x: Place, params: dict[str, Any]) -> Place:
    """The view of a place. NumPy makes it of an array with the same strides, of whose memory nothing is read."""
    size = x.dtype.itemsize
    outline = np.lib.stride_tricks.as_strided(np.empty(1, x.dtype), x.shape, [s * size for s in x.strides])
    view = op.numpy(outline, **params)
    offset = view.__array_interface__["data"][0] - outline.__array_interface__["data"][0]
    return x.seen(view.shape, [s // size for s in view.strides], offset // size if view.size else 0)


@kernel("reshape")
def reshape(plan: Plan, i: Instruction) -> None:
    x, shape = plan.at(i.inputs[0]), i.outputs[0].shape
    size = x.dtype.itemsize
    strides = reshaped(x.shape, tuple([s * size for s in x.strides]), shape, size)
    if strides is None:
        plan.places[i.outputs[0]] = plan.copied(x).seen(shape, in_order(shape))
    else:
        plan.places[i.outputs[0]] = x.seen(shape, [s // size for s in strides])


@kernel("as_strided")
def as_strided(plan: Plan, i: Instruction) -> None:
    x, given = plan.at(i.inputs[0]), {**i.op.defaults, **i.params}
    if not x.dense:
        x = plan.copied(x)
    plan.places[i.outputs[0]] = x.seen(given["size"], given["stride"], given["offset"] or 0)


@kernel(*[name for name, op in OPS.items() if op.view and not op.views and name not in ("reshape", "as_strided")])
def view(plan: Plan, i: Instruction) -> None:
    plan.places[i.outputs[0]] = looked_at(i.op, plan.at(i.inputs[0]), i.params)


@kernel(*[name for name, op in OPS.items() if op.views])
def views(plan: Plan, i: Instruction) -> None:
    given = {**i.op.defaults, **i.params}
    x = i.inputs[0]
    for value, (op, params) in zip(i.outputs, i.op.views(x, **given), strict=True):  # type: ignore[misc]
        plan.places[value] = looked_at(op, plan.at(x), params)
