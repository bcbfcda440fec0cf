"""Random lives of a model: steps, and changes between them, of one model trained eagerly and one by compiled steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pullback as torch
from pullback import nn

FEW = settings(derandomize=True, deadline=None, max_examples=6)
MANY = settings(derandomize=True, deadline=None, max_examples=40)

GAIN = {"eager": 1.0, "compiled": 1.0}  # a global that the steps read


class Net(nn.Module):
    """Tied weights, fan-out, statistics, dropout, a hidden state, a buffer, a plain attribute, a list of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.25)
        self.twice = nn.Sequential(self.inner, nn.Tanh(), self.inner)  # the same layer twice
        self.out = nn.Linear(4, 3)
        self.out.weight.data.mul_(0.5)
        self.hidden: Any = None
        self.kept = [torch.zeros(4)]
        self.strength = 1.0
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Any) -> Any:
        h = self.drop(self.norm(self.twice(x * self.strength) + x))
        self.hidden = h.mean(0).detach() if self.hidden is None else 0.5 * self.hidden + h.mean(0).detach()
        self.kept[0] = self.kept[0] + self.hidden
        self.calls += 1
        return self.out(h + self.hidden) + (self.inner.weight.sum() if self.strength > 1 else 0.0)


class Life:
    """A model, what trains it, and how it is called."""

    def __init__(self, who: str, model: Net, optimizer: str) -> None:
        self.who, self.model = who, model
        options: dict[str, Any] = {"SGD": {"lr": 0.05, "momentum": 0.5}, "AdamW": {"lr": 0.01}}[optimizer]
        self.optimizer = getattr(torch.optim, optimizer)(model.parameters(), **options)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)
        self.average = torch.optim.swa_utils.AveragedModel(model)
        self.generator = torch.Generator().manual_seed(3)
        clip = [1.0]
        self.clip = clip

        def train(x: Any, y: Any) -> Any:
            self.optimizer.zero_grad()
            noise = torch.randn(x.shape, generator=self.generator, dtype=x.dtype) * 0.01
            logits = model((x + noise) * GAIN[who])
            loss = nn.functional.cross_entropy(logits, y)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip[0])
            self.optimizer.step()
            self.average.update_parameters(model)
            return {"loss": loss.detach(), "norm": norm}

        def accumulate(x: Any, y: Any) -> Any:
            loss = nn.functional.cross_entropy(model(x), y) / 2
            loss.backward()
            return {"loss": loss.detach()}

        def look(x: Any, y: Any) -> Any:
            with torch.no_grad():
                return {"logits": model(x)}

        steps = {"train": train, "accumulate": accumulate, "look": look}
        self.steps = {k: torch.compile(f, engine="numpy") if who == "compiled" else f for k, f in steps.items()}


def batch(seed: int, n: int, dtype: Any) -> Any:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.standard_normal((n, 4)), dtype=dtype), torch.tensor(rng.integers(0, 3, n))


CHANGES: dict[str, Callable[[Life], Any]] = {
    "eval": lambda life: life.model.eval(),
    "train mode": lambda life: life.model.train(),
    "freeze": lambda life: life.model.inner.requires_grad_(False),
    "unfreeze": lambda life: life.model.inner.requires_grad_(True),
    "learning rate": lambda life: life.optimizer.param_groups[0].update(lr=0.02),
    "schedule": lambda life: life.schedule.step(),
    "decay": lambda life: life.optimizer.param_groups[0].update(weight_decay=0.1),
    "strength": lambda life: setattr(life.model, "strength", 3.0 - life.model.strength),
    "global": lambda life: GAIN.update({life.who: GAIN[life.who] * 1.5}),
    "clip": lambda life: life.clip.__setitem__(0, 0.1),
    "forget": lambda life: setattr(life.model, "hidden", None),
    "grads": lambda life: life.optimizer.zero_grad(),
    "zero grads": lambda life: life.optimizer.zero_grad(set_to_none=False),
    "look at grads": lambda life: [p.grad for p in life.model.parameters()],
    "seed": lambda life: life.generator.manual_seed(9),
    "reload": lambda life: life.model.load_state_dict(copy.deepcopy(life.model.state_dict())),
    "reload optimizer": lambda life: life.optimizer.load_state_dict(copy.deepcopy(life.optimizer.state_dict())),
    "shrink": lambda life: life.model.out.weight.data.mul_(0.9),
    "new memory": lambda life: setattr(life.model.out.bias, "data", life.model.out.bias.data * 0.5),
    "new layer": lambda life: setattr(life.model, "drop", nn.Dropout(0.5)),
    "eager step": lambda life: life.optimizer.step() if life.model.out.weight.grad is not None else None,
}

actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["train", "train", "accumulate", "look"]), st.sampled_from([5, 5, 5, 8])),
        st.tuples(st.sampled_from(sorted(CHANGES)), st.just(0)),
    ),
    min_size=3,
    max_size=12,
)


def same(a: Any, b: Any, what: str) -> None:
    if a is None or b is None:
        assert a is b, what
    else:
        np.testing.assert_array_equal(b.detach().numpy(), a.detach().numpy(), err_msg=what)


def live(optimizer: str, program: list[tuple[str, int]]) -> None:
    GAIN.update(eager=1.0, compiled=1.0)
    torch.manual_seed(0)
    model = Net()
    lives = [Life("eager", model, optimizer), Life("compiled", copy.deepcopy(model), optimizer)]
    random = [torch.get_rng_state()] * 2  # both draw from the default generator
    for k, (name, n) in enumerate(program):
        results = []
        for i, life in enumerate(lives):
            torch.set_rng_state(random[i])
            if name in CHANGES:
                CHANGES[name](life)
            else:
                results.append(life.steps[name](*batch(k, n, torch.float32)))
            random[i] = torch.get_rng_state()
        if results:
            for key in results[0]:
                same(results[0][key], results[1][key], f"{k} {name} {key}")
        one, two = lives
        assert random[0].tolist() == random[1].tolist()
        assert one.generator.get_state().tolist() == two.generator.get_state().tolist()
        assert one.optimizer.param_groups[0]["lr"] == two.optimizer.param_groups[0]["lr"]
        states = zip(one.average.state_dict().items(), two.average.state_dict().items(), strict=True)
        for (label, a), (_, b) in [
            *zip(one.model.state_dict().items(), two.model.state_dict().items(), strict=True),
            *states,
        ]:
            same(a, b, f"{k} {name} {label}")
        for (label, p), q in zip(one.model.named_parameters(), two.model.parameters(), strict=True):
            same(p.grad, q.grad, f"{k} {name} {label}.grad")
            for key in one.optimizer.state.get(p, ()):
                same(one.optimizer.state[p][key], two.optimizer.state[q][key], f"{k} {name} {label} {key}")
        same(one.model.hidden, two.model.hidden, f"{k} {name} hidden")
        same(one.model.kept[0], two.model.kept[0], f"{k} {name} kept")


@pytest.mark.filterwarnings("ignore:.*has been captured", "ignore:Detected call of")
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@FEW
@given(actions)
def test_compiled_is_eager(optimizer: str, program: list[tuple[str, int]]) -> None:
    live(optimizer, program)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*has been captured", "ignore:Detected call of")
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@MANY
@given(actions)
def test_compiled_is_eager_in_many_lives(optimizer: str, program: list[tuple[str, int]]) -> None:
    live(optimizer, program)
