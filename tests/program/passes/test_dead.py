"""What nobody reads is not computed."""

from __future__ import annotations

import numpy as np

from pullback.program.passes import prune
from pullback.program.program import Write

from .build import Builder, check, names, special


def test_what_no_result_depends_on_goes() -> None:
    b = Builder()
    x, unused = b.input(special(3)), b.input(special(2))
    c, d = b.constant(np.arange(3.0)), b.constant(np.arange(2.0))
    y = b("mul", x, c)
    b("exp", b("mul", unused, d))
    b("neg", y)
    program = b.program(b("exp", y))
    pruned = check(prune, program, b.given)
    assert names(pruned) == ["mul", "exp"]
    assert list(pruned.constants) == [c]
    assert [given.value for given in pruned.inputs] == [x, unused]


def test_writes_are_results() -> None:
    b = Builder()
    x = b.input(special(3), "state")
    y = b("neg", x)
    pruned = check(prune, b.program(writes=(Write("weight", y, 0),)), b.given)
    assert names(pruned) == ["neg"]


def test_an_op_of_several_results_stays_if_one_is_read() -> None:
    b = Builder()
    x = b.input(np.array([2.0, 1.0, 3.0]))
    values, _ = b("sort", x, dim=0)
    b("sort", values, dim=0)
    assert names(check(prune, b.program(values), b.given)) == ["sort"]


def test_a_constant_that_is_a_result_stays() -> None:
    b = Builder()
    c = b.constant(np.arange(3.0))
    assert list(check(prune, b.program(c), []).constants) == [c]
