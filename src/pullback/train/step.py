"""One step of training as functions of its batches alone, so that each can be compiled as it stands.

    whole   batch          zero_grad, forward, loss, backward, unscale, clip, update
    first   batch, weight  zero_grad, forward, loss, backward      } the same for a window of several batches,
    more    batch, weight  forward, loss, backward                 } whatever their number
    update  loss           unscale, clip, update                   }

No value is read on the way. Where the loss or the gradient's norm is not finite, all that the update writes keeps its
old value, as where GradScaler finds an Inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..amp.grad_scaler import keeps_what_it_should
from ..dtypes import float64
from ..errors import ArgumentError, fail
from ..functions.compare import isfinite, where
from ..functions.creation import tensor
from ..functions.joining import stack
from ..modes import no_grad
from ..nn.module import Module
from ..nn.utils.clip_grad import clip_grad_norm_, clip_grad_value_, get_total_norm
from ..program.call.compiled import compile as compile_
from ..program.call.compiled import engine_named
from ..tensor import Tensor
from .nonfinite import diagnose

Found = tuple[tuple[str, ...], Tensor]  # names, "loss" first, and their values
TAKEN = {"step", "epoch", "lr", "grad_norm"}  # names in the log that are no loss function's


class Measure:
    """The loss of a batch, and what is measured beside it."""

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Any],
        metrics: dict[str, Callable[[Any, Any], Tensor]],
        autocast: Any,
    ) -> None:
        self.model, self.loss, self.metrics, self.autocast = model, loss, metrics, autocast

    def training(self, batch: Any) -> tuple[Tensor, Found]:
        """The mean loss, which has a graph, and all values without theirs."""
        with self.autocast:
            return self.of(batch, {})

    def evaluation(self, batch: Any) -> Found:
        """With the metrics."""
        with self.autocast:
            return self.of(batch, self.metrics)[1]

    def of(self, batch: Any, metrics: dict[str, Any]) -> tuple[Tensor, Found]:
        """The loss, and all values; metrics are those of a loss that is a module."""
        if isinstance(self.loss, Module):
            x, y = batch
            output = self.model(x)
            found = {"loss": self.loss(output, y), **{name: f(output, y) for name, f in metrics.items()}}
        else:
            found = self.loss(self.model, batch)
            found = found if isinstance(found, dict) else {"loss": found}
        values = numbers(found)
        return found["loss"], values


def numbers(found: dict[str, Any]) -> Found:
    """As one tensor, which is read at once."""
    if "loss" not in found:
        fail(ArgumentError, f"the loss function gave {', '.join(found)} and no loss", 'call it "loss"')
    for name, x in found.items():
        if not isinstance(x, Tensor) or x.numel() != 1:
            given = f"shape {list(x.shape)}" if isinstance(x, Tensor) else f"class {type(x).__name__}"
            fail(ArgumentError, f"the loss function gave {name!r} of {given}", "give a tensor of one number: the mean")
        if name in TAKEN:
            fail(ArgumentError, f"the log has a {name!r} of its own", "give it another name")
    names = ("loss", *[name for name in found if name != "loss"])
    return names, stack([found[name].detach().double().reshape(()) for name in names])


def gradients(function: Callable[..., Any]) -> Any:
    """Marks a function that makes or uses gradients, which a capture sees of a user's code only."""
    vars(function)["_gradients"] = True
    return function


class Parts:
    """Backward passes; without the optimizer, on whose state their captures must not depend."""

    def __init__(self, measure: Measure, scaler: Any) -> None:
        self.measure, self.scaler = measure, scaler

    @gradients
    def first(self, batch: Any, weight: Tensor) -> Found:
        """The first batch of a window; `weight` is its part of the window's terms."""
        self.measure.model.zero_grad()
        return self.more(batch, weight)

    @gradients
    def more(self, batch: Any, weight: Tensor) -> Found:
        """One of the others."""
        names, values = self.backward(batch, weight)
        return names, values * weight

    def backward(self, batch: Any, weight: Tensor | None = None) -> Found:
        """Add the gradients of a batch's scaled loss."""
        loss, found = self.measure.training(batch)
        self.scaler.scale(loss if weight is None else loss * weight.to(loss.dtype)).backward()
        return found


class Step:
    """What a step does."""

    def __init__(self, parts: Parts, optimizer: Any, clip: float | None, clip_value: float | None) -> None:
        self.parts, self.scaler, self.optimizer = parts, parts.scaler, optimizer
        self.clip, self.clip_value = clip, clip_value

    @gradients
    def whole(self, batch: Any) -> tuple[tuple[str, ...], Tensor, Tensor]:
        """A step of one batch; names, values, and the gradient's norm."""
        model = self.parts.measure.model
        before = buffers(model)
        self.optimizer.zero_grad()
        model.zero_grad()  # it may have parameters that are not the optimizer's
        names, values = self.parts.backward(batch)
        norm, bad = self.update(values[0])
        put_back(before, bad)
        return names, values, norm

    @gradients
    def update(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """The end of a step of this loss. Returns the gradient's norm, and whether something was not finite."""
        self.scaler.unscale_(self.optimizer)
        norm = self.clipped()
        bad = ~self.good(loss, norm)
        if keeps_what_it_should(self.optimizer):
            self.optimizer.found_inf = bad.float()
            try:
                self.scaler.step(self.optimizer)
            finally:
                del self.optimizer.found_inf
        elif not bad:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return norm, bad

    def good(self, loss: Tensor, norm: Tensor) -> Tensor:
        """A scaler deals with gradients itself: that they overflow is how it finds its scale."""
        finite: Tensor = isfinite(loss)
        return finite if self.scaler.is_enabled() else finite & isfinite(norm)

    def clipped(self) -> Tensor:
        """Clip the gradients; their norm as it was before."""
        params = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.clip is None:
            norm = get_total_norm([p.grad for p in params])
        else:
            norm = clip_grad_norm_(params, self.clip)
        if self.clip_value is not None:
            clip_grad_value_(params, self.clip_value)
        return norm


class Steps:
    """The functions as the Trainer calls them: as they are, or each compiled."""

    def __init__(self, step: Step, compile: bool | str | None) -> None:
        self.step, self.parts, self.measure = step, step.parts, step.parts.measure
        self.compiled = bool(compile)
        engine = engine_named(compile) if isinstance(compile, str) else None

        def made(function: Callable[..., Any]) -> Any:
            return compile_(function, engine=engine) if compile else function

        self.whole, self.update = made(step.whole), made(step.update)
        self.first, self.more = made(self.parts.first), made(self.parts.more)
        self.evaluation = made(self.measure.evaluation)

    def take(self, parts: Sequence[tuple[Any, float]], window: bool) -> dict[str, float]:
        """One step, of batches and their weights; its values. Steps of several batches are made in another way."""
        if not parts:  # nothing has a loss, and the gradient of nothing is zero
            return {"loss": 0.0, "grad_norm": 0.0}
        names, values, norm = self.window(parts) if window else self.whole(parts[0][0])
        return {**dict(zip(names, values.tolist(), strict=True)), "grad_norm": norm.item()}

    def window(self, parts: Sequence[tuple[Any, float]]) -> tuple[tuple[str, ...], Tensor, Tensor]:
        """As `whole`, of several batches."""
        before = buffers(self.measure.model)
        total: Any = None
        for batch, weight in parts:
            function = self.first if total is None else self.more
            names, values = function(batch, tensor(weight, dtype=float64))
            total = values if total is None else total + values
        norm, bad = self.update(total[0])
        put_back(before, bad)
        return names, total, norm

    def bad(self, found: dict[str, float]) -> bool:
        """Was the update left out?"""
        return not (
            math.isfinite(found["loss"]) and (self.step.scaler.is_enabled() or math.isfinite(found["grad_norm"]))
        )

    def diagnose(self, batches: Sequence[Any]) -> list[str]:
        """What made a step's numbers infinite, as lines: it is run again op by op. Nothing but random state changes."""
        model, optimizer = self.measure.model, self.step.optimizer
        before = buffers(model)
        optimizer.zero_grad()
        try:
            return diagnose(model, batches, self.parts.backward, self.compiled)
        finally:
            optimizer.zero_grad()
            put_back(before, tensor(True))


Buffers = list[tuple[dict[str, Any], str, Tensor, Tensor, int]]


def buffers(model: Module) -> Buffers:
    """Running means and the like, as they are before a step: (where it is, name, copy, itself, version)."""
    found = [(m._buffers, name, b) for m in model.modules() for name, b in m._buffers.items() if b is not None]
    return [(place, name, b.clone(), b, b._version) for place, name, b in found]


@no_grad()
def put_back(before: Buffers, bad: Tensor) -> None:
    """What has changed since is as it was, if the step was a bad one."""
    for place, name, old, b, version in before:
        now = place[name]
        if now is not b:
            place[name] = where(bad, old, now)
        elif b._version != version:
            b.copy_(where(bad, old, b))
