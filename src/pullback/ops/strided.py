"""Views by strides: diagonals, sliding windows, any strides at all; and their adjoints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as strided

from .record import Shape, Spec, arithmetic, op, per_input
from .samples import Sample, randn
from .shape import laid


def _diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    out = x.diagonal(offset, dim1, dim2)
    if x.flags.writeable:
        out.flags.writeable = True
    return out


def _undiagonal(g: Any, shape: Shape, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    out = np.zeros(shape, g.dtype)
    _diagonal(out, offset, dim1, dim2)[...] = g
    return out


def diagonal_shape(shape: Shape, offset: int, dim1: int, dim2: int) -> Shape:
    """The shape of x.diagonal(...): dim1 and dim2 are gone, the diagonal comes last."""
    if dim1 == dim2:
        raise ValueError(f"dim1 and dim2 must differ, both are {dim1}")
    length = min(shape[dim1] + min(offset, 0), shape[dim2] - max(offset, 0))
    return (*(n for d, n in enumerate(shape) if d not in (dim1, dim2)), max(length, 0))


diagonal = op(
    "diagonal", "out[..., i] = x[..., i, i + offset]", inputs="x", torch="torch.diagonal(x, offset, dim1, dim2)",
    numpy=_diagonal,
    infer=lambda x, offset=0, dim1=0, dim2=1: Spec(diagonal_shape(x.shape, offset, dim1, dim2), x.dtype),
    dtypes=per_input, view=True,
    vjp={"x": lambda g, x_shape, offset, dim1, dim2: undiagonal(g, shape=x_shape, offset=offset, dim1=dim1, dim2=dim2)},
    samples=lambda: [
        Sample((randn(3, 4),)),
        Sample((randn(2, 3, 4),), {"offset": 1, "dim1": 2, "dim2": 0}),
        Sample((randn(4, 3).T,), {"offset": -1}, note="strided"),
        Sample((randn(3, 3),), {"offset": 5}, note="to empty"),
        Sample((randn(0, 3),), note="empty"),
    ],
)  # fmt: skip

undiagonal = op(
    "undiagonal", "zeros of `shape`, but out[..., i, i + offset] = g[..., i]", inputs="g",
    torch=laid(".diagonal(offset, dim1, dim2)"),
    numpy=_undiagonal, infer=lambda g, shape, offset=0, dim1=0, dim2=1: Spec(shape, g.dtype), dtypes=per_input,
    vjp={"g": lambda g, offset, dim1, dim2: diagonal(g, offset=offset, dim1=dim1, dim2=dim2)},
    samples=lambda: [
        Sample((randn(3),), {"shape": (3, 4)}),
        Sample((randn(3, 1),), {"shape": (2, 3, 4), "offset": 1, "dim1": 2, "dim2": 0}),
        Sample((randn(6)[::-2],), {"shape": (4, 4), "offset": -1}, note="negative step"),
        Sample((randn(0),), {"shape": (3, 3), "offset": 5}, note="off the matrix"),
        Sample((randn(0),), {"shape": (0, 3)}, note="empty"),
    ],
)  # fmt: skip


def _unfold(x: Any, dim: int, size: int, step: int) -> Any:
    shape = windows_shape(x.shape, dim, size, step)
    if not x.ndim:
        return x.reshape(shape)
    return strided(x, shape, (*x.strides[:dim], x.strides[dim] * step, *x.strides[dim + 1 :], x.strides[dim]))


def _fold(g: Any, shape: Shape, dim: int, size: int, step: int) -> Any:
    out = np.zeros(shape, g.dtype)
    if not shape:
        return out + g.sum()
    start = (slice(None),) * dim
    for tap in range(size):
        out[(*start, slice(tap, tap + (g.shape[dim] - 1) * step + 1, step))] += g[..., tap]
    return out


def windows_shape(shape: Shape, dim: int, size: int, step: int) -> Shape:
    """The shape of x.unfold(dim, size, step)."""
    n = shape[dim] if shape else 1
    if not 0 <= size <= n or step <= 0:
        raise ValueError(f"windows of size {size} and step {step} do not fit into dimension {dim} of size {n}")
    return (*shape[:dim], (n - size) // step + 1, *shape[dim + 1 :], size) if shape else (size,)


unfold = op(
    "unfold", "out[..., k, ..., t] = x[..., k * step + t, ...]", inputs="x", torch="x.unfold(dim, size, step)",
    numpy=_unfold, infer=lambda x, dim, size, step: Spec(windows_shape(x.shape, dim, size, step), x.dtype),
    dtypes=per_input, view=True,
    # an element that lies in several windows gets the sum of its cotangents
    vjp={"x": lambda g, x_shape, dim, size, step: fold(g, shape=x_shape, dim=dim, size=size, step=step)},
    samples=lambda: [
        Sample((randn(7),), {"dim": 0, "size": 3, "step": 1}),
        Sample((randn(2, 7),), {"dim": 1, "size": 2, "step": 3}, note="gaps"),
        Sample((randn(3, 6).T,), {"dim": 0, "size": 4, "step": 2}, note="strided"),
        Sample((randn(),), {"dim": 0, "size": 1, "step": 1}, note="0-d"),
        Sample((randn(4, 0),), {"dim": 0, "size": 2, "step": 1}, note="empty"),
        Sample((randn(4),), {"dim": 0, "size": 0, "step": 1}, note="empty windows"),
    ],
)  # fmt: skip

fold = op(
    "fold", "zeros of `shape`, with window k of g added at k * step", inputs="g",
    torch=laid(".unfold(dim, size, step)"),
    numpy=_fold, infer=lambda g, shape, dim, size, step: Spec(shape, g.dtype), dtypes=arithmetic,
    flops=lambda arrays, params, out: math.prod(arrays[0].shape),
    vjp={"g": lambda g, dim, size, step: unfold(g, dim=dim, size=size, step=step)},
    samples=lambda: [
        Sample((randn(5, 3),), {"shape": (7,), "dim": 0, "size": 3, "step": 1}),
        Sample((randn(2, 2, 2),), {"shape": (2, 7), "dim": 1, "size": 2, "step": 3}, note="gaps"),
        Sample((randn(4, 3, 2).T,), {"shape": (6, 3), "dim": 0, "size": 4, "step": 2}, note="strided"),
        Sample((randn(1),), {"shape": (), "dim": 0, "size": 1, "step": 1}, note="0-d"),
        Sample((randn(3, 0, 2),), {"shape": (4, 0), "dim": 0, "size": 2, "step": 1}, note="empty"),
    ],
)  # fmt: skip


def _as_strided(x: Any, size: Shape, stride: Shape, offset: int = 0) -> Any:
    check_reach(x.size, size, stride, offset)
    flat = x.reshape(-1)
    return strided(flat[offset:], size, tuple(s * flat.strides[0] for s in stride))


def _unstrided(g: Any, shape: Shape, size: Shape, stride: Shape, offset: int = 0) -> Any:
    out = np.zeros(math.prod(shape), g.dtype)
    at = np.array(offset)
    for n, s in zip(size, stride, strict=True):
        at = at[..., None] + np.arange(n) * s
    np.add.at(out, at.reshape(-1), g.reshape(-1))
    return out.reshape(shape)


def check_reach(count: int, size: Shape, stride: Shape, offset: int) -> None:
    """Strides must stay inside the memory of `count` elements."""
    if len(size) != len(stride) or min((*stride, offset), default=0) < 0:
        raise ValueError(f"size {list(size)} needs as many strides, none negative, and an offset of at least 0")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if math.prod(size) and last >= count:
        raise ValueError(
            f"size {list(size)}, stride {list(stride)} and offset {offset} reach element {last} of {count}"
        )


as_strided = op(
    "as_strided", "out[i] = memory of x[offset + sum(i * stride)]", inputs="x",
    torch="torch.as_strided(x, size, stride, offset)",
    numpy=_as_strided, infer=lambda x, size, stride, offset=0: Spec(size, x.dtype), dtypes=per_input, view=True,
    vjp={"x": lambda g, x_shape, size, stride, offset:
         unstrided(g, shape=x_shape, size=size, stride=stride, offset=offset)},
    samples=lambda: [
        Sample((randn(12),), {"size": (3, 2), "stride": (4, 1), "offset": 1}),
        Sample((randn(3, 4),), {"size": (5, 3), "stride": (1, 2)}, note="overlapping"),
        Sample((randn(3),), {"size": (2, 3), "stride": (0, 1)}, note="expanded"),
        Sample((randn(),), {"size": (), "stride": ()}, note="0-d"),
        Sample((randn(0, 3),), {"size": (0, 3), "stride": (3, 1)}, note="empty"),
    ],
)  # fmt: skip

unstrided = op(
    "unstrided", "zeros of `shape`, with g[i] added at offset + sum(i * stride)", inputs="g",
    torch=laid(".as_strided(size, stride, offset)"),
    numpy=_unstrided, infer=lambda g, shape, size, stride, offset=0: Spec(shape, g.dtype), dtypes=arithmetic,
    flops=lambda arrays, params, out: math.prod(arrays[0].shape),
    vjp={"g": lambda g, size, stride, offset: as_strided(g, size=size, stride=stride, offset=offset)},
    samples=lambda: [
        Sample((randn(3, 2),), {"shape": (12,), "size": (3, 2), "stride": (4, 1), "offset": 1}),
        Sample((randn(5, 3),), {"shape": (3, 4), "size": (5, 3), "stride": (1, 2)}, note="overlapping"),
        Sample((randn(3, 2).T,), {"shape": (3,), "size": (2, 3), "stride": (0, 1)}, note="strided"),
        Sample((randn(),), {"shape": (), "size": (), "stride": ()}, note="0-d"),
        Sample((randn(0, 3),), {"shape": (0, 3), "size": (0, 3), "stride": (3, 1)}, note="empty"),
    ],
)  # fmt: skip
