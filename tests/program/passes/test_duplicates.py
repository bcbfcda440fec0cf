"""Equal instructions are one, and only those."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pullback.dtypes import F32, F64
from pullback.program.passes import share
from pullback.program.passes.duplicates import key
from pullback.program.program import Program, Write

from .build import Builder, check, names, special

EMPTY = Program("body", [], {}, [], [])


def same() -> list[tuple[Any, Any]]:
    return [
        (1, 1),
        (0.5, 0.5),
        (float("nan"), float("nan")),
        (slice(1, None, 2), slice(1, None, 2)),
        ((..., None, slice(3)), (..., None, slice(3))),
        ([1, (2.0,)], [1, (2.0,)]),
        ({"dims": (0, 1)}, {"dims": (0, 1)}),
        (F32, np.dtype("float32")),
        (np.arange(3), np.arange(3)),
        (np.float32(2), np.float32(2)),
        (EMPTY, EMPTY),
        (share, share),
    ]


def different() -> list[tuple[Any, Any]]:
    return [
        (0.0, -0.0),
        (1, 1.0),
        (1, True),
        (0, None),
        (float("nan"), -float("nan")),
        ((1,), [1]),
        ((1, (2, 3)), (1, 2, 3)),
        (slice(1), slice(1, None)),
        (slice(None, 1), slice(None, True)),
        (F32, F64),
        (np.dtype("float32"), np.float32),
        (np.arange(3), np.arange(3, dtype=np.int32)),
        (np.array([0.0]), np.array([-0.0])),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.float32(2), 2.0),
        ({"dim": 0}, {"dims": 0}),
        (EMPTY, Program("body", [], {}, [], [])),
        (lambda: 0, lambda: 0),
    ]


@pytest.mark.parametrize(("x", "y"), same())
def test_the_same(x: Any, y: Any) -> None:
    assert key(x) == key(y) and hash(key(x)) == hash(key(y))


@pytest.mark.parametrize(("x", "y"), different())
def test_not_the_same(x: Any, y: Any) -> None:
    assert key(x) != key(y)


def test_what_cannot_be_compared() -> None:
    for x in ({1, 2}, [{"a": bytearray(b"x")}]):
        with pytest.raises(TypeError, match="cannot be compared"):
            key(x)


def test_chains_are_shared() -> None:
    b = Builder()
    x = b.input(special(3, 4))
    sums = [b("sum", b("exp", b("mul", x, 2.0)), dim=(0,), keepdim=True) for _ in range(3)]
    program = b.program(*sums, writes=(Write("kept", sums[2], None),))
    shared = check(share, program, b.given)
    assert names(shared) == ["mul", "exp", "sum"]
    assert {*shared.outputs, shared.writes[0].value} == {sums[0]}


def test_several_results_are_shared() -> None:
    b = Builder()
    x = b.input(np.array([3.0, 1.0]))
    first, second = b("sort", x, dim=0), b("sort", x, dim=0)
    shared = check(share, b.program(*first, *second), b.given)
    assert shared.outputs == (*first, *first)


def test_what_differs_is_not_shared() -> None:
    b = Builder()
    x, y = b.input(special(3, 3)), b.input(special(3, 3, seed=1))
    b_results = [
        b("sub", x, y),
        b("sub", y, x),
        b("add", x, 0.0),
        b("add", x, -0.0),
        b("add", x, 0),
        b("sum", x, dim=(0,)),
        b("sum", x, dim=(1,)),
        b("sum", x, dim=(1,), keepdim=True),
        b("slice", x, key=(slice(0, 2),)),
        b("slice", x, key=(slice(0, 1),)),
    ]
    assert len(check(share, b.program(*b_results), b.given)) == len(b_results)


def test_a_region_computed_again_is_not_the_first_run() -> None:
    b = Builder()
    x = b.input(special(3))
    first = [b("exp", x), b("exp", x)]
    with b.again(1):
        second = [b("exp", x), b("exp", x)]
    with b.again(2):
        third = b("exp", x)
    shared = check(share, b.program(*first, *second, third), b.given)
    assert shared.outputs == (first[0], first[0], second[0], second[0], third)


def test_constants_are_shared() -> None:
    b = Builder()
    x = b.input(special(3))
    one, other, zero, negative = (b.constant(np.float64(v)) for v in (2.0, 2.0, 0.0, -0.0))
    results = [b("mul", x, c) for c in (one, other, zero, negative)]
    shared = check(share, b.program(*results, other), b.given)
    assert list(shared.constants) == [one, zero, negative]
    assert shared.outputs == (results[0], results[0], *results[2:], one)


def test_random_numbers_of_one_state_are_the_same() -> None:
    b = Builder()
    one, other = (b.input(np.array([3, offset], np.int64), "state") for offset in (0, 7))
    results = [b("uniform", state, shape=(2,), dtype=F32) for state in (one, one, other)]
    assert check(share, b.program(*results), b.given).outputs == (results[0], results[0], results[2])
