"""The core's random programs, captured: what is computed, the gradients, and what is refused are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from tests.random_programs import expressions, writes
from tests.random_programs.test_expressions import gradients

import pullback

FEW = settings(derandomize=True, deadline=None, max_examples=150)
MANY = settings(derandomize=True, deadline=None, max_examples=600)


class Captured:
    """A function, run as a Program on NumPy each time it is called: on the first call, and on the second."""

    def __init__(self, function: Any) -> None:
        self.compiled = pullback.compile(function, engine="numpy")

    def __call__(self, *args: Any) -> Any:
        self.compiled(*args)
        return self.compiled(*args)


def write_both(program: Any) -> None:
    eager = writes.run_library(pullback, program)

    def step(start: Any, constant: Any) -> Any:
        a = start.detach().clone().requires_grad_()
        tensors = [a, constant.clone(), constant.clone(), a * 1.0]
        failed_at, xs = writes.run(tensors, program, pullback.no_grad, RuntimeError)
        values = [x.detach().clone() for x in xs]
        if failed_at is not None:
            return failed_at, values, None
        try:
            total = a.sum() * 0.0
            for k, x in enumerate(xs):
                total = total + x.sum() * np.cos(k).item()
            total.backward()
        except RuntimeError:
            return len(program), values, None
        return None, values, a.grad

    a, c = pullback.tensor(writes.START), pullback.tensor(writes.CONSTANT)
    failed_at, values, grad = Captured(step)(a, c)
    assert failed_at == eager.failed_at
    for x, y in zip(values, eager.values, strict=True):
        np.testing.assert_array_equal(x.numpy(), y)
    assert (grad is None) == (eager.grad is None)
    if grad is not None:
        np.testing.assert_array_equal(grad.numpy(), eager.grad)


@FEW
@given(writes.programs)
def test_writes_and_views(program: Any) -> None:
    write_both(program)


@pytest.mark.slow
@MANY
@given(writes.programs)
def test_many_writes_and_views(program: Any) -> None:
    write_both(program)


def express_both(shapes: Any, program: Any) -> None:
    xs = [pullback.tensor(x, requires_grad=True) for x in expressions.arrays(shapes, 0)]

    def step(*xs: Any) -> Any:
        xs = tuple(x.detach().requires_grad_() for x in xs)
        y = expressions.loss(pullback, xs, program)
        gs = pullback.autograd.grad(y, xs, create_graph=True)
        norm = sum((g * g).sum() for g in gs)
        seconds = pullback.autograd.grad(norm, xs, allow_unused=True) if norm.requires_grad else [None] * len(xs)
        found = [y, *gs, *[pullback.zeros_like(x) if g is None else g for x, g in zip(xs, seconds, strict=True)]]
        return [v.detach() for v in found]

    expected = gradients(pullback, shapes, program, second=True)
    for a, b in zip(Captured(step)(*xs), expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


@FEW
@given(expressions.leaves, expressions.steps)
def test_expressions(shapes: Any, program: Any) -> None:
    express_both(shapes, program)


@pytest.mark.slow
@MANY
@given(expressions.leaves, expressions.steps)
def test_many_expressions(shapes: Any, program: Any) -> None:
    express_both(shapes, program)
