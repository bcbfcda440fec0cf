"""Looking into backward: explain(), why_grad(), anomaly mode, FLOPs."""

from __future__ import annotations

from typing import Any

import pytest

import pullback
from pullback.lens import diagnosis, explanation
from pullback.utils.flop_counter import FlopCounterMode


def leaf(*values: float) -> Any:
    return pullback.tensor(list(values), requires_grad=True)


def without_places(text: str) -> list[str]:
    return [line.partition("   [")[0] for line in text.splitlines()]


def test_explain_shows_the_chain_rule() -> None:
    w, x = leaf(1.0, 2.0), pullback.tensor([3.0, 4.0])
    loss = (w * x).sum()
    assert without_places(explanation(loss)) == [
        "1. sum: sum over dim of x",
        "    out = 11                            gradient 1",
        "    x = [3, 8]                          gradient [1, 1]   -> step 2",
        "2. mul: x * y",
        "    out = [3, 8]                        gradient [1, 1]",
        "    x = [1, 2]     d out/d x = [3, 4]   gradient [3, 4]   -> leaf 1",
        "    y = [3, 4]                          constant",
        "leaf 1: its gradient is complete",
        "    value [1, 2]                        gradient [3, 4]",
    ]
    assert "test_explain.py" in explanation(loss)


def test_explain_changes_nothing() -> None:
    w, seen = leaf(2.0), []
    w.register_hook(lambda g: seen.append(g))
    h = w * w
    h.retain_grad()
    loss = (h * h).sum()
    first = explanation(loss)
    assert explanation(loss) == first
    assert w.grad is None and h.grad is None and not seen
    loss.backward()
    assert w.grad.tolist() == [32.0]


def test_explain_adds_up_fan_out_and_several_results() -> None:
    x = leaf(1.0, 2.0)
    a, b = (x * 3).chunk(2)
    text = explanation((a * b + a).sum())
    assert "gradient [21, 9]" in text.splitlines()[-1]


def test_explain_abbreviates() -> None:
    x = pullback.arange(100.0).requires_grad_()
    y = x
    for _ in range(10):
        y = y * 2
    text = explanation(y.sum(), limit=3)
    assert "[100] of 0, 2048, 4096, ..., 2.028e+05" not in text
    assert "[100] of " in text
    assert text.splitlines()[-1] == "... and 9 more steps: explain(limit=None) shows them"


def test_explain_through_custom_functions_and_checkpoints() -> None:
    class Twice(pullback.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(3.0)
    y = pullback.utils.checkpoint.checkpoint(lambda x: Twice.apply(x).exp(), x)
    y.backward(retain_graph=True)
    assert "TwiceBackward" in explanation(y)
    y.backward()


# -- why_grad ----------------------------------------------------------------------------------------------------------


def test_why_nothing_is_wanted() -> None:
    assert "int64 is not a floating point type" in diagnosis(pullback.tensor([1]))
    assert "made without requires_grad=True" in diagnosis(pullback.ones(1))
    text = diagnosis((leaf(1.0) * 2).detach())
    assert "detach() at" in text and "test_explain.py" in text


def test_why_not_yet() -> None:
    x = leaf(1.0)
    assert "No recorded op has used it" in diagnosis(x)
    assert "No recorded op has used it" in diagnosis(x, leaf(2.0))
    y = x * 2
    assert "backward() has not been called" in diagnosis(x)
    text = diagnosis(y)
    assert "not a leaf" in text and "retain_grad()" in text and "MulBackward0" in text
    y.sum().backward()
    assert diagnosis(x) == ".grad is [2]"


def test_why_cut() -> None:
    w, v = leaf(1.0), leaf(2.0)
    h = w * 3
    loss = (h.detach() * v).sum()
    text = diagnosis(w, loss)
    assert "No path of the graph leads from the loss to it." in text
    assert "What was computed from it was cut off:" in text
    assert "detach() at" in text and "of what MulBackward0 computed at" in text
    assert "The gradient that backward() brings is [3]." in diagnosis(v, loss)
    assert "The loss itself does not require grad" in diagnosis(w, h.detach())


@pytest.mark.parametrize(
    ("f", "op", "reason"),
    [
        (lambda w: (w - 5.0).relu() * 2, "relu", "the units are dead"),
        (lambda w: (w * 1.0).clamp(max=0.0) * 2, "clamp", "outside the limits"),
        (lambda w: (w * 1.0) * pullback.zeros(2), "mul", "the other factor is 0"),
        (lambda w: (w + 0.3).floor(), "floor", "a step function is flat"),
    ],
    ids=["relu", "clamp", "mul", "floor"],
)
def test_why_zero(f: Any, op: str, reason: str) -> None:
    w = leaf(1.0, 2.0)
    text = diagnosis(w, f(w).sum())
    assert "The gradient that backward() brings is zero." in text
    assert f"{op} at " in text and reason in text and "test_explain.py" in text


def test_why_zero_by_cancelling() -> None:
    w = leaf(1.0)
    assert "cancel each other" in diagnosis(w, (w * 2 - w * 2).sum())


def test_why_after_backward() -> None:
    w = leaf(1.0)
    loss = (w * w).sum()
    loss.backward()
    assert "cannot be followed any more" in diagnosis(w, loss)


# -- anomaly mode ------------------------------------------------------------------------------------------------------


def test_anomaly_mode_stops_at_the_first_nan(torch: Any) -> None:
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    y = x.sqrt() * torch.tensor([0.0, 1.0])
    with (
        pytest.raises(RuntimeError, match="Function 'SqrtBackward0' returned nan values in its 0th output"),
        anomaly(torch),
    ):
        y.sum().backward()


def anomaly(torch: Any) -> Any:
    if torch is pullback:
        return torch.autograd.detect_anomaly()
    with pytest.warns(UserWarning, match="Anomaly Detection"):
        return torch.autograd.detect_anomaly()


def test_anomaly_mode_names_the_line_and_can_look_for_infinities() -> None:
    x = leaf(0.0)
    y = x.sqrt()
    with pullback.autograd.detect_anomaly():
        y.backward(retain_graph=True)
    message = r"(?s)inf values in its 0th.*forward ran at .*test_explain.py"
    with pytest.raises(RuntimeError, match=message), pullback.autograd.detect_anomaly(check_inf=True):
        y.backward()


def test_set_detect_anomaly() -> None:
    assert not pullback.autograd.is_anomaly_enabled()
    pullback.autograd.set_detect_anomaly(True)
    assert pullback.autograd.is_anomaly_enabled()
    pullback.autograd.set_detect_anomaly(False)
    with pullback.autograd.set_detect_anomaly(True):
        assert pullback.autograd.is_anomaly_enabled()
    assert not pullback.autograd.is_anomaly_enabled()


# -- FLOPs -------------------------------------------------------------------------------------------------------------


def test_matmul_flops(torch: Any) -> None:
    x, w = torch.ones(3, 4), torch.ones(4, 5, requires_grad=True)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as forward:
        y = x @ w
    with torch.utils.flop_counter.FlopCounterMode(display=False) as backward:
        y.backward(torch.ones(3, 5))
    assert forward.get_total_flops() == 2 * 3 * 4 * 5
    assert backward.get_total_flops() == 2 * 3 * 4 * 5


def test_flops_by_op_and_direction() -> None:
    x, w = pullback.ones(3, 4, requires_grad=True), pullback.ones(4, 5, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        ((x @ w) * 2).sum().backward()
    counts = counter.get_flop_counts()
    assert counts["forward"] == {"matmul": 120, "mul": 15, "sum": 15}
    assert counts["backward"]["matmul"] == 240
    assert counts["Global"]["matmul"] == 360
    assert counter.get_total_flops() == sum(counts["Global"].values())
    assert counter.get_table().splitlines()[1].split()[:2] == ["matmul", "3"]


def test_recomputing_counts_as_backward() -> None:
    x = pullback.ones(4, 4, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        pullback.utils.checkpoint.checkpoint(lambda x: x @ x, x).sum().backward()
    assert counter.get_flop_counts()["forward"]["matmul"] == 128
    assert counter.get_flop_counts()["backward"]["matmul"] == 3 * 128


def test_the_methods_print(capsys: pytest.CaptureFixture[str]) -> None:
    x = leaf(3.0)
    loss = (x.detach() * x).sum()
    loss.explain()
    assert capsys.readouterr().out.startswith("1. sum: ")
    x.why_grad(loss)
    assert capsys.readouterr().out.startswith(".grad is None.")
    y = leaf(1.0)
    y.detach().exp()
    y.why_grad()
    said = capsys.readouterr().out
    assert "No recorded op has used it, only:" in said
    assert "detach() at" in said
    assert "test_explain.py" in said
