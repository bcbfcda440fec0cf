"""LRScheduler, and what schedules share."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable
from typing import Any

from ...errors import ArgumentError, DTypeError, fail
from ...modes import MODES, no_grad
from ...tensor import Tensor
from ..optimizer import Optimizer

Rate = float | Tensor


class LRScheduler:
    """The base of schedules: `get_lr` gives the learning rate of each group for `last_epoch`, the count of steps."""

    _get_lr_called_within_step = False
    _is_initial = False
    _left_out: tuple[str, ...] = ("optimizer",)  # attributes that are no state

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    "last_epoch >= 0: load the optimizer's state first, or start with last_epoch=-1"
                )
        self.base_lrs: list[Any] = rates(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._initial_step()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in vars(cls):
            setattr(cls, "step", after_the_step(vars(cls)["step"]))

    def _initial_step(self) -> None:
        """Set the first learning rate."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """All that changes, and the options; not the optimizer."""
        return {key: value for key, value in vars(self).items() if key not in self._left_out}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        vars(self).update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The learning rates that are set now."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The next learning rates; called by `step`."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr(self)")

    def step(self, epoch: int | None = None) -> None:
        """Set the next learning rates; call it after optimizer.step()."""
        if self._step_count == 1 and not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first learning rate of the "
                "schedule is skipped. Call `optimizer.step()` before `lr_scheduler.step()`",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        if epoch is not None:
            warnings.warn(
                "The epoch parameter in `scheduler.step()` is deprecated: call `scheduler.step()` after each epoch",
                UserWarning,
                stacklevel=2,
            )
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed = getattr(self, "_get_closed_form_lr", None)
        self._set(closed if epoch is not None and closed is not None else self.get_lr)

    def _set(self, get: Callable[[], list[Any]]) -> None:
        self._get_lr_called_within_step = True
        try:
            values = get()
        finally:
            self._get_lr_called_within_step = False
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            set_option(group, "lr", value)
        self._last_lr: list[Any] = rates(self.optimizer)

    def _asked_directly(self) -> None:
        """get_lr() moves some schedules on, which a user who asks for the learning rate does not want."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )


def after_the_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """A schedule's step inside of a captured step happens after each run: it is the host's, not the Program's."""

    @functools.wraps(step)
    def stepped(self: LRScheduler, *args: Any, **kwargs: Any) -> Any:
        if MODES.capture is not None:
            return MODES.capture.defer(stepped, (self, *args), kwargs, changes=self.optimizer)
        return step(self, *args, **kwargs)

    return stepped


setattr(LRScheduler, "step", after_the_step(LRScheduler.step))


class FunctionScheduler(LRScheduler):
    """A schedule given by functions, one for each group, that are saved if they are objects with state."""

    _left_out = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        self.lr_lambdas = for_groups("lr_lambda", optimizer, lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                fail(DTypeError, f"lr_lambda should be a function, but got {type(function).__name__}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "lr_lambdas": [state_of(f) for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update({key: value for key, value in state_dict.items() if key != "lr_lambdas"})
        for function, state in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if state is not None:
                vars(function).update(state)


def state_of(function: Any) -> dict[str, Any] | None:
    """The attributes of a callable object; a plain function has no state."""
    return None if isinstance(function, types.FunctionType) else dict(vars(function))


def check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        fail(DTypeError, f"{type(optimizer).__name__} is not an Optimizer")


def copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def rates(optimizer: Optimizer, key: str = "lr") -> list[Any]:
    """An option of each group."""
    return [copied(group[key]) for group in optimizer.param_groups]


def set_option(group: dict[str, Any], key: str, value: Any) -> None:
    """Change an option; one that is a tensor stays the same tensor."""
    if isinstance(group.get(key), Tensor):
        with no_grad():
            group[key].copy_(value.reshape(group[key].shape)) if isinstance(value, Tensor) else group[key].fill_(value)
    else:
        group[key] = value


def for_groups(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each group: as given, or the same for all."""
    n = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [copied(value) for _ in range(n)]
    if len(value) != n:
        fail(
            ArgumentError,
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
            f"param_groups has {n}.",
            "give one value for all groups, or as many as there are groups",
        )
    return [copied(v) for v in value]
