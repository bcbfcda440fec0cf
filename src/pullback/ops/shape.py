"""Ops that move elements and compute nothing: reshape, permute, expand, slices ..."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .record import Shape, Spec, op, per_input, same
from .samples import Sample, randn


def _reshape(x: Any, shape: Shape) -> Any:
    return x.reshape(shape)


def _expand(x: Any, shape: Shape) -> Any:
    if x.ndim == 0 and x.dtype.isbuiltin == 1:  # np.broadcast_to takes 5 us
        return np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    return np.broadcast_to(x, shape)


reshape = op(
    "reshape", "the same elements, in order, under another shape", inputs="x", torch="torch.reshape(x, shape)",
    numpy=_reshape, infer=lambda x, shape: Spec(shape, x.dtype), dtypes=per_input, view=True,
    vjp={"x": lambda g, x_shape: reshape(g, shape=x_shape)},
    samples=lambda: [
        Sample((randn(3, 4),), {"shape": (2, 6)}),
        Sample((randn(3, 4).T,), {"shape": (12,)}, note="must copy"),
        Sample((randn(),), {"shape": (1, 1)}, note="0-d"),
        Sample((randn(0, 3),), {"shape": (3, 0, 2)}, note="empty"),
    ],
)  # fmt: skip

expand = op(
    "expand", "x broadcast to a larger shape", inputs="x", torch="x.expand(shape)",
    numpy=_expand, infer=lambda x, shape: Spec(shape, x.dtype), dtypes=per_input, view=True,
    # each element was used many times: the cotangents of its copies add up (the tape sums what was broadcast)
    vjp={"x": lambda g: g}, broadcasts=True,
    samples=lambda: [
        Sample((randn(3, 1),), {"shape": (2, 3, 4)}),
        Sample((randn(),), {"shape": (2, 2)}, note="0-d"),
        Sample((randn(1, 3),), {"shape": (0, 3)}, note="to empty"),
        Sample((randn(4, 3).T[:, :1],), {"shape": (3, 5)}, note="strided"),
    ],
)  # fmt: skip

permute = op(
    "permute", "out[i_dims[0], ...] = x[i_0, ...]", inputs="x", torch="torch.permute(x, dims)",
    numpy=lambda x, dims: x.transpose(dims), infer=lambda x, dims: Spec(tuple(x.shape[d] for d in dims), x.dtype),
    dtypes=per_input, view=True,
    vjp={"x": lambda g, dims: permute(g, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__)))},
    samples=lambda: [
        Sample((randn(2, 3, 4),), {"dims": (2, 0, 1)}),
        Sample((randn(2, 3),), {"dims": (1, 0)}),
        Sample((randn(),), {"dims": ()}, note="0-d"),
        Sample((randn(0, 3),), {"dims": (1, 0)}, note="empty"),
    ],
)  # fmt: skip


# -- basic indexing ----------------------------------------------------------------------------------------------------


def _slice(x: Any, key: Key) -> Any:
    out = x[key]
    return out if type(out) is np.ndarray else x[(*key, ...)]  # all integers: a 0-d view, not NumPy's scalar


def _unslice(g: Any, shape: Shape, key: Key) -> Any:
    out = np.zeros(shape, g.dtype)
    out[key] = g
    return out


def sliced(shape: Shape, key: Key) -> Shape:
    """The shape of x[key]."""
    return np.broadcast_to(np.int8(0), shape)[(*key, ...) if ... not in key else key].shape


slice_ = op(
    "slice", "x[key], key of integers, slices, None and ...", inputs="x", torch="x[key]",
    numpy=_slice, infer=lambda x, key: Spec(sliced(x.shape, key), x.dtype), dtypes=per_input, view=True,
    vjp={"x": lambda g, x_shape, key: unslice(g, shape=x_shape, key=key)},
    samples=lambda: [
        Sample((randn(4, 5),), {"key": (1,)}),
        Sample((randn(4, 5),), {"key": (slice(1, 3), -2)}),
        Sample((randn(2, 3, 4),), {"key": (..., None, slice(None, None, 2))}),
        Sample((randn(3, 4),), {"key": (2, 3)}, note="one element"),
        Sample((randn(),), {"key": (None, ...)}, note="0-d"),
        Sample((randn(4, 3),), {"key": (slice(3, 1),)}, note="to empty"),
        Sample((randn(5, 4).T[::-1],), {"key": (slice(1, None), slice(0, 10, 3))}, note="strided"),
    ],
)  # fmt: skip

unslice = op(
    "unslice", "zeros of `shape` with out[key] = g", inputs="g", torch="torch.zeros(shape, dtype=g.dtype).index_put_((torch.arange(math.prod(shape)).reshape(shape)[key],), g) "
    "if not shape else torch.zeros(math.prod(shape), dtype=g.dtype).index_put((torch.arange(math.prod(shape)).reshape(shape)[key],), g).reshape(shape)",
    numpy=_unslice, infer=lambda g, shape, key: Spec(shape, g.dtype), dtypes=per_input,
    vjp={"g": lambda g, key: slice_(g, key=key)},
    samples=lambda: [
        Sample((randn(5),), {"shape": (4, 5), "key": (1,)}),
        Sample((randn(2, 3).T,), {"shape": (7, 2), "key": (slice(1, None, 2),)}, note="strided"),
        Sample((randn(),), {"shape": (3, 4), "key": (2, 3)}, note="0-d"),
        Sample((randn(2, 0),), {"shape": (2, 3), "key": (..., slice(3, 1))}, note="empty"),
        Sample((randn(1, 3),), {"shape": (3,), "key": (None, ...)}, note="new dimension"),
    ],
)  # fmt: skip
