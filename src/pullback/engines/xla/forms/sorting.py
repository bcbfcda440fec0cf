"""Ops that put elements in order, and that look things up in what is in order."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....dtypes import F32
from . import Array, form
from .along import take


def ordered(x: Array, dim: int, descending: bool = False) -> tuple[Array, Array]:
    """x in stable order along dim, and where each element stood. NaN counts as the largest."""
    places = lax.broadcasted_iota(np.int64, x.shape, dim)
    if x.dtype.itemsize <= 4:  # rank and place in one integer: XLA sorts these about ten times as fast as pairs
        rank = _rank(x)
        both = lax.sort((~rank if descending else rank) << 32 | places, dimension=dim, is_stable=False)
        order = both & 0xFFFFFFFF
        return take(x, order, dim), order
    if not descending:
        return tuple(lax.sort((x, places), dimension=dim, is_stable=True, num_keys=1))
    # sorted from the other end, equal elements keep their order
    back = [lax.rev(a, (dim,)) for a in (x, places)]
    values, order = lax.sort(back, dimension=dim, is_stable=True, num_keys=1)
    return lax.rev(values, (dim,)), lax.rev(order, (dim,))


def _rank(x: Array) -> Array:
    """Integers in the order of x, which has at most 32 bits."""
    if x.dtype != F32:
        return x.astype(np.int64)
    bits = lax.bitcast_convert_type(x, np.int32)  # a sign, then what rises with the size
    size = (bits & 0x7FFFFFFF).astype(np.int64)
    return jnp.where(size > 0x7F800000, 0x7FFFFFFF, jnp.where(bits < 0, -size, size))  # NaN, with either sign; -0 is 0


@form("sort")
def _sort(x: Array, dim: int, descending: bool = False) -> tuple[Array, Array]:
    return ordered(x, dim, descending) if x.ndim else (x, jnp.zeros((), np.int64))


@form("topk")
def _topk(x: Array, k: int, dim: int, largest: bool = True) -> tuple[Array, Array]:
    if not x.ndim:
        return (x, jnp.zeros((), np.int64)) if k else (jnp.zeros(0, x.dtype), jnp.zeros(0, np.int64))
    values, places = ordered(x, dim, largest)
    return lax.slice_in_dim(values, 0, k, axis=dim), lax.slice_in_dim(places, 0, k, axis=dim)


@form("searchsorted")
def search(boundaries: Array, x: Array, right: bool = False) -> Array:
    """How many boundaries are < x (with right: <= x)."""
    side = "right" if right else "left"
    if boundaries.ndim == 1:
        return jnp.searchsorted(boundaries, x, side).astype(np.int64)
    in_rows = jnp.vectorize(lambda b, v: jnp.searchsorted(b, v, side), signature="(n),(m)->(m)")
    return in_rows(boundaries, x).astype(np.int64)


@form("distinct")
def _distinct(x: Array, dim: int | None = None, consecutive: bool = False) -> tuple[Array, Array, Array, Array]:
    rows = x.reshape(-1) if dim is None else jnp.moveaxis(x, dim, 0)
    n = rows.shape[0]
    if not n:
        none = jnp.zeros(0, np.int64)
        return (rows, none.reshape(x.shape), none, none.sum()) if dim is None else (x, none, none, none.sum())
    flat = rows.reshape(n, math.prod(rows.shape[1:]))
    places = jnp.arange(n)
    order = places if consecutive else _row_order(flat)
    line = flat[order]
    new = (places == 0).at[1:].set((line[1:] != line[:-1]).any(1))
    starts = jnp.append(jnp.sort(jnp.where(new, places, n)), n)  # n: no more of them
    kept = (starts[:-1] < n)[:, None]
    values = jnp.where(kept, line[jnp.minimum(starts[:-1], n - 1)], jnp.zeros((), x.dtype)).reshape(rows.shape)
    inverse = jnp.zeros(n, np.int64).at[order].set(jnp.cumsum(new) - 1, unique_indices=True)
    if dim is None:
        return values, inverse.reshape(x.shape), jnp.diff(starts), new.sum()
    return jnp.moveaxis(values, 0, dim), inverse, jnp.diff(starts), new.sum()


def _row_order(rows: Array) -> Array:
    """The stable order of rows: by the last column, then by the one before ..., then by the first."""
    columns = rows.shape[1]
    if not columns:
        return jnp.arange(rows.shape[0])

    def by_column(i: Array, order: Array) -> Array:
        column = lax.dynamic_index_in_dim(rows, columns - 1 - i, 1, keepdims=False)
        return order[ordered(column[order], 0)[1]]

    return lax.fori_loop(0, columns, by_column, jnp.arange(rows.shape[0]))
