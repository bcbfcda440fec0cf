"""Geometry of sliding windows, shared by convolution and pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

Slices = tuple[slice, ...]
Pairs = Sequence[tuple[int, int]]


def taps(
    size: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    dilation: Sequence[int],
) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """Each tap of the window, the outputs for which it lies inside the input, and the inputs those read.

    Output o reads input o * stride + tap * dilation - before. What lies in the padding is left out, so nobody pads.
    """
    axes = map(_axis_taps, size, out, kernel, stride, before, dilation)
    for tap in product(*axes):
        index, outputs, inputs = zip(*tap, strict=True)
        yield index, outputs, inputs


def _axis_taps(
    size: int, out: int, kernel: int, stride: int, before: int, dilation: int
) -> list[tuple[int, slice, slice]]:
    inside = []
    for tap in range(kernel):
        offset = tap * dilation - before
        first = max(0, -(offset // stride))
        stop = min(out, (size - 1 - offset) // stride + 1)
        if first < stop:
            inputs = slice(first * stride + offset, (stop - 1) * stride + offset + 1, stride)
            inside.append((tap, slice(first, stop), inputs))
    return inside
