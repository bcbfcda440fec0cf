"""Convolution over any number of spatial dimensions: unfold the windows into columns, then one matrix product.

Layouts are PyTorch's: x is (N, C, *size), w is (O, C / groups, *kernel), y is (N, O, *out). With K = C / groups * taps
and one column for each output position of a block of images, all three maps are products of matrices, for each group:

    y = w @ columns(x)        dw = dy @ columns(x)^T        dx = fold(w^T @ dy)

where fold, the adjoint of columns, adds every column back to the inputs it was read from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .windows import Pairs, Slices, taps

# The columns of one block should stay in cache between being written and being multiplied.
BLOCK_BYTES = 4 << 20


def output_shape(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Pairs, dilation: Sequence[int]
) -> tuple[int, ...]:
    """The spatial shape of the output: floor((size + padding - dilation * (kernel - 1) - 1) / stride) + 1."""
    padded = [n + before + after for n, (before, after) in zip(size, padding, strict=True)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(r > n for r, n in zip(reach, padded, strict=True)):
        raise RuntimeError(
            f"the kernel does not fit into the input: it reaches over {tuple(reach)} (kernel {tuple(kernel)}, dilation "
            f"{tuple(dilation)}), the padded input has size {tuple(padded)}; add padding or use a smaller kernel"
        )
    return tuple((n - r) // s + 1 for n, r, s in zip(padded, reach, stride, strict=True))


def forward(
    x: Any, w: Any, stride: Sequence[int], padding: Pairs, dilation: Sequence[int], groups: int = 1
) -> np.ndarray[Any, Any]:
    """y[n, o, p] = sum over c, t of w[o, c, t] * x[n, c, p * stride + t * dilation - before]."""
    out = output_shape(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = np.empty((len(x), len(w), *out), np.result_type(x, w))
    matrix = _weight_matrix(w, groups)
    for block in _blocks(x.shape, w.shape, out, tuple(stride), tuple(padding), tuple(dilation), y.itemsize):
        for images, columns in _columns(x, block, groups):
            target = y[images, :, block.rows].swapaxes(0, 1)
            target[...] = (matrix @ columns).reshape(target.shape)
    return y


def input_gradient(
    g: Any,
    w: Any,
    input_shape: Sequence[int],
    stride: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int = 1,
) -> np.ndarray[Any, Any]:
    """The gradient for x, where g is the gradient of y; as a map of g, it is transposed convolution."""
    shape = tuple(input_shape)
    # Unfolding is cheaper than folding, until there are many more channels to unfold.
    if all(s == 1 for s in stride) and (len(w) <= 2 * shape[1] or prod(w.shape[2:]) == 1) and prod(shape):
        return _input_gradient_as_forward(g, w, shape[2:], padding, dilation, groups)
    gx = np.zeros(shape, np.result_type(g, w))
    matrix = _weight_matrix(w, groups).swapaxes(1, 2)
    # A group with one output channel has an outer product here, which BLAS is slow at.
    multiply = np.multiply if len(w) == groups else np.matmul
    for block in _blocks(gx.shape, w.shape, g.shape[2:], tuple(stride), tuple(padding), tuple(dilation), gx.itemsize):
        for images in block.images:
            rows = _channels_first(g[images, :, block.rows], groups)
            target = gx[images].swapaxes(0, 1)
            columns = multiply(matrix, rows).reshape(len(target), *block.kernel, target.shape[1], *block.out)
            for tap, outputs, inputs in block.taps:
                target[:, :, *inputs] += columns[:, *tap, :, *outputs]
    return gx


def _input_gradient_as_forward(
    g: Any, w: Any, size: Sequence[int], padding: Pairs, dilation: Sequence[int], groups: int
) -> np.ndarray[Any, Any]:
    """With stride 1 the adjoint of a convolution is one too: of the flipped kernel, with inputs and outputs swapped."""
    kernel = w.shape[2:]
    by_group = w.reshape(groups, len(w) // groups, *w.shape[1:]).swapaxes(1, 2)
    adjoint = np.flip(by_group.reshape(groups * w.shape[1], len(w) // groups, *kernel), tuple(range(2, w.ndim)))
    before = [d * (k - 1) - p for d, k, (p, _) in zip(dilation, kernel, padding, strict=True)]
    after = [n + p - m for n, m, (p, _) in zip(size, g.shape[2:], padding, strict=True)]
    return forward(g, adjoint, (1,) * len(kernel), tuple(zip(before, after, strict=True)), dilation, groups)


def weight_gradient(
    g: Any,
    x: Any,
    weight_shape: Sequence[int],
    stride: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int = 1,
) -> np.ndarray[Any, Any]:
    """The gradient for w, where g is the gradient of y."""
    gw = np.zeros(tuple(weight_shape), np.result_type(g, x))
    matrix = _weight_matrix(gw, groups)  # a view
    for block in _blocks(x.shape, gw.shape, g.shape[2:], tuple(stride), tuple(padding), tuple(dilation), gw.itemsize):
        for images, columns in _columns(x, block, groups):
            matrix += _channels_first(g[images, :, block.rows], groups) @ columns.swapaxes(1, 2)
    return gw


class _Block(NamedTuple):
    """A range of output rows (positions along the first spatial dimension), and the images, a few at a time."""

    rows: slice
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    taps: list[tuple[tuple[int, ...], Slices, Slices]]
    images: list[slice]
    pointwise: bool


@lru_cache(maxsize=256)
def _blocks(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    out: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
    itemsize: int,
) -> list[_Block]:
    """Cut the work so that the columns of a block, or its outputs if they are larger, fill BLOCK_BYTES at most."""
    (batch, channels, *size), (filters, _, *kernel) = input_shape, weight_shape
    row_bytes = max(channels * prod(kernel), filters) * prod(out[1:]) * itemsize
    height = _clamp(BLOCK_BYTES // max(1, row_bytes), out[0])
    count = _clamp(BLOCK_BYTES // max(1, row_bytes * height), batch)
    images = [slice(n, min(n + count, batch)) for n in range(0, batch, count)]
    plain = all(k == s == 1 and p == 0 for k, s, (p, _) in zip(kernel, stride, padding, strict=True))
    pointwise = plain and list(out) == size
    blocks = []
    for top in range(0, out[0], height):
        part = (min(height, out[0] - top), *out[1:])
        # Output rows from top onwards are those of a convolution with top * stride fewer rows of padding.
        before = [p for p, _ in padding]
        before[0] -= top * stride[0]
        inside = list(taps(size, part, kernel, stride, before, dilation))
        blocks.append(_Block(slice(top, top + part[0]), part, tuple(kernel), inside, images, pointwise))
    return blocks


def _columns(x: Any, block: _Block, groups: int) -> Iterator[tuple[slice, np.ndarray[Any, Any]]]:
    """The windows of a block as matrices (groups, K, images * positions), for one slice of the images after another.

    One buffer serves all slices of the same length; what lies in the padding is never written and stays zero.
    """
    buffer: Any = None
    for images in block.images:
        if block.pointwise:
            yield images, _channels_first(x[images, :, block.rows], groups)
            continue
        source = x[images].swapaxes(0, 1)
        shape = (len(source), *block.kernel, source.shape[1], *block.out)
        if buffer is None or buffer.shape != shape:
            buffer = np.zeros(shape, x.dtype)
        for tap, outputs, inputs in block.taps:
            buffer[:, *tap, :, *outputs] = source[:, :, *inputs]
        rows = len(source) // groups * prod(block.kernel)
        yield images, buffer.reshape(groups, rows, source.shape[1] * prod(block.out))


def _channels_first(a: Any, groups: int) -> np.ndarray[Any, Any]:
    """(N, C, *size) as contiguous (groups, C / groups, N * positions); a view if it can be, so for one whole image."""
    batch, channels, *size = a.shape
    return np.ascontiguousarray(a.swapaxes(0, 1)).reshape(groups, channels // groups, batch * prod(size))


def _weight_matrix(w: Any, groups: int) -> np.ndarray[Any, Any]:
    """(O, C / groups, *kernel) as contiguous (groups, O / groups, K)."""
    return np.ascontiguousarray(w).reshape(groups, len(w) // groups, prod(w.shape[1:]))


def _clamp(n: int, most: int) -> int:
    return max(1, min(n, most))
