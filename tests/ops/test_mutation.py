"""The checks must notice a wrong rule: every rule is spoilt in turn, and some sample has to tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pullback.ops import OPS
from pullback.ops.arithmetic import mul, neg
from pullback.ops.record import Op, Rule

from . import checks
from .harness import Case, cases_of, is_float

SPOIL: dict[str, Callable[[Any], Any]] = {
    "negated": neg,
    "scaled": lambda g: mul(g, 1.001),
    "dropped": lambda g: None,
}


def spoilt(rule: Rule, spoil: Callable[[Any], Any], place: int | None) -> Rule:
    """The rule with its cotangent (of several: the one at `place`) spoilt."""

    def call(*args: Any) -> Any:
        gs = rule.call(*args)
        if place is None:
            return spoil(gs)
        return [g if i != place or g is None else spoil(g) for i, g in enumerate(gs)]

    return rule._replace(call=call)


def mutants(op: Op) -> list[tuple[str, str, dict[str, Any]]]:
    """(input, how it is spoilt, fields of the record that spoil it)"""
    if op.vjp_all is None:
        return [(x, how, {"vjp": {**op.vjp, x: spoilt(rule, spoil, None)}}) for x, rule in op.vjp.items() for how, spoil in SPOIL.items()]
    places = range(max(len(case.sample.inputs) for case in cases_of(op.name)))
    wanted = [i for i in places if any(is_float(x) for case in cases_of(op.name) for x in case.sample.inputs[i : i + 1])]
    names = dict(enumerate(op.inputs)) if not op.variadic else {i: f"{op.inputs[0]}[{i}]" for i in wanted}
    return [(names[i], how, {"vjp_all": spoilt(op.vjp_all, spoil, i)}) for i in wanted for how, spoil in SPOIL.items()]


def notices(case: Case) -> bool:
    """Does a check fail on this sample?"""
    try:
        if case.op.torch:
            checks.matches_golden(case)
        if checks.can_differ(case):
            checks.slopes_agree(case)
    except pytest.skip.Exception:
        return False
    except Exception:
        return True
    return False


def gradient_is_always_zero(op: Op, name: str) -> bool:
    """A step function's cotangents are all zero: negated or scaled they are right still."""
    if op.variadic or not op.torch:
        return False
    place = op.inputs.index(name)
    for case in cases_of(op.name):
        floats = [i for i, x in enumerate(case.sample.inputs) if is_float(x)]
        if place in floats and (g := checks.golden_of(case).result.grads[floats.index(place)]) is not None and np.any(g):
            return False
    return True


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.differentiable], ids=lambda op: op.name)
def test_no_spoilt_rule_survives(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(notices(case) for case in cases_of(op.name)), "the checks fail without a mutant"
    survivors = []
    for name, how, fields in mutants(op):
        if how != "dropped" and gradient_is_always_zero(op, name):
            continue
        with monkeypatch.context() as patch:
            patch.setattr(op, "_plans", {})
            for field, value in fields.items():
                patch.setattr(op, field, value)
            if not any(notices(case) for case in cases_of(op.name)):
                survivors.append(f"the cotangent of {name}, {how}")
    assert not survivors, f"{op.name}: no sample notices " + "; ".join(survivors)
