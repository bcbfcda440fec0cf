"""Elements moved: slices of `lax` and padding, never a gather."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....ops.record import Shape
from ....ops.shape import Key, Padding, Path, sliced
from . import FORMS, Array, form
from .indexing import put


@form("reshape")
def _reshape(x: Array, shape: Shape) -> Array:
    return jnp.reshape(x, shape)


@form("expand")
def _expand(x: Array, shape: Shape) -> Array:
    return jnp.broadcast_to(x, shape)


@form("permute")
def _permute(x: Array, dims: Shape) -> Array:
    return lax.transpose(x, dims)


# -- basic indexing ----------------------------------------------------------------------------------------------------


def _stretches(shape: Shape, key: Key) -> list[tuple[int, int, int]]:
    """What a key takes of each dimension: the first place, how many, and the step to the next."""
    given = [k for k in key if k is not None]
    at = given.index(...) if ... in given else len(given)
    before, after = given[:at], given[at + 1 :]
    full = [*before, *[slice(None)] * (len(shape) - len(before) - len(after)), *after]
    taken = []
    for k, n in zip(full, shape, strict=True):
        places = range(n)[k] if isinstance(k, slice) else range(k % n, k % n + 1)
        taken.append((places.start if places else 0, len(places), places.step))
    return taken


def _turned(x: Array, taken: list[tuple[int, int, int]]) -> Array:
    """x with the dimensions that a key walks backwards the other way around."""
    backwards = [d for d, (_, _, step) in enumerate(taken) if step < 0]
    return lax.rev(x, backwards) if backwards else x


def _lowest(start: int, count: int, step: int) -> int:
    """The first of the places in rising order."""
    return start + min(step, 0) * max(count - 1, 0)


@form("slice")
def slice_(x: Array, key: Key) -> Array:
    """x[key]"""
    taken = _stretches(x.shape, key)
    low = [_lowest(*t) for t in taken]
    stop = [a + (n - 1) * abs(step) + 1 if n else a for a, (_, n, step) in zip(low, taken, strict=True)]
    out = _turned(lax.slice(x, low, stop, [abs(step) for _, _, step in taken]), taken)
    return out.reshape(sliced(x.shape, key))


@form("unslice")
def unslice(g: Array, shape: Shape, key: Key) -> Array:
    """Zeros of `shape`, but out[key] = g."""
    taken = _stretches(shape, key)
    g = _turned(g.reshape([n for _, n, _ in taken]), taken)
    return spaced(g, shape, [_lowest(*t) for t in taken], [abs(step) for _, _, step in taken])


def spaced(g: Array, shape: Shape, start: Any, step: Any) -> Array:
    """Zeros of `shape`, with g laid in from `start` at every `step`-th place; what falls outside is left out."""
    if not g.size:
        return jnp.zeros(shape, g.dtype)
    around = [(a, n - a - (m - 1) * s - 1, s - 1) for n, m, a, s in zip(shape, g.shape, start, step, strict=True)]
    return lax.pad(g, np.zeros((), g.dtype), around)


@form("put_view")
def _put_view(x: Array, value: Array, path: Path) -> Array:
    """Look along the path, one view after the other, and on the way back lay each into the one before it."""
    if not path:
        value = value.reshape(value.shape[max(value.ndim - x.ndim, 0) :])
        return jnp.broadcast_to(value, x.shape).astype(x.dtype)
    (name, params), *rest = path
    return _lay_back(x, _put_view(FORMS[name](x, **params), value, tuple(rest)), name, params)


def _lay_back(x: Array, seen: Array, name: str, params: dict[str, Any]) -> Array:
    """x, but `seen` where this view looks."""
    if name == "reshape":
        return seen.reshape(x.shape)
    if name == "permute":
        return lax.transpose(seen, np.argsort(params["dims"]).tolist())
    if name == "slice":
        taken = _stretches(x.shape, params["key"])
        if all(abs(step) == 1 for _, _, step in taken):
            block = _turned(seen.reshape([n for _, n, _ in taken]), taken)
            return lax.dynamic_update_slice(x, block, [np.int32(_lowest(*t)) for t in taken])
    if name in ("slice", "diagonal"):  # where there are gaps between
        lay = FORMS["un" + name]
        there = lay(jnp.ones(seen.shape, bool), shape=x.shape, **params)
        return jnp.where(there, lay(seen, shape=x.shape, **params), x)
    places = FORMS[name](jnp.arange(x.size).reshape(x.shape), **params)
    return put(x.reshape(-1), places.reshape(-1), seen.reshape(-1), (0,), "set").reshape(x.shape)


# -- elements in other places ------------------------------------------------------------------------------------------


@form("flip")
def _flip(x: Array, dims: Shape) -> Array:
    return lax.rev(x, dims)


@form("roll")
def _roll(x: Array, shifts: Shape, dims: Shape | None = None) -> Array:
    if dims is None:
        return _roll(x.reshape(-1), shifts, (0,)).reshape(x.shape)
    for shift, d in zip(shifts, dims, strict=True):
        if n := x.shape[d]:
            cut = n - shift % n
            parts = lax.slice_in_dim(x, cut, n, axis=d), lax.slice_in_dim(x, 0, cut, axis=d)
            x = jnp.concatenate(parts, axis=d)
    return x


# -- more and fewer elements -------------------------------------------------------------------------------------------


@form("pad")
def _pad(x: Array, padding: Padding, value: float = 0.0) -> Array:
    return lax.pad(x, np.asarray(value, x.dtype), [(a, b, 0) for a, b in padding])


@form("tril")
def _tril(x: Array, diagonal: int = 0) -> Array:
    return jnp.tril(x, diagonal)


@form("triu")
def _triu(x: Array, diagonal: int = 0) -> Array:
    return jnp.triu(x, diagonal)
