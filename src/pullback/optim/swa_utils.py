"""Averages of a model's parameters over training (Izmailov et al. 2018), and the schedule that goes with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import chain
from typing import Any

from ..dtypes import long
from ..errors import ArgumentError, fail
from ..functions.compare import where
from ..functions.creation import tensor
from ..modes import no_grad
from ..nn.module import Module
from ..nn.normalization import _BatchNorm
from ..tensor import Tensor
from .lr_scheduler.base import LRScheduler, for_groups
from .optimizer import Optimizer

Average = Callable[[Tensor, Tensor, Any], Any]
MultiAverage = Callable[[list[Tensor], list[Tensor], Any], Any]


def get_swa_avg_fn() -> Average:
    """average + (current - average) / (n + 1): the mean of all"""

    def swa_update(averaged: Tensor, current: Tensor, n: Any) -> Any:
        return averaged + (current - averaged) / (n + 1)

    return no_grad()(swa_update)


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """decay average + (1 - decay) current: the exponential moving average"""
    if not 0.0 <= decay <= 1.0:
        fail(ArgumentError, f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")

    def ema_update(averaged: Tensor, current: Tensor, n: Any) -> Any:
        return decay * averaged + (1 - decay) * current

    return no_grad()(ema_update)


def get_swa_multi_avg_fn() -> MultiAverage:
    """As `get_swa_avg_fn`, for lists of tensors, in place."""
    return _in_place(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """As `get_ema_avg_fn`, for lists of tensors, in place."""
    return _in_place(get_ema_avg_fn(decay))


def _in_place(average: Average) -> MultiAverage:
    def update(averaged: list[Tensor], current: list[Tensor], n: Any) -> None:
        for old, new in zip(averaged, current, strict=True):
            old.copy_(average(old, new, n))

    return no_grad()(update)


class AveragedModel(Module):
    """A copy of a model whose parameters are the average of the model's at each `update_parameters`.

    The average is `avg_fn(average, current, how many went into it)`, by default the mean. Buffers are the model's own,
    or averaged too with use_buffers.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            fail(ArgumentError, "Only one of avg_fn and multi_avg_fn should be provided")
        self.module: Any = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, dtype=long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def _averaged(self, model: Any) -> Iterator[Tensor]:
        parts = chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()
        return (t.detach() for t in parts)

    def update_parameters(self, model: Module) -> None:
        """Take the model's parameters into the average; the first time, they are the average."""
        old, new = list(self._averaged(self.module)), list(self._averaged(model))
        average = self.multi_avg_fn or _in_place(self.avg_fn or get_swa_avg_fn())
        average(old, new, self.n_averaged)
        first = self.n_averaged.eq(0)
        for a, b in zip(old, new, strict=True):
            a.copy_(where(first, b, a))
        if not self.use_buffers:
            for a, b in zip(self.module.buffers(), model.buffers(), strict=True):
                a.detach().copy_(b.detach())
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of the model's batch norms anew, over the batches (or their first parts)."""
    momenta = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    for norm in momenta:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(x if device is None else x.to(device))
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the learning rate there is to swa_lr in anneal_epochs steps, and on with that.

    lr_t = swa_lr a(t / anneal_epochs) + lr_0 (1 - a(t / anneal_epochs)),    a(x) = x, or (1 - cos(pi x)) / 2
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            fail(ArgumentError, f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            fail(ArgumentError, f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        for group, rate in zip(optimizer.param_groups, for_groups("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        x = max(0, min(1, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * x)) / 2 if self._anneal_strategy == "cos" else x

    def get_lr(self) -> list[Any]:
        self._asked_directly()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        lrs = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            lrs.append(end * now + start * (1 - now))
        return lrs
