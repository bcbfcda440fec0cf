"""Ops that count how many elements fall where."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ....dtypes import F32, F64, I64
from . import Array, form
from .indexing import put
from .sorting import search


def _count(place: Array, weights: Array | None, size: int) -> Array:
    """How many (or how much weight, added up in double) are at each place below `size`."""
    ones = jnp.ones(place.size, I64) if weights is None else weights.reshape(-1).astype(F64)
    return put(jnp.zeros(size, ones.dtype), place.reshape(-1), ones, (0,), "add")


@form("bincount")
def _bincount(x: Array, weights: Array | None = None, size: int = 0) -> Array:
    counts = _count(x.astype(I64), weights, size)
    return counts if weights is None or weights.dtype != F32 else counts.astype(F32)


def _limits(x: Array, low: float, high: float) -> tuple[Array, Array]:
    """The range counted: that of the data where low and high are equal."""
    if low != high:
        return jnp.asarray(low, F64), jnp.asarray(high, F64)
    if not x.size:
        return jnp.asarray(0.0, F64), jnp.asarray(1.0, F64)
    least, most = x.min().astype(F64), x.max().astype(F64)
    same = least == most
    return jnp.where(same, least - 0.5, least), jnp.where(same, most + 0.5, most)


@form("histogram")
def _histogram(
    x: Array, weights: Array | None = None, bins: int = 100, low: float = 0.0, high: float = 0.0
) -> tuple[Array, Array]:
    least, most = _limits(x, low, high)
    first, last = least.astype(x.dtype), most.astype(x.dtype)
    kept = (x >= first) & (x <= last)
    # XLA divides by one number through a product with its inverse, which rounds differently: hide that it is one
    width = lax.optimization_barrier(jnp.broadcast_to((most - least).astype(x.dtype), x.shape))
    place = ((x - first) * bins / width).astype(I64)
    counts = _count(jnp.where(kept, jnp.minimum(place, bins - 1), bins), weights, bins)
    edges = (least + jnp.arange(bins + 1) * ((most - least) / bins)).at[-1].set(most)
    return counts.astype(x.dtype), edges.astype(x.dtype)


@form("histogram_between")
def _histogram_between(x: Array, edges: Array, weights: Array | None = None) -> Array:
    bins = edges.shape[0] - 1
    kept = (x >= edges[0]) & (x <= edges[-1])
    place = jnp.minimum(search(edges, x, right=True) - 1, bins - 1)
    return _count(jnp.where(kept, place, bins), weights, bins).astype(x.dtype)
