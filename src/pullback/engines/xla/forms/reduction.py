"""Ops that fold dimensions into one number."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ....dtypes import I64
from ....ops.reduction import count, dims_of
from . import form


def axes(x: Any, dim: Any) -> tuple[int, ...]:
    """The dimensions folded; of a number, none."""
    return dims_of(dim, x.ndim) if x.ndim else ()


@form("sum")
def total(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The sum."""
    return jnp.sum(x, axes(x, dim), keepdims=keepdim)


@form("mean")
def mean(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """(sum over dim of x) / n"""
    return total(x, dim, keepdim) / count(x.shape, dim)


@form("count_nonzero")
def count_nonzero(x: Any, dim: Any = None) -> Any:
    """How many x over dim are not 0."""
    return jnp.sum(x != 0, axes(x, dim), dtype=I64)


@form("prod")
def product(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The product."""
    return jnp.prod(x, axes(x, dim), keepdims=keepdim)


@form("var")
def var(x: Any, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    """sum over dim of (x - mean)^2 / (n - correction)"""
    d = x - mean(x, dim, True)
    return total(d * d, dim, keepdim) / max(count(x.shape, dim) - correction, 0)


@form("std")
def std(x: Any, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    """sqrt(var)"""
    return jnp.sqrt(var(x, dim, correction, keepdim))


@form("any")
def one(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Is one x over dim not 0? Of uint8, in uint8."""
    out = jnp.any(x, axes(x, dim), keepdims=keepdim)
    return out.astype(np.uint8) if x.dtype == np.uint8 else out


@form("all")
def every(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Are all x over dim not 0? Of uint8, in uint8."""
    out = jnp.all(x, axes(x, dim), keepdims=keepdim)
    return out.astype(np.uint8) if x.dtype == np.uint8 else out
