"""Gradients of random expressions, against finite differences and against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from tests.ops.checks import dot, slope

import pullback

from . import expressions
from .expressions import arrays, loss

FEW = settings(derandomize=True, deadline=None, max_examples=60)
MANY = settings(derandomize=True, deadline=None, max_examples=2000)


def gradients(t: Any, shapes: Any, program: Any, second: bool = False) -> list[Any]:
    """The loss, its gradients, and (`second`) the gradients of the gradients' squared norm."""
    xs = [t.tensor(x, requires_grad=True) for x in arrays(shapes, 0)]
    y = loss(t, xs, program)
    gs = t.autograd.grad(y, xs, create_graph=second)
    found = [y, *gs]
    if second:
        norm = sum((g * g).sum() for g in gs)
        seconds = t.autograd.grad(norm, xs, allow_unused=True) if norm.requires_grad else [None] * len(xs)
        found += [t.zeros_like(x) if g is None else g for x, g in zip(xs, seconds, strict=True)]
    return [v.detach().numpy() for v in found]


def check_slope(shapes: Any, program: Any) -> None:
    values, gs, us = arrays(shapes, 0), gradients(pullback, shapes, program)[1:], arrays(shapes, 1)

    def along(t: float) -> float:
        with pullback.no_grad():
            return float(loss(pullback, [pullback.tensor(x + t * u) for x, u in zip(values, us, strict=True)], program))

    expected, coarse = slope(along), slope(along, 1e-5)
    if abs(expected - coarse) < 1e-6 * (1 + abs(expected)):  # else a kink lies on the way
        assert abs(dot(gs, us) - expected) < 1e-6 * (1 + abs(expected))


def check_parity(shapes: Any, program: Any) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = gradients(pullback, shapes, program, second=True), gradients(torch, shapes, program, second=True)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, 1e-9, 1e-10)


@FEW
@given(expressions.leaves, expressions.steps)
def test_gradients_agree_with_finite_differences(shapes: Any, program: Any) -> None:
    check_slope(shapes, program)


@pytest.mark.slow
@MANY
@given(expressions.leaves, expressions.steps)
def test_many_gradients_agree_with_finite_differences(shapes: Any, program: Any) -> None:
    check_slope(shapes, program)


@pytest.mark.parity
@FEW
@given(expressions.leaves, expressions.steps)
def test_gradients_of_both_orders_are_pytorchs(shapes: Any, program: Any) -> None:
    check_parity(shapes, program)


@pytest.mark.slow
@pytest.mark.parity
@MANY
@given(expressions.leaves, expressions.steps)
def test_many_gradients_of_both_orders_are_pytorchs(shapes: Any, program: Any) -> None:
    check_parity(shapes, program)
