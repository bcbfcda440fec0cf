"""Recurrent layers: all steps of a layer are one call; a cotangent that is None is zero. And ops that run along one
dimension and keep what they have so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ....dtypes import F32, F64, HALVES, I64
from ....program.program import Instruction, Value
from ..expressions import suffix
from ..place import Place
from ..plan import Plan, kernel
from .movement import converted, copy
from .reductions import U64, finish, target, wide

PANEL = 32  # columns of a tile, at most: weights are packed in panels of so many


class Layer:
    """An instruction's operands and results, in float or double."""

    def __init__(self, plan: Plan, i: Instruction) -> None:
        self.plan, self.i = plan, i
        self.dtype = F64 if i.outputs[0].dtype == F64 else F32
        self.made: list[tuple[Value, Place]] = []

    def at(self, x: Value) -> Place:
        """An operand, whatever its strides."""
        return converted(self.plan, self.plan.at(x), self.dtype)

    def dense(self, x: Value) -> Place:
        place = self.at(x)
        return place if place.dense else self.plan.copied(place)

    def rows(self, x: Value | None) -> tuple[Place | None, int, int]:
        """An operand whose rows are in order, or None; how far apart they are from step to step, and in the batch."""
        if x is None:
            return None, 0, 0
        place = self.at(x)
        if place.strides[2] != 1 and place.shape[2] != 1:
            place = self.plan.copied(place)
        return place, place.strides[0], place.strides[1]

    def out(self, value: Value) -> Place:
        """Memory for a result, in order; a half is rounded into it at the end."""
        place = self.plan.out(value, dense=True)
        if value.dtype != self.dtype:
            self.made.append((value, self.plan.scratch(value.shape, self.dtype)))
            place = self.made[-1][1]
        return place

    def scratch(self, *shape: int) -> Place:
        return self.plan.scratch(shape, self.dtype)

    def packed(self, terms: int, columns: int) -> Place:
        """Memory for weights in panels."""
        return self.scratch(terms, -(-columns // PANEL) * PANEL)

    def call(self, written: Sequence[Place], *arguments: Any) -> None:
        name = f"pb_{self.i.op.name}_{suffix(self.dtype)}"
        self.plan.call("recurrence", name, *written, *arguments, writes=written)
        for value, place in self.made:
            copy(self.plan, place, self.plan.at(value))


def layer(plan: Plan, i: Instruction) -> Layer | None:
    return Layer(plan, i) if i.outputs[0].dtype in (F32, F64, *HALVES) else None


@kernel("rnn", "lstm", "gru")
def forward(plan: Plan, i: Instruction) -> bool | None:
    """Operands are x, the first states, w and, of a GRU, the bias."""
    lay, options = layer(plan, i), {**i.op.defaults, **i.params}
    if lay is None:
        return False
    states = 2 if i.op.name == "lstm" else 1
    (x, xt, xb), h0 = lay.rows(i.inputs[0]), i.inputs[1]
    firsts = [lay.dense(h) for h in i.inputs[1 : 1 + states]]
    w, rest = lay.at(i.inputs[1 + states]), i.inputs[2 + states :]
    bias = [None if b is None else lay.dense(b) for b in rest]
    written = [*(lay.out(value) for value in i.outputs), lay.packed(w.shape[1], w.shape[0])]
    sizes = (i.inputs[0].shape[0], *h0.shape)
    relu = [options["relu"]] if i.op.name == "rnn" else []
    lay.call(written, x, *firsts, w, *bias, *sizes, xt, xb, *w.strides, *relu, options["reverse"])
    return None


@kernel("rnn_gradient", "lstm_gradient", "gru_gradient")
def gradient(plan: Plan, i: Instruction) -> bool | None:
    """Operands are a cotangent of each result, the first states, w and the results."""
    lay, options = layer(plan, i), {**i.op.defaults, **i.params}
    if lay is None:
        return False
    count, states = {"rnn": (1, 1), "lstm": (3, 2), "gru": (2, 1)}[i.op.name.removesuffix("_gradient")]
    cotangents = [lay.rows(g) for g in i.inputs[:count]]
    firsts = [lay.dense(h) for h in i.inputs[count : count + states]]
    w = lay.at(i.inputs[count + states])
    results = [lay.dense(y) for y in i.inputs[count + states + 1 :]]
    written = [*(lay.out(value) for value in i.outputs), lay.packed(*w.shape)]
    steps, batch, size = results[0].shape
    if i.op.name == "gru_gradient":
        written.append(lay.scratch(steps, batch, 3 * size))
    strides = [s for _, *both in cotangents for s in both]
    relu = [options["relu"]] if i.op.name == "rnn_gradient" else []
    lay.call(written, *[g for g, *_ in cotangents], *firsts, w, *results, steps, batch, size, *strides, *w.strides,
             *relu, options["reverse"])  # fmt: skip
    return None


@kernel("recurrence", "cummax", "cummin")
def along(plan: Plan, i: Instruction) -> bool | None:
    """Along one dimension: the extremes give where they were last reached, too."""
    value, dim = i.outputs[0], i.params["dim"]
    if value.dtype == U64:
        return False
    dtype = wide(value.dtype)
    operands = []
    for x in i.inputs:
        place = converted(plan, plan.at(x), dtype)
        operands.append(place if place.dense else plan.copied(place))
    shape = value.shape or (1,)
    dim %= len(shape)
    written = [target(plan, value, dtype), *(target(plan, index, I64) for index in i.outputs[1:])]
    sizes = math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :])
    plan.call("recurrence", f"pb_{i.op.name}_{suffix(dtype)}", *written, *operands, *sizes, writes=written)
    finish(plan, value, written[0])
    return None
