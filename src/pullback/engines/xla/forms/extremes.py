"""Ops that pick elements: the largest, the smallest, the middle one, the most frequent, and where they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....dtypes import BOOL, FLOATS, I64
from ....errors import DTypeError, RangeError, fail
from ....ops.extremes import nonempty
from . import FORMS
from .reduction import axes

Pick = Callable[..., Any]  # (x, dim) -> index


def extreme(name: str, fold: Callable[..., Any]) -> Callable[..., Any]:
    """Over some dims, or all."""

    def run(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        nonempty(name, x, dim)
        return fold(x, axes(x, dim), keepdims=keepdim)

    return run


FORMS.update(
    amax=extreme("amax", jnp.max),
    amin=extreme("amin", jnp.min),
    max=extreme("max", jnp.max),
    min=extreme("min", jnp.min),
)

# -- one element of all ------------------------------------------------------------------------------------------------


def middle(x: Any, skip: bool) -> Any:
    """The lower median of all x. A NaN is the median, or with `skip`, does not count."""
    x = jnp.sort(x.reshape(-1))  # NaN comes last
    if x.size == 0:
        return jnp.asarray(jnp.nan if x.dtype in FLOATS else np.iinfo(x.dtype).min, x.dtype)
    if skip:
        return x[jnp.maximum(jnp.sum(x == x) - 1, 0) // 2]
    return jnp.where(x[-1] == x[-1], x[(x.size - 1) // 2], x[-1])


FORMS.update(median=lambda x: middle(x, skip=False), nanmedian=lambda x: middle(x, skip=True))

# -- one element along a dim, and its index ----------------------------------------------------------------------------


def taken(x: Any, index: Any, dim: int) -> Any:
    """x at index, which lacks the dim."""
    return jnp.squeeze(jnp.take_along_axis(x, jnp.expand_dims(index, dim), dim), dim)


def picking(name: str, pick: Pick) -> Callable[..., Any]:
    """The element that `pick` finds, and its index."""

    def run(x: Any, dim: int, keepdim: bool = False, **params: Any) -> tuple[Any, Any]:
        if x.ndim == 0:
            pick(x.reshape(1), 0, **params)  # for its checks
            return x, jnp.zeros((), I64)
        nonempty(name, x, dim)
        index = jnp.expand_dims(pick(x, dim, **params), dim)
        out = jnp.take_along_axis(x, index, dim)
        return (out, index) if keepdim else (jnp.squeeze(out, dim), jnp.squeeze(index, dim))

    return run


def _middle(x: Any, dim: int, skip: bool = False) -> Any:
    """Where the lower median stands. A NaN is the median, or with `skip`, does not count."""
    missing, n = jnp.sum(x != x, dim), x.shape[dim]
    place = jnp.maximum(n - missing - 1, 0) // 2 if skip else jnp.where(missing > 0, n - missing, (n - 1) // 2)
    return taken(jnp.argsort(x, dim, stable=True), place, dim)


def _most_frequent(x: Any, dim: int) -> Any:
    """In order, equal elements are neighbours: the first of the longest runs, and the last place of it."""
    order = jnp.argsort(x, dim, stable=True)
    line = jnp.moveaxis(jnp.take_along_axis(x, order, dim), dim, -1)
    place = lax.broadcasted_iota(I64, line.shape, line.ndim - 1)
    starts = jnp.where(line[..., 1:] != line[..., :-1], place[..., 1:], 0)
    starts = jnp.concatenate([place[..., :1], starts], -1)
    run = place - lax.cummax(starts, line.ndim - 1)
    return taken(order, jnp.argmax(run, -1), dim)


def _kth(x: Any, dim: int, k: int) -> Any:
    if not 1 <= k <= x.shape[dim]:
        fail(RangeError, f"kthvalue(): k = {k} is out of range for dim {dim} of size {x.shape[dim]}", "k counts from 1")
    return jnp.take(jnp.argsort(x, dim, stable=True), k - 1, dim)


FORMS.update(
    max_along=picking("max", jnp.argmax),
    min_along=picking("min", jnp.argmin),
    median_along=picking("median", _middle),
    nanmedian_along=picking("nanmedian", lambda x, dim: _middle(x, dim, skip=True)),
    mode=picking("mode", _most_frequent),
    kthvalue=picking("kthvalue", _kth),
)

# -- indices alone -----------------------------------------------------------------------------------------------------


def argument(name: str, find: Callable[..., Any]) -> Callable[..., Any]:
    """The first index; with dim None, into the flat array."""

    def run(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        if x.dtype == BOOL:
            fail(DTypeError, f"{name}() does not take booleans", "convert them first: x.int()")
        nonempty(name, x, dim)
        return find(x, dim if x.ndim else None, keepdims=keepdim)

    return run


FORMS.update(argmax=argument("argmax", jnp.argmax), argmin=argument("argmin", jnp.argmin))
