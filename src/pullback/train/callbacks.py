"""Callbacks: what happens beside the loop. A method for each moment; define those you need."""

from __future__ import annotations

import math
from typing import Any

from ..errors import PullbackError, fail
from ..modes import no_grad


class Callback:
    """The base of callbacks. State that must survive a restart goes through state_dict and load_state_dict."""

    def on_fit_start(self, trainer: Any) -> None:
        """Before the first step of this fit(), after a checkpoint was loaded."""

    def on_epoch_start(self, trainer: Any) -> None:
        """Before the first step of an epoch."""

    def on_step_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        """After an optimizer step; `logs` has loss, lr, grad_norm, ..."""

    def on_validation_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        """After a validation; `logs` has valid_loss and the metrics."""

    def on_epoch_end(self, trainer: Any) -> None:
        """After the last step of an epoch and what is done once an epoch."""

    def on_checkpoint(self, trainer: Any, path: Any) -> None:
        """After a checkpoint was written."""

    def on_skip(self, trainer: Any, reason: str) -> None:
        """After a step was left out because its loss or gradient was not finite."""

    def on_fit_end(self, trainer: Any) -> None:
        """After the last step and the last checkpoint."""

    def close(self, trainer: Any) -> None:
        """When fit() is left, be it by an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""


class EarlyStopping(Callback):
    """Stops after `patience` validations without improvement, and brings back the weights of the best one."""

    def __init__(
        self,
        patience: int,
        monitor: str = "valid_loss",
        *,
        mode: str = "min",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if mode not in ("min", "max"):
            fail(PullbackError, f"mode={mode!r}: is the lowest {monitor} best, or the highest?", "use 'min' or 'max'")
        self.patience, self.monitor, self.mode, self.min_delta = patience, monitor, mode, min_delta
        self.restore_best = restore_best
        self.best = math.inf if mode == "min" else -math.inf
        self.best_step: int | None = None
        self.waited = 0  # validations since the best one
        self.weights: dict[str, Any] | None = None

    def on_validation_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        value = monitored(logs, self.monitor)
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best, self.best_step, self.waited = value, trainer.step, 0
            if self.restore_best:
                self.weights = {name: t.clone() for name, t in trainer.model.state_dict().items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop(f"{self.monitor} has not improved on {self.best:.6g} (step {self.best_step})")

    def on_fit_end(self, trainer: Any) -> None:
        if self.weights is not None:
            with no_grad():
                trainer.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best", "best_step", "waited", "weights")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


def monitored(logs: dict[str, Any], name: str) -> float:
    """The value to decide by."""
    if name not in logs:
        known = ", ".join(key for key in logs if key.startswith("valid_"))
        fail(PullbackError, f"monitor={name!r} is not among what validation gives", f"use one of {known}")
    return float(logs[name])
