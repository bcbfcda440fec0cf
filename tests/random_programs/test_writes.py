"""Random programs of views and writes: the gradients of what was computed, or an error where PyTorch has one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings

import pullback

from . import writes

FEW = settings(derandomize=True, deadline=None, max_examples=150)
MANY = settings(derandomize=True, deadline=None, max_examples=5000)

ANY = writes.steps(sorted(writes.STEPS), unrecorded=sorted(writes.STEPS))
DEFINED = writes.steps(sorted(writes.STEPS), unrecorded=sorted(writes.VALUES | writes.WRITES))


def check(ours: writes.Outcome, expected: writes.Outcome) -> None:
    assert ours.failed_at == expected.failed_at
    for a, b in zip(ours.values, expected.values, strict=True):
        np.testing.assert_allclose(a, b, 1e-12, 1e-12)
    if expected.grad is not None:
        np.testing.assert_allclose(ours.grad, expected.grad, 1e-9, 1e-10)


def check_dual(program: Any) -> None:
    ours = writes.run_library(pullback, program)
    event("refused" if ours.failed_at is not None else "differentiated")
    if ours.failed_at is None:
        check(ours, writes.run_dual(program))


def check_parity(program: Any) -> None:
    check(writes.run_library(pullback, program), writes.run_library(pytest.importorskip("torch"), program))


@FEW
@given(DEFINED)
def test_gradients_are_those_of_the_values(program: Any) -> None:
    check_dual(program)


@pytest.mark.slow
@MANY
@given(DEFINED)
def test_many_gradients_are_those_of_the_values(program: Any) -> None:
    check_dual(program)


@pytest.mark.parity
@FEW
@given(ANY)
def test_values_gradients_and_errors_are_pytorchs(program: Any) -> None:
    check_parity(program)


@pytest.mark.slow
@pytest.mark.parity
@MANY
@given(ANY)
def test_many_values_gradients_and_errors_are_pytorchs(program: Any) -> None:
    check_parity(program)
