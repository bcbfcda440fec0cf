"""Schedules that go up and down, the momentum going the other way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...errors import ArgumentError, fail
from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer, for_groups, set_option, state_of


class Cycling(LRScheduler):
    """Sets the momentum of each group as well, be it `momentum` or the first of `betas`."""

    def _start_momentum(self, optimizer: Optimizer, base: Any, top: Any, last_epoch: int) -> None:
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            fail(
                ArgumentError,
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled",
                "pass cycle_momentum=False",
            )
        self.use_beta1 = "betas" in optimizer.defaults
        if last_epoch == -1:
            for group, low, high in zip(optimizer.param_groups, base, top, strict=True):
                self._set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low

    def _set_momentum(self, group: dict[str, Any], momentum: Any) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CyclicLR(Cycling):
    """Cyclical learning rates for training neural networks (Smith 2017): a triangle between base_lr and max_lr.

    lr_t = base_lr + (max_lr - base_lr) h s,   momentum_t = max_momentum - (max_momentum - base_momentum) h s

    h goes from 0 to 1 in step_size_up steps and back in step_size_down. The scale s is 1 (triangular), halves with each
    cycle (triangular2), is gamma^t (exp_range), or is what `scale_fn` says of the cycle or of t.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            fail(
                ArgumentError,
                "mode is invalid and scale_fn is None",
                "mode must be 'triangular', 'triangular2' or 'exp_range'",
            )
        base_lrs = for_groups("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                set_option(group, "lr", lr)
        self.max_lrs = for_groups("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums = for_groups("base_momentum", optimizer, base_momentum)
            self.max_momentums = for_groups("max_momentum", optimizer, max_momentum)
            self._start_momentum(optimizer, self.base_momentums, self.max_momentums, last_epoch)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The scale in cycle x, or at step x."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / (2.0 ** (x - 1)) if self.mode == "triangular2" else self.gamma**x

    def get_lr(self) -> list[Any]:
        self._asked_directly()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        h = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        s = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            groups = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in groups:
                self._set_momentum(group, high - (high - low) * h * s)
        return [low + (high - low) * h * s for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        f = self._scale_fn_custom
        return {**super().state_dict(), "_scale_fn_custom": None if f is None else state_of(f)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update({key: value for key, value in state_dict.items() if key != "_scale_fn_custom"})
        if state_dict.get("_scale_fn_custom") is not None:
            vars(self._scale_fn_custom).update(state_dict["_scale_fn_custom"])


class OneCycleLR(Cycling):
    """Super-convergence (Smith and Topin 2019): up to max_lr, down to next to nothing, in total_steps steps.

    From max_lr / div_factor to max_lr in the first pct_start of all steps, and then to the start / final_div_factor;
    with three_phase, back to where it came from in as many steps as it went up in, and then on.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                fail(ArgumentError, "You must define either total_steps OR (epochs AND steps_per_epoch)")
            for name, value in ("epochs", epochs), ("steps_per_epoch", steps_per_epoch):
                _check_count(name, value)
            total_steps = epochs * steps_per_epoch
        _check_count("total_steps", total_steps)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            fail(ArgumentError, f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            fail(ArgumentError, f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self.total_steps = total_steps
        up = {
            "end_step": float(pct_start * total_steps) - 1,
            **_phase("initial_lr", "max_lr", "max_momentum", "base_momentum"),
        }
        back = {
            "end_step": float(2 * pct_start * total_steps) - 2,
            **_phase("max_lr", "initial_lr", "base_momentum", "max_momentum"),
        }
        out = {"end_step": total_steps - 1, **_phase("initial_lr", "min_lr", "max_momentum", "max_momentum")}
        down = {"end_step": total_steps - 1, **_phase("max_lr", "min_lr", "base_momentum", "max_momentum")}
        self._schedule_phases: list[dict[str, Any]] = [up, back, out] if three_phase else [up, down]
        self._anneal_func_type = anneal_strategy
        if last_epoch == -1:
            max_lrs = for_groups("max_lr", optimizer, max_lr)
            for group, top in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"] = top / div_factor
                group["max_lr"] = top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            base = for_groups("base_momentum", optimizer, base_momentum)
            self._start_momentum(optimizer, base, for_groups("max_momentum", optimizer, max_momentum), last_epoch)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: Any, end: Any, part: float) -> Any:
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)
        return (end - start) * part + start

    def get_lr(self) -> list[Any]:
        self._asked_directly()
        t, start = self.last_epoch, 0.0
        if t > self.total_steps:
            fail(
                ArgumentError,
                f"Tried to step {t} times. The specified number of total steps is {self.total_steps}",
                "make total_steps the number of optimizer steps of the whole run",
            )
        for phase in self._schedule_phases:
            if t <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        part = (t - start) / (phase["end_step"] - start)
        lrs = []
        for group in self.optimizer.param_groups:
            lrs.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], part))
            if self.cycle_momentum:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._between(*ends, part))
        return lrs


def _phase(start_lr: str, end_lr: str, start_momentum: str, end_momentum: str) -> dict[str, Any]:
    return {
        "start_lr": start_lr,
        "end_lr": end_lr,
        "start_momentum": start_momentum,
        "end_momentum": end_momentum,
    }


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or value <= 0:
        fail(ArgumentError, f"Expected positive integer {name}, but got {value}")
