"""Layer, RMS, batch, group and instance normalisation in few passes; the formulas stand in the kernels' file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import F32, HALVES
from ..engines.numpy import normalization as kernels
from .arithmetic import add, div, mul, sub
from .pointwise import sqrt
from .record import Op, Sample, Shape, Spec, matching, op, per_input_element, same
from .reduction import sum as sum_
from .samples import inf, nan, positive, randn
from .shape import reshape


def normalising(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """One type for all; but half types are computed in float32, and their weights may be float32."""
    half = arrays[0].dtype
    if half not in HALVES:
        return matching(op, arrays)
    return [a if a is None or a.dtype not in HALVES else a.astype(F32) for a in arrays], half


def keeping_statistics(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """As `normalising`, but the kernel gives the half type back itself: statistics stay float32."""
    return arrays if arrays[0].dtype in HALVES else matching(op, arrays)[0], None


# -- rows ------------------------------------------------------------------------------------------------------------


def _as_rows(x: Any, shape: Shape) -> Any:
    size = math.prod(shape)
    return x.reshape(math.prod(x.shape[: x.ndim - len(shape)]), size)


def _row_norm(x: Any, weight: Any, bias: Any, shape: Shape, eps: float, centred: bool) -> Any:
    weight, bias = (None if a is None else a.reshape(-1) for a in (weight, bias))
    return kernels.rows(_as_rows(x, shape), weight, bias, eps, centred).reshape(x.shape)


def _row_norm_gradient(g: Any, x: Any, weight: Any, shape: Shape, eps: float, centred: bool = True) -> Any:
    flat = None if weight is None else weight.reshape(-1)
    dx, dw, db = kernels.rows_gradient(_as_rows(g, shape), _as_rows(x, shape), flat, eps, centred)
    return dx.reshape(x.shape), dw.reshape(shape), db.reshape(shape)


def _row_gradient_spec(g: Any, x: Any, weight: Any, shape: Shape, eps: float, centred: bool = True) -> tuple[Spec, ...]:
    return same(x), Spec(shape, x.dtype), Spec(shape, x.dtype)


def _last(x: Any, shape: Shape) -> tuple[int, ...]:
    return tuple(range(len(x.shape) - len(shape), len(x.shape)))


def _mean(x: Any, dims: tuple[int, ...]) -> Any:
    return div(sum_(x, dim=dims, keepdim=True), math.prod(x.shape[d] for d in dims))


def _standardised(x: Any, dims: tuple[int, ...], eps: float, centred: bool = True) -> tuple[Any, Any]:
    """(h, 1 / r) of the formulas"""
    if centred:
        x = sub(x, _mean(x, dims))
    deviation = sqrt(add(_mean(mul(x, x), dims), eps))
    return div(x, deviation), deviation


def _affine(h: Any, weight: Any, bias: Any, shape: Shape) -> Any:
    if weight is not None:
        h = mul(h, reshape(weight, shape=shape))
    return h if bias is None else add(h, reshape(bias, shape=shape))


def _pulled(g: Any, h: Any, deviation: Any, weight: Any, dims: tuple[int, ...], centred: bool = True) -> Any:
    """r (w g - mean(w g) - h mean(w g h))"""
    wg = g if weight is None else mul(g, weight)
    d = sub(wg, mul(h, _mean(mul(wg, h), dims)))
    return div(sub(d, _mean(wg, dims)) if centred else d, deviation)


def _composed_row_gradient(g: Any, x: Any, weight: Any, shape: Shape, eps: float, centred: bool = True) -> Any:
    dims, leading = _last(x, shape), tuple(range(len(x.shape) - len(shape)))
    h, deviation = _standardised(x, dims, eps, centred)
    gh = mul(g, h)
    dw, db = (sum_(a, dim=leading) if leading else a for a in (gh, g))
    return _pulled(g, h, deviation, weight, dims, centred), dw, db


def _pull_layer_norm(g: Any, x: Any, weight: Any, shape: Shape, eps: float) -> Any:
    return row_norm_gradient(g, x, weight, shape=shape, eps=eps)


def _pull_rms_norm(g: Any, x: Any, weight: Any, shape: Shape, eps: float) -> Any:
    return row_norm_gradient(g, x, weight, shape=shape, eps=eps, centred=False)[:2]


def _composed_layer_norm(x: Any, weight: Any, bias: Any, shape: Shape, eps: float) -> Any:
    return _affine(_standardised(x, _last(x, shape), eps)[0], weight, bias, shape)


def _composed_rms_norm(x: Any, weight: Any, shape: Shape, eps: float) -> Any:
    return _affine(_standardised(x, _last(x, shape), eps, False)[0], weight, None, shape)


def _rows_samples(bias: bool) -> Any:
    def affine(*shape: int) -> tuple[Any, ...]:
        return (randn(*shape, seed=1), randn(*shape, seed=2))[: 1 + bias]

    none = (None, None)[: 1 + bias]
    return lambda: [
        Sample((randn(3, 4), *affine(4)), {"shape": (4,), "eps": 1e-5}),
        Sample((randn(2, 3, 4, 5), *affine(4, 5)), {"shape": (4, 5), "eps": 1e-5}, note="over two dimensions"),
        Sample((randn(3, 4), *none), {"shape": (4,), "eps": 1e-5}, note="no weight"),
        Sample((randn(6), *affine(6)), {"shape": (6,), "eps": 1e-5}, note="1-D"),
        Sample((randn(0, 4), *affine(4)), {"shape": (4,), "eps": 1e-5}, note="empty"),
        Sample((randn(8, 6).T[::-2], *affine(8)), {"shape": (8,), "eps": 1e-5}, note="strided"),
        Sample(tuple(a.astype(F32) for a in (randn(3, 8), *affine(8))), {"shape": (8,), "eps": 1e-5}, note="float32"),
        Sample((randn(2, 200), *affine(200)), {"shape": (200,), "eps": 1e-5}, note="long rows"),
        Sample((np.ones((2, 4)), *affine(4)), {"shape": (4,), "eps": 1e-5}, smooth=False, note="constant rows"),
        Sample(
            (np.array([[nan, 1.0], [inf, 0.0], [1.0, 2.0]]), *affine(2)),
            {"shape": (2,), "eps": 1e-5},
            smooth=False,
            note="special",
        ),
    ]


layer_norm = op(
    "layer_norm", "(x - mean) / sqrt(variance + eps) * weight + bias, over the last dimensions", inputs="x weight bias",
    torch="F.layer_norm(x, shape, weight, bias, eps)",
    numpy=lambda x, weight, bias, shape, eps: _row_norm(x, weight, bias, shape, eps, True),
    infer=same, dtypes=normalising, flops=per_input_element(8),
    vjp_all=_pull_layer_norm,
    decompose=_composed_layer_norm,
    samples=_rows_samples(bias=True),
)  # fmt: skip

rms_norm = op(
    "rms_norm", "x / sqrt(mean(x^2) + eps) * weight, over the last dimensions", inputs="x weight",
    torch="F.rms_norm(x, shape, weight, eps)",
    numpy=lambda x, weight, shape, eps: _row_norm(x, weight, None, shape, eps, False),
    infer=same, dtypes=normalising, flops=per_input_element(5),
    vjp_all=_pull_rms_norm,
    decompose=_composed_rms_norm,
    samples=_rows_samples(bias=False),
)  # fmt: skip

row_norm_gradient = op(
    "row_norm_gradient", "(dx, dw, db) of layer_norm, or of rms_norm where not centred", inputs="g x weight",
    torch="torch.func.vjp(lambda x, w, b: (F.layer_norm if centred else F.rms_norm)(x, shape, eps=eps) * w + b, x, "
    "torch.ones(shape, dtype=x.dtype) if weight is None else weight, torch.zeros(shape, dtype=x.dtype))[1](g)",
    numpy=_row_norm_gradient, infer=_row_gradient_spec, dtypes=normalising, flops=per_input_element(16),
    decompose=_composed_row_gradient,
    samples=lambda: [
        Sample((randn(3, 4), randn(3, 4, seed=1), randn(4)), {"shape": (4,), "eps": 1e-5}),
        Sample((randn(6, 4), randn(6, 4, seed=1), randn(4)), {"shape": (4,), "eps": 1e-5, "centred": False}, note="rms"),
        Sample((randn(3, 4), randn(3, 4, seed=1), None), {"shape": (4,), "eps": 1e-5}, note="no weight"),
        Sample((randn(0, 4), randn(0, 4), randn(4)), {"shape": (4,), "eps": 1e-5}, note="empty"),
        Sample((randn(4, 6).T, randn(12, 4)[::-2], randn(8)[::2]), {"shape": (4,), "eps": 1e-5}, note="strided"),
        Sample((randn(5), randn(5, seed=1), randn(5, seed=2)), {"shape": (5,), "eps": 1e-5}, note="1-D"),
    ],
)  # fmt: skip


# -- channels --------------------------------------------------------------------------------------------------------


def _as_planes(x: Any) -> Any:
    """(N, C, ...) as (N, C, S)"""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _single(a: Any) -> Any:
    return a.astype(F32) if a is not None and a.dtype in HALVES else a


def _batch_norm(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    y, mean, variance = kernels.channels(_as_planes(_single(x)), _single(weight), _single(bias), eps, 0)
    return y.reshape(x.shape).astype(x.dtype, copy=False), mean[0], variance[0]


def _batch_norm_spec(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Spec, ...]:
    statistics = Spec(x.shape[1:2], F32 if x.dtype in HALVES else x.dtype)
    return same(x), statistics, statistics


def _group_norm(x: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
    return kernels.channels(_as_planes(x), weight, bias, eps, groups)[0].reshape(x.shape)


def _channel_norm_gradient(
    g: Any, g_mean: Any, g_variance: Any, x: Any, weight: Any, eps: float, groups: int = 0
) -> Any:
    dx, dw, db = kernels.channels_gradient(_as_planes(g), g_mean, g_variance, _as_planes(x), weight, eps, groups)
    return dx.reshape(x.shape), dw, db


def _channel_gradient_spec(
    g: Any, g_mean: Any, g_variance: Any, x: Any, weight: Any, eps: float, groups: int = 0
) -> Any:
    return same(x), Spec(x.shape[1:2], x.dtype), Spec(x.shape[1:2], x.dtype)


def _across(x: Any) -> Shape:
    """The shape in which a number for each channel broadcasts over x."""
    return (x.shape[1], *(1 for _ in x.shape[2:]))


def _pools(x: Any, groups: int) -> tuple[Any, tuple[int, ...]]:
    """x, and the dims that are normalised together."""
    if groups == 0:
        return x, (0, *range(2, len(x.shape)))
    return reshape(x, shape=(x.shape[0], groups, math.prod(x.shape[1:]) // groups)), (2,)


def _composed_batch_norm(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    _, dims = _pools(x, 0)
    mean = _mean(x, dims)
    centred = sub(x, mean)
    variance = _mean(mul(centred, centred), dims)
    h = div(centred, sqrt(add(variance, eps)))
    return (
        _affine(h, weight, bias, _across(x)),
        reshape(mean, shape=x.shape[1:2]),
        reshape(variance, shape=x.shape[1:2]),
    )


def _composed_group_norm(x: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
    grouped, dims = _pools(x, groups)
    return _affine(reshape(_standardised(grouped, dims, eps)[0], shape=x.shape), weight, bias, _across(x))


def _composed_channel_gradient(
    g: Any, g_mean: Any, g_variance: Any, x: Any, weight: Any, eps: float, groups: int = 0
) -> Any:
    grouped, dims = _pools(x, groups)
    h, deviation = _standardised(grouped, dims, eps)
    rest = (0, *range(2, len(x.shape)))
    dw, db = sum_(mul(g, reshape(h, shape=x.shape)), dim=rest), sum_(g, dim=rest)
    wg = g if weight is None else mul(g, reshape(weight, shape=_across(x)))
    dx = reshape(_pulled(reshape(wg, shape=grouped.shape), h, deviation, None, dims), shape=x.shape)
    n = math.prod(grouped.shape[d] for d in dims)
    if g_mean is not None:
        dx = add(dx, div(reshape(g_mean, shape=_across(x)), n))
    if g_variance is not None:  # d variance = 2 (x - mean) dx / n
        dx = add(dx, mul(mul(h, deviation), mul(reshape(g_variance, shape=_across(x)), 2 / max(1, n))))
    return dx, dw, db


def _pull_batch_norm(g: Any, x: Any, weight: Any, eps: float) -> Any:
    return channel_norm_gradient(*g, x, weight, eps=eps)


def _pull_group_norm(g: Any, x: Any, weight: Any, groups: int, eps: float) -> Any:
    return channel_norm_gradient(g, None, None, x, weight, eps=eps, groups=groups)


def _channel_samples(**params: Any) -> Any:
    return lambda: [
        Sample((randn(3, 4, 5), randn(4), randn(4, seed=1)), {**params, "eps": 1e-5}),
        Sample((randn(2, 4, 3, 2), randn(4), randn(4, seed=1)), {**params, "eps": 1e-5}, note="two spatial dimensions"),
        Sample((randn(5, 4), randn(4), randn(4, seed=1)), {**params, "eps": 1e-5}, note="no spatial dimensions"),
        Sample((randn(3, 4, 5), None, None), {**params, "eps": 1e-5}, note="no weight"),
        Sample(
            (randn(5, 4, 3).transpose(2, 1, 0)[::-1], randn(8)[::-2], randn(4)), {**params, "eps": 1e-5}, note="strided"
        ),
        Sample((randn(2, 4, 12, 12), randn(4), randn(4, seed=1)), {**params, "eps": 1e-5}, note="large planes"),
        Sample(
            tuple(a.astype(F32) for a in (randn(3, 4, 5), randn(4), randn(4, seed=1))),
            {**params, "eps": 1e-3},
            note="float32",
        ),
        Sample(
            (np.where(randn(3, 4, 5) > 1.5, inf, np.where(randn(3, 4, 5) < -1.5, nan, 1.0)), randn(4), randn(4)),
            {**params, "eps": 1e-5},
            smooth=False,
            note="special",
        ),
    ]


batch_norm = op(
    "batch_norm", "(x - mean) / sqrt(variance + eps) * weight + bias over all but dim 1, and mean and variance",
    inputs="x weight bias",
    torch="(lambda single, dims: (F.batch_norm(x, None, None, weight, bias, True, 0.0, eps), single.mean(dims), "
    "single.var(dims, correction=0)))(x.float() if x.element_size() == 2 else x, [d for d in range(x.dim()) if d != "
    "1])",
    numpy=_batch_norm, infer=_batch_norm_spec, dtypes=keeping_statistics, flops=per_input_element(7),
    vjp_all=_pull_batch_norm,
    decompose=_composed_batch_norm,
    samples=_channel_samples(),
)  # fmt: skip

group_norm = op(
    "group_norm", "(x - mean) / sqrt(variance + eps) * weight + bias over each group of channels of each sample",
    inputs="x weight bias",
    torch="F.group_norm(x, groups, weight, bias, eps)",
    numpy=_group_norm, infer=same, dtypes=normalising, flops=per_input_element(7),
    vjp_all=_pull_group_norm,
    decompose=_composed_group_norm,
    samples=lambda: [
        *_channel_samples(groups=2)(),
        Sample((randn(0, 4, 3), randn(4), randn(4)), {"groups": 2, "eps": 1e-5}, note="empty"),
    ],
)  # fmt: skip

channel_norm_gradient = op(
    "channel_norm_gradient", "(dx, dw, db) of batch_norm, with cotangents of its statistics, or of group_norm where groups > 0",
    inputs="g g_mean g_variance x weight",
    torch="torch.func.vjp(lambda x, w, b: (F.group_norm(x, groups, w, b, eps) if groups "
    "else F.batch_norm(x, None, None, w, b, True, 0.0, eps), "
    "x.transpose(0, 1).flatten(1).mean(1), x.transpose(0, 1).flatten(1).var(1, correction=0)), x, "
    "x.new_ones(x.shape[1]) if weight is None else weight, x.new_zeros(x.shape[1]))[1]("
    "(g, *[x.new_zeros(x.shape[1]) if c is None else c for c in (g_mean, g_variance)]))",
    numpy=_channel_norm_gradient, infer=_channel_gradient_spec, dtypes=normalising, flops=per_input_element(14),
    decompose=_composed_channel_gradient,
    samples=lambda: [
        Sample((randn(3, 4, 5), randn(4, seed=3), randn(4, seed=4), randn(3, 4, 5, seed=1), randn(4)), {"eps": 1e-5}),
        Sample((randn(3, 4, 5), None, None, randn(3, 4, 5, seed=1), None), {"eps": 1e-5}, note="no weight"),
        Sample((randn(3, 4, 5), None, None, randn(3, 4, 5, seed=1), randn(4)), {"eps": 1e-5, "groups": 2}, note="groups"),
        Sample((randn(5, 4, 3).T, None, None, randn(5, 4, 6).T[::-2], randn(8)[::2]), {"eps": 0.1, "groups": 4}, note="strided"),
        Sample((randn(2, 4, 3, 2), None, None, randn(2, 4, 3, 2, seed=1), positive(4)), {"eps": 0.1, "groups": 1}, note="one group"),
    ],
)  # fmt: skip
