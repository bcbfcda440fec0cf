"""Schedules that multiply the learning rate by a factor, at each step or at some."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ...errors import ArgumentError, fail
from ..optimizer import Optimizer
from .base import FunctionScheduler, LRScheduler, rates


class LambdaLR(FunctionScheduler):
    """lr_t = lr_0 f(t)"""

    def get_lr(self) -> list[Any]:
        self._asked_directly()
        return [f(self.last_epoch) * lr for f, lr in zip(self.lr_lambdas, self.base_lrs, strict=True)]


class MultiplicativeLR(FunctionScheduler):
    """lr_t = lr_{t-1} f(t)"""

    def get_lr(self) -> list[Any]:
        self._asked_directly()
        if self._is_initial:
            return rates(self.optimizer)
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, rates(self.optimizer), strict=True)]


class FactorScheduler(LRScheduler):
    """A schedule of the form lr_t = lr_{t-1} factor(t)."""

    def factor_now(self) -> float | None:
        """The factor at `last_epoch`; None leaves the learning rate alone."""
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        self._asked_directly()
        factor = self.factor_now()
        return rates(self.optimizer) if factor is None else [lr * factor for lr in rates(self.optimizer)]


class StepLR(FactorScheduler):
    """lr_t = lr_0 gamma^floor(t / step_size)"""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_now(self) -> float | None:
        return None if self.last_epoch == 0 or self.last_epoch % self.step_size else self.gamma

    def _get_closed_form_lr(self) -> list[Any]:
        return [lr * self.gamma ** (self.last_epoch // self.step_size) for lr in self.base_lrs]


class MultiStepLR(FactorScheduler):
    """lr_t = lr_0 gamma^k, where k milestones are past"""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_now(self) -> float | None:
        times = self.milestones.get(self.last_epoch)
        return None if times is None else self.gamma**times

    def _get_closed_form_lr(self) -> list[Any]:
        past = bisect_right(sorted(Counter(self.milestones).elements()), self.last_epoch)
        return [lr * self.gamma**past for lr in self.base_lrs]


class ConstantLR(FactorScheduler):
    """lr_t = lr_0 factor for t < total_iters, then lr_0"""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            fail(ArgumentError, f"Constant multiplicative factor expected to be between 0 and 1, not {factor}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor_now(self) -> float | None:
        if self.last_epoch == 0:
            return self.factor
        return 1.0 / self.factor if self.last_epoch == self.total_iters else None

    def _get_closed_form_lr(self) -> list[Any]:
        factor = self.factor + (self.last_epoch >= self.total_iters) * (1 - self.factor)
        return [lr * factor for lr in self.base_lrs]


class LinearLR(FactorScheduler):
    """lr_t = lr_0 (start_factor + (end_factor - start_factor) min(t / total_iters, 1))"""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            fail(
                ArgumentError,
                "Starting multiplicative factor expected to be greater than 0 and less or equal to 1, not "
                f"{start_factor}",
            )
        if not 0 <= end_factor <= 1:
            fail(ArgumentError, f"Ending multiplicative factor expected to be between 0 and 1, not {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor_now(self) -> float | None:
        if self.last_epoch == 0:
            return self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return None
        rise = self.end_factor - self.start_factor
        return 1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)

    def _get_closed_form_lr(self) -> list[Any]:
        rise = self.end_factor - self.start_factor
        factor = self.start_factor + rise * min(self.total_iters, self.last_epoch) / self.total_iters
        return [lr * factor for lr in self.base_lrs]


class ExponentialLR(FactorScheduler):
    """lr_t = lr_0 gamma^t"""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_now(self) -> float | None:
        return None if self._is_initial else self.gamma

    def _get_closed_form_lr(self) -> list[Any]:
        return [lr * self.gamma**self.last_epoch for lr in self.base_lrs]


class PolynomialLR(FactorScheduler):
    """lr_t = lr_0 (1 - min(t / total_iters, 1))^power"""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def factor_now(self) -> float | None:
        if self._is_initial or self.last_epoch > self.total_iters:
            return None
        now, before = (1.0 - t / self.total_iters for t in (self.last_epoch, self.last_epoch - 1))
        return (now / before) ** self.power

    def _get_closed_form_lr(self) -> list[Any]:
        factor = (1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power
        return [lr * factor for lr in self.base_lrs]
