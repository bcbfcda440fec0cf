"""GradScaler: its numbers, the steps it skips, and what it says when used in the wrong order."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import numpy as np
import pytest

import pullback as torch
from pullback import optim
from pullback.amp import GradScaler
from pullback.nn.utils.clip_grad import clip_grad_norm_, clip_grad_value_


class Plain:
    """An optimizer of the user's, which knows nothing of scalers."""

    def __init__(self, params, lr=0.1):
        self.param_groups = [{"params": list(params)}]
        self.lr, self.steps = lr, 0

    def step(self):
        self.steps += 1
        for p in self.param_groups[0]["params"]:
            p.data.add_(p.grad, alpha=-self.lr)


def weight() -> torch.Tensor:
    return torch.tensor([1.0, -2.0, 0.5], requires_grad=True)


def backward(scaler: GradScaler, w: torch.Tensor, x: float = 1.0) -> None:
    w.grad = None
    scaler.scale(((w * x) ** 2).sum()).backward()


def test_one_step_by_hand() -> None:
    w, scaler = weight(), GradScaler("cpu", init_scale=4.0, growth_interval=2)
    optimizer = Plain([w], lr=0.25)
    backward(scaler, w)
    assert w.grad.tolist() == [8.0, -16.0, 4.0]  # 4 * 2 w
    scaler.step(optimizer)
    assert w.grad.tolist() == [2.0, -4.0, 1.0] and w.tolist() == [0.5, -1.0, 0.25]
    scaler.update()
    assert (scaler.get_scale(), scaler._get_growth_tracker()) == (4.0, 1)
    backward(scaler, w)
    scaler.step(optimizer)
    scaler.update()
    assert (scaler.get_scale(), scaler._get_growth_tracker()) == (8.0, 0)  # two good steps
    backward(scaler, w, math.inf)
    before = w.tolist()
    assert scaler.step(optimizer) is None
    scaler.update()
    assert (scaler.get_scale(), w.tolist(), optimizer.steps) == (4.0, before, 2)


def run(library, make_optimizer, steps=200):
    """(scale, growth tracker, weights ...) after each step of a run in which gradients overflow now and then."""
    rng = np.random.default_rng(0)
    w = library.tensor([1.0, -2.0, 0.5], requires_grad=True)
    optimizer = make_optimizer([w])
    scaler = library.amp.GradScaler("cpu", init_scale=1000.0, growth_factor=1.7, backoff_factor=0.3, growth_interval=5)
    log = []
    for i in range(steps):
        x = rng.normal(size=3).astype("float32")
        if rng.random() < 0.15:
            x[rng.integers(3)] = rng.choice([np.inf, np.nan, -np.inf])
        optimizer.zero_grad()
        scaler.scale(((w * library.tensor(x)) ** 2).sum()).backward()
        if i % 3 == 0:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        log.append((scaler.get_scale(), scaler._get_growth_tracker(), *w.detach().tolist()))
    return np.array(log), scaler.state_dict(), optimizer.state_dict()


@pytest.mark.parity
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_numbers_are_pytorchs(name: str) -> None:
    reference = pytest.importorskip("torch")
    options = {"lr": 0.01, **({"momentum": 0.9} if name == "SGD" else {})}
    ours, state, saved = run(torch, lambda p: getattr(optim, name)(p, **options))
    theirs, their_state, their_saved = run(reference, lambda p: getattr(reference.optim, name)(p, **options))
    assert np.array_equal(ours[:, :2], theirs[:, :2])
    assert ours[:, 2:] == pytest.approx(theirs[:, 2:], rel=1e-4, abs=1e-6)
    assert state == their_state
    for key, value in their_saved["state"][0].items():
        assert np.allclose(np.asarray(saved["state"][0][key]), np.asarray(value), rtol=1e-4), key


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
        lambda p: optim.AdamW(p, lr=0.1),
        lambda p: optim.RMSprop(p, lr=0.1, centered=True, momentum=0.5),
        lambda p: optim.Adagrad(p, lr=0.1),
        lambda p: optim.NAdam(p, lr=0.1),
    ],
)
def test_a_skipped_step_leaves_everything(make) -> None:
    """Parameters and state, to the bit; and the step after it is as if it had not been."""

    def go(bad: list[int]) -> tuple:
        w, scaler = weight(), GradScaler("cpu", init_scale=4.0, backoff_factor=0.999999)
        optimizer = make([w])
        states = []
        for i in range(5):
            backward(scaler, w, math.nan if i in bad else 1.0)
            scaler.step(optimizer)
            scaler.update(4.0)
            states.append([w.tolist(), *(t.tolist() for t in optimizer.state[w].values())])
        return states

    with_skips, without = go(bad=[0, 2]), go(bad=[])
    assert with_skips[2] == with_skips[1] and with_skips[-1] == without[2]


def test_no_value_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    w, scaler = weight(), GradScaler("cpu")
    optimizer = optim.AdamW([w], lr=0.1)

    def refuse(*args: object) -> None:
        raise AssertionError("a value was read")

    for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__array__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    for _ in range(2):
        backward(scaler, w)
        scaler.unscale_(optimizer)
        clip_grad_norm_([w], 1.0)
        scaler.step(optimizer)
        scaler.update()


def test_a_step_of_the_users_own_is_not_trusted() -> None:
    class Mine(optim.SGD):
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                p.data.add_(p.grad)

    w, scaler = weight(), GradScaler("cpu")
    before = w.tolist()
    backward(scaler, w, math.inf)
    scaler.step(Mine([w], lr=0.1))
    assert w.tolist() == before


def test_two_optimizers_share_a_scale() -> None:
    a, b, scaler = weight(), weight(), GradScaler("cpu", init_scale=4.0)
    first, second = optim.SGD([a], lr=0.1), optim.SGD([b], lr=0.1)
    scaler.scale((a * 1.0).sum()).backward()
    scaler.scale((b * math.inf).sum()).backward()
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert a.tolist() == pytest.approx([0.9, -2.1, 0.4]) and b.tolist() == [1.0, -2.0, 0.5]
    assert scaler.get_scale() == 2.0


def test_the_scale_stays_finite() -> None:
    w, scaler = weight(), GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
    scaler.scale((w * 2.0**-127).sum()).backward()
    scaler.step(Plain([w]))
    scaler.update()
    assert scaler.get_scale() == 2.0**127


def test_scale_of_a_nest() -> None:
    scaler = GradScaler("cpu", init_scale=2.0)
    one, (two, three) = scaler.scale([torch.tensor(1.0), (torch.tensor(2.0), torch.tensor(3.0))])
    assert (one.item(), two.item(), three.item()) == (2.0, 4.0, 6.0)
    assert [t.item() for t in scaler.scale(torch.tensor(float(i)) for i in range(2))] == [0.0, 2.0]


# -- wrong order -------------------------------------------------------------------------------------------------------


def ready() -> tuple[torch.Tensor, GradScaler, Plain]:
    w, scaler = weight(), GradScaler("cpu")
    backward(scaler, w)
    return w, scaler, Plain([w])


def test_unscale_twice() -> None:
    _, scaler, optimizer = ready()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"already been called[\s\S]*before.*test_grad_scaler.py"):
        scaler.unscale_(optimizer)


def test_unscale_after_step() -> None:
    _, scaler, optimizer = ready()
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="called after step"):
        scaler.unscale_(optimizer)


def test_step_twice() -> None:
    _, scaler, optimizer = ready()
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called since the last update"):
        scaler.step(optimizer)
    scaler.update()
    scaler.step(optimizer)


def test_update_without_step() -> None:
    _, scaler, _ = ready()
    with pytest.raises(RuntimeError, match="No inf checks were recorded"):
        scaler.update()


def test_nothing_was_scaled() -> None:
    w, scaler = weight(), GradScaler("cpu")
    w.sum().backward()
    for call in (scaler.unscale_, scaler.step):
        with pytest.raises(RuntimeError, match=r"before scale\(\)"):
            call(Plain([w]))
    with pytest.raises(RuntimeError, match=r"before scale\(\)"):
        scaler.update()


def test_no_gradients() -> None:
    _, scaler, _ = ready()
    with pytest.raises(RuntimeError, match="none of its parameters has a gradient"):
        scaler.step(Plain([weight()]))


def test_other_misuse() -> None:
    _, scaler, optimizer = ready()
    with pytest.raises(TypeError, match="floating point loss"):
        scaler.scale(torch.tensor(3))
    with pytest.raises(ValueError, match="Tensor or an iterable"):
        scaler.scale(3.0)
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: None)
    half = torch.tensor([1.0], dtype=torch.float16, requires_grad=True)
    scaler.scale(half.sum()).backward()
    with pytest.raises(TypeError, match="FP16 gradients"):
        scaler.unscale_(Plain([half]))
    for options in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(RuntimeError, match="factor must be"):
            GradScaler("cpu", **options)


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_clipping_before_unscale(clip) -> None:
    w, scaler, optimizer = ready()
    clip([w], 1.0)
    with pytest.warns(UserWarning, match=r"clipped while they were still scaled, at .*test_grad_scaler.py") as caught:
        scaler.step(optimizer)
    assert caught[0].filename == __file__
    scaler.update()
    backward(scaler, w)
    scaler.unscale_(optimizer)
    clip([w], 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaler.step(optimizer)
        scaler.update()
        w.grad.zero_()  # zero_grad(set_to_none=False): the same tensor, clipped last time
        scaler.scale((w**2).sum()).backward()
        scaler.step(optimizer)


# -- settings and state ------------------------------------------------------------------------------------------------


def test_disabled_does_nothing() -> None:
    w, scaler = weight(), GradScaler("cpu", enabled=False)
    optimizer = Plain([w])
    backward(scaler, w)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.steps == 1 and w.grad.tolist() == [2.0, -4.0, 1.0]
    assert (scaler.is_enabled(), scaler.get_scale(), scaler.state_dict()) == (False, 1.0, {})
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not GradScaler().is_enabled()


def test_state_goes_around() -> None:
    _, scaler, optimizer = ready()
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="between steps"):
        pickle.dumps(scaler)
    scaler.update()
    other = GradScaler("cpu", init_scale=1.0)
    other.load_state_dict(scaler.state_dict())
    for same in (other, pickle.loads(pickle.dumps(scaler)), copy.deepcopy(scaler)):
        assert same.state_dict() == scaler.state_dict()
        assert same.scale(torch.tensor(1.0)).item() == 2.0**16
    scaler.load_state_dict({**scaler.state_dict(), "scale": 8.0, "_growth_tracker": 7})  # after its first use
    assert (scaler.get_scale(), scaler._get_growth_tracker()) == (8.0, 7)
    with pytest.raises(RuntimeError, match="empty"):
        scaler.load_state_dict({})


def test_setters() -> None:
    scaler = GradScaler("cpu")
    scaler.set_growth_factor(3.0)
    scaler.set_backoff_factor(0.1)
    scaler.set_growth_interval(5)
    assert (scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()) == (3.0, 0.1, 5)


def test_a_new_scale_is_set() -> None:
    _, scaler, optimizer = ready()
    scaler.step(optimizer)
    scaler.update(torch.tensor(32.0))
    assert scaler.get_scale() == 32.0
