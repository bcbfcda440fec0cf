"""The p-norm."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from ....errors import PullbackError, fail
from ....ops.reduction import count
from . import form
from .reduction import axes, total


@form("norm")
def norm(x: Any, p: float = 2.0, dim: Any = None, keepdim: bool = False) -> Any:
    """(sum over dim of |x|^p)^(1/p)"""
    if p == 2:
        return jnp.sqrt(total(x * x, dim, keepdim))
    size = jnp.abs(x)
    if math.isinf(p):
        if count(x.shape, dim) == 0:
            fail(
                PullbackError, f"norm: the {p} norm of no elements is not defined", "fold a dimension that has elements"
            )
        return (jnp.max if p > 0 else jnp.min)(size, axes(x, dim), keepdims=keepdim)
    if p == 0:
        return total((x != 0).astype(x.dtype), dim, keepdim)
    if p == 1:
        return total(size, dim, keepdim)
    return total(size**p, dim, keepdim) ** (1 / p)
