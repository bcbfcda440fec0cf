"""Elements in other places. Most of it is a copy into a part of the result, and zeros around it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....dtypes import BOOL, F32, F64, HALVES
from ....ops.folding import positions
from ....ops.shape import slice_
from ....ops.strided import diagonal as look_diagonal
from ....program.program import Instruction, Shape, Value
from ..expressions import literal
from ..loops import C, Load, Loop, Store, collapsed, kind
from ..place import ARENA, Place, in_order
from ..plan import Call, Plan, Step, kernel
from .views import looked_at

SMALL = 1 << 10  # elements: fewer are copied by a plain loop
NAMES = {F32: "f32", F64: "f64", np.dtype("i4"): "i32", np.dtype("i8"): "i64"}  # that can be added up


# -- copies and fillings -----------------------------------------------------------------------------------------------


def bits(place: Place) -> Place:
    """The same memory as unsigned integers of the same size."""
    unsigned = np.dtype(f"u{place.dtype.itemsize}")
    return Place(place.memory, unsigned, place.shape, place.strides, place.offset, place.moving)


def copying(x: Place, to: Place, instruction: Instruction | None = None) -> Step:
    """The same elements in other memory, in its type; in squares, if one place is the transpose of the other."""
    x = x.broadcast(to.shape)
    if x.dtype == to.dtype and to.size >= SMALL:
        shape, (source, target) = collapsed(to.shape, [x.strides, to.strides])
        cols = len(shape) - 1
        rows = next((d for d in range(cols) if source[d] == 1), None)
        if rows is not None and target[cols] == 1 and cols <= 3 and min(shape[rows], shape[cols]) >= 4:
            rest = [d for d in range(cols) if d != rows]
            sizes, xs, ts = ([0] * (2 - len(rest)) + [v[d] for d in rest] for v in (shape, source, target))
            outer = [1] * (2 - len(rest)) + sizes[2 - len(rest) :]
            given = [bits(to), bits(x), *outer, shape[rows], shape[cols], *ts, target[rows], *xs, source[cols]]
            return Call("movement", f"pb_transpose_u{x.dtype.itemsize}", given, instruction, [to.memory])
    lines, name = [], "x"
    if to.dtype == BOOL != x.dtype:
        lines, name = ["uint8_t v = x != 0;"], "v"
    return Loop(to.shape, [Load("x", x)], lines, [Store(name, to)], [instruction] if instruction else [])


def copy(plan: Plan, x: Place, to: Place) -> None:
    if to.size:
        plan.add(copying(x, to, plan.instruction))


def bring(plan: Plan, x: Value, to: Place) -> None:
    """A value at a place: made there, if a loop makes it and nobody has read it yet; else it is copied."""
    memory = plan.at(x).memory
    makers = [step for step in plan.steps if memory in step.writes]
    others = sum(p.memory is memory for p in (*plan.places.values(), *itertools.chain(*plan.kept.values())))
    if len(makers) == others == 1 and memory.kind == ARENA and x.dtype == to.dtype:
        maker, store = makers[0], Store("", to)
        if (
            isinstance(maker, Loop)
            and maker.shape == to.shape  # not the copy of which x is another view
            and not any(memory in step.reads for step in plan.steps)
        ):
            maker.stores = [store._replace(name=s.name) if s.place.memory is memory else s for s in maker.stores]
            maker.writes = [s.place.memory for s in maker.stores]
            maker.in_place = []  # an element does not go where one of the same number came from
            plan.places[x] = to
            return
    copy(plan, plan.at(x), to)


def fill(plan: Plan, to: Place, value: Any = 0) -> None:
    """The same number everywhere."""
    if to.size:
        number = np.full((), value, to.dtype).astype(F32 if to.dtype in HALVES else to.dtype)
        text = literal(number.item(), kind(to.dtype))
        lines = [f"{kind(to.dtype)} v = {text};"]
        plan.add(Loop(to.shape, [], lines, [Store("v", to)], [plan.instruction] if plan.instruction else []))


def converted(plan: Plan, x: Place, dtype: Any) -> Place:
    """x in another type."""
    if x.dtype == dtype:
        return x
    made = plan.scratch(x.shape, dtype)
    copy(plan, x, made)
    return made


def operand(plan: Plan, x: Any, dtype: Any) -> Place:
    """A value, or a number, in a type."""
    return converted(plan, plan.at(x), dtype) if type(x) is Value else plan.constant(np.full((), x, dtype))


def part(place: Place, start: Sequence[int], shape: Sequence[int]) -> Place:
    """A box of a place."""
    return place.seen(shape, place.strides, sum(a * s for a, s in zip(start, place.strides, strict=True)))


def frame(plan: Plan, out: Place, start: Sequence[int], shape: Sequence[int], value: Any = 0) -> None:
    """A number everywhere but in the box of this shape that begins at `start`. Each element is written once."""
    for d, (a, n, m) in enumerate(zip(start, shape, out.shape, strict=True)):
        for first, stop in ((0, a), (a + n, m)):
            corner = [*start[:d], first, *[0] * (out.ndim - d - 1)]
            fill(plan, part(out, corner, [*shape[:d], stop - first, *out.shape[d + 1 :]]), value)


def row_major(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[int, list[int]] | None:
    """Dimensions as one, in their order; None if they do not follow one another in memory."""
    some = [d for d, n in enumerate(shape) if n != 1]
    for s in strides:
        if any(s[d] != shape[e] * s[e] for d, e in itertools.pairwise(some)):
            return None
    return math.prod(shape), [s[some[-1]] if some else 0 for s in strides]


def possible(*values: Any) -> bool:
    """Does C have a type for all of them?"""
    return all(v.dtype in C for v in values if type(v) is Value)


# -- joining and repeating ---------------------------------------------------------------------------------------------


@kernel("cat")
def cat(plan: Plan, i: Instruction) -> Any:
    if not possible(*i.inputs, *i.outputs):
        return False
    out, at = plan.out(i.outputs[0]), 0
    d = i.params.get("dim", 0) % out.ndim
    for x in i.inputs:
        place = plan.at(x)
        if place.shape == (0,) != out.shape:
            continue
        bring(plan, x, part(out, [0] * d + [at] + [0] * (out.ndim - d - 1), place.shape))
        at += place.shape[d]
    return None


@kernel("stack")
def stack(plan: Plan, i: Instruction) -> Any:
    if not possible(*i.inputs, *i.outputs):
        return False
    out = plan.out(i.outputs[0])
    d = i.params.get("dim", 0) % out.ndim
    for n, x in enumerate(i.inputs):
        bring(plan, x, out.seen(x.shape, out.strides[:d] + out.strides[d + 1 :], n * out.strides[d]))
    return None


@kernel("tile")
def tile(plan: Plan, i: Instruction) -> Any:
    x, repeats = plan.at(i.inputs[0]), i.params["repeats"]
    if not possible(*i.outputs):
        return False
    out = plan.out(i.outputs[0], dense=True)
    new = len(repeats) - x.ndim
    sizes, strides = (1,) * new + x.shape, (0,) * new + tuple(x.strides)
    shape = [n for pair in zip(repeats, sizes, strict=True) for n in pair]
    copy(plan, x.seen(shape, [s for stride in strides for s in (0, stride)]), out.seen(shape, in_order(tuple(shape))))
    return None


@kernel("repeat_interleave")
def repeat_interleave(plan: Plan, i: Instruction) -> Any:
    x, repeats, d = plan.at(i.inputs[0]), i.params["repeats"], i.params["dim"]
    if not possible(*i.outputs) or not x.ndim:
        return False
    out = plan.out(i.outputs[0], dense=True)
    d %= x.ndim
    shape = (*x.shape[: d + 1], repeats, *x.shape[d + 1 :])
    copy(plan, x.seen(shape, [*x.strides[: d + 1], 0, *x.strides[d + 1 :]]), out.seen(shape, in_order(shape)))
    return None


@kernel("full_like")
def full_like(plan: Plan, i: Instruction) -> Any:
    """One number in memory stands for all."""
    value = i.outputs[0]
    if not possible(value):
        return False
    number = plan.constant(np.full((), i.params["value"], value.dtype))
    plan.places[value] = number.seen(value.shape, [0] * value.ndim)
    return None


# -- the same elements in another order --------------------------------------------------------------------------------


@kernel("flip")
def flip(plan: Plan, i: Instruction) -> None:
    x, dims = plan.at(i.inputs[0]), i.params["dims"]
    strides = [-s if d in dims else s for d, s in enumerate(x.strides)]
    offset = sum((x.shape[d] - 1) * x.strides[d] for d in dims) if x.size else 0
    plan.places[i.outputs[0]] = x.seen(x.shape, strides, offset)


@kernel("roll")
def roll(plan: Plan, i: Instruction) -> Any:
    x, shifts, dims = plan.at(i.inputs[0]), i.params["shifts"], i.params.get("dims")
    if not possible(*i.outputs):
        return False
    if dims is None:
        x, dims = plan.dense(i.inputs[0]).seen((x.size,), (1,)), (0,)
        out = plan.out(i.outputs[0], dense=True).seen((x.size,), (1,))
    else:
        out = plan.out(i.outputs[0])
    total = [0] * x.ndim
    for shift, d in zip(shifts, dims, strict=True):
        total[d] += shift
    pieces = [([0] * x.ndim, [0] * x.ndim, list(x.shape))]  # from, to, size
    for d, shift in enumerate(total):
        if x.shape[d] and (shift := shift % x.shape[d]):
            split = []
            for a, b, n in pieces:
                for source, target, size in ((0, shift, n[d] - shift), (n[d] - shift, 0, shift)):
                    split.append(
                        ([*a[:d], source, *a[d + 1 :]], [*b[:d], target, *b[d + 1 :]], [*n[:d], size, *n[d + 1 :]])
                    )
            pieces = split
    for a, b, n in pieces:
        copy(plan, part(x, a, n), part(out, b, n))
    return None


@kernel("tril", "triu")
def triangle(plan: Plan, i: Instruction) -> Any:
    if not possible(*i.outputs):
        return False
    x, out = plan.dense(i.inputs[0]), plan.out(i.outputs[0], dense=True)
    rows, cols = x.shape[-2:]
    byte = np.dtype("u1")
    bytes_of = [Place(p.memory, byte, p.shape, p.strides, p.offset * p.dtype.itemsize, p.moving) for p in (out, x)]
    diagonal = i.params.get("diagonal", 0)
    plan.call("movement", "pb_triangle", *bytes_of, math.prod(x.shape[:-2]), rows, cols, x.dtype.itemsize,
              max(-rows - 1, min(diagonal, cols + 1)), int(i.op.name == "triu"), writes=[out])  # fmt: skip
    return None


# -- a part of something larger ----------------------------------------------------------------------------------------


@kernel("pad")
def pad(plan: Plan, i: Instruction) -> Any:
    x, padding, value = plan.at(i.inputs[0]), i.params["padding"], i.params.get("value", 0.0)
    if not possible(*i.outputs):
        return False
    out = plan.out(i.outputs[0])
    kept = [(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, padding, strict=True)]
    if all(start < stop for start, stop in kept):
        inner = part(x, [start for start, _ in kept], [stop - start for start, stop in kept])
        start = [max(a, 0) for a, _ in padding]
        frame(plan, out, start, inner.shape, value)
        copy(plan, inner, part(out, start, inner.shape))
    else:
        fill(plan, out, value)
    return None


def box(shape: Shape, key: Any) -> tuple[list[int], list[int]] | None:
    """Where the box that a key looks at begins, and its shape; None if it leaves elements out."""
    plain = [k for k in key if k is not None]
    at = next((n for n, k in enumerate(plain) if k is ...), len(plain))
    missing = len(shape) - len(plain) + (at < len(plain))
    plain = [*plain[:at], *[slice(None)] * missing, *plain[at + 1 :]]
    start, size = [], []
    for n, k in zip(shape, plain, strict=True):
        a, stop, step = k.indices(n) if isinstance(k, slice) else (k % n, k % n + 1, 1)
        if step != 1:
            return None
        start.append(a)
        size.append(max(stop - a, 0))
    return start, size


@kernel("unslice")
def unslice(plan: Plan, i: Instruction) -> Any:
    shape, key = i.params["shape"], i.params["key"]
    if not possible(*i.outputs):
        return False
    out = plan.out(i.outputs[0])
    found = box(shape, key)
    seen = looked_at(slice_, out, {"key": key})
    if found is None:
        fill(plan, out)
        copy(plan, plan.at(i.inputs[0]), seen)
    else:
        frame(plan, out, *found)
        bring(plan, i.inputs[0], seen)
    return None


@kernel("undiagonal")
def undiagonal(plan: Plan, i: Instruction) -> Any:
    if not possible(*i.outputs):
        return False
    given = {k: v for k, v in {**i.op.defaults, **i.params}.items() if k != "shape"}
    out = plan.out(i.outputs[0])
    fill(plan, out)
    copy(plan, plan.at(i.inputs[0]), looked_at(look_diagonal, out, given))
    return None


# -- windows and classes -----------------------------------------------------------------------------------------------


@kernel("fold")
def fold(plan: Plan, i: Instruction) -> Any:
    value, given = i.outputs[0], i.params
    if value.dtype not in NAMES and value.dtype not in HALVES:
        return False
    dtype = F32 if value.dtype in HALVES else value.dtype
    g = converted(plan, plan.dense(i.inputs[0]), dtype)
    shape = value.shape or (1,)
    d = given["dim"] % len(shape)
    count = g.shape[d] if value.ndim else 1
    sizes = [math.prod(shape[:d]), shape[d], math.prod(shape[d + 1 :]), count]
    out = plan.out(value, dense=True) if dtype == value.dtype else plan.scratch(value.shape, F32)
    plan.call("movement", f"pb_fold_{NAMES[dtype]}", out, g, *sizes, given["size"], given["step"], writes=[out])
    if dtype != value.dtype:
        copy(plan, out, plan.out(value))
    return None


@kernel("one_hot")
def one_hot(plan: Plan, i: Instruction) -> None:
    index = converted(plan, plan.dense(i.inputs[0]), np.dtype("i8"))
    out = plan.out(i.outputs[0], dense=True)
    plan.call("movement", "pb_one_hot", out, index, index.size, i.params["classes"], len(plan.steps), writes=[out],
              fails=True)  # fmt: skip


def windows(x: Place, kernel: Shape, stride: Shape, dilation: Shape, out: Shape) -> Place:
    """x, padded, as (images, channels, *taps, *positions)."""
    steps = x.strides[2:]
    taps = [s * d for s, d in zip(steps, dilation, strict=True)]
    moves = [s * d for s, d in zip(steps, stride, strict=True)]
    return x.seen((*x.shape[:2], *kernel, *out), (*x.strides[:2], *taps, *moves))


@kernel("im2col")
def im2col(plan: Plan, i: Instruction) -> Any:
    x, given, value = plan.at(i.inputs[0]), i.params, i.outputs[0]
    if not possible(value):
        return False
    kernel, padding = given["kernel"], given["padding"]
    out = positions(x.shape[2:], kernel, given["stride"], padding, given["dilation"])
    if any(padding):
        size = [n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]
        wide = plan.scratch((*x.shape[:2], *size), x.dtype)
        frame(plan, wide, [0, 0, *padding], x.shape)
        copy(plan, x, part(wide, [0, 0, *padding], x.shape))
        x = wide
    seen = windows(x, kernel, given["stride"], given["dilation"], out)
    copy(plan, seen, plan.out(value, dense=True).seen(seen.shape, in_order(seen.shape)))
    return None


@kernel("col2im")
def col2im(plan: Plan, i: Instruction) -> Any:
    """Tap by tap, the columns are added where they were read."""
    value, given = i.outputs[0], i.params
    if value.dtype not in NAMES and value.dtype not in HALVES:
        return False
    kernel, padding, size = given["kernel"], given["padding"], given["size"]
    out = positions(size, kernel, given["stride"], padding, given["dilation"])
    wide = plan.scratch((*value.shape[:2], *[n + 2 * p for n, p in zip(size, padding, strict=True)]),
                        F32 if value.dtype in HALVES else value.dtype)  # fmt: skip
    fill(plan, wide)
    seen = windows(wide, kernel, given["stride"], given["dilation"], out)
    g = plan.dense(i.inputs[0]).seen(seen.shape, in_order(seen.shape))
    for tap in np.ndindex(*kernel) if g.size else ():
        at = [0, 0, *tap, *[0] * len(out)]
        target, source = (
            part(p, at, p.shape).seen((*p.shape[:2], *out), (*p.strides[:2], *p.strides[2 + len(out) :]))
            for p in (seen, g)
        )
        lines = [f"{kind(wide.dtype)} v = x0 + x1;"]
        plan.add(Loop(target.shape, [Load("x0", target), Load("x1", source)], lines, [Store("v", target)], [i]))
    copy(plan, part(wide, [0, 0, *padding], value.shape), plan.out(value))
    return None
