"""Interpolation of (N, C, *size): each spatial dimension is mapped by a sparse matrix of its own.

A matrix is kept as passes, in each of which every row has at most one entry: rows, columns and weights. Its transpose
is the same entries with rows and columns swapped, so gradients are exact and as quick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Pass = tuple[Array, Array, Array | None]  # rows, columns, weights (None: all 1)


class Method(NamedTuple):
    """How values between the given ones are found."""

    mode: str
    align_corners: bool
    antialias: bool


def interpolate(x: Any, size: Sequence[int], scale: Sequence[float] | None, method: Method) -> Array:
    """x at the new size, the last dimension first."""
    for axis in range(x.ndim - 1, 1, -1):
        x = _apply(
            x,
            axis,
            size[axis - 2],
            passes(x.shape[axis], size[axis - 2], _nth(scale, axis - 2), method, x.dtype.char, False),
        )
    resized: Array = x
    return resized


def interpolate_gradient(g: Any, size: Sequence[int], scale: Sequence[float] | None, method: Method) -> Array:
    """The adjoint of interpolate from that size."""
    for axis in range(2, g.ndim):
        g = _apply(
            g,
            axis,
            size[axis - 2],
            passes(size[axis - 2], g.shape[axis], _nth(scale, axis - 2), method, g.dtype.char, True),
        )
    spread: Array = g
    return spread


def _nth(scale: Sequence[float] | None, n: int) -> float | None:
    return None if scale is None else scale[n]


def _apply(x: Any, axis: int, count: int, steps: list[Pass]) -> Array:
    """The matrix times x along an axis."""
    y: Any = None
    for rows, columns, weights in steps:
        part = x.take(columns, axis)
        if weights is not None:
            part *= weights.reshape(-1, *[1] * (x.ndim - 1 - axis))
        if len(rows) == count:
            y = part if y is None else np.add(y, part, out=y)
            continue
        if y is None:
            y = np.zeros((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)
        y[(*[slice(None)] * axis, rows)] += part
    resized: Array = y
    return resized


@lru_cache(maxsize=256)
def passes(size: int, out: int, scale: float | None, method: Method, kind: str, transposed: bool) -> list[Pass]:
    """The matrix that maps `size` values to `out`, or its transpose; positions are computed in PyTorch's precision."""
    reads, weights, inside = _reads(size, out, scale, method, np.float64 if kind == "d" else np.float32)
    inside = np.broadcast_to(inside, reads.shape)
    rows, columns = np.broadcast_to(np.arange(out), reads.shape)[inside], reads[inside]
    entries = None if weights is None else weights[inside]
    if transposed:
        rows, columns = columns, rows
    order = np.argsort(rows, kind="stable")
    rows, columns = rows[order], columns[order]
    entries = None if entries is None else entries[order]
    turn = np.arange(len(rows)) - np.searchsorted(rows, rows)  # how many entries of its row come before
    picks = [turn == k for k in range(turn.max(initial=0) + 1)]
    return [(rows[p], columns[p], None if entries is None else entries[p]) for p in picks]


def _reads(size: int, out: int, scale: float | None, method: Method, real: Any) -> tuple[Array, Array | None, Any]:
    """What each output reads, one row for each of its taps: input positions, weights, and which of these count."""
    mode, align_corners, antialias = method
    i = np.arange(out, dtype=real)
    if align_corners:
        step = real(size - 1) / real(out - 1) if out > 1 else real(0)
    else:
        step = real(1 / scale) if scale is not None and scale > 0 else real(size) / real(out)
    if mode in ("nearest", "nearest-exact"):
        at = i * step if mode == "nearest" else np.maximum((i + real(0.5)) * step - real(0.5), 0) + real(0.5)
        return np.minimum(np.floor(at.astype(np.float32)).astype(np.int64), size - 1)[None], None, True
    if antialias:
        return _antialiased(size, i, step, *WIDE[mode])
    at = i * step if align_corners else (i + real(0.5)) * step - real(0.5)
    if mode != "bicubic":
        at = i if size == out else np.maximum(at, 0)
    first = np.minimum(np.floor(at.astype(np.float32)).astype(np.int64), size - 1)
    t = np.clip(at - first.astype(real), 0, 1)
    offsets = np.array([[-1], [0], [1], [2]] if mode == "bicubic" else [[0], [1]])
    weights = cubic(t - offsets.astype(real), -0.75) if mode == "bicubic" else np.stack([1 - t, t])
    return np.clip(first + offsets, 0, size - 1), weights, True


def _antialiased(
    size: int, i: Array, step: Any, kernel: Callable[[Array], Array], radius: float
) -> tuple[Array, Array, Array]:
    """The kernel, widened by the step where that is over 1, so that it sees every input; weights add up to 1."""
    stretch = max(step, step.dtype.type(1))
    support, centre = stretch * radius, step * (i + step.dtype.type(0.5))
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), size)
    reads = first + np.arange((last - first).max(initial=0))[:, None]
    inside = reads < last
    weights = np.where(inside, kernel((reads.astype(step.dtype) - centre + step.dtype.type(0.5)) / stretch), 0)
    return reads, weights / weights.sum(0), inside


def cubic(x: Array, a: float) -> Array:
    """Keys' cubic convolution kernel; it is 1 at 0, and 0 at other integers and beyond 2."""
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0)).astype(x.dtype)


def lanczos(x: Array) -> Array:
    """A sinc under a window that is a wider sinc."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0).astype(x.dtype)


# Antialiasing kernels and their radius.
WIDE: dict[str, tuple[Callable[[Array], Array], float]] = {
    "bilinear": (lambda x: np.maximum(1 - np.abs(x), 0), 1),
    "bicubic": (lambda x: cubic(x, -0.5), 2),
    "lanczos": (lanczos, 3),
}
