"""Pooling over one, two or three spatial dimensions of (N, C, *size), and the adjoints of each.

Window pooling takes the taps of the window one by one, each for all windows at once; adaptive pooling takes one
dimension after another, since its bins are products of intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, reduce
from math import prod
from typing import Any

import numpy as np

from .windows import Slices, taps

Array = np.ndarray[Any, Any]


def output_shape(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool = False,
) -> tuple[int, ...]:
    """The number of windows along each dimension; with ceil_mode a last window may overhang the padded input."""
    out = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        free = n + 2 * p - d * (k - 1) - 1
        count = (-(-free // s) if ceil_mode else free // s) + 1
        # A window has to start inside the input or the padding before it.
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1
        out.append(count)
    if min(out) < 1:
        raise RuntimeError(
            f"pooling would give an output of size {tuple(out)}: input {tuple(size)}, kernel {tuple(kernel)}, padding "
            f"{tuple(padding)}, dilation {tuple(dilation)}; use a smaller kernel or more padding"
        )
    return tuple(out)


def max_pool(
    x: Any,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """The maximum of each window, and where it stands in the flattened spatial plane (int64).

    The first of equal maxima wins. A NaN is the maximum of its window, the last one if there are several.
    """
    size = x.shape[2:]
    window, offsets, first = _window(size, tuple(kernel), tuple(stride), tuple(padding), tuple(dilation), ceil_mode)
    values = np.full((*x.shape[:2], *first.shape), -np.inf, x.dtype)
    # Taps run backwards and an equal one takes over, so the first wins. Ranks only grow, so maximum means replace.
    rank = np.zeros(values.shape, np.min_scalar_type(len(window)))
    for r, (_, outputs, inputs) in enumerate(reversed(window), 1):
        candidate, best = x[:, :, *inputs], values[:, :, *outputs]
        winner = rank[:, :, *outputs]
        np.maximum(winner, (candidate >= best) * rank.dtype.type(r), out=winner)
        np.maximum(best, candidate, out=best)
    if np.isnan(values).any():
        for r, (_, outputs, inputs) in zip(range(len(window), 0, -1), window, strict=True):
            np.copyto(rank[:, :, *outputs], r, where=np.isnan(x[:, :, *inputs]))
    if not rank.all():
        raise RuntimeError(
            f"a pooling window holds padding only: input {size}, kernel {tuple(kernel)}, padding {tuple(padding)}, "
            f"dilation {tuple(dilation)}; use less padding or dilation"
        )
    indices = offsets.take(rank)
    indices += first
    return values, indices


@lru_cache(maxsize=256)
def _window(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    ceil_mode: bool,
) -> tuple[list[tuple[tuple[int, ...], Slices, Slices]], Array, Array]:
    """The taps of a window, how far each lies from its start (a 0, then the last tap first), and where windows start.

    Positions count in the flattened plane. They are linear in the coordinates, so tap and start just add.
    """
    out = output_shape(size, kernel, stride, padding, dilation, ceil_mode)
    window = list(taps(size, out, kernel, stride, padding, dilation))
    steps = np.array([prod(size[i + 1 :]) for i in range(len(size))])
    offsets = [0, *(int(np.dot(np.multiply(tap, dilation), steps)) for tap, _, _ in reversed(window))]
    starts = [(np.arange(m) * s - p) * step for m, s, p, step in zip(out, stride, padding, steps, strict=True)]
    return window, np.array(offsets, np.int64), _outer(np.add, starts)


def max_pool_gradient(g: Any, indices: Any, input_shape: Sequence[int]) -> Array:
    """Add each g to the position its value came from; as a map of g, the adjoint of gather_at."""
    gx = np.zeros(tuple(input_shape), g.dtype)
    np.add.at(gx.reshape(-1), _flat(indices, input_shape).reshape(-1), np.ascontiguousarray(g).reshape(-1))
    return gx


def gather_at(x: Any, indices: Any) -> Array:
    """The values of x at indices into its flattened spatial planes; indices of one channel serve all."""
    taken: Array = np.ascontiguousarray(x).reshape(-1).take(_flat(indices, x.shape))
    return taken


def max_unpool(x: Any, indices: Any, size: Sequence[int]) -> Array:
    """Put each x at its index into a plane of zeros; the last one stays where several go."""
    if indices.size and not 0 <= (wrong := indices.max() if indices.min() >= 0 else indices.min()) < prod(size):
        raise IndexError(f"Found an invalid max index: {wrong} (output volumes are of size {'x'.join(map(str, size))})")
    y = np.zeros((*x.shape[:2], *size), x.dtype)
    y.reshape(-1)[_flat(indices, y.shape)] = x
    return y


def avg_pool(
    x: Any,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The sum of each window divided by the number of its elements, or by divisor_override."""
    size, ones = x.shape[2:], [1] * len(kernel)
    out = output_shape(size, kernel, stride, padding, ones, ceil_mode)
    y = np.zeros((*x.shape[:2], *out), x.dtype)
    for _, outputs, inputs in taps(size, out, kernel, stride, padding, ones):
        y[:, :, *outputs] += x[:, :, *inputs]
    y /= _divisor(size, out, kernel, stride, padding, count_include_pad, divisor_override).astype(x.dtype)
    return y


def avg_pool_gradient(
    g: Any,
    input_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The adjoint of avg_pool: each g, divided as there, goes to all elements of its window."""
    size, out = input_shape[2:], g.shape[2:]
    gx = np.zeros(tuple(input_shape), g.dtype)
    share = g / _divisor(size, out, kernel, stride, padding, count_include_pad, divisor_override).astype(g.dtype)
    for _, outputs, inputs in taps(size, out, kernel, stride, padding, [1] * len(kernel)):
        gx[:, :, *inputs] += share[:, :, *outputs]
    return gx


def adaptive_avg_pool(x: Any, output_size: Sequence[int]) -> Array:
    """The mean of each bin, where bin i of m covers floor(i * n / m) up to ceil((i + 1) * n / m)."""
    if prod(output_size) == 1:  # one long sum is quicker than several short ones
        whole: Array = x.reshape(*x.shape[:2], prod(x.shape[2:])).mean(2).reshape(*x.shape[:2], *output_size)
        return whole
    for axis, count in enumerate(output_size, 2):
        if count and x.shape[axis] % count == 0:  # all bins have one size
            x = x.reshape(*x.shape[:axis], count, x.shape[axis] // count, *x.shape[axis + 1 :]).mean(axis + 1)
            continue
        y = np.empty((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)
        for one, members in _bins(x.shape[axis], count, axis):
            x[members].mean(axis, keepdims=True, out=y[one])
        x = y
    pooled: Array = x
    return pooled


def adaptive_avg_pool_gradient(g: Any, input_shape: Sequence[int]) -> Array:
    """The adjoint of adaptive_avg_pool: each g spreads evenly over its bin."""
    for axis in range(g.ndim - 1, 1, -1):
        size, count = input_shape[axis], g.shape[axis]
        if count and size % count == 0:
            g = (g / (size // count)).repeat(size // count, axis)
            continue
        gx = np.zeros((*g.shape[:axis], input_shape[axis], *g.shape[axis + 1 :]), g.dtype)
        for one, members in _bins(input_shape[axis], g.shape[axis], axis):
            gx[members] += g[one] / (members[axis].stop - members[axis].start)
        g = gx
    spread: Array = g
    return spread


def adaptive_max_pool(x: Any, output_size: Sequence[int]) -> tuple[Array, Array]:
    """The maximum of each bin and its index, chosen among equals and NaNs as in max_pool; see max_pool_gradient."""
    indices = np.broadcast_to(np.arange(prod(x.shape[2:]), dtype=np.int64).reshape(x.shape[2:]), x.shape)
    # The last dimension first: the first maximum of the first row that holds it comes first in the plane.
    for axis in range(x.ndim - 1, 1, -1):
        count = output_size[axis - 2]
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        values, positions = np.empty(shape, x.dtype), np.empty(shape, np.int64)
        for one, members in _bins(x.shape[axis], count, axis):
            at = _argmax(x[members], axis)
            values[one] = np.take_along_axis(x[members], at, axis)
            positions[one] = np.take_along_axis(indices[members], at, axis)
        x, indices = values, positions
    return x, indices


def _argmax(x: Any, axis: int) -> Array:
    """The first maximum along an axis, or else the last NaN."""
    at: Array = x.argmax(axis, keepdims=True)
    nan = np.isnan(x)
    if nan.any():
        last = x.shape[axis] - 1 - np.flip(nan, axis).argmax(axis, keepdims=True)
        at = np.where(nan.any(axis, keepdims=True), last, at)
    return at


def _bins(size: int, count: int, axis: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Along one axis: the place of each output, and the elements of its bin."""
    whole = (slice(None),) * axis
    for i in range(count):
        yield (*whole, slice(i, i + 1)), (*whole, slice(i * size // count, -(-(i + 1) * size // count)))


def _divisor(
    size: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    include_padding: bool,
    override: int | None,
) -> Array:
    """How many elements each window has: an overhang beyond the padding never counts, the padding does if asked."""
    if override is not None:
        return np.array(override)
    counts = []
    for n, m, k, s, p in zip(size, out, kernel, stride, padding, strict=True):
        start = np.arange(m) * s - p
        low, high = (-p, n + p) if include_padding else (0, n)
        counts.append(np.minimum(start + k, high) - np.maximum(start, low))
    return _outer(np.multiply, counts)


def _outer(combine: np.ufunc, vectors: Sequence[Array]) -> Array:
    return reduce(combine.outer, vectors)


def _flat(indices: Any, shape: Sequence[int]) -> Array:
    """Indices into one plane of (N, C, *size), made indices into the whole flattened array."""
    planes = np.arange(shape[0] * shape[1]).reshape(shape[0], shape[1], *[1] * (indices.ndim - 2))
    flat: Array = indices + planes * prod(shape[2:])
    return flat
