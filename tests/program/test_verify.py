"""verify(): healthy steps pass and stay as they were; whatever is wrong is found and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
import pullback.nn as nn
from pullback.errors import PullbackError
from pullback.program.verify import verify
from pullback.program.verify.replay import replay
from pullback.program.verify.state import State

from .steps import STEPS, Step, cnn, lie, mlp


def unchanged(state: State, python: dict[str, list[str]]) -> None:
    """All that can be reached is as it was."""
    assert state.written(set()) == []
    assert state.python() == python


@pytest.mark.parametrize("make", STEPS)
def test_healthy_steps_verify(make: Callable[[], Step]) -> None:
    step, batch = make()
    state = State(step, batch, {})
    versions = [x._storage.version for x, _ in state.walk.tensors.values()]
    python = state.python()
    report = verify(step, *batch, engines=["numpy"])
    assert report.ok and report, str(report)
    assert len(report.rows) > 10 and report.rules > 4 and report.first is None
    assert all(row.errors["numpy"] == row.eager for row in report.rows)
    unchanged(state, python)
    assert versions == [x._storage.version for x, _ in state.walk.tensors.values()]


@pytest.mark.parametrize("make", STEPS)
def test_every_call_can_be_compared(make: Callable[[], Step]) -> None:
    step, batch = make()
    expected = [step(*batch) for _ in range(4)]
    step, batch = make()
    compared = torch.compile(step, engine="numpy", verify_every=1)
    for then in expected:
        now = compared(*batch)
        pairs = [(now[k], then[k]) for k in then] if isinstance(then, dict) else [(now, then)]
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_step_that_has_run_before(monkeypatch: pytest.MonkeyPatch) -> None:
    step, batch = mlp()
    compiled = torch.compile(step, engine="numpy")
    for _ in range(3):
        compiled(*batch)
    state = State(step, batch, {})
    python = state.python()
    assert verify(compiled, *batch, engines=["numpy"]).ok
    unchanged(state, python)
    assert compiled._captures == 1


def test_the_table() -> None:
    step, batch = cnn()
    text = str(verify(step, *batch, engines=["numpy"]))
    assert "step: verified" in text
    assert "result['loss']" in text and "result['correct']" in text and "model.0.weight.grad" in text
    assert "pullbacks compared with differences of values, 0 wrong" in text


def test_keyword_arguments_and_methods() -> None:
    class Model:
        def __init__(self) -> None:
            self.w = torch.ones(3)
            self.calls = 0

        @torch.compile
        def step(self, x: Any, scale: float = 1.0) -> Any:
            self.w *= scale
            self.calls = 5
            return (self.w * x).sum()

    model = Model()
    assert verify(model.step, torch.ones(3), scale=2.0, engines=["numpy"]).ok
    assert model.calls == 0 and model.w.tolist() == [1.0, 1.0, 1.0]


# -- lies --------------------------------------------------------------------------------------------------------------


def simple() -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(4, 4))
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        h = x @ w
        h = h.tanh()
        loss = h.exp().sum()
        loss.backward()
        optimizer.step()
        return loss

    return step, w, torch.randn(3, 4)


def test_a_lie_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lie(monkeypatch, "tanh")
    step, _, x = simple()
    report = verify(step, x, engines=["numpy", "lying"])
    assert not report.ok and not report
    assert report.first is not None
    assert (report.first.op, report.first.engine, report.first.change) == ("tanh", "lying", "")
    assert report.first.line.text == "h = h.tanh()" and report.first.phase == "forward"
    assert report.first.error == pytest.approx(0.01, rel=0.1)
    assert all(row.failed == ["lying"] for row in report.rows if row.name in ("result", "w", "w.grad"))
    text = str(report)
    assert "WRONG: lying" in text and "first: tanh (forward) at " in text and "h = h.tanh()" in text


def test_a_lie_in_a_module_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lie(monkeypatch, "relu_backward")
    step, batch = mlp()
    first = verify(step, *batch, engines=["lying"]).first
    assert first is not None and first.op == "relu_backward" and first.phase == "backward"
    assert "in model.1" in str(first)


def test_a_wrong_integer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    lie(monkeypatch, "argmax", lambda y: y - 3)
    step, batch = cnn()
    report = verify(step, *batch, engines=["lying"])
    assert [row.name for row in report.rows if row.failed] == ["result['correct']"]
    assert report.first is not None and report.first.op == "argmax"


def test_a_wrong_dtype_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    lie(monkeypatch, "argmax", lambda y: y.astype(np.int32))
    report = verify(lambda x: x.argmax(1), torch.randn(3, 4), engines=["lying"])
    assert report.ok  # results leave in the dtype that they are promised in
    lie(monkeypatch, "tanh", lambda y: np.full(y.shape, np.nan, y.dtype))
    assert not verify(lambda x: x.tanh(), torch.randn(3, 4), engines=["lying"]).ok


def test_an_engine_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(y: Any) -> Any:
        raise ValueError("no memory")

    lie(monkeypatch, "tanh", broken)
    step, _, x = simple()
    state = State(step, (x,), {})
    python = state.python()
    with pytest.raises(ValueError, match="no memory"):
        torch.compile(step, engine="lying", verify_every=1)(x)
    unchanged(state, python)
    report = verify(step, x, engines=["numpy", "lying"])
    assert not report.ok and report.raised == {"lying": "ValueError: no memory"}
    assert report.first is not None and (report.first.op, report.first.note) == ("tanh", "no memory")
    unchanged(state, python)


def test_verify_every_raises_and_leaves_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    lie(monkeypatch, "tanh")
    step, w, x = simple()
    compiled = torch.compile(step, engine="lying", verify_every=2)
    compiled(x)
    before, gradient = w.detach().clone(), w.grad.clone()
    with pytest.raises(PullbackError, match=r"first: tanh \(forward\) at .*test_verify.py:\d+: h = h.tanh\(\)"):
        compiled(x)
    assert torch.equal(w, before) and torch.equal(w.grad, gradient)


def test_verify_every_takes_deferred_steps_once() -> None:
    torch.manual_seed(0)
    w = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([w], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def step() -> Any:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss

    compiled = torch.compile(step, engine="numpy", verify_every=1)
    for n in range(1, 4):
        compiled()
        assert scheduler.last_epoch == n and optimizer.param_groups[0]["lr"] == 0.5**n


def test_rounding_is_no_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    lie(monkeypatch, "tanh", lambda y: np.nextafter(y, np.float32(2)))
    step, _, x = simple()
    compiled = torch.compile(step, engine="lying", verify_every=1)
    first = compiled(x)
    assert verify(step, x, engines=["lying"]).ok
    assert compiled(x) < first


# -- state and errors --------------------------------------------------------------------------------------------------


def test_what_cannot_be_captured_leaves_the_state() -> None:
    w = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([w])

    def step(x: Any) -> Any:
        loss = (w * x).sum()
        loss.backward()
        optimizer.step()
        return loss if loss > 0 else -loss

    with pytest.raises(PullbackError):
        verify(step, torch.ones(3), engines=["numpy"])
    assert not optimizer.state and w.grad is None and w.tolist() == [1.0, 1.0, 1.0]


def test_an_unknown_engine() -> None:
    with pytest.raises(PullbackError, match="there is no engine 'abacus'"):
        verify(lambda x: x, torch.ones(3), engines=["abacus"])


def test_python_values_that_differ_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[float] = []

    class Counter:
        n = 0

    counter = Counter()

    def step(x: Any) -> Any:
        counter.__dict__["n"] = counter.__dict__.get("n", 0) + 1
        return x * 2

    report = verify(step, torch.ones(3), engines=["numpy"])
    assert report.ok and "n" not in vars(counter) and not log


# -- the replay --------------------------------------------------------------------------------------------------------


def test_half_types_are_replayed_in_double() -> None:
    def step(x: Any, w: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            y = x @ w
        return y.float().sum(), torch.full((3,), 0.1, dtype=torch.float16) * x.sum()

    report = verify(step, torch.randn(8, 8), torch.randn(8, 8), engines=["numpy"])
    assert report.ok and 1e-4 < report.rows[0].eager < 0.1


def test_random_numbers_are_those_of_the_step() -> None:
    def step(x: Any) -> Any:
        return torch.rand(5) + torch.randn(5) * x + torch.bernoulli(torch.full((5,), 0.3))

    report = verify(step, torch.ones(5), engines=["numpy"])
    assert report.ok and report.rows[0].eager < 1e-6


def test_noise_is_known_where_values_cancel() -> None:
    """A bias before batch norm has a gradient of rounding errors."""
    torch.manual_seed(0)
    x = torch.randn(16, 4)

    def step(b: Any) -> Any:
        y = x + b
        return ((y - y.mean(0)) * 3).sum(0)

    compiled = torch.compile(step, engine="numpy")
    compiled(torch.ones(4))
    entry = compiled._entries[0]
    (value,) = entry.captured.raw.outputs
    truth = replay(entry.captured.raw, entry.inputs((torch.ones(4),), {}))[value]
    assert truth.scale < 1e-13 and truth.noise > 1e-7
    assert truth.holds(truth.eager) and truth.holds(truth.eager * 2) and not truth.holds(truth.eager + 0.01)


def test_infinities_and_nans_must_be_in_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(x: Any) -> Any:
        return x.log()

    x = torch.tensor([0.0, -1.0, 2.0])
    assert verify(step, x, engines=["numpy"]).ok
    lie(monkeypatch, "log", lambda y: np.nan_to_num(y))
    assert not verify(step, x, engines=["lying"]).ok


# -- rules that compiled and eager share -------------------------------------------------------------------------------


class Doubled(torch.autograd.Function):
    """An op of the user's own; its pullback is made of ops, whose rules are checked."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 2


def test_kinks_are_skipped() -> None:
    def step(x: Any) -> Any:
        x = Doubled.apply(x)
        y = x.relu().abs() + x.clamp(0.0, 1.0) + x.round() + x.sign()
        return (y.sum() + x.max() + torch.nn.functional.max_pool1d(x[None, None], 2).sum()).reshape(1)

    report = verify(step, torch.zeros(6), engines=["numpy"])
    assert report.ok and report.rules > 0, str(report)


def test_masked_attention_has_infinities() -> None:
    def step(q: Any, mask: Any) -> Any:
        scores = (q @ q.T).masked_fill(mask, -float("inf"))
        return scores.softmax(-1) @ q

    report = verify(step, torch.randn(4, 4), torch.ones(4, 4).triu(1).bool(), engines=["numpy"])
    assert report.ok and report.rules >= 4, str(report)


# -- results that want gradients ---------------------------------------------------------------------------------------


def test_the_way_back_from_results_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    x = torch.randn(3, 4)
    compiled = torch.compile(model, engine="numpy", verify_every=1)
    compiled(x).sum().backward()
    report = verify(compiled, x, engines=["numpy"])
    names = [row.name for row in report.rows]
    assert report.ok, str(report)
    assert names[0] == "result"
    assert {name for name in names if name.startswith("gradient of ")} == {
        f"gradient of {name}" for name, _ in model.named_parameters(prefix="sequential")
    }
    lie(monkeypatch, "tanh_backward")
    report = verify(compiled, x, engines=["numpy", "lying"])
    assert [row.name for row in report.rows if row.failed] == [n for n in names if ".0." in n]
    assert report.first is not None and (report.first.op, report.first.engine) == ("tanh_backward", "lying")
    assert report.first.phase == "backward" and "in sequential.1" in str(report.first)


def test_loops_and_branches() -> None:
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(4, 4))

    def step(x: Any) -> Any:
        c, ys = torch.scan(lambda c, x: ((c @ w).tanh() + x, c.exp()), torch.zeros(4), x)
        one = torch.tensor(0), c.detach()
        _, z = torch.while_loop(lambda n, v: n < 3, lambda n, v: (n + 1, v * 1.5), one)
        u = torch.cond(z.sum() > 0, lambda z: z.sin(), lambda z: z.cos(), (z,))
        return c.sum() + ys.mean() + u.sum()

    report = verify(step, torch.randn(5, 4), engines=["numpy"])
    assert report.ok and report.rules > 8, str(report)


def test_mixed_precision() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters())
    scaler = torch.amp.GradScaler("cpu")

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (model(x) ** 2).mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    report = verify(step, torch.randn(6, 4), engines=["numpy"])
    assert report.ok and {row.dtype for row in report.rows} >= {"bfloat16", "float32", "int32"}, str(report)
