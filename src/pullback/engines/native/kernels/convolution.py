"""Convolution, its adjoint and the gradient for its weights.

The first two are one kernel: output q of a dimension sums over taps, each of which reads input q * step + offset.
For the convolution itself offset = tap * dilation - before. For its adjoint, outputs i = q * stride + r with the same
remainder r see only the taps for which stride divides i + before - tap * dilation; each remainder is a call, of step 1.

What a block of outputs reads of some channels is copied to a slab with zeros around it, so nothing is ever outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ....dtypes import BF16, F16, F32, F64
from ....program.program import Instruction, Value
from ..place import Place
from ..plan import Plan, kernel
from .movement import copying

SUFFIX = {F32: "f32", F64: "f64", F16: "f32", BF16: "f32"}
ROOM = 1 << 16  # numbers that a slab has room for, as in c/convolution.c; and a panel, which is at most 32 wide
DEPTH = 288  # rows of a panel: it is to stay in the first cache
PIXELS = 1024  # of a block
SUMMED = 256  # of a block whose gradients are summed, as in c/convolution.c
WIDEST = 32  # columns of a tile, on any machine
LARGE = 1 << 17  # numbers: weights that do not stay in a cache from block to block
JOBS = 16  # that work is cut into at least, where it can be


class Axis(NamedTuple):
    """One dimension: of the input, of the outputs (of one remainder), and the taps that these see."""

    size: int
    outputs: int
    step: int
    taps: tuple[tuple[int, int], ...]  # index, offset
    start: int
    stride: int
    total: int

    @property
    def low(self) -> int:
        return min((offset for _, offset in self.taps), default=0)

    @property
    def reach(self) -> int:
        return max((offset for _, offset in self.taps), default=0) - self.low

    @property
    def read(self) -> int:
        """Places of the slab from one output's to the next one's: if there is one tap, what is between is left out."""
        return self.step if self.reach else 1

    def extent(self, count: int) -> int:
        """How many places of a slab this many outputs read."""
        return -(-((count - 1) * self.read + self.reach + 1) // self.read) * self.read


class Shape(NamedTuple):
    """What does not depend on the dimension. Strides are those of the weights."""

    images: int
    groups: int
    filters: int
    channels: int
    w_group: int
    w_filter: int
    w_channel: int


def geometry(shape: Shape, axes: Sequence[Axis], kernel: Sequence[int], summed: bool) -> np.ndarray[Any, Any] | None:
    """`conv` in c/convolution.c; None if a slab would not have room."""
    taps = math.prod(len(a.taps) for a in axes)
    direct = all(a.size == a.outputs and a.step == 1 and a.taps == ((0, 0),) and a.stride == 1 for a in axes)
    if direct:
        n = math.prod(a.size for a in axes)
        line = Axis(1, 1, 1, ((0, 0),), 0, 1, 1)
        axes = [line, line, Axis(n, n, 1, ((0, 0),), 0, 1, n)]
    if taps > ROOM // WIDEST:
        return None
    depth = min(shape.channels, max(1, DEPTH // taps)) if taps else shape.channels
    chunks = -(-shape.channels // depth)
    depth = -(-shape.channels // chunks)
    pixels = SUMMED if summed else PIXELS
    outputs = shape.images * math.prod(a.outputs for a in axes)
    least = 256 if shape.filters * shape.channels * taps > LARGE else WIDEST
    most = min(pixels, max(least, -(-outputs // JOBS // WIDEST) * WIDEST))
    while True:
        block = blocks([shape.images, *(a.outputs for a in axes)], most)
        slab = block[0] * depth * math.prod(a.extent(m) for a, m in zip(axes, block[1:], strict=True))
        if slab <= ROOM or direct or not taps:
            break
        if most > WIDEST:
            most = max(WIDEST, most // 2)
        elif depth > 1:
            depth = -(-depth // 2)
        else:
            return None
    many = max(1, math.prod(-(-n // m) for n, m in zip([shape.images, *(a.outputs for a in axes)], block, strict=True)))
    if summed:  # sums of blocks
        parts = min(many, -(-8 // (-(-shape.channels // depth) * shape.groups)))
    else:  # of the filters
        parts = min(shape.filters // 64, -(-JOBS // (many * shape.groups)))
    numbers = [*shape, taps, depth, block[0], int(direct), max(1, parts)]
    for a, m in zip(axes, block[1:], strict=True):
        pick = 1 if a.reach else a.step
        numbers += [a.size, a.outputs, a.step, a.low, a.reach, pick, a.read, a.start, a.stride, a.total, m]
    for tap in product(*(a.taps for a in axes)):
        place = 0
        for (index, _), n in zip(tap, kernel, strict=True):
            place = place * n + index
        numbers += [*(offset - a.low for (_, offset), a in zip(tap, axes, strict=True)), place]
    return np.array(numbers, np.int64)


def blocks(counts: Sequence[int], most: int) -> list[int]:
    """How much of each dimension is in a block of at most so many outputs; the last ones first."""
    sizes: list[int] = []
    for n in reversed(counts):
        sizes.insert(0, max(1, min(n, most)))
        most //= sizes[0]
    return sizes


class Windows:
    """An instruction's parameters, for three dimensions."""

    def __init__(self, i: Instruction, size: Sequence[int], kernel: Sequence[int], out: Sequence[int]) -> None:
        given = {**i.op.defaults, **i.params}
        new = 3 - len(size)
        self.size, self.kernel, self.out = (1,) * new + tuple(size), (1,) * new + tuple(kernel), (1,) * new + tuple(out)
        self.stride: tuple[int, ...] = (1,) * new + tuple(given["stride"])
        self.dilation: tuple[int, ...] = (1,) * new + tuple(given["dilation"])
        self.before: tuple[int, ...] = (0,) * new + tuple(p for p, _ in given["padding"])
        self.groups: int = given["groups"]

    def forward(self) -> list[Axis]:
        """Outputs read the inputs of their windows."""
        return [
            Axis(n, m, s, tuple((t, t * d - p) for t in range(k)), 0, 1, m)
            for n, k, m, s, d, p in zip(self.size, self.kernel, self.out, self.stride, self.dilation, self.before,
                                        strict=True)
        ]  # fmt: skip

    def backward(self) -> list[tuple[Axis, ...]]:
        """Inputs read the outputs whose windows they are in: for each remainder."""
        found = []
        for n, k, m, s, d, p in zip(self.size, self.kernel, self.out, self.stride, self.dilation, self.before,
                                    strict=True):  # fmt: skip
            found.append([
                Axis(m, -(-(n - r) // s), 1,
                     tuple((t, (r + p - t * d) // s) for t in range(k) if (r + p - t * d) % s == 0), r, s, n)
                for r in range(min(s, n))
            ])  # fmt: skip
        return list(product(*found))


def widened(plan: Plan, x: Value) -> Place:
    """Where a value lies in order, in the type that is computed in."""
    if x.dtype not in (F16, BF16):
        return plan.dense(x)
    made = plan.scratch(x.shape, F32)
    plan.add(copying(plan.at(x), made, plan.instruction))
    return made


def convolve(plan: Plan, i: Instruction, axes: Sequence[Sequence[Axis]], shape: Shape, kernel: Sequence[int]) -> Any:
    """A call for each remainder."""
    x, w, bias = (*i.inputs, None)[:3]
    y = i.outputs[0]
    if y.dtype not in SUFFIX:
        return False
    tables = [geometry(shape, each, kernel, summed=False) for each in axes]
    if any(table is None for table in tables):
        return False
    if not y.size:
        plan.out(y, dense=True)
        return None
    given = [None if v is None else widened(plan, v) for v in (x, w, bias)]
    narrow = y.dtype in (F16, BF16)
    out = plan.scratch(y.shape, F32) if narrow else plan.out(y, dense=True)
    for table in tables:
        assert table is not None
        taps = int(table[7])
        packed = plan.scratch((shape.groups * (shape.filters + 8) * shape.channels * taps,), out.dtype)
        plan.call("convolution", f"pb_conv_{SUFFIX[y.dtype]}", out, *given, packed, plan.constant(table),
                  writes=[out, packed])  # fmt: skip
    if narrow:
        plan.add(copying(out, plan.out(y, dense=True), i))
    return None


@kernel("conv")
def conv(plan: Plan, i: Instruction) -> Any:
    x, w, y = i.inputs[0], i.inputs[1], i.outputs[0]
    windows = Windows(i, x.shape[2:], w.shape[2:], y.shape[2:])
    filters, channels, taps = w.shape[0] // windows.groups, w.shape[1], math.prod(w.shape[2:])
    shape = Shape(x.shape[0], windows.groups, filters, channels, filters * channels * taps, channels * taps, taps)
    return convolve(plan, i, [windows.forward()], shape, windows.kernel)


@kernel("conv_transpose")
def conv_transpose(plan: Plan, i: Instruction) -> Any:
    g, w, x = i.inputs[0], i.inputs[1], i.outputs[0]
    windows = Windows(i, x.shape[2:], w.shape[2:], g.shape[2:])
    channels, filters, taps = w.shape[0] // windows.groups, w.shape[1], math.prod(w.shape[2:])
    shape = Shape(g.shape[0], windows.groups, filters, channels, filters * channels * taps, taps, filters * taps)
    return convolve(plan, i, windows.backward(), shape, windows.kernel)


@kernel("conv_weight_gradient")
def conv_weight_gradient(plan: Plan, i: Instruction) -> Any:
    g, x, w = i.inputs[0], i.inputs[1], i.outputs[0]
    windows = Windows(i, x.shape[2:], w.shape[2:], g.shape[2:])
    filters, channels = w.shape[0] // windows.groups, w.shape[1]
    shape = Shape(x.shape[0], windows.groups, filters, channels, 0, 0, 0)
    if w.dtype not in SUFFIX or not g.size:
        return False
    table = geometry(shape, windows.forward(), windows.kernel, summed=True)
    if table is None:
        return False
    given = [widened(plan, v) for v in (g, x)]
    narrow = w.dtype in (F16, BF16)
    out = plan.scratch(w.shape, F32) if narrow else plan.out(w, dense=True)
    wide = -(-filters // WIDEST) * WIDEST
    parts = int(table[11])
    sums = plan.scratch((parts, windows.groups, w.size // w.shape[0], wide), out.dtype)
    plan.call("convolution", f"pb_conv_weight_{SUFFIX[w.dtype]}", out, *given, sums, plan.constant(table),
              writes=[out, sums])  # fmt: skip
    if narrow:
        plan.add(copying(out, plan.out(w, dense=True), i))
    return None
