"""What a captured step does, against the same step run eagerly."""

from __future__ import annotations

import copy
import queue
import random
import time
import types
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import nn
from pullback.errors import PullbackError

helpers = types.SimpleNamespace(scale=2.0)
SCALE = 3.0


def compiled(function: Any, **options: Any) -> Any:
    return torch.compile(function, engine="numpy", **options)


def captures(step: Any) -> int:
    return len(step.programs)


class Pair:
    """The same model and optimizer twice: one is trained eagerly, the other by a compiled step."""

    def __init__(self, make: Any) -> None:
        torch.manual_seed(0)
        self.eager = make()
        self.captured = copy.deepcopy(self.eager)

    def agree(self) -> None:
        a, b = (dict(m.state_dict()) for m in (self.eager[0], self.captured[0]))
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(b[name].numpy(), a[name].numpy(), err_msg=name)


def make_mlp() -> Any:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    return model, torch.optim.AdamW(model.parameters(), lr=0.01)


def make_step(model: Any, optimizer: Any) -> Any:
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss

    return step


def batch(seed: int, n: int = 6) -> Any:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=g), torch.randint(0, 3, (n,), generator=g)


def run(step: Any, count: int = 5, n: int = 6) -> list[float]:
    torch.manual_seed(5)
    return [step(*batch(i, n)).item() for i in range(count)]


def test_a_step_is_captured_once_and_does_the_same() -> None:
    pair = Pair(make_mlp)
    eager, step = make_step(*pair.eager), compiled(make_step(*pair.captured))
    assert run(step) == run(eager)
    pair.agree()
    assert captures(step) == 1


def test_conditions() -> None:
    """Another mode, frozen layers, another learning rate, another batch size: all as eagerly."""
    pair = Pair(make_mlp)
    eager, step = make_step(*pair.eager), compiled(make_step(*pair.captured))

    def both(change: Any) -> None:
        for model, optimizer in (pair.eager, pair.captured):
            change(model, optimizer)
        assert run(step, 3) == run(eager, 3)
        pair.agree()

    both(lambda m, o: None)
    both(lambda m, o: m.eval())
    both(lambda m, o: m.train())
    assert captures(step) == 2
    both(lambda m, o: m[0].requires_grad_(False))
    both(lambda m, o: m[0].requires_grad_(True))
    assert captures(step) == 3
    both(lambda m, o: o.param_groups[0].update(lr=0.5))
    assert captures(step) == 3, "the learning rate is an input"
    assert run(step, 2, n=9) == run(eager, 2, n=9)
    pair.agree()
    assert captures(step) == 4
    both(lambda m, o: setattr(m[3], "p", 0.0))
    both(lambda m, o: o.load_state_dict(o.state_dict()))
    both(lambda m, o: setattr(m, "4", nn.Linear(8, 3, bias=False).requires_grad_(False)) or m[4].weight.data.fill_(0.1))


def test_optimizer_state_that_is_replaced_by_hand() -> None:
    pair = Pair(make_mlp)
    eager, step = make_step(*pair.eager), compiled(make_step(*pair.captured))
    assert run(step, 2) == run(eager, 2)
    for model, optimizer in (pair.eager, pair.captured):
        state = optimizer.state[model[0].weight]
        state["exp_avg"] = torch.ones_like(state["exp_avg"])
    assert run(step, 2) == run(eager, 2)
    pair.agree()


def test_schedules_step_after_the_run() -> None:
    pair = Pair(make_mlp)
    steps = []
    for k, (model, optimizer) in enumerate((pair.eager, pair.captured)):
        inner = make_step(model, optimizer)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)

        def step(x: Any, y: Any, inner: Any = inner, schedule: Any = schedule) -> Any:
            loss = inner(x, y)
            schedule.step()
            return loss

        steps.append(compiled(step) if k else step)
    assert run(steps[1]) == run(steps[0])
    assert pair.eager[1].param_groups[0]["lr"] == pair.captured[1].param_groups[0]["lr"]
    assert captures(steps[1]) == 1


def test_a_schedule_that_steps_too_early_is_refused() -> None:
    model, optimizer = make_mlp()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    @compiled
    def step(x: Any) -> Any:
        model(x).sum().backward()
        schedule.step()
        optimizer.step()

    with pytest.raises(PullbackError, match=r"call scheduler.step\(\) last"):
        step(batch(0)[0])
    assert model[0].weight.grad is None and schedule.last_epoch == 0


def test_plain_values_that_the_code_reads() -> None:
    global SCALE
    box, factor = types.SimpleNamespace(scale=1.0), 1.0

    @compiled
    def f(x: Any) -> Any:
        return x * SCALE * helpers.scale * box.scale * factor

    x = torch.ones(2)
    assert f(x).tolist() == [6.0, 6.0]
    SCALE = 4.0
    assert f(x).tolist() == [8.0, 8.0]
    helpers.scale, box.scale = 3.0, 0.5
    assert f(x).tolist() == [6.0, 6.0]
    factor = 2.0
    assert f(x).tolist() == [12.0, 12.0]
    SCALE, helpers.scale = 3.0, 2.0


def test_arguments() -> None:
    @compiled
    def f(x: Any, *rest: Any, power: int = 1, **named: Any) -> Any:
        return {"y": x**power, "z": [r * 2 for r in rest], "n": len(named), **{k: v["t"] + 1 for k, v in named.items()}}

    x = torch.arange(3.0)
    for _ in range(2):
        out = f(x, x + 1, power=3, a={"t": x})
        assert out["y"].tolist() == [0, 1, 8] and out["z"][0].tolist() == [2, 4, 6] and out["n"] == 1
        assert out["a"].tolist() == [1, 2, 3]
    assert captures(f) == 1
    assert f(x, power=2)["y"].tolist() == [0, 1, 4]
    assert f(x.double())["y"].dtype is torch.float64
    assert f(torch.zeros(2, 3).t())["y"].shape == (3, 2)


def test_arguments_that_are_written() -> None:
    @compiled
    def f(x: Any, y: Any) -> None:
        x += y
        y[0] = 5.0
        x.t_() if x.ndim == 9 else None

    x, y = torch.ones(3), torch.ones(3)
    view = x[1:]
    f(x, y)
    f(x, y)
    assert x.tolist() == [7.0, 3.0, 3.0] and y.tolist() == [5.0, 1.0, 1.0] and view.tolist() == [3.0, 3.0]
    data = torch.zeros(6)
    f(data[:3], torch.ones(3))
    assert data.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_arguments_that_share_memory() -> None:
    @compiled
    def f(x: Any, y: Any) -> Any:
        x.add_(1)
        return x + y

    x, y = torch.zeros(2), torch.zeros(2)
    assert f(x, y).tolist() == [1.0, 1.0]
    assert f(x, x).tolist() == [4.0, 4.0]
    assert f(x, y).tolist() == [3.0, 3.0]


def test_results_own_their_memory() -> None:
    state = torch.zeros(3)

    @compiled
    def f(x: Any) -> Any:
        state.add_(x)
        return state, state[1:], x, x.view(3), x * 1, torch.ones(3)

    x = torch.ones(3)
    first = f(x)
    assert first[0] is state and first[2] is x
    kept = [t.tolist() for t in (first[1], first[3], first[4], first[5])]
    first_part = first[1]
    f(x)
    x.zero_()
    assert [t.tolist() for t in (first_part, first[3], first[4], first[5])] == kept
    second = f(x)
    second[5].zero_()
    assert f(x)[5].tolist() == [1.0, 1.0, 1.0]


def test_gradients_are_new_each_time() -> None:
    p = nn.Parameter(torch.ones(2))

    @compiled
    def f(x: Any) -> Any:
        p.grad = None
        (p * x).sum().backward()

    f(torch.ones(2))
    first = p.grad
    f(torch.full((2,), 2.0))
    assert first.tolist() == [1.0, 1.0] and p.grad.tolist() == [2.0, 2.0]


def test_gradients_that_accumulate() -> None:
    p = nn.Parameter(torch.ones(2))

    @compiled
    def f(x: Any) -> Any:
        (p * x).sum().backward()

    for _ in range(3):
        f(torch.ones(2))
    assert p.grad.tolist() == [3.0, 3.0] and captures(f) == 2


def test_keep_grads() -> None:
    model, optimizer = make_mlp()
    step = compiled(make_step(model, optimizer), keep_grads=False)
    run(step, 2)
    assert all(p.grad is None for p in model.parameters()) and captures(step) == 1


def test_state_in_attributes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(2, 3)
            self.h: Any = None
            self.seen: list[Any] = []

        def forward(self, x: Any) -> Any:
            self.h = self.cell(x, None if self.h is None else self.h.detach())
            return self.h.sum()

    torch.manual_seed(0)
    a = Net()
    b = copy.deepcopy(a)
    f = compiled(b)
    for i in range(4):
        x = torch.full((1, 2), float(i))
        assert f(x).item() == a(x).item()
        assert b.h.tolist() == a.h.tolist()
    assert captures(f) == 2


def test_lists_that_grow_are_captured_anew() -> None:
    kept: list[Any] = []

    @compiled
    def f(x: Any) -> Any:
        kept.append(x * len(kept))

    for _ in range(3):
        f(torch.ones(1))
    assert [t.item() for t in kept] == [0.0, 1.0, 2.0]


def test_many_captures_are_warned_of() -> None:
    @compiled
    def f(x: Any) -> Any:
        return x * 2

    for n in range(1, 9):
        f(torch.ones(n))
    with pytest.warns(UserWarning, match=r"captured 9 times; what differed most often: x: shape \(8,\) -> \(9,\)"):
        f(torch.ones(9))


def test_other_memory_for_a_parameter() -> None:
    p = nn.Parameter(torch.ones(2))

    @compiled
    def f() -> Any:
        p.data = p.data * 2

    f()
    f()
    assert p.tolist() == [4.0, 4.0]
    p.data = torch.zeros(2)
    f()
    assert p.tolist() == [0.0, 0.0] and isinstance(p, nn.Parameter)


# -- what cannot be captured -------------------------------------------------------------------------------------------


def refusals() -> dict[str, tuple[Any, str]]:
    hidden = iter([torch.ones(2)])
    secret = next(hidden)
    pocket = {"get": [lambda: secret][0].__call__}

    def draws(x: Any) -> Any:
        return x * random.random()

    def numpy_draws(x: Any) -> Any:
        return x + torch.tensor(np.random.rand(2))  # noqa: NPY002

    def clocks(x: Any) -> Any:
        return x * time.time()

    return {
        "branch": (lambda x: x if x.sum() > 0 else -x, "where\\(\\) or cond\\(\\)"),
        "item": (lambda x: x * x.sum().item(), "item\\(\\) needs the tensor's values"),
        "numpy": (lambda x: torch.tensor(np.tanh(x.numpy())), "numpy\\(\\) needs the tensor's values"),
        "float": (lambda x: float(x.sum()), "needs the tensor's values"),
        "mask": (lambda x: x[x > 0].sum(), "shape of its result depends on values"),
        "nonzero": (lambda x: x.nonzero(), "shape of its result depends on values"),
        "random": (draws, "use the result of its first call for ever"),
        "numpy random": (numpy_draws, "use the result of its first call for ever"),
        "time": (clocks, "use the result of its first call for ever"),
        "hidden": (lambda x: x + pocket["get"]() if not isinstance(pocket, list) else x, ""),
    }


@pytest.mark.parametrize("name", [n for n in refusals() if n != "hidden"])
def test_a_refusal_names_the_line(name: str) -> None:
    function, message = refusals()[name]
    with pytest.raises(PullbackError, match=message) as error:
        compiled(function)(torch.ones(2))
    assert "test_capture.py:" in str(error.value)


def test_after_an_error_all_is_as_it_was() -> None:
    model, optimizer = make_mlp()
    calls: list[int] = []

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        model.extra = loss
        calls.append(1)
        optimizer.param_groups[0]["lr"] = 9.0
        raise ValueError("here")

    before = copy.deepcopy(model.state_dict())
    random_before = torch.get_rng_state().tolist()
    with pytest.raises(ValueError, match="here"):
        compiled(step)(*batch(0))
    for name, t in model.state_dict().items():
        np.testing.assert_array_equal(t.numpy(), before[name].numpy())
    assert torch.get_rng_state().tolist() == random_before
    assert not calls and not optimizer.state and optimizer.param_groups[0]["lr"] == 0.01
    assert not hasattr(model, "extra") and all(p.grad is None for p in model.parameters())
    assert model[0].weight.is_leaf and model[0].weight.requires_grad


def test_an_error_in_the_run_changes_nothing() -> None:
    table, count = nn.Embedding(3, 2), torch.zeros(())

    @compiled
    def f(i: Any) -> Any:
        count.add_(1)
        return table(i)

    f(torch.tensor([0, 2]))
    with pytest.raises(IndexError):
        f(torch.tensor([0, 7]))
    assert count.item() == 1.0


def test_a_symbol_that_got_away_says_so() -> None:
    keeper = queue.SimpleQueue()  # type: ignore[var-annotated]

    @compiled
    def f(x: Any) -> Any:
        keeper.put(x * 2)
        return x

    f(torch.ones(2))
    with pytest.raises(PullbackError, match="used outside of the step"):
        _ = keeper.get() + 1


# -- as a function, a method, a module ---------------------------------------------------------------------------------


def test_ways_to_compile() -> None:
    model = nn.Linear(2, 2)

    class Runner:
        def __init__(self) -> None:
            self.gain = 2.0

        @torch.compile(engine="numpy")
        def go(self, x: Any) -> Any:
            return x * self.gain

    x = torch.ones(2)
    assert torch.compile(model, engine="numpy")(x).tolist() == model(x).tolist()
    assert len(list(torch.compile(model, engine="numpy").parameters())) == 2
    runner = Runner()
    assert runner.go(x).tolist() == [2.0, 2.0]
    runner.gain = 3.0
    assert runner.go(x).tolist() == [3.0, 3.0]
    inner = compiled(lambda x: x + 1)
    assert compiled(lambda x: inner(x) * 2)(x).tolist() == [4.0, 4.0]


def test_modes() -> None:
    p = nn.Parameter(torch.ones(2))

    @compiled
    def f(x: Any) -> Any:
        y = x @ torch.ones(2, 2)
        return y, (p * x).requires_grad

    x = torch.ones(2, 2)
    assert f(x)[1] is True
    with torch.no_grad():
        assert f(x)[1] is False
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert f(x)[0].dtype is torch.bfloat16
    assert f(x)[0].dtype is torch.float32


def test_going_back_out_of_the_step_is_refused() -> None:
    x = torch.ones(2, requires_grad=True)

    @compiled
    def back(h: Any) -> Any:
        (h * 2).sum().backward()

    @compiled
    def grad(h: Any) -> Any:
        return torch.autograd.grad((h * 2).sum(), [x], allow_unused=True)

    for step in (back, grad):
        with pytest.raises(PullbackError, match="computed outside of it"):
            step(x * 3)
    assert x.grad is None


def test_options() -> None:
    def f(x: Any) -> Any:
        return x * 2

    assert torch.compile(f, disable=True) is f and torch.compile(disable=True)(f) is f
    assert torch.compile(f, engine="numpy", backend="inductor", mode="default")(torch.ones(1)).item() == 2.0
    with pytest.raises(TypeError, match="'engin'"):
        torch.compile(f, engin="numpy")
    with pytest.raises(PullbackError, match="computes on the CPU"):
        torch.compile(f, engine="numpy", device="cpu")
    with pytest.raises(PullbackError, match="no engine 'numba'"):
        torch.compile(f, engine="numba")
