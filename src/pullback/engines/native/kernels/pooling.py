"""Pooling, windows as columns, and interpolation: work on planes, one for each channel of each image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....dtypes import BF16, F16, F32, F64, I64
from ....program.program import Instruction, Value
from ...numpy.resampling import Method, passes
from ..place import Place
from ..plan import Plan, kernel
from .convolution import widened
from .movement import copying

MOVED = {F32: "f32", F64: "f64", F16: "f16", BF16: "bf16", I64: "i64", np.dtype(np.int32): "i32",
         np.dtype(np.uint8): "u8"}  # fmt: skip
COMPARED = {dtype: name for dtype, name in MOVED.items() if dtype not in (F16, BF16)} | {F16: "f32", BF16: "f32"}
COMPUTED = {F32: "f32", F64: "f64", F16: "f32", BF16: "f32"}


def three(values: Sequence[int], filler: int) -> tuple[int, ...]:
    """The same for three dimensions."""
    return (filler,) * (3 - len(values)) + tuple(values)


class Windows:
    """The windows of an instruction between a large and a small plane, for three dimensions."""

    def __init__(self, i: Instruction, size: Sequence[int], count: Sequence[int]) -> None:
        self.given = {**i.op.defaults, **i.params}
        self.size, self.count = three(size, 1), three(count, 1)
        self.kernel, self.stride = three(self.given["kernel"], 1), three(self.given["stride"], 1)
        self.before = three(self.given["padding"], 0)
        self.dilation = three(self.given.get("dilation", ()), 1)

    def table(self, plan: Plan) -> Place:
        """`window` in c/pooling.c, three times."""
        columns = (self.size, self.count, self.kernel, self.stride, self.before, self.dilation)
        return plan.constant(np.array(columns, np.int64).T)

    @property
    def empty(self) -> bool:
        """Is there a window of padding only?"""
        return not all(
            any(0 <= q * s + t * d - p < n for t in range(k))
            for n, m, k, s, p, d in zip(self.size, self.count, self.kernel, self.stride, self.before, self.dilation,
                                        strict=True)
            for q in range(m)
        )  # fmt: skip

    def counts(self, plan: Plan) -> Place:
        """What sums are divided by: a factor for each place in each dimension."""
        override = self.given["divisor_override"]
        found = []
        for n, m, k, s, p in zip(self.size, self.count, self.kernel, self.stride, self.before, strict=True):
            start = np.arange(m) * s - p
            low, high = (-p, n + p) if self.given["count_include_pad"] else (0, n)
            found.append(np.minimum(start + k, high) - np.maximum(start, low))
        if override is not None:
            found = [np.full_like(c, override if d == 2 else 1) for d, c in enumerate(found)]
        return plan.constant(np.concatenate(found), np.int64)


def bins(plan: Plan, size: Sequence[int], count: Sequence[int]) -> tuple[Place, Place]:
    """Bin q of m covers q n / m, rounded down, up to (q + 1) n / m, rounded up: planes as windows, and the bounds."""
    size, count = three(size, 1), three(count, 1)
    bounds = [x for n, m in zip(size, count, strict=True) for q in range(m) for x in (q * n // m, -(-(q + 1) * n // m))]
    table = [x for n, m in zip(size, count, strict=True) for x in (n, m, 1, 1, 0, 1)]
    return plan.constant(np.array(table, np.int64)), plan.constant(np.array(bounds, np.int64))


def planes(x: Value) -> int:
    return math.prod(x.shape[:2])


def made(plan: Plan, i: Instruction, run: Callable[[Place], Any], value: Value | None = None) -> None:
    """Run a kernel that makes a result; of a half type it makes a float, which is rounded once."""
    value = value or i.outputs[0]
    if value.dtype in (F16, BF16):
        wide = plan.scratch(value.shape, F32)
        run(wide)
        plan.add(copying(wide, plan.out(value, dense=True), i))
    else:
        run(plan.out(value, dense=True))


# -- maxima ----------------------------------------------------------------------------------------------------------


@kernel("max_pool")
def max_pool(plan: Plan, i: Instruction) -> Any:
    x, (y, at) = i.inputs[0], i.outputs
    windows = Windows(i, x.shape[2:], y.shape[2:])
    if x.dtype not in COMPARED or windows.empty or math.prod(x.shape[2:]) >= 1 << 31:
        return False
    given, places, table = widened(plan, x), plan.out(at, dense=True), windows.table(plan)
    name = f"pb_max_pool_{COMPARED[x.dtype]}"
    made(plan, i, lambda out: plan.call("pooling", name, out, places, given, planes(x), table, writes=[out, places]), y)
    return None


@kernel("adaptive_max_pool")
def adaptive_max_pool(plan: Plan, i: Instruction) -> Any:
    x, (y, at) = i.inputs[0], i.outputs
    if x.dtype not in COMPARED or (y.size and not x.size):
        return False
    given, places, tables = widened(plan, x), plan.out(at, dense=True), bins(plan, x.shape[2:], y.shape[2:])
    name = f"pb_adaptive_max_{COMPARED[x.dtype]}"
    made(
        plan, i, lambda out: plan.call("pooling", name, out, places, given, planes(x), *tables, writes=[out, places]), y
    )
    return None


def places(plan: Plan, at: Value, shape: Sequence[int]) -> tuple[Place, int, int] | None:
    """Where indices lie, and their strides from image to image and from channel to channel."""
    if at.dtype.kind not in "iu" or any(n not in (1, m) for n, m in zip(at.shape[:2], shape[:2], strict=True)):
        return None
    place = plan.dense(at)
    if at.dtype != I64:
        place = plan.scratch(at.shape, I64)
        plan.add(copying(plan.at(at), place, plan.instruction))
    many = math.prod(at.shape[2:])
    return place, 0 if at.shape[0] == 1 else many * at.shape[1], 0 if at.shape[1] == 1 else many


@kernel("gather_at")
def gather_at(plan: Plan, i: Instruction) -> Any:
    x, at = i.inputs
    y = i.outputs[0]
    if x.dtype not in MOVED or (found := places(plan, at, x.shape)) is None:
        return False
    given, out = plan.dense(x), plan.out(y, dense=True)
    place, image, channel = found
    plan.call("pooling", f"pb_gather_at_{MOVED[x.dtype]}", len(plan.steps), out, given, place, *x.shape[:2],
              math.prod(x.shape[2:]), math.prod(y.shape[2:]), image, channel, writes=[out], fails=True)  # fmt: skip
    return None


def scatter(plan: Plan, i: Instruction, put: bool) -> Any:
    """Numbers go to their places in planes of zeros."""
    x, at = i.inputs
    y = i.outputs[0]
    if x.dtype not in COMPUTED or (found := places(plan, at, x.shape)) is None or at.shape[2:] != x.shape[2:]:
        return False
    given = widened(plan, x)
    place, image, channel = found
    name, sizes = f"pb_scatter_at_{COMPUTED[x.dtype]}", (math.prod(y.shape[2:]), math.prod(x.shape[2:]))
    made(plan, i, lambda out: plan.call("pooling", name, len(plan.steps), out, given, place, *x.shape[:2], *sizes,
                                        image, channel, int(put), writes=[out], fails=True))  # fmt: skip
    return None


@kernel("max_pool_gradient")
def max_pool_gradient(plan: Plan, i: Instruction) -> Any:
    return scatter(plan, i, put=False)


@kernel("max_unpool")
def max_unpool(plan: Plan, i: Instruction) -> Any:
    return scatter(plan, i, put=True)


# -- means, and windows as columns -----------------------------------------------------------------------------------


def mapped(plan: Plan, i: Instruction, function: str, tables: Callable[[], Sequence[Place]], many: int) -> Any:
    """A kernel from one array of planes to another."""
    x = i.inputs[0]
    if x.dtype not in COMPUTED:
        return False
    given, rest, name = widened(plan, x), tables(), f"{function}_{COMPUTED[x.dtype]}"
    made(plan, i, lambda out: plan.call("pooling", name, out, given, many, *rest, writes=[out]))
    return None


@kernel("avg_pool")
def avg_pool(plan: Plan, i: Instruction) -> Any:
    x, y = i.inputs[0], i.outputs[0]
    windows = Windows(i, x.shape[2:], y.shape[2:])
    return mapped(plan, i, "pb_avg_pool", lambda: (windows.table(plan), windows.counts(plan)), planes(x))


@kernel("avg_pool_gradient")
def avg_pool_gradient(plan: Plan, i: Instruction) -> Any:
    g, x = i.inputs[0], i.outputs[0]
    windows = Windows(i, x.shape[2:], g.shape[2:])
    return mapped(plan, i, "pb_avg_pool_gradient", lambda: (windows.table(plan), windows.counts(plan)), planes(x))


@kernel("adaptive_avg_pool")
def adaptive_avg_pool(plan: Plan, i: Instruction) -> Any:
    x, y = i.inputs[0], i.outputs[0]
    return mapped(plan, i, "pb_adaptive_avg", lambda: bins(plan, x.shape[2:], y.shape[2:]), planes(x))


@kernel("adaptive_avg_pool_gradient")
def adaptive_avg_pool_gradient(plan: Plan, i: Instruction) -> Any:
    g, x = i.inputs[0], i.outputs[0]
    return mapped(plan, i, "pb_adaptive_avg_gradient", lambda: bins(plan, x.shape[2:], g.shape[2:]), planes(x))


def fitting(size: Sequence[int], given: dict[str, Any]) -> list[int]:
    """How many windows fit along each dimension."""
    return [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, given["kernel"], given["stride"], given["padding"], given["dilation"],
                                 strict=True)
    ]  # fmt: skip


@kernel("im2col")
def im2col(plan: Plan, i: Instruction) -> Any:
    x = i.inputs[0]
    if x.dtype not in MOVED or x.ndim > 4:
        return False
    windows = Windows(i, x.shape[2:], fitting(x.shape[2:], i.params))
    given, out, table = plan.dense(x), plan.out(i.outputs[0], dense=True), windows.table(plan)
    plan.call("pooling", f"pb_im2col_{MOVED[x.dtype]}", out, given, planes(x), table, writes=[out])
    return None


@kernel("col2im")
def col2im(plan: Plan, i: Instruction) -> Any:
    x = i.outputs[0]
    if x.ndim > 4:
        return False
    windows = Windows(i, x.shape[2:], fitting(x.shape[2:], i.params))
    return mapped(plan, i, "pb_col2im", lambda: [windows.table(plan)], planes(x))


# -- interpolation ---------------------------------------------------------------------------------------------------


def resampled(plan: Plan, i: Instruction, transposed: bool) -> Any:
    """A sparse matrix for each dimension: interpolation begins with the last, its adjoint with the first."""
    x, y = i.inputs[0], i.outputs[0]
    given = {**i.op.defaults, **i.params}
    method = Method(given["mode"], bool(given["align_corners"]), given["antialias"])
    bytes_moved = x.dtype == np.uint8 and method.mode.startswith("nearest") and not transposed
    if x.dtype not in COMPUTED and not bytes_moved:
        return False
    name = f"pb_resample_{MOVED[x.dtype] if bytes_moved else COMPUTED[x.dtype]}"
    real, axes = F32 if x.dtype in (F16, BF16) else x.dtype, list(range(2, x.ndim))
    here = widened(plan, x)
    for axis in axes if transposed else reversed(axes):
        size, rows = here.shape[axis], y.shape[axis]
        scale = None if given["scale"] is None else given["scale"][axis - 2]
        sides = (rows, size) if transposed else (size, rows)
        steps = passes(*sides, scale, method, x.dtype.char, transposed)
        entries = [(int(r), int(c), 1.0 if w is None else w[k]) for rs, cs, w in steps
                   for k, (r, c) in enumerate(zip(rs, cs, strict=True))]  # fmt: skip
        entries.sort(key=lambda e: e[0])  # those of a row stay in their order
        start = np.searchsorted([r for r, _, _ in entries], np.arange(rows + 1))
        matrix = [plan.constant(np.array([w for _, _, w in entries]), real), plan.constant(start, np.int64),
                  plan.constant(np.array([c for _, c, _ in entries]), np.int64)]  # fmt: skip
        to = plan.scratch((*here.shape[:axis], rows, *here.shape[axis + 1 :]), real)
        plan.call("resampling", name, to, here, *matrix, math.prod(here.shape[:axis]), size,
                  rows, math.prod(here.shape[axis + 1 :]), writes=[to])  # fmt: skip
        here = to
    if y.dtype == here.dtype and here is not plan.places.get(x):
        plan.places[y] = here
    else:
        plan.add(copying(here, plan.out(y, dense=True), i))
    return None


@kernel("interpolate")
def interpolate(plan: Plan, i: Instruction) -> Any:
    return resampled(plan, i, transposed=False)


@kernel("interpolate_gradient")
def interpolate_gradient(plan: Plan, i: Instruction) -> Any:
    return resampled(plan, i, transposed=True)
