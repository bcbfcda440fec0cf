"""The checks must notice a wrong rule: every rule is spoilt in turn, and some sample has to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


class Spoilt:
    """A rule whose cotangent (of several: the one at `place`) is spoilt."""

    def __init__(self, rule: Rule, spoil: Callable[[Any], Any], place: int | None = None) -> None:
        self.rule, self.spoil, self.place = rule, spoil, place
        self.ran = place is None  # of several cotangents, one may always be None: then there is nothing to spoil

    def __call__(self, *args: Any) -> Any:
        gs = self.rule.call(*args)
        if self.place is None:
            return self.spoil(gs)
        gs = list(gs)
        if self.place < len(gs) and gs[self.place] is not None:
            gs[self.place], self.ran = self.spoil(gs[self.place]), True
        return gs


def mutants(op: Op) -> Iterator[tuple[str, str, Spoilt, dict[str, Any]]]:
    """(input, how its cotangent is spoilt, the spoilt rule, the fields of the record that change)"""
    for how, spoil in SPOIL.items():
        for name, rule in op.vjp.items() if op.vjp_all is None else ():
            wrong = Spoilt(rule, spoil)
            yield name, how, wrong, {"vjp": {**op.vjp, name: rule._replace(call=wrong)}}
        for i in range(max(len(case.sample.inputs) for case in cases_of(op.name))) if op.vjp_all is not None else ():
            wrong = Spoilt(op.vjp_all, spoil, i)
            name = f"{op.inputs[0]}[{i}]" if op.variadic else op.inputs[i]
            yield name, how, wrong, {"vjp_all": op.vjp_all._replace(call=wrong)}


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
        if (
            place in floats
            and (g := checks.golden_of(case).result.grads[floats.index(place)]) is not None
            and np.any(g)
        ):
            return False
    return True


@pytest.mark.parametrize(
    "op", [op for op in OPS.values() if op.differentiable and cases_of(op.name)], ids=lambda op: op.name
)
def test_no_spoilt_rule_survives(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(notices(case) for case in cases_of(op.name)), "the checks fail without a mutant"
    survivors = []
    for name, how, wrong, fields in mutants(op):
        if how != "dropped" and gradient_is_always_zero(op, name):
            continue
        with monkeypatch.context() as patch:
            patch.setattr(op, "plans", {})
            for field, value in fields.items():
                patch.setattr(op, field, value)
            if not any(notices(case) for case in cases_of(op.name)) and wrong.ran:
                survivors.append(f"the cotangent of {name}, {how}")
    assert not survivors, f"{op.name}: no sample notices " + "; ".join(survivors)
