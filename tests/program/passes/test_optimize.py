"""All passes: random Programs give the same bits before and after, and passes that are wrong are caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from pullback.dtypes import BF16, F32
from pullback.program.passes import PASSES, duplicates, optimize, prune
from pullback.program.passes.simplify import RULES
from pullback.program.program import Instruction, Program

from .build import Builder, check, names, special
from .random_programs import leaves, random_program, steps

FEW = settings(derandomize=True, deadline=None, max_examples=150)
MANY = settings(derandomize=True, deadline=None, max_examples=2000)


def check_random(leaves: Any, steps: Any) -> None:
    b, program = random_program(leaves, steps)
    for one in dict.fromkeys(PASSES):
        check(one, program, b.given)
    changed = check(optimize, program, b.given)
    assert len(changed) <= len(program)
    assert len(check(optimize, changed, b.given)) == len(changed)


@FEW
@given(leaves, steps)
def test_random_programs_give_the_same_bits(leaves: Any, steps: Any) -> None:
    check_random(leaves, steps)


@pytest.mark.slow
@MANY
@given(leaves, steps)
def test_many_random_programs_give_the_same_bits(leaves: Any, steps: Any) -> None:
    check_random(leaves, steps)


def test_passes_work_together() -> None:
    b = Builder()
    x, w = b.input(special(4, 3, dtype=F32)), b.input(special(3, 3, dtype=F32), "state")
    loss = b("sum", b("linear", x, w, None))
    b.backward()
    one = b("div", b("mul", b("full_like", loss, value=1.0), 2), 2.0)  # folded to 1
    g = b("mul", b("mul", b("expand", one, shape=(4, 3)), b("linear", x, w, None)), one)
    down = b("matmul", b("permute", g, dims=(1, 0)), b("clone", b("reshape", x, shape=(4, 3))))
    again = b("matmul", b("permute", g, dims=(1, 0)), x)
    optimized = check(optimize, b.program(loss, down, again), b.given)
    assert names(optimized) == ["linear", "sum", "permute", "matmul"]


def test_an_error_in_a_pass_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(program: Program) -> Program:
        return program.replaced(instructions=program.instructions[::-1])

    b = Builder()
    program = b.program(b("neg", b("exp", b.input(special(3)))))
    monkeypatch.setattr("pullback.program.passes.PASSES", (prune, hasty))
    with pytest.raises(ValueError, match="not made yet"):
        optimize(program)


# -- wrong passes ------------------------------------------------------------------------------------------------------


def forgets_zeros_sign(i: Instruction, seen: Any) -> Any:
    x, y = i.inputs
    return x if seen.number(y) == 0 else None


def always_undoes(i: Instruction, seen: Any) -> Any:
    x, dtype = i.inputs[0], i.outputs[0].dtype
    maker = seen.makers.get(x)
    return maker.inputs[0] if maker is not None and maker.inputs[0].dtype == dtype else None


def first_dims(i: Instruction, seen: Any) -> Any:
    maker = seen.makers.get(i.inputs[0])
    return None if maker is None else i.changed(inputs=maker.inputs)


def zero_times_x(i: Instruction, seen: Any) -> Any:
    return i.inputs[1] if seen.number(i.inputs[1]) == 0 else None


def through_half(b: Builder) -> Any:
    return b("cast", b("cast", b.input(special(40, dtype=F32)), dtype=BF16), dtype=F32)


def permuted_twice(b: Builder) -> Any:
    return b("permute", b("permute", b.input(special(3, 3, 3)), dims=(2, 0, 1)), dims=(0, 2, 1))


WRONG_RULES: dict[str, tuple[str, Callable[..., Any], Callable[[Builder], Any]]] = {
    "x + 0.0 is x": ("add", forgets_zeros_sign, lambda b: b("add", b.input(special(40)), 0.0)),
    "x - -0.0 is x": ("sub", forgets_zeros_sign, lambda b: b("sub", b.input(special(40)), -0.0)),
    "x * 0 is 0": ("mul", zero_times_x, lambda b: b("mul", b.input(special(40)), b.constant(np.zeros(40)))),
    "a cast that rounds is dropped": ("cast", always_undoes, through_half),
    "a permute is dropped": ("permute", first_dims, permuted_twice),
    "where gives its first": ("where", lambda i, seen: i.inputs[1], lambda b: b(
        "where", b.input(np.arange(40) > 9), b.input(special(40)), b.input(special(40, seed=1)))),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_RULES)
def test_a_wrong_rule_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, wrong, make = WRONG_RULES[name]
    b = Builder()
    program = b.program(make(b))
    check(optimize, program, b.given)
    monkeypatch.setitem(RULES, next(known for known in RULES if known.name == op), wrong)
    with pytest.raises(AssertionError):
        check(optimize, program, b.given)


def without_params(i: Instruction) -> Any:
    return i.op, i.region, i.inputs


def unordered(i: Instruction) -> Any:
    return i.op, i.region, frozenset(i.inputs), repr(i.params)


def loose_numbers(i: Instruction) -> Any:
    return i.op, i.region, i.inputs, repr(i.params)  # 0.0 == -0.0


@pytest.mark.parametrize("wrong", [without_params, unordered, loose_numbers])
def test_a_wrong_likeness_is_caught(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    b = Builder()
    x, y = b.input(special(3, 3)), b.input(special(3, 3, seed=1))
    program = b.program(
        b("sub", x, y), b("sub", y, x), b("sum", x, dim=(0,)), b("sum", x, dim=(1,)),
        b("copysign", x, 0.0), b("copysign", x, -0.0),
    )  # fmt: skip
    check(optimize, program, b.given)
    monkeypatch.setattr(duplicates, "likeness", wrong)
    with pytest.raises(AssertionError):
        check(optimize, program, b.given)


def test_a_pass_that_drops_too_much_is_caught() -> None:
    def careless(program: Program) -> Program:
        return program.replaced(instructions=program.instructions[1:])

    b = Builder()
    program = b.program(b("neg", b("exp", b.input(special(3)))))
    with pytest.raises(ValueError, match="not made yet"):
        check(careless, program, b.given)
