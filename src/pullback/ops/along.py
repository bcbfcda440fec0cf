"""Elements at distinct places along a dim: taken out, and laid into zeros. What sorting and picking need to go back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import F32
from .record import Sample, Shape, Spec, op, per_input
from .samples import randn


def places(index: Any, shape: Shape, dim: int) -> Any:
    """Where the elements at index along dim lie in a flat array of this shape. The index may lack the dim."""
    n, inner = shape[dim], math.prod(shape[dim + 1 :])
    outer = math.prod(shape[:dim])
    if index.size == 0:
        return index
    if inner == 1:
        return index.reshape(outer, -1) + np.arange(0, outer * n, n).reshape(outer, 1)
    return (
        (index * inner).reshape(outer, -1, inner)
        + np.arange(0, outer * n * inner, n * inner).reshape(outer, 1, 1)
        + np.arange(inner)
    )


def take(x: Any, index: Any, dim: int) -> Any:
    """x at index along dim."""
    return (
        x.reshape(-1).take(places(index, x.shape, dim)).reshape(index.shape)
        if x.ndim
        else x.reshape(index.shape).copy()
    )


def _lay(g: Any, index: Any, shape: Shape, dim: int) -> Any:
    if not shape:
        return g.reshape(shape).copy()
    out = np.zeros(math.prod(shape), g.dtype)
    if index.size:
        where = places(index, shape, dim)
        out[where] = g.reshape(where.shape)
    return out.reshape(shape)


take_along = op(
    "take_along", "x at index along dim; index names no place twice, and may lack the dim", inputs="x index",
    torch="x.gather(dim, index) if x.ndim == index.ndim else x.gather(dim, index.unsqueeze(dim)).squeeze(dim)",
    numpy=take, infer=lambda x, index, dim: Spec(index.shape, x.dtype), dtypes=per_input,
    vjp={"x": lambda g, index, x_shape, dim: lay_along(g, index, shape=x_shape, dim=dim)},
    samples=lambda: [
        Sample((randn(3, 4), np.array([[0, 2, 1, 1], [1, 0, 0, 2]])), {"dim": 0}),
        Sample((randn(2, 3, 4), np.argsort(randn(2, 3, 4, seed=1), 1)), {"dim": 1}),
        Sample((randn(4, 3).T, np.array([3, 0, 2])), {"dim": 1}, note="strided, without the dim"),
        Sample((randn(2, 3, 4), np.argmax(randn(2, 3, 4, seed=1), 1)), {"dim": 1}, note="without the dim"),
        Sample((randn(), np.array(0)), {"dim": 0}, note="0-d"),
        Sample((randn(3, 0), np.zeros((3, 0), np.int64)), {"dim": 1}, note="empty"),
        Sample((randn(5).astype(F32), np.array([4, 1])), {"dim": 0}, note="float32"),
    ],
)  # fmt: skip

lay_along = op(
    "lay_along", "zeros of `shape`, and g at index along dim; index names no place twice, may lack the dim",
    inputs="g index",
    torch="torch.zeros(shape, dtype=g.dtype).scatter(dim, *((index, g) if len(shape) == g.ndim else"
    " (index.unsqueeze(dim), g.unsqueeze(dim))))",
    numpy=_lay, infer=lambda g, index, shape, dim: Spec(shape, g.dtype), dtypes=per_input,
    vjp={"g": lambda g, index, dim: take_along(g, index, dim=dim)},
    samples=lambda: [
        Sample((randn(2, 4), np.array([[0, 2, 1, 1], [1, 0, 0, 2]])), {"shape": (3, 4), "dim": 0}),
        Sample((randn(4, 3).T, np.argsort(randn(3, 4))), {"shape": (3, 4), "dim": 1}, note="strided"),
        Sample((randn(2, 4), np.argmax(randn(2, 3, 4), 1)), {"shape": (2, 3, 4), "dim": 1}, note="without the dim"),
        Sample((randn(), np.array(0)), {"shape": (), "dim": 0}, note="0-d"),
        Sample((randn(), np.array(2)), {"shape": (3,), "dim": 0}, note="0-d into 1-D"),
        Sample((randn(0), np.zeros(0, np.int64)), {"shape": (0, 3), "dim": 1}, note="empty"),
        Sample((randn(2).astype(F32), np.array([4, 1])), {"shape": (5,), "dim": 0}, note="float32"),
    ],
)  # fmt: skip
