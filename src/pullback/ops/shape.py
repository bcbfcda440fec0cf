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
    if x.flags.c_contiguous and x.dtype.isbuiltin == 1 and x.size:  # np.broadcast_to takes 5 us
        new = len(shape) - x.ndim
        fits = new >= 0 and all(a in (b, 1) for a, b in zip(x.shape, shape[new:], strict=True))
        if fits:
            strides = (0,) * new + tuple(0 if a != b else s for a, b, s in zip(x.shape, shape[new:], x.strides, strict=True))
            return np.ndarray(shape, x.dtype, x, 0, strides)
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
