"""Ops that run along a dimension, in a number of steps that grows as its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from . import Array, form


@form("cumsum")
def _cumsum(x: Array, dim: int) -> Array:
    return lax.cumsum(x, dim) if x.ndim else x


@form("cumprod")
def _cumprod(x: Array, dim: int) -> Array:
    return lax.cumprod(x, dim) if x.ndim else x


@form("recurrence")
def _recurrence(a: Array, b: Array, dim: int) -> Array:
    """After x -> a x + b comes x -> A x + B: together, x -> (A a) x + (A b + B)."""
    if not b.ndim or not b.size:
        return b

    def both(first: Any, then: Any) -> Any:
        (a, b), (A, B) = first, then
        return A * a, A * b + B

    return lax.associative_scan(both, (a, b), axis=dim)[1]


def _running(extreme: Callable[..., Any], reaches: Callable[..., Any]) -> Callable[[Array, int], tuple[Array, Array]]:
    """The extreme so far, and where it was last reached. A NaN stays."""

    def run(x: Array, dim: int) -> tuple[Array, Array]:
        if not x.ndim:
            return x, jnp.zeros((), np.int64)
        values = extreme(x.astype(np.uint8), dim).astype(bool) if x.dtype == bool else extreme(x, dim)
        places = lax.broadcasted_iota(np.int64, x.shape, dim)
        reached = reaches(x, values) | (x != x)
        return values, lax.cummax(jnp.where(reached, places, 0), dim)

    return run


form("cummax")(_running(lax.cummax, jnp.greater_equal))
form("cummin")(_running(lax.cummin, jnp.less_equal))
