"""Arrays put together, taken apart, and repeated."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ....ops.joining import spans
from ....ops.record import Shape
from . import Array, form


@form("cat")
def _cat(*xs: Array, dim: int = 0) -> Array:
    # the empty 1-D arrays join anything
    return jnp.concatenate([x for x in xs if x.shape != (0,)] or xs, axis=dim)


@form("split")
def _split(x: Array, sizes: Shape, dim: int) -> tuple[Array, ...]:
    return tuple([lax.slice_in_dim(x, start, stop, axis=dim) for start, stop in spans(sizes)])


@form("stack")
def _stack(*xs: Array, dim: int = 0) -> Array:
    return jnp.stack(xs, axis=dim)


@form("unbind")
def _unbind(x: Array, dim: int) -> tuple[Array, ...]:
    return tuple([lax.slice_in_dim(x, i, i + 1, axis=dim).squeeze(dim) for i in range(x.shape[dim])])


@form("tile")
def _tile(x: Array, repeats: Shape) -> Array:
    return jnp.tile(x, repeats)


@form("repeat_interleave")
def _repeat_interleave(x: Array, repeats: int, dim: int) -> Array:
    shape = x.shape
    copies = jnp.broadcast_to(jnp.expand_dims(x, dim + 1), (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
    return copies.reshape(*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :])
