"""Normalisation of rows (layer, RMS) and of channels (batch, group). A gradient takes the statistics of its op."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ....program.program import Instruction, Value
from ..expressions import suffix
from ..place import Place
from ..plan import Plan, kernel
from .reductions import finish, given, target, wide
from .rows import close, in_line, lines, result


def weights(plan: Plan, weight: Value | None, size: int, dtype: Any) -> Place:
    """Weights in order; ones, if there are none."""
    place = in_line(plan, weight, dtype)
    return plan.constant(np.ones(size, dtype)) if place is None else place


@kernel("layer_norm", "rms_norm")
def row_norm(plan: Plan, i: Instruction) -> None:
    (x, weight), value, options = i.inputs[:2], i.outputs[0], given(i)
    dtype, centred, eps = wide(x.dtype), i.op.name == "layer_norm", float(options["eps"])
    n = math.prod(options["shape"])
    rows = math.prod(x.shape[: x.ndim - len(options["shape"])])
    made, scale = in_line(plan, x, dtype), weights(plan, weight, n, dtype)
    bias = in_line(plan, [*i.inputs, None][2], dtype)
    out = target(plan, value, dtype)
    statistics = [plan.scratch((rows,), dtype) for _ in range(2)]
    name = f"pb_row_norm_{suffix(dtype)}"
    plan.call("rows", name, out, *statistics, made, scale, bias, rows, n, eps, centred, writes=[out, *statistics],
              in_place=[out])  # fmt: skip
    plan.kept["rows", x, n, eps, centred] = statistics
    finish(plan, value, out)


@kernel("row_norm_gradient")
def row_norm_gradient(plan: Plan, i: Instruction) -> None:
    (g, x, weight), options = i.inputs, given(i)
    dtype, centred, eps = wide(x.dtype), options["centred"] is not False, float(options["eps"])
    n = math.prod(options["shape"])
    rows = math.prod(x.shape[: x.ndim - len(options["shape"])])
    slope, made, scale = in_line(plan, g, dtype), in_line(plan, x, dtype), weights(plan, weight, n, dtype)
    dx, dw, db = (target(plan, value, dtype) for value in i.outputs)
    partial = plan.scratch((-(-rows // 64), 2, n), dtype)
    statistics = plan.kept.get(("rows", x, n, eps, centred), (None, None))
    bias = db if i.outputs[2] in plan.used else None  # RMS norm has none
    name = f"pb_row_norm_gradient_{suffix(dtype)}"
    plan.call("rows", name, dx, dw, bias, partial, *statistics, slope, made, scale, rows, n, eps, centred,
              writes=[dx, dw, db, partial], in_place=[dx])  # fmt: skip
    for value, place in zip(i.outputs, (dx, dw, db), strict=True):
        finish(plan, value, place)


# -- channels --------------------------------------------------------------------------------------------------------

SHORT = 16  # elements of a plane: shorter ones of a channel are laid one after the other


class Layout(NamedTuple):
    """How x = (N, C, S) is laid down: samples, channels, size and groups; and whether channels come first."""

    samples: int
    channels: int
    size: int
    groups: int
    turned: bool

    @property
    def pools(self) -> int:
        return self.samples * self.groups or self.channels

    def take(self, plan: Plan, x: Value, dtype: Any) -> Place:
        return lines(plan, x, around(x), dtype) if self.turned else in_line(plan, x, dtype)

    def make(self, plan: Plan, value: Value, dtype: Any) -> Place:
        return result(plan, value, around(value), dtype) if self.turned else target(plan, value, dtype)

    def close(self, plan: Plan, value: Value, made: Place) -> None:
        if self.turned:
            close(plan, value, made, around(value))
        else:
            finish(plan, value, made)


def around(x: Value) -> tuple[int, ...]:
    """All dims but that of channels."""
    return (0, *range(2, x.ndim))


def layout(x: Value, groups: int) -> Layout:
    samples, channels, size = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    if groups == 0 and size < SHORT and samples > 1:
        return Layout(1, channels, samples * size, 0, True)
    return Layout(samples, channels, size, groups, False)


@kernel("batch_norm", "group_norm")
def channel_norm(plan: Plan, i: Instruction) -> None:
    (x, weight, bias), options = i.inputs, given(i)
    dtype, eps, groups = wide(x.dtype), float(options["eps"]), options.get("groups") or 0
    laid = layout(x, groups)
    made, scale = laid.take(plan, x, dtype), weights(plan, weight, laid.channels, dtype)
    level = in_line(plan, bias, dtype)
    out = laid.make(plan, i.outputs[0], dtype)
    if groups:
        statistics = [plan.scratch((laid.pools,), dtype) for _ in range(2)]
    else:
        statistics = [plan.out(value) for value in i.outputs[1:]]
    sizes = laid[:4]
    name = f"pb_channel_norm_{suffix(dtype)}"
    plan.call("channels", name, out, *statistics, made, scale, level, *sizes, eps, writes=[out, *statistics])
    plan.kept["channels", x, groups] = statistics
    laid.close(plan, i.outputs[0], out)


@kernel("channel_norm_gradient")
def channel_norm_gradient(plan: Plan, i: Instruction) -> None:
    (g, g_mean, g_variance, x, weight), options = i.inputs, given(i)
    dtype, eps, groups = wide(x.dtype), float(options["eps"]), options["groups"] or 0
    laid = layout(x, groups)
    slope, made = laid.take(plan, g, dtype), laid.take(plan, x, dtype)
    scale = weights(plan, weight, laid.channels, dtype)
    of_mean, of_variance = in_line(plan, g_mean, dtype), in_line(plan, g_variance, dtype)
    statistics = plan.kept.get(("channels", x, groups), (None, None))
    dx = laid.make(plan, i.outputs[0], dtype)
    dw, db = (target(plan, value, dtype) for value in i.outputs[1:])
    sums = plan.scratch((2, laid.samples, laid.channels), dtype)
    name = f"pb_channel_norm_gradient_{suffix(dtype)}"
    plan.call("channels", name, dx, dw, db, sums, *statistics, slope, of_mean, of_variance, made, scale, *laid[:4], eps,
              writes=[dx, dw, db, sums], in_place=[dx])  # fmt: skip
    laid.close(plan, i.outputs[0], dx)
    for value, place in zip(i.outputs[1:], (dw, db), strict=True):
        finish(plan, value, place)
