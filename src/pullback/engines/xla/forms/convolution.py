"""Convolution and the two maps of its gradients, each as one convolution.

With `before` the padding in front, s the stride and d the dilation, y, x and w meet where x's position is
p s + t d - before for y's position p and w's position t. So each is a sum over the two others:

    conv                    y[p] = sum over t of x[p s + t d - before] w[t]
    conv_transpose          x[q] = sum over t of (y spread out by s)[q + before - t d] w[t]       w turned around
    conv_weight_gradient    w[t] = sum over p of x[t d + p s - before] y[p]                       stride d, dilation s
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....dtypes import F32, HALVES
from ....engines.numpy.convolution import output_shape
from . import Array, form

Map = Callable[..., Array]
Sizes = Sequence[int]
Pairs = Sequence[tuple[int, int]]


def _summed(x: Array, w: Array, dims: Sizes, **geometry: Any) -> Array:
    """XLA's convolution. Half types it gives back as such, but adds up in float32 all the same."""
    return lax.conv_general_dilated(
        x, w,
        dimension_numbers=lax.ConvDimensionNumbers(dims, dims, dims),
        precision=None if x.dtype in HALVES else lax.Precision.HIGHEST,
        **geometry,
    )  # fmt: skip


def _with_bias(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2))


@form("conv")
@form("conv", half=True)
def _conv(x: Array, w: Array, bias: Array | None = None, *, groups: int = 1, **geometry: Any) -> Array:
    run = partial(_forward, **geometry), partial(_forward_by_taps, **geometry)
    return _with_bias(_grouped(*run, (x, w), groups, w.shape[1] == 1, (1, 0, 1)), bias)


@form("conv_transpose")
@form("conv_transpose", half=True)
def _conv_transpose(x: Array, w: Array, bias: Array | None = None, *, groups: int = 1, **geometry: Any) -> Array:
    run = partial(_transposed, **geometry), partial(_transposed_by_taps, channels=groups, **geometry)
    return _with_bias(_grouped(*run, (x, w), groups, w.shape[1] == 1, (1, 0, 1)), bias)


@form("conv_weight_gradient")
@form("conv_weight_gradient", half=True)
def _conv_weight_gradient(y: Array, x: Array, *, groups: int = 1, **geometry: Any) -> Array:
    if not prod(y.shape):
        return jnp.zeros((y.shape[1], x.shape[1] // groups, *geometry["kernel"]), x.dtype)
    run = partial(_of_weight, **geometry), partial(_of_weight_by_taps, **geometry)
    return _grouped(*run, (y, x), groups, x.shape[1] == groups, (1, 1, 0))


def _forward(x: Array, w: Array, groups: int, *, stride: Sizes, padding: Pairs, dilation: Sizes) -> Array:
    usual = tuple(range(x.ndim))
    return _summed(
        x, w, usual, window_strides=stride, padding=padding, rhs_dilation=dilation, feature_group_count=groups
    )


def _transposed(
    x: Array, w: Array, groups: int, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> Array:
    usual, kernel = tuple(range(x.ndim)), w.shape[2:]
    by_group = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    turned = lax.rev(by_group.reshape(groups * w.shape[1], w.shape[0] // groups, *kernel), usual[2:])
    around = [
        (d * (k - 1) - before, n - 1 - (m - 1) * s + before)
        for n, m, k, s, d, (before, _) in zip(size, x.shape[2:], kernel, stride, dilation, padding, strict=True)
    ]
    return _summed(
        x, turned, usual,
        window_strides=(1,) * len(kernel), padding=around, lhs_dilation=stride, rhs_dilation=dilation,
        feature_group_count=groups,
    )  # fmt: skip


def _of_weight(
    y: Array, x: Array, groups: int, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> Array:
    swapped = (1, 0, *range(2, x.ndim))  # images in the place of channels: it is they that are added up
    around = [
        (before, d * (k - 1) + s * (m - 1) + 1 - n - before)
        for n, m, k, s, d, (before, _) in zip(x.shape[2:], y.shape[2:], kernel, stride, dilation, padding, strict=True)
    ]
    return _summed(
        x, y, swapped, window_strides=dilation, padding=around, rhs_dilation=stride, batch_group_count=groups
    )


# -- groups on a CPU ---------------------------------------------------------------------------------------------------
# XLA's convolutions in groups take up to a hundred times as long there. So each group is a convolution of its own; and
# where a group is one channel, products with each of the kernel's numbers are added up.


def _grouped(
    native: Map, by_taps: Map, arrays: tuple[Array, Array], groups: int, single: bool, dims: tuple[int, int, int]
) -> Array:
    """A map of two arrays, whose groups lie side by side along `dims` of these and of the result."""
    if groups == 1:
        return native(*arrays, 1)

    def on_cpu(*arrays: Array) -> Array:
        if single:
            return by_taps(*(_wide(a) for a in arrays)).astype(arrays[0].dtype)
        parts = zip(*(jnp.split(a, groups, d) for a, d in zip(arrays, dims, strict=False)), strict=True)
        return jnp.concatenate([native(*part, 1) for part in parts], dims[2])

    return lax.platform_dependent(*arrays, cpu=on_cpu, default=lambda *arrays: native(*arrays, groups))


def _wide(x: Array) -> Array:
    return x.astype(F32) if x.dtype in HALVES else x


def _read(
    x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> Iterator[tuple[Sizes, Array]]:
    """Each position in the kernel, and what it reads for all outputs."""
    last = [(m - 1) * s + 1 for m, s in zip(out, stride, strict=True)]
    around = [
        (before, n + d * (k - 1) - before - whole, 0)
        for n, k, d, (before, _), whole in zip(last, kernel, dilation, padding, x.shape[2:], strict=True)
    ]
    x = lax.pad(x, np.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *around])
    for tap in np.ndindex(*kernel):
        yield (
            tap,
            x[:, :, *(slice(t * d, t * d + n, s) for t, d, n, s in zip(tap, dilation, last, stride, strict=True))],
        )


def _column(w: Array, tap: Sizes) -> Array:
    """One number of each channel's kernel, beside (channels, *size)."""
    return w[:, 0, *tap].reshape(-1, *[1] * len(tap))


def _forward_by_taps(x: Array, w: Array, *, stride: Sizes, padding: Pairs, dilation: Sizes) -> Array:
    out = output_shape(x.shape[2:], w.shape[2:], stride, padding, dilation)
    x = jnp.repeat(x, w.shape[0] // x.shape[1], 1)
    return sum(part * _column(w, tap) for tap, part in _read(x, out, w.shape[2:], stride, padding, dilation))


def _transposed_by_taps(
    x: Array, w: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, channels: int
) -> Array:
    y: Any = 0
    for tap in np.ndindex(*w.shape[2:]):
        first = [t * d - before for t, d, (before, _) in zip(tap, dilation, padding, strict=True)]
        spread = [
            (f, n - 1 - (m - 1) * s - f, s - 1) for f, n, m, s in zip(first, size, x.shape[2:], stride, strict=True)
        ]
        y = y + lax.pad(x * _column(w, tap), np.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *spread])
    return y.reshape(len(x), channels, w.shape[0] // channels, *size).sum(2)


def _of_weight_by_taps(y: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Array:
    x = jnp.repeat(x, y.shape[1] // x.shape[1], 1)
    all_but_channels = (0, *range(2, x.ndim))
    parts = _read(x, y.shape[2:], kernel, stride, padding, dilation)
    return jnp.stack([(y * part).sum(all_but_channels) for _, part in parts], 1).reshape(y.shape[1], 1, *kernel)
