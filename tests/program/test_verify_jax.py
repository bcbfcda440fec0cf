"""verify() on XLA: healthy steps pass, and forms that are wrong are caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pullback as torch
from pullback.errors import PullbackError
from pullback.program.verify.step import available, verify

from .steps import STEPS, Step, attention, cnn, lstm, mlp

pytestmark = pytest.mark.parity

WRONG = {"relu_backward": mlp, "adam": attention, "softmax": attention, "conv": cnn, "lstm": lstm, "sgd": cnn}


@pytest.mark.parametrize("make", STEPS)
def test_healthy_steps_verify(make: Callable[[], Step]) -> None:
    assert {"numpy", "xla"} <= set(available())
    step, batch = make()
    report = verify(step, *batch, engines=["numpy", "xla"])
    assert report.ok, str(report)
    assert all({"numpy", "xla"} <= row.errors.keys() for row in report.rows)


@pytest.mark.parametrize("make", [mlp, lstm])
def test_every_call_can_be_compared(make: Callable[[], Step]) -> None:
    step, batch = make()
    compiled = torch.compile(step, engine="xla", verify_every=1)
    for _ in range(3):
        compiled(*batch)
    assert verify(compiled, *batch, engines=["numpy", "xla"]).ok


def scaled(form: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any, **params: Any) -> Any:
        out = form(*args, **params)
        return tuple(x * 1.01 for x in out) if type(out) is tuple else out * 1.01

    return wrong


def has_form(name: str) -> bool:
    from pullback.engines.xla import forms

    return name in forms.FORMS


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_form_is_caught_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pullback.engines.xla import forms

    step, batch = WRONG[name]()
    ops = {i.op.name for i in torch.compile(step, engine="numpy").capture(*batch).instructions}
    if name not in ops or not has_form(name):
        pytest.fail(f"{name} is not in this step as an op with a form: {sorted(ops)}")
    monkeypatch.setitem(forms.FORMS, name, scaled(forms.FORMS[name]))
    report = verify(step, *batch, engines=["numpy", "xla"])
    assert not report.ok and all(row.failed in ([], ["xla"]) for row in report.rows)
    assert report.first is not None, str(report)
    assert (report.first.op, report.first.engine, report.first.change) == (name, "xla", "")
    compiled = torch.compile(step, engine="xla", verify_every=1)
    with pytest.raises(PullbackError, match=rf"first: {name} \("):
        compiled(*batch)
