"""What depends on constants alone is a constant."""

from __future__ import annotations

import numpy as np

from pullback.dtypes import BF16, F32
from pullback.ops import OPS
from pullback.program.passes import fold
from pullback.program.passes.fold import LARGEST, SMALL
from pullback.program.program import Instruction, Value

from .build import Builder, check, names, special


def test_a_chain_of_constants_and_numbers() -> None:
    b = Builder()
    x = b.input(special(3))
    y = b("exp", b("mul", b.constant(special(3)), 2.0))
    program = b.program(b("add", x, y), y)
    folded = check(fold, program, b.given)
    assert names(folded) == ["add"]
    assert y in folded.constants and y.id == program.outputs[1].id


def test_half_types_are_rounded_as_before() -> None:
    b = Builder()
    y = b("mul", b.constant(special(40, dtype=BF16)), 0.1)
    assert check(fold, b.program(y), []).constants[y].dtype == BF16


def test_several_results() -> None:
    b = Builder()
    values, places = b("sort", b.constant(np.array([3.0, 1.0, 2.0])), dim=0)
    assert names(check(fold, b.program(values, places), [])) == []


def test_random_numbers_stay() -> None:
    b = Builder()
    state = b.input(np.array([3, 0], np.int64), "state")
    assert names(check(fold, b.program(b("uniform", state, shape=(2,), dtype=F32)), b.given)) == ["uniform"]


def test_numbers_from_outside_stay() -> None:
    b = Builder()
    rate = b.input(0.1, "number")
    assert names(check(fold, b.program(b("mul", b.constant(np.ones(3)), rate)), b.given)) == ["mul"]


def test_large_results_are_not_baked_in() -> None:
    for n, folds in ((SMALL // 8, True), (SMALL // 8 + 1, False)):
        b = Builder()
        wide = b("expand", b.constant(np.float64(2)), shape=(n,))
        assert (names(check(fold, b.program(wide), [])) == []) is folds, "much larger than its operand"
    for n, folds in ((LARGEST // 8, True), (LARGEST // 8 + 1, False)):
        b = Builder()
        assert (names(check(fold, b.program(b("neg", b.constant(np.zeros(n)))), [])) == []) is folds


def test_full_like_looks_at_no_values() -> None:
    b = Builder()
    ones = b("full_like", b.input(special(3, 4, dtype=F32)), value=1.0)
    folded = check(fold, b.program(b("div", ones, 12)), b.given)
    assert names(folded) == []
    b = Builder()
    assert names(check(fold, b.program(b("full_like", b.input(special(999)), value=1.0)), b.given)) == ["full_like"]


def test_an_error_is_left_to_the_step() -> None:
    b = Builder()
    whole = b.constant(np.arange(3))
    out = Value(9, (3,), np.dtype(np.int64))
    b.instructions.append(Instruction(OPS["floor_divide"], (whole, b.constant(np.zeros(3, np.int64))), {}, [out]))
    assert names(fold(b.program(out))) == ["floor_divide"]


def test_a_result_of_another_dtype_is_left_alone() -> None:
    b = Builder()
    half = b.constant(np.arange(3))
    out = Value(9, (3,), np.dtype(np.float64))  # as if recorded under another default dtype
    b.instructions.append(Instruction(OPS["exp"], (half,), {}, [out]))
    assert names(fold(b.program(out))) == ["exp"]
