"""Pooling of (N, C, *size). Maxima are taken along one dimension after another, each with where it stands in its plane.

Of equal maxima the first wins, and a NaN is the maximum of its window, the last one if there are several: so the later
of two takes over where it is larger or NaN. The last dimension comes first, as planes are numbered row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....dtypes import FLOATS, I64
from ....engines.numpy import pooling as kernels
from . import Array, form, hint
from .resampling import across, weighted

NumPy = np.ndarray[Any, Any]
Sizes = Sequence[int]


def _places(size: Sizes) -> Array:
    """The index of each element of a plane."""
    return lax.iota(np.int32, prod(size)).reshape(1, 1, *size)


def _lowest(x: Array) -> Any:
    return -jnp.inf if x.dtype in FLOATS else jnp.iinfo(x.dtype).min


def _later_wins(best: Array, other: Array) -> Array:
    return (other > best) | (other != other)


# -- maxima ------------------------------------------------------------------------------------------------------------


@form("max_pool")
def _max_pool(x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool = False) -> Any:
    out = kernels.output_shape(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    inside = all(m * k <= n for m, k, n in zip(out, kernel, x.shape[2:], strict=True))
    if inside and prod(kernel) <= FEW and _side_by_side(kernel, stride, padding, dilation):
        return _maxima_of_tiles(x, kernel, out)
    at = _places(x.shape[2:])
    for axis in range(x.ndim - 1, 1, -1):
        x, at = _maxima(x, at, axis, out[axis - 2], *(v[axis - 2] for v in (kernel, stride, padding, dilation)))
    return x, jnp.broadcast_to(at, x.shape).astype(I64)


def _maxima(x: Array, at: Array, axis: int, count: int, kernel: int, stride: int, before: int, dilation: int) -> Any:
    """The maxima of the windows along one dimension; -1 is the place of padding, over which everything wins."""
    reach = (count - 1) * stride + dilation * (kernel - 1) + 1
    around = [(0, 0, 0)] * x.ndim
    around[axis] = (before, reach - before - x.shape[axis], 0)
    x, at = lax.pad(x, jnp.asarray(_lowest(x), x.dtype), around), lax.pad(at, np.int32(-1), around)

    def tap(a: Array, t: int) -> Array:
        start = t * dilation
        return lax.slice_in_dim(a, start, start + (count - 1) * stride + 1, stride, axis)

    best, place = tap(x, 0), tap(at, 0)
    for t in range(1, kernel):
        other, its_place = tap(x, t), tap(at, t)
        wins = _later_wins(best, other) | (place < 0)
        best, place = jnp.where(wins, other, best), jnp.where(wins, its_place, place)
    return best, place


@form("adaptive_max_pool")
def _adaptive_max_pool(x: Array, size: Sizes) -> Any:
    at = jnp.broadcast_to(_places(x.shape[2:]), x.shape)
    for axis in range(x.ndim - 1, 1, -1):
        reads, inside = _bins(x.shape[axis], size[axis - 2])
        members = jnp.where(across(inside, axis, x.ndim), jnp.take(x, reads, axis, mode="clip"), _lowest(x))
        last_nan = jnp.where(members != members, _ramp(members, axis), -1).max(axis, keepdims=True)
        first = jnp.where(last_nan < 0, members.argmax(axis, keepdims=True), last_nan)
        x = jnp.take_along_axis(members, first, axis, mode="clip").squeeze(axis)
        at = jnp.take_along_axis(jnp.take(at, reads, axis, mode="clip"), first, axis, mode="clip").squeeze(axis)
    return x, at.astype(I64)


def _ramp(x: Array, axis: int) -> Array:
    return lax.broadcasted_iota(np.int32, x.shape, axis)


def _in_planes(indices: Array, shape: Sizes) -> tuple[Array, Array]:
    """Which plane each index is of, and the indices of all planes, flattened."""
    flat = jnp.broadcast_to(indices, (*shape[:2], *indices.shape[2:])).reshape(prod(shape[:2]), prod(indices.shape[2:]))
    return lax.iota(np.int32, len(flat))[:, None], flat


@form("max_pool_gradient")
def _max_pool_gradient(g: Array, indices: Array, shape: Sizes, tiles: Sizes | None = None) -> Array:
    """`tiles`: each index lies in its own window, and the windows lie side by side, of this size."""
    if tiles is not None and indices.shape == g.shape:
        return _spread(g, indices.astype(np.int32), shape, tiles)
    planes, places = _in_planes(indices, shape)
    zeros = jnp.zeros((prod(shape[:2]), prod(shape[2:])), g.dtype)
    return zeros.at[planes, places].add(g.reshape(places.shape)).reshape(shape)


# -- maxima of windows that lie side by side ---------------------------------------------------------------------------
# Elementwise, and with channels last: as XLA's convolutions on a CPU have them, whose transpositions then fall away.

FEW = 16  # positions in a window: each is an operand of its own


def _side_by_side(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> bool:
    return tuple(kernel) == tuple(stride) and not any(padding) and all(d == 1 for d in dilation)


def _in_tiles(x: Array, counts: Sizes, tiles: Sizes) -> Array:
    """(N, *size, C) as (N, count, tile, count, tile, ..., C)"""
    x = x[:, *(slice(m * k) for m, k in zip(counts, tiles, strict=True))]
    return x.reshape(len(x), *(n for pair in zip(counts, tiles, strict=True) for n in pair), x.shape[-1])


def _places_in_tiles(size: Sizes, counts: Sizes, tiles: Sizes) -> Array:
    """The index of each element of a plane, some of which may lie beyond it."""
    shape = (1, *(m * k for m, k in zip(counts, tiles, strict=True)), 1)
    place: Array = np.int32(0)
    for axis, n in enumerate(size, 1):
        place = place * np.int32(n) + lax.broadcasted_iota(np.int32, shape, axis)
    return _in_tiles(place, counts, tiles)


def _maxima_of_tiles(x: Array, tiles: Sizes, counts: Sizes) -> Any:
    places = _places_in_tiles(x.shape[2:], counts, tiles)
    x = _in_tiles(jnp.moveaxis(x, 1, -1), counts, tiles)
    first, *others = [(slice(None), *(part for t in tap for part in (slice(None), t))) for tap in np.ndindex(*tiles)]
    best, at = x[first], places[first]
    for tap in others:
        wins = _later_wins(best, x[tap])
        best, at = jnp.where(wins, x[tap], best), jnp.where(wins, places[tap], at)
    return jnp.moveaxis(best, -1, 1), jnp.moveaxis(jnp.broadcast_to(at, best.shape), -1, 1).astype(I64)


def _spread(g: Array, indices: Array, shape: Sizes, tiles: Sizes) -> Array:
    """g where the index of the window around a place is that place."""
    size, counts, inner = shape[2:], g.shape[2:], tuple(range(2, 2 * len(tiles) + 1, 2))
    g, indices = (jnp.expand_dims(jnp.moveaxis(a, 1, -1), inner) for a in (g, indices))
    out = jnp.where(indices == _places_in_tiles(size, counts, tiles), g, jnp.zeros((), g.dtype))
    whole = [m * k for m, k in zip(counts, tiles, strict=True)]
    rest = [(0, n - m, 0) for n, m in zip(size, whole, strict=True)]
    out = lax.pad(out.reshape(shape[0], *whole, shape[1]), np.zeros((), g.dtype), [(0, 0, 0), *rest, (0, 0, 0)])
    return jnp.moveaxis(out, -1, 1)


@hint("max_pool_gradient")
def _tiles(made: Sequence[Any]) -> dict[str, Any]:
    """The windows that the indices are of, if max_pool made them."""
    if made[1] is None or made[1].op.name != "max_pool":
        return {}
    windows = [made[1].params[name] for name in ("kernel", "stride", "padding", "dilation")]
    return {"tiles": tuple(windows[0])} if _side_by_side(*windows) else {}


@form("gather_at")
def _gather_at(x: Array, indices: Array) -> Array:
    planes, places = _in_planes(indices, x.shape)
    flat = x.reshape(len(planes), prod(x.shape[2:]))
    return flat.at[planes, places].get(mode="clip").reshape(*x.shape[:2], *indices.shape[2:])


@form("max_unpool")
def _max_unpool(x: Array, indices: Array, size: Sizes) -> Array:
    planes, places = _in_planes(indices, x.shape)
    zeros = jnp.zeros((len(planes), prod(size)), x.dtype)
    return zeros.at[planes, places].set(x.reshape(places.shape)).reshape(*x.shape[:2], *size)


# -- means -------------------------------------------------------------------------------------------------------------


def _window_sums(x: Array, kernel: Sizes, stride: Sizes, padding: Sequence[tuple[int, int, int]]) -> Array:
    """The sums of windows, one dimension after another; padding is what lax.pad has: before, after and between."""
    for axis, (k, s, around) in enumerate(zip(kernel, stride, padding, strict=True), 2):
        x = lax.pad(x, np.zeros((), x.dtype), [around if i == axis else (0, 0, 0) for i in range(x.ndim)])
        stop = x.shape[axis] - k + 1
        x = sum(lax.slice_in_dim(x, t, t + stop, s, axis) for t in range(k))
    return x


@form("avg_pool")
def _avg_pool(
    x: Array, kernel: Sizes, stride: Sizes, padding: Sizes,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    size = x.shape[2:]
    out = kernels.output_shape(size, kernel, stride, padding, [1] * len(kernel), ceil_mode)
    around = [(p, (m - 1) * s + k - n - p, 0) for n, m, k, s, p in zip(size, out, kernel, stride, padding, strict=True)]
    counts = kernels._divisor(size, out, kernel, stride, padding, count_include_pad, divisor_override)
    return _window_sums(x, kernel, stride, around) / counts.astype(x.dtype)


@form("avg_pool_gradient")
def _avg_pool_gradient(
    g: Array, shape: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    """Position j gets the shares of the windows that start at j + padding - (kernel - 1) up to j + padding."""
    size, out = shape[2:], g.shape[2:]
    counts = kernels._divisor(size, out, kernel, stride, padding, count_include_pad, divisor_override)
    spread = [
        (k - 1 - p, n + p - (m - 1) * s - 1, s - 1)
        for n, m, k, s, p in zip(size, out, kernel, stride, padding, strict=True)
    ]
    return _window_sums(g / counts.astype(g.dtype), kernel, (1,) * len(kernel), spread)


@form("adaptive_avg_pool")
def _adaptive_avg_pool(x: Array, size: Sizes) -> Array:
    if prod(size) == 1:
        return x.mean(range(2, x.ndim), keepdims=True)
    for axis, count in enumerate(size, 2):
        n = x.shape[axis]
        if count and n % count == 0:  # all bins have one size
            x = x.reshape(*x.shape[:axis], count, n // count, *x.shape[axis + 1 :]).mean(axis + 1)
        else:
            reads, inside = _bins(n, count)
            x = weighted(x, axis, reads, (inside / inside.sum(0)).astype(x.dtype), inside)
    return x


@form("adaptive_avg_pool_gradient")
def _adaptive_avg_pool_gradient(g: Array, shape: Sizes) -> Array:
    for axis in range(2, g.ndim):
        n, count = shape[axis], g.shape[axis]
        if count and n % count == 0:
            share = jnp.expand_dims(g / (n // count), axis + 1)
            g = jnp.broadcast_to(share, (*share.shape[: axis + 1], n // count, *share.shape[axis + 2 :]))
            g = g.reshape(*g.shape[:axis], n, *g.shape[axis + 2 :])
        else:
            g = weighted(g, axis, *_bins_of_each(n, count, g.dtype))
    return g


def _bins(size: int, count: int) -> tuple[NumPy, NumPy]:
    """What each of `count` bins reads, one row for each of its members, and which of these there are."""
    i = np.arange(count)
    start, stop = i * size // max(1, count), -(-(i + 1) * size // max(1, count))
    reads = start + np.arange((stop - start).max(initial=0))[:, None]
    return reads, reads < stop


def _bins_of_each(size: int, count: int, kind: Any) -> tuple[NumPy, NumPy, NumPy]:
    """The other way around: which bins each element is in, the share of it that is theirs, and which of these count."""
    reads, inside = _bins(size, count)
    member = np.zeros((count, size), np.bool_)
    member[np.broadcast_to(np.arange(count), reads.shape)[inside], reads[inside]] = True
    first, times = member.argmax(0), member.sum(0)
    bins = first + np.arange(times.max(initial=0))[:, None]
    ours = bins < first + times
    share = 1 / member.sum(1)[np.minimum(bins, count - 1)]
    return bins, share.astype(kind), ours
