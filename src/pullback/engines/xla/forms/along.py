"""Elements at distinct places along a dim: taken out, and laid into zeros."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ....ops.along import places
from ....ops.record import Shape
from . import Array, form


@form("take_along")
def take(x: Array, index: Array, dim: int) -> Array:
    """x at index along dim; the index may lack the dim."""
    if not x.ndim:
        return x.reshape(index.shape)
    whole = index if index.ndim == x.ndim else jnp.expand_dims(index, dim)
    return jnp.take_along_axis(x, whole, dim, mode="promise_in_bounds").reshape(index.shape)


@form("lay_along")
def _lay(g: Array, index: Array, shape: Shape, dim: int) -> Array:
    if not shape:
        return g.reshape(shape)
    if not index.size:
        return jnp.zeros(shape, g.dtype)
    if index.ndim < len(shape):  # one place in each row: quicker compared than scattered
        here = lax.broadcasted_iota(index.dtype, shape, dim) == jnp.expand_dims(index, dim)
        return jnp.where(here, jnp.expand_dims(g, dim), jnp.zeros((), g.dtype))
    at = places(index, shape, dim).reshape(-1)
    flat = jnp.zeros(shape, g.dtype).reshape(-1)
    return flat.at[at].set(g.reshape(-1), unique_indices=True).reshape(shape)
