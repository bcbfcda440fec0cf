"""Elements chosen by tensors of indices: taken out, put in, added up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ....dtypes import BOOL, FLOATS, I64
from ....errors import PullbackError, fail
from ....ops.indexing import at, corner, each
from ....ops.record import Shape
from . import Array, form
from .sorting import ordered

COMBINE: dict[str, Callable[..., Any]] = {
    "add": jnp.add,
    "multiply": jnp.multiply,
    "max": jnp.maximum,
    "min": jnp.minimum,
}


# -- one write for all -------------------------------------------------------------------------------------------------


def put(x: Array, index: Array, values: Array, dims: Shape, how: str) -> Array:
    """x, but with out[..., index, ...] set to `values`, or combined with them: `how` is set, add, multiply, max, min.

    Of several values for one place the last is set, or all are combined. What lies outside is left out.
    """
    if _scatters_well(x.dtype, how) or index.size == len(dims):
        return getattr(x.at[at(index, dims)], how)(values)
    rest = tuple(d for d in range(x.ndim) if d not in dims)
    front = dims[0] if dims[-1] - dims[0] + 1 == len(dims) else 0
    inner = index.ndim - (len(dims) > 1)
    sizes = [x.shape[d] for d in dims]
    places: Any = 0
    for i, size in zip(each(index, dims), sizes, strict=True):
        places = places * size + jnp.where(i < 0, i + size, i)
    values = jnp.broadcast_to(
        values, tuple(x.shape[d] for d in rest[:front]) + places.shape + tuple(x.shape[d] for d in rest[front:])
    )
    others = [d for d in range(values.ndim) if not front <= d < front + inner]
    rows = lax.transpose(values, [*range(front, front + inner), *others])
    table = lax.transpose(x, (*dims, *rest))
    shape = table.shape[len(dims) :]
    out = put_in_order(table.reshape(math.prod(sizes), *shape), places.reshape(-1), rows.reshape(-1, *shape), how)
    return lax.transpose(out.reshape(table.shape), np.argsort((*dims, *rest)).tolist())


def _scatters_well(dtype: Any, how: str) -> bool:
    """May XLA's own scatter be used where a place may be named twice?

    On a GPU its sums of floats are slow, as every element waits for its turn. And which comes last is left to chance.
    """
    return jax.default_backend() == "cpu" or (how != "set" and dtype not in FLOATS)


def put_in_order(table: Array, places: Array, rows: Array, how: str) -> Array:
    """table[places[i]] = rows[i] (or combined with it) without two writes to one place.

    The rows are sorted by their places and those of one place combined, 2, then 4, then 8 of them ..., up to the last
    of each place, which alone is written.
    """
    n = places.shape[0]
    if not n:
        return table
    places, order = ordered(places.astype(np.int32 if table.shape[0] < 2**31 - 1 else I64), 0)
    rows, at = rows[order], jnp.arange(n)
    if how != "set":
        combine = COMBINE[how]

        def alike(reach: Array) -> Array:
            """Does the row so far back go to the same place?"""
            return (at >= reach) & (places[jnp.maximum(at - reach, 0)] == places)

        def further(loop: tuple[Array, Array]) -> tuple[Array, Array]:
            reach, rows = loop
            same = alike(reach).reshape(n, *[1] * (rows.ndim - 1))
            return 2 * reach, jnp.where(same, combine(rows[jnp.maximum(at - reach, 0)], rows), rows)

        start = jnp.ones((), at.dtype), rows
        _, rows = lax.while_loop(lambda loop: alike(loop[0]).any(), further, start)
        rows = combine(table.at[places].get(mode="clip"), rows)
    last = jnp.append(places[1:] != places[:-1], True)
    beyond = table.shape[0] + at  # a place of its own outside, for each that is not to be written
    return table.at[jnp.where(last, places, beyond)].set(rows, mode="drop", unique_indices=True)


# -- advanced indexing -------------------------------------------------------------------------------------------------


@form("take_at")
def _take_at(x: Array, index: Array, dims: Shape, wrap: bool = True) -> Array:
    return x.at[at(index, dims)].get(mode="promise_in_bounds")


@form("lay_at")
def _lay_at(g: Array, index: Array, shape: Shape, dims: Shape) -> Array:
    return put(jnp.zeros(shape, g.dtype), index, g, dims, "add")


@form("put_at")
def _put_at(x: Array, index: Array, values: Array, dims: Shape, accumulate: bool = False, wrap: bool = True) -> Array:
    return put(x, index, values.astype(x.dtype), dims, "add" if accumulate else "set")


# -- along one dimension: gather and scatter ---------------------------------------------------------------------------


@form("gather")
def _gather(x: Array, index: Array, dim: int) -> Array:
    if not index.size:
        return jnp.zeros(index.shape, x.dtype)
    near = x[tuple(slice(None) if d == dim else slice(n) for d, n in enumerate(index.shape))]
    return jnp.take_along_axis(near, index, dim, mode="promise_in_bounds")


def _combine(x: Array, index: Array, src: Array, dim: int, how: str) -> Array:
    """x with src set or combined at the places of `index`."""
    if not index.size:
        return x
    places = jnp.zeros((), I64)
    for d, size in enumerate(x.shape):
        places = places * size + (index if d == dim else lax.broadcasted_iota(I64, index.shape, d))
    values = src[corner(index.shape)].astype(x.dtype)
    return put(x.reshape(-1), places.reshape(-1), values.reshape(-1), (0,), how).reshape(x.shape)


def _fill(x: Array, index: Array, value: Any, dim: int) -> Array:
    """x with one number at the places of `index`."""
    return _combine(x, index, jnp.full(index.shape, np.asarray(value).astype(x.dtype)), dim, "set")


@form("scatter")
def _scatter(x: Array, index: Array, src: Any, dim: int) -> Array:
    return _combine(x, index, src, dim, "set") if hasattr(src, "shape") else _fill(x, index, src, dim)


@form("scatter_add")
def _scatter_add(x: Array, index: Array, src: Array, dim: int) -> Array:
    return _combine(x, index, src, dim, "add")


_HOW = {"sum": "add", "mean": "add", "prod": "multiply", "amax": "max", "amin": "min"}


def _identity(reduce: str, dtype: np.dtype[Any]) -> Any:
    """What changes nothing when it is combined."""
    if reduce not in ("amax", "amin"):
        return 1 if reduce == "prod" else 0
    if dtype in FLOATS:
        return -np.inf if reduce == "amax" else np.inf
    if dtype == BOOL:
        return reduce == "amin"
    return np.iinfo(dtype).min if reduce == "amax" else np.iinfo(dtype).max


@form("scatter_reduce")
def _scatter_reduce(x: Array, index: Array, src: Array, dim: int, reduce: str, include_self: bool = True) -> Array:
    def combined(x: Array, src: Array, identity: Any) -> Array:
        return _combine(x if include_self else _fill(x, index, identity, dim), index, src, dim, _HOW[reduce])

    out = combined(x, src, _identity(reduce, x.dtype))
    if reduce != "mean":
        return out
    count = combined(jnp.ones(x.shape, I64), jnp.ones(src.shape, I64), 0)
    return out / count.astype(x.dtype) if x.dtype in FLOATS else (out // count).astype(x.dtype)


# -- embedding ---------------------------------------------------------------------------------------------------------


@form("embedding")
def _embedding(weight: Array, index: Array, padding_idx: int | None = None, scale_grad_by_freq: bool = False) -> Array:
    return weight.at[index].get(mode="promise_in_bounds")


@form("unembed")
def _unembed(g: Array, index: Array, rows: int, padding_idx: int | None = None) -> Array:
    out = put(jnp.zeros((rows, *g.shape[index.ndim :]), g.dtype), index, g, (0,), "add")
    return out if padding_idx is None else out.at[padding_idx].set(0)


# -- masks and classes -------------------------------------------------------------------------------------------------

DYNAMIC: frozenset[str] = frozenset({"nonzero", "spread"})  # ops whose result's shape depends on values


@form("one_hot")
def _one_hot(index: Array, classes: int) -> Array:
    return (index[..., None] == jnp.arange(classes)).astype(I64)


@form("nonzero")
def _nonzero(x: Array) -> NoReturn:
    fail(
        PullbackError,
        "nonzero() cannot run on XLA: the shape of its result depends on values",
        "keep the shape: torch.where(mask, x, other), or x * mask, instead of picking elements out",
    )


@form("spread")
def _spread(repeats: Array) -> NoReturn:
    fail(
        PullbackError,
        "repeat_interleave() by a tensor cannot run on XLA: the shape of its result depends on values",
        "pass a number of repeats, or pick with an index made before: x[index]",
    )
