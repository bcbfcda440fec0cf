"""Random programs of views and writes: the gradients of what was computed, or an error where PyTorch has one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings

import pullback

from . import writes

FEW = settings(derandomize=True, deadline=None, max_examples=300)
MANY = settings(derandomize=True, deadline=None, max_examples=5000)


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
    """PyTorch's values, gradients and refusals. It refuses some programs only because of how it keeps its records: what
    pullback still makes of these must be right.
    """
    ours, theirs = writes.run_library(pullback, program), writes.run_library(pytest.importorskip("torch"), program)
    if ours.failed_at is None and theirs.failed_at is not None:
        check(ours, writes.run_dual(program))
    elif ours.failed_at == theirs.failed_at:
        check(ours, theirs)
    else:
        assert theirs.failed_at is not None and ours.failed_at > theirs.failed_at


def write_to_a_leaf(t: Any, a: Any) -> Any:
    a.mul_(2)


def write_to_a_part_of_a_leaf(t: Any, a: Any) -> Any:
    a[0] = 1.0


def write_to_a_view_of_a_leaf(t: Any, a: Any) -> Any:
    a.view(-1)[2:].zero_()


def write_to_what_was_saved(t: Any, a: Any) -> Any:
    x = a * 1
    y = a * x
    x += 1
    y.sum().backward()


def write_to_a_view_of_what_was_saved(t: Any, a: Any) -> Any:
    x = a * 1
    y = x.tanh() * x
    x[0].fill_(0.0)
    y.sum().backward()


def write_to_a_saved_result(t: Any, a: Any) -> Any:
    y = a.exp()
    y.add_(1)
    y.sum().backward()


def write_unrecorded_to_what_was_saved(t: Any, a: Any) -> Any:
    x = a * 1
    y = x * x
    with t.no_grad():
        x.zero_()
    y.sum().backward()


def write_through_detach_to_what_was_saved(t: Any, a: Any) -> Any:
    x = a * 1
    y = x * x
    x.detach().zero_()
    y.sum().backward()


def write_to_a_view_made_in_no_grad(t: Any, a: Any) -> Any:
    x = a * 1
    with t.no_grad():
        y = x[0]
    y.mul_(2)


def use_a_view_made_in_no_grad_after_a_write(t: Any, a: Any) -> Any:
    x = a * 1
    with t.no_grad():
        y = x[0]
        x.zero_()
    return y * 2


def write_to_an_expanded_tensor(t: Any, a: Any) -> Any:
    (a * 1)[0].expand(5, 4).add_(1)


def grow_in_place(t: Any, a: Any) -> Any:
    (a * 1)[0].add_(a)


def go_back_twice(t: Any, a: Any) -> Any:
    y = (a * a).sum()
    y.backward()
    y.backward()


REFUSED = [
    f
    for name, f in list(globals().items())
    if name.startswith(("write_to", "write_un", "write_th", "use_", "grow_", "go_"))
]


@pytest.mark.parametrize("library", ["pullback", pytest.param("torch", marks=pytest.mark.parity)])
@pytest.mark.parametrize("program", REFUSED, ids=lambda f: f.__name__)
def test_refused(program: Any, library: str) -> None:
    t = pytest.importorskip(library)
    with pytest.raises(RuntimeError):
        program(t, t.tensor(writes.START, requires_grad=True))


@FEW
@given(writes.programs)
def test_gradients_are_those_of_the_values(program: Any) -> None:
    check_dual(program)


@pytest.mark.slow
@MANY
@given(writes.programs)
def test_many_gradients_are_those_of_the_values(program: Any) -> None:
    check_dual(program)


@pytest.mark.parity
@FEW
@given(writes.programs)
def test_values_gradients_and_errors_are_pytorchs(program: Any) -> None:
    check_parity(program)


@pytest.mark.slow
@pytest.mark.parity
@MANY
@given(writes.programs)
def test_many_values_gradients_and_errors_are_pytorchs(program: Any) -> None:
    check_parity(program)
