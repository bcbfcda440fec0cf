"""Programs made by hand: instruction by instruction, with the shapes that the ops' own rules give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from pullback.dtypes import F32, I64
from pullback.ops import OPS
from pullback.ops.activation import relu, relu_backward
from pullback.ops.arithmetic import add
from pullback.ops.losses import cross_entropy, cross_entropy_gradient
from pullback.ops.matmul import matmul
from pullback.ops.record import Op, Spec, per_input
from pullback.ops.reduction import sum as sum_
from pullback.ops.shape import permute
from pullback.ops.updates import sgd
from pullback.program.capture.layout import view_strides
from pullback.program.program import BACKWARD, FORWARD, UPDATE, Input, Instruction, Line, Program, Shape, Value, Write

Array = np.ndarray[Any, Any]


class Builder:
    """Grows a Program. Calling it with an op and its operands adds an instruction and gives its result."""

    def __init__(self, first: int = 0) -> None:
        self.inputs: list[Input] = []
        self.constants: dict[Value, Array] = {}
        self.instructions: list[Instruction] = []
        self.writes: list[Write] = []
        self.next = first
        self.where: dict[str, Any] = {}

    def value(self, shape: Shape, dtype: Any = F32, strides: Shape | None = None, weak: bool = False) -> Value:
        self.next += 1
        return Value(self.next - 1, shape, np.dtype(dtype), strides, weak)

    def input(self, kind: str, name: str, *shape: int, **fields: Any) -> Value:
        value = self.value(shape, **fields)
        self.inputs.append(Input(value, kind, name))
        return value

    def constant(self, array: Array) -> Value:
        value = self.value(array.shape, array.dtype)
        self.constants[value] = array
        return value

    @contextmanager
    def at(self, **where: Any) -> Iterator[None]:
        """Instructions made inside stand there: phase, module, region, line."""
        before, self.where = self.where, {**self.where, **where}
        yield
        self.where = before

    def __call__(self, op: Op, *inputs: Any, **params: Any) -> Any:
        specs = op.infer(*inputs, **params)
        strides = None
        if op.view and op.views is None:
            strides = view_strides(op, inputs[0], params, specs.shape)
        outs = [self.value(tuple(s.shape), s.dtype, strides) for s in ([specs] if isinstance(specs, Spec) else specs)]
        self.instructions.append(Instruction(op, inputs, params, outs, **self.where))
        return outs[0] if isinstance(specs, Spec) else outs

    def write(self, value: Value, name: str) -> None:
        place = next((i for i, given in enumerate(self.inputs) if given.name == name), None)
        self.writes.append(Write(name, value, place))

    def program(self, *outputs: Value, name: str = "step") -> Program:
        return Program(name, self.inputs, self.constants, self.instructions, outputs, self.writes).check()


def line(number: int, text: str, file: str = "train.py") -> Line:
    return Line(file, number, text)


def network(first: int = 0, width: int = 16, momentum: bool = True) -> Program:
    """A training step of two layers: forward, backward by hand, and SGD."""
    b = Builder(first)
    x, target = b.input("argument", "x", 8, 10), b.input("argument", "target", 8, dtype=I64)
    w1, b1 = b.input("state", "model.fc1.weight", width, 10), b.input("state", "model.fc1.bias", width)
    w2, b2 = b.input("state", "model.fc2.weight", 3, width), b.input("state", "model.fc2.bias", 3)
    rate = b.input("number", "optimizer.param_groups[0]['lr']", weak=True)
    moments = {}
    for name, p in (("fc1.weight", w1), ("fc1.bias", b1), ("fc2.weight", w2), ("fc2.bias", b2)):
        moments[p] = b.input("state", f"optimizer.state[model.{name}]['momentum']", *p.shape) if momentum else None
    model, backward, step = line(12, "logits = model(x)"), line(14, "loss.backward()"), line(15, "optimizer.step()")
    with b.at(phase=FORWARD, line=model):
        with b.at(module="fc1"):
            h = b(relu, b(add, b(matmul, x, b(permute, w1, dims=(1, 0))), b1))
        with b.at(module="fc2"):
            logits = b(add, b(matmul, h, b(permute, w2, dims=(1, 0))), b2)
    with b.at(phase=FORWARD, line=line(13, "loss = cross_entropy(logits, target)")):
        loss = b(cross_entropy, logits, target, None)
    one = b.constant(np.ones((), F32))
    grads = {}
    with b.at(phase=BACKWARD, line=backward):
        g = b(cross_entropy_gradient, one, logits, target, None)
        with b.at(module="fc2"):
            grads[b2], grads[w2] = b(sum_, g, dim=(0,)), b(matmul, b(permute, g, dims=(1, 0)), h)
            g = b(matmul, g, w2)
        with b.at(module="fc1"):
            g = b(relu_backward, g, h)
            grads[b1], grads[w1] = b(sum_, g, dim=(0,)), b(matmul, b(permute, g, dims=(1, 0)), x)
    names = {given.value: given.name for given in b.inputs}
    with b.at(phase=UPDATE, line=step):
        for p, grad in grads.items():
            new = b(sgd, p, moments[p], grad, rate, 0.9 if momentum else 0.0, 0.0, 0.0)
            b.write(new[0] if momentum else new, names[p])
            if momentum:
                b.write(new[1], names[moments[p]])
    return b.program(loss, name="train_step")


def run(program: Program, arrays: Sequence[Any]) -> list[Array]:
    """What a Program gives, by NumPy."""
    known: dict[Value, Any] = dict(zip([given.value for given in program.inputs], arrays, strict=True))
    known.update(program.constants)
    for i in program.instructions:
        out = i.op(*[known[x] if type(x) is Value else x for x in i.inputs], **i.params)
        known.update(zip(i.outputs, out if type(out) is tuple else (out,), strict=True))
    return [known[v] for v in program.results]


def values_for(program: Program) -> list[Any]:
    """Inputs to run it on."""
    random = np.random.default_rng(0)
    return [
        0.1 if g.value.weak
        else random.integers(0, 3, g.value.shape) if g.value.dtype == I64
        else random.standard_normal(g.value.shape).astype(g.value.dtype)
        for g in program.inputs
    ]  # fmt: skip


def looping(monkeypatch: pytest.MonkeyPatch) -> Program:
    """A loop of 5 turns: carry = relu(carry @ w). Its op is made for the test."""
    body = Builder()
    carry, w = body.input("argument", "carry", 4, 6), body.input("argument", "w", 6, 6)
    inner = body.program(body(relu, body(matmul, carry, w)), name="body")
    loop = Op(
        "loop_of_a_test", "carry = body(carry, w), `length` times", inputs="carry w", torch="", samples=list,
        numpy=lambda carry, w, body=None, length=1: carry, dtypes=per_input,
        infer=lambda carry, w, **params: Spec(carry.shape, carry.dtype),
    )  # fmt: skip
    monkeypatch.setitem(OPS, loop.name, loop)
    b = Builder()
    x, w = b.input("argument", "x", 4, 6), b.input("state", "w", 6, 6)
    with b.at(module="rnn", line=line(3, "y = rnn(x)")):
        y = b(loop, x, w, body=inner, length=5)
    return b.program(y, name="looping")
