"""Elements at indices. All of it is two kernels: what is read at an index, and what is put or added there."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ....dtypes import F32, FLOATS, HALVES, I64
from ....ops.along import lay_along, take_along
from ....ops.indexing import _identity as identity
from ....ops.record import OPS
from ....program.capture.layout import reshaped
from ....program.program import Instruction, Shape, Value
from ..loops import C, Load, Loop, Store, collapsed
from ..place import Place, in_order
from ..plan import Plan, kernel
from .movement import NAMES, bits, converted, copy, fill, operand, possible, row_major
from .views import looked_at

CHECKED: WeakKeyDictionary[Plan, set[tuple[Value, int, bool]]] = WeakKeyDictionary()  # indices known to be in range


# -- indices -----------------------------------------------------------------------------------------------------------


def integers(plan: Plan, index: Value) -> Place:
    """An index in order, as int64."""
    return converted(plan, plan.dense(index), I64)


def known(plan: Plan, index: Value, size: int, wrap: bool) -> bool:
    """Was this index looked at before? It is from now on."""
    seen = CHECKED.setdefault(plan, set())
    if (index, size, wrap) in seen:
        return True
    seen.add((index, size, wrap))
    return False


def check(plan: Plan, value: Value, index: Place, size: int, wrap: bool = False) -> None:
    """Fail if an index is out of range. What writes at an index does not fail any more: so it may write into state."""
    if not known(plan, value, size, wrap):
        step = len(plan.steps)
        plan.call("indexing", "pb_check", index, index.size, size, int(wrap), step, writes=[], fails=True)


def joint(plan: Plan, index: Value, shape: Shape, strides: Shape, dims: Shape, wrap: bool) -> Place:
    """Indices over several dims, an array of places each, as places in memory; what is out of range is -1."""
    given = integers(plan, index)
    one = given.shape[1:]
    out = plan.scratch(one, I64)
    for n, d in enumerate(dims):
        plan.call("indexing", "pb_places", out, given.seen(one, in_order(one), n * out.size), out.size, shape[d],
                  strides[d], int(wrap), int(n > 0), len(plan.steps), writes=[out], fails=True)  # fmt: skip
    return out


# -- reading and writing -----------------------------------------------------------------------------------------------


def gather(plan: Plan, out: Place, x: Place, index: Place, size: int, stride: int, wrap: bool, fails: bool) -> bool:
    """out = x at index. All have one shape: x stays where it is (0) along the dims that the index goes through."""
    sizes, strides = collapsed(out.shape, [x.strides, index.strides, out.strides])
    if len(sizes) > 4:
        return False
    new = [0] * (4 - len(sizes))
    xs, at, outs = (new + s for s in strides)
    numbers = [*[1] * len(new), *sizes, *outs, *xs, *at, size, stride, int(wrap), len(plan.steps) if fails else -1]
    name = f"pb_gather_u{x.dtype.itemsize}"
    plan.call("indexing", name, bits(out), bits(x), index, *numbers, writes=[out], fails=fails)
    return True


def scatter(plan: Plan, how: str, out: Place, x: Place, index: Place, along: range, size: int, stride: int,
            wrap: bool = False) -> bool:  # fmt: skip
    """Put x (`how` is ""), or add (sum, prod, amax, amin) it, into out at index. All have x's shape: out stays where it
    is (0) along the dims that the index goes through."""
    shape = x.shape
    lines = [d for d in range(x.ndim) if d not in along]
    rest, strides = collapsed(
        tuple([shape[d] for d in lines]),
        [tuple([s[d] for d in lines]) for s in (x.strides, index.strides, out.strides)],
    )
    through = row_major([shape[d] for d in along], [[s[d] for d in along] for s in (x.strides, index.strides)])
    if through is None:
        return scatter(plan, how, out, plan.copied(x), index, along, size, stride, wrap) if not x.dense else False
    if strides[-1][-1] > stride:  # the last of the other dims lies outside of the one that the index goes through
        rest, strides = [*rest, 1], [[*s, 0] for s in strides]
    if len(rest) > 3:
        return False
    m, (xm, im) = through
    rest = [1] * (3 - len(rest)) + rest
    (x0, x1, x3), (i0, i1, i3), (o0, o1, o3) = ([0] * (3 - len(s)) + s for s in strides)
    if how:
        name = f"pb_scatter_{how}_{NAMES[out.dtype]}"
    else:
        name, out, x = f"pb_scatter_u{out.dtype.itemsize}", bits(out), bits(x)
    plan.call("indexing", name, out, x, index, rest[0], rest[1], m, rest[2], o0, o1, o3, x0, x1, xm, x3, i0, i1, im, i3,
              size, stride, int(wrap), writes=[out])  # fmt: skip
    return True


def can_add(value: Value) -> bool:
    return value.dtype in NAMES or value.dtype in HALVES


def sums(plan: Plan, value: Value) -> Place:
    """Where a result is added up: half types in float32."""
    return plan.scratch(value.shape, F32) if value.dtype in HALVES else plan.out(value, dense=True)


def rounded(plan: Plan, value: Value, made: Place) -> None:
    if value.dtype in HALVES:
        copy(plan, made, plan.out(value))


# -- one index for whole parts of an array -----------------------------------------------------------------------------


class Parts:
    """How x[..., index, ...] looks at x (which lies in order, or is indexed along one dim): see ops/indexing.py."""

    def __init__(self, plan: Plan, x: Place, value: Value, dims: Shape, wrap: bool, writes: bool) -> None:
        self.dims, self.wrap = dims, wrap
        if len(dims) == 1:
            self.index, self.size, self.stride = integers(plan, value), x.shape[dims[0]], x.strides[dims[0]]
            self.fails = not known(plan, value, self.size, wrap) if not writes else False
            if writes:
                check(plan, value, self.index, self.size, wrap)
        else:
            self.index, self.size, self.stride = joint(plan, value, x.shape, x.strides, dims, wrap), x.size, 1
            self.wrap = self.fails = False
        rest = [d for d in range(x.ndim) if d not in dims]
        front = dims[0] if dims[-1] - dims[0] + 1 == len(dims) else 0
        some = self.index.shape
        self.shape = (*[x.shape[d] for d in rest[:front]], *some, *[x.shape[d] for d in rest[front:]])
        self.along = range(front, front + len(some))
        before, after = ([x.strides[d] for d in some] for some in (rest[:front], rest[front:]))
        self.x = x.seen(self.shape, [*before, *[0] * len(self.along), *after])
        steps = [*[0] * front, *self.index.strides, *[0] * (len(rest) - front)]
        self.index = self.index.seen(self.shape, steps)

    def gather(self, plan: Plan, out: Place) -> bool:
        return gather(plan, out, self.x, self.index, self.size, self.stride, self.wrap, self.fails)

    def scatter(self, plan: Plan, how: str, x: Place) -> bool:
        return scatter(plan, how, self.x, x, self.index, self.along, self.size, self.stride, self.wrap)


@kernel("take_at")
def take_at(plan: Plan, i: Instruction) -> Any:
    x, index = i.inputs
    given = {**i.op.defaults, **i.params}
    if not possible(x) or type(index) is not Value:
        return False
    place = plan.at(x) if len(given["dims"]) == 1 else plan.dense(x)
    look = Parts(plan, place, index, given["dims"], bool(given["wrap"]), False)
    out = plan.out(i.outputs[0], dense=True)
    return look.gather(plan, out)


@kernel("embedding")
def embedding(plan: Plan, i: Instruction) -> Any:
    weight, index = i.inputs
    if not possible(weight):
        return False
    look = Parts(plan, plan.at(weight), index, (0,), False, False)
    out = plan.out(i.outputs[0], dense=True)
    return look.gather(plan, out)


@kernel("lay_at", "unembed")
def lay_at(plan: Plan, i: Instruction) -> Any:
    """Zeros, and everything added where its index says."""
    (g, index), value, given = i.inputs, i.outputs[0], {**i.op.defaults, **i.params}
    if not can_add(value):
        return False
    out = sums(plan, value)
    look = Parts(plan, out, index, given.get("dims", (0,)), i.op.name == "lay_at", True)
    fill(plan, out)
    x = converted(plan, plan.at(g), out.dtype).broadcast(look.shape)
    if not look.scatter(plan, "sum", x):
        return False
    if (padding := given.get("padding_idx")) is not None:
        fill(plan, out.seen(out.shape[1:], out.strides[1:], padding % out.shape[0] * out.strides[0]))
    rounded(plan, value, out)
    return None


@kernel("put_at")
def put_at(plan: Plan, i: Instruction) -> Any:
    (x, index, values), value, given = i.inputs, i.outputs[0], {**i.op.defaults, **i.params}
    add = bool(given["accumulate"])
    if not possible(x, values) or (add and not can_add(value)):
        return False
    out = sums(plan, value) if add else plan.out(value, dense=True)
    look = Parts(plan, out, index, given["dims"], bool(given["wrap"]), True)
    source = operand(plan, values, out.dtype).broadcast(look.shape)
    copy(plan, plan.at(x), out)
    if not look.scatter(plan, "sum" if add else "", source):
        return False
    if add:
        rounded(plan, value, out)
    return None


# -- an index for each element -----------------------------------------------------------------------------------------


def stays(x: Place, shape: Shape, dim: int) -> Place:
    """x as if it had this shape, and always where it begins along a dim."""
    return x.seen(shape, [*x.strides[:dim], 0, *x.strides[dim + 1 :]])


@kernel("gather")
def gather_(plan: Plan, i: Instruction) -> Any:
    (x, index), dim = i.inputs, i.params["dim"]
    place = plan.at(x)
    if not possible(x) or x.ndim != index.ndim or not x.ndim:
        return False
    at, out = integers(plan, index), plan.out(i.outputs[0], dense=True)
    fails = not known(plan, index, x.shape[dim], False)
    return gather(plan, out, stays(place, at.shape, dim), at, x.shape[dim], place.strides[dim], False, fails)


def combined(plan: Plan, how: str, out: Place, index: Place, src: Place, dim: int) -> bool:
    """scatter, scatter_add and their kin, in place."""
    if src.ndim:
        src = src.seen(index.shape, src.strides)
    return scatter(plan, how, stays(out, index.shape, dim), src.broadcast(index.shape), index, range(dim, dim + 1),
                   out.shape[dim], out.strides[dim])  # fmt: skip


@kernel("scatter")
def scatter_(plan: Plan, i: Instruction) -> Any:
    (x, index, src), dim, value = i.inputs, i.params["dim"], i.outputs[0]
    if not possible(x, src) or x.ndim != index.ndim or not x.ndim:
        return False
    at = integers(plan, index)
    check(plan, index, at, x.shape[dim])
    source, out = operand(plan, src, value.dtype), plan.out(value, dense=True)
    copy(plan, plan.at(x), out)
    return combined(plan, "", out, at, source, dim)


@kernel("scatter_add", "scatter_reduce")
def scatter_reduce(plan: Plan, i: Instruction) -> Any:
    (x, index, src), value, given = i.inputs, i.outputs[0], {**i.op.defaults, **i.params}
    if not can_add(value) or not possible(src) or x.ndim != index.ndim or not x.ndim:
        return False
    how, whole, dim = given.get("reduce", "sum"), given.get("include_self", True), given["dim"]
    at = integers(plan, index)
    check(plan, index, at, x.shape[dim])
    out = sums(plan, value)
    source = operand(plan, src, out.dtype)
    copy(plan, plan.at(x), out)
    one = plan.constant(np.ones((), I64))
    if not whole:
        first = plan.constant(np.full((), identity(how, out.dtype), out.dtype))
        combined(plan, "", out, at, first, dim)
    if not combined(plan, how if how != "mean" else "sum", out, at, source, dim):
        return False
    if how == "mean":
        count = plan.scratch(out.shape, I64)
        fill(plan, count, 1)
        if not whole:
            combined(plan, "", count, at, plan.constant(np.zeros((), I64)), dim)
        combined(plan, "sum", count, at, one, dim)
        plan.add(mean(out, count, i))
    rounded(plan, value, out)
    return None


def mean(out: Place, count: Place, i: Instruction) -> Loop:
    """out / count; integers are rounded down."""
    c = C[out.dtype]
    text = "x0 / n" if out.dtype in FLOATS else "x0 / n - (x0 % n < 0)"
    lines = [f"{c} n = x1;", f"{c} v = {text};"]
    return Loop(out.shape, [Load("x0", out), Load("x1", count)], lines, [Store("v", out)], [i])


@kernel("gather_at")
def gather_at(plan: Plan, i: Instruction) -> Any:
    """Each plane of x, flattened, at indices."""
    x, indices = i.inputs
    if not possible(x):
        return False
    n, c = x.shape[:2]
    size = math.prod(x.shape[2:])
    at, out = integers(plan, indices), plan.out(i.outputs[0], dense=True)
    count = math.prod(indices.shape[2:])
    at = at.seen((*indices.shape[:2], count), in_order((*indices.shape[:2], count))).broadcast((n, c, count))
    fails = not known(plan, indices, size, False)
    planes = plan.dense(x).seen((n, c, count), (c * size, size, 0))
    return gather(plan, out.seen((n, c, count), in_order((n, c, count))), planes, at, size, 1, False, fails)


# -- distinct places along a dim ---------------------------------------------------------------------------------------


def whole(place: Place, shape: Shape, dim: int) -> Place:
    """An index, or what was taken with it, that may lack the dim."""
    if place.ndim == len(shape):
        return place
    return place.seen([*place.shape[:dim], 1, *place.shape[dim:]], [*place.strides[:dim], 0, *place.strides[dim:]])


@kernel(take_along.name)
def take(plan: Plan, i: Instruction) -> Any:
    (x, index), dim = i.inputs, i.params["dim"]
    if not possible(x):
        return False
    if not x.ndim:
        copy(plan, plan.at(x).broadcast(index.shape), plan.out(i.outputs[0]))
        return None
    place, dim = plan.at(x), dim % x.ndim
    at, out = whole(integers(plan, index), x.shape, dim), whole(plan.out(i.outputs[0], dense=True), x.shape, dim)
    return gather(plan, out, stays(place, at.shape, dim), at, x.shape[dim], place.strides[dim], False, False)


@kernel(lay_along.name)
def lay(plan: Plan, i: Instruction) -> Any:
    (g, index), value, dim = i.inputs, i.outputs[0], i.params["dim"]
    if not possible(g):
        return False
    out = plan.out(value, dense=True)
    if not value.ndim:
        copy(plan, plan.at(g).seen((), ()), out)
        return None
    dim %= value.ndim
    fill(plan, out)
    at, source = whole(integers(plan, index), value.shape, dim), whole(plan.at(g), value.shape, dim)
    return combined(plan, "", out, at, source, dim)


# -- through views -----------------------------------------------------------------------------------------------------


def through(place: Place, path: Any) -> Place | None:
    """Where the views of a path lead to; None if a copy comes between, or elements are seen twice."""
    for name, params in path:
        if name == "reshape":
            size = place.dtype.itemsize
            strides = reshaped(place.shape, tuple([s * size for s in place.strides]), params["shape"], size)
            if strides is None:
                return None
            place = place.seen(params["shape"], [s // size for s in strides])
        elif name in ("as_strided", "expand", "unfold"):
            return None
        else:
            place = looked_at(OPS[name], place, params)
    return place


@kernel("put_view")
def put_view(plan: Plan, i: Instruction) -> Any:
    (x, value), path = i.inputs, i.params["path"]
    if not possible(x, value):
        return False
    source, made = plan.at(value), i.outputs[0]
    out = plan.out(made)
    seen = through(out, path)
    if seen is not None and (seen.shape, seen.strides) == (out.shape, out.strides) and source.dtype == out.dtype:
        plan.places[made] = source.broadcast(out.shape)  # nothing of x is left
        return None
    copy(plan, plan.at(x), out)
    if seen is not None:
        copy(plan, source, seen)
        return None
    if not out.dense:
        return False
    places = np.arange(out.size).reshape(out.shape)  # of all elements, in the same order
    for name, params in path:
        places = OPS[name].numpy(places, **params)
    return flat(plan, "", out, converted(plan, source, out.dtype).broadcast(places.shape), places)


def flat(plan: Plan, how: str, out: Place, x: Place, places: Any) -> bool:
    """Put or add x at places of flat memory that are known."""
    at = plan.constant(places, I64)
    return scatter(plan, how, out.seen(x.shape, [0] * x.ndim), x, at, range(x.ndim), out.size, 1)


@kernel("unstrided")
def unstrided(plan: Plan, i: Instruction) -> Any:
    value, given = i.outputs[0], {**i.op.defaults, **i.params}
    if not can_add(value):
        return False
    out = sums(plan, value)
    fill(plan, out)
    places = np.array(given["offset"])
    for n, s in zip(given["size"], given["stride"], strict=True):
        places = places[..., None] + np.arange(n) * s
    x = converted(plan, plan.at(i.inputs[0]), out.dtype)
    if not flat(plan, "sum", out, x, places):
        return False
    rounded(plan, value, out)
    return None
