"""Views by strides, copied out; and their adjoints."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....ops.record import Shape
from ....ops.strided import diagonal_shape, windows_shape
from . import Array, form
from .indexing import put
from .shape import spaced

# In a row after row matrix of n columns, each element of a diagonal lies n + 1 places behind the last.


def _rest(ndim: int, *last: int) -> list[int]:
    """All dimensions, these at the end."""
    return [*(d for d in range(ndim) if d not in last), *last]


def _first(columns: int, offset: int) -> int:
    """Where the diagonal starts in the flat matrix."""
    return offset if offset >= 0 else -offset * columns


@form("diagonal")
def _diagonal(x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    dim1, dim2 = dim1 % x.ndim, dim2 % x.ndim
    shape = diagonal_shape(x.shape, offset, dim1, dim2)
    rows, columns = x.shape[dim1], x.shape[dim2]
    if not shape[-1]:
        return jnp.zeros(shape, x.dtype)
    flat = lax.transpose(x, _rest(x.ndim, dim1, dim2)).reshape(*shape[:-1], rows * columns)
    start = _first(columns, offset)
    return lax.slice_in_dim(flat, start, start + (shape[-1] - 1) * (columns + 1) + 1, columns + 1, axis=-1)


@form("undiagonal")
def _undiagonal(g: Array, shape: Shape, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    order = _rest(len(shape), dim1 % len(shape), dim2 % len(shape))
    outer, columns = g.shape[:-1], shape[dim2]
    none, one = [0] * len(outer), [1] * len(outer)
    flat = spaced(g, (*outer, shape[dim1] * columns), [*none, _first(columns, offset)], [*one, columns + 1])
    return lax.transpose(flat.reshape([shape[d] for d in order]), np.argsort(order).tolist())


@form("unfold")
def _unfold(x: Array, dim: int, size: int, step: int) -> Array:
    if not x.ndim:
        return x.reshape(1)[:size]
    count = windows_shape(x.shape, dim, size, step)[dim]
    at = lax.broadcasted_iota(np.int32, (count, size), 0) * step + lax.broadcasted_iota(np.int32, (count, size), 1)
    return jnp.moveaxis(jnp.take(x, at, axis=dim, mode="clip"), dim + 1, -1)


@form("fold")
def _fold(g: Array, shape: Shape, dim: int, size: int, step: int) -> Array:
    """Each window is cut into pieces as long as a step: the first pieces of all windows lie side by side, so do the
    second ones, a step further on, and so on.
    """
    if not shape or not g.size:
        return jnp.zeros(shape, g.dtype) + g.sum()
    g = jnp.moveaxis(g, (dim, -1), (-2, -1))
    *outer, windows, _ = g.shape
    pieces = -(-size // step)
    g = _lengthen(g, 0, pieces * step).reshape(*outer, windows, pieces, step)
    side_by_side = [g[..., j, :].reshape(*outer, windows * step) for j in range(pieces)]
    out: Any = sum(_lengthen(row, j * step, shape[dim]) for j, row in enumerate(side_by_side))
    return jnp.moveaxis(out, -1, dim)


def _lengthen(x: Array, start: int, size: int) -> Array:
    """x from `start` on, zeros before and after, up to a last dimension of this size."""
    return lax.pad(x, np.zeros((), x.dtype), [*[(0, 0, 0)] * (x.ndim - 1), (start, size - start - x.shape[-1], 0)])


# -- any strides -------------------------------------------------------------------------------------------------------


def _places(size: Shape, stride: Shape, offset: int) -> Array:
    """Where in memory each element of the view lies."""
    return sum([lax.broadcasted_iota(np.int64, size, d) * s for d, s in enumerate(stride)], jnp.full(size, offset))


@form("as_strided")
def _as_strided(x: Array, size: Shape, stride: Shape, offset: int = 0) -> Array:
    if not math.prod(size):
        return jnp.zeros(size, x.dtype)
    return x.reshape(-1).at[_places(size, stride, offset)].get(mode="promise_in_bounds")


@form("unstrided")
def _unstrided(g: Array, shape: Shape, size: Shape, stride: Shape, offset: int = 0) -> Array:
    flat = jnp.zeros(math.prod(shape), g.dtype)
    return put(flat, _places(size, stride, offset).reshape(-1), g.reshape(-1), (0,), "add").reshape(shape)
