"""Every optimizer and schedule inside of a compiled step: the same bits as eagerly, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from tests.optim.cases import MATRICES, METRICS, OPTIMIZERS, SCHEDULES

import pullback as torch
import pullback.nn.functional as F
from pullback import nn, optim
from pullback.optim import lr_scheduler, swa_utils

from .twins import together

STEPS = 6
RULES = [*OPTIMIZERS, *MATRICES, "Lion(ps)", "Lion(groups, lr=0.01, weight_decay=0.1)"]

FIRST = {case.partition("(")[0]: case for case in reversed(RULES)}.values()  # one of each class
each_rule = pytest.mark.parametrize(
    "case", [case if case in FIRST else pytest.param(case, marks=pytest.mark.slow) for case in RULES]
)


def model() -> Any:
    return nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 2), nn.Linear(2, 2))


def optimizer_of(case: str, net: Any) -> Any:
    ps = list(net.parameters())
    groups = [{"params": ps[:1], "weight_decay": 0.3}, {"params": ps[1:], "lr": 0.02}]
    return eval(case, {**vars(optim), "torch": torch, "ps": ps, "groups": groups})


def batches(n: int = STEPS) -> list[Any]:
    torch.manual_seed(5)
    return [(torch.randn(6, 4), torch.randint(0, 2, (6,))) for _ in range(n)]


def trained(case: str, clip: Callable[..., Any] | None = None) -> Callable[[], Any]:
    def make() -> Any:
        net = model()
        opt = optimizer_of(case, net)

        def step(x: Any, y: Any) -> Any:
            opt.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            if clip is not None:
                clip(net.parameters())
            opt.step()
            return loss

        return (net, opt), step

    return make


def scaled(case: str) -> Callable[[], Any]:
    """With a GradScaler, clipping between, and whatever the loss is multiplied by."""

    def make() -> Any:
        net = model()
        opt = optimizer_of(case, net)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)

        def step(x: Any, y: Any, factor: Any) -> Any:
            opt.zero_grad(set_to_none=False)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(net(x), y) * factor
            scaler.scale(loss).backward()
            scaler.unscale_(opt)
            norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(opt)
            scaler.update()
            return loss, norm

        return (net, opt, scaler), step

    return make


@each_rule
def test_each_optimizer(case: str) -> None:
    together(trained(case), batches())


@each_rule
def test_each_optimizer_under_a_scaler_that_meets_inf(case: str) -> None:
    calls = [(x, y, torch.tensor(math.inf if i == 3 else 1.0)) for i, (x, y) in enumerate(batches())]
    together(scaled(case), calls)


@pytest.mark.parametrize("case", ["SGD(ps, lr=0.1, momentum=0.9)", "AdamW(ps, lr=0.05)", "Adafactor(ps)"])
@pytest.mark.parametrize(
    "clip",
    [
        lambda ps: nn.utils.clip_grad_norm_(ps, 0.1),
        lambda ps: nn.utils.clip_grad_norm_(ps, 0.1, norm_type=math.inf),
        lambda ps: nn.utils.clip_grad_value_(ps, 0.01),
    ],
    ids=["norm", "max norm", "value"],
)
def test_clipping(case: str, clip: Any) -> None:
    together(trained(case, clip), batches(4))


def scheduled(case: str) -> Callable[[], Any]:
    def make() -> Any:
        net = model()
        ps = list(net.parameters())
        names = {
            "opt": optim.SGD([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.4}], lr=0.1, momentum=0.9),
            "adam": optim.AdamW(ps, lr=0.1),
            "SWALR": swa_utils.SWALR,
        }
        scheduler = eval(case, {**vars(lr_scheduler), **names})
        opt = scheduler.optimizer

        def step(x: Any, y: Any) -> Any:
            opt.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
            scheduler.step()
            return loss

        return (net, opt, scheduler), step

    return make


@pytest.mark.parametrize("case", SCHEDULES)
def test_each_schedule_steps_after_each_run(case: str) -> None:
    """The rates that it sets are read before the next: no step is captured anew for them."""
    together(scheduled(case), batches(14), captures=1)


@pytest.mark.parametrize("case", METRICS)
def test_a_schedule_that_reads_the_loss(case: str) -> None:
    """As a tensor, which has its value by the time the schedule steps."""

    def make() -> Any:
        state, _ = scheduled(case)()
        net, opt, scheduler = state

        def whole(x: Any, y: Any) -> Any:
            opt.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
            scheduler.step(loss.detach())
            return loss

        return state, whole

    together(make, batches(14), captures=1)
