"""GradScaler: small gradients survive float16 because the loss is scaled up, and the gradients down again.

    scaler.scale(loss).backward()      # gradients of scale * loss
    scaler.unscale_(optimizer)         # only if they are clipped or looked at
    clip_grad_norm_(parameters, 1.0)
    scaler.step(optimizer)             # a step, unless a gradient is Inf or NaN
    scaler.update()                    # a smaller scale if one was, a larger one after many good steps

No value is read on the way: a step that must not happen is one whose writes all keep the old value.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from ..dtypes import F16, FLOATS, float32, int32
from ..errors import DTypeError, GradientError, Position, PullbackError, fail, show, users_line
from ..functions.creation import full
from ..functions.joining import stack
from ..modes import begun, no_grad
from ..ops.compare import isfinite, logical_or, where
from ..tensor import Tensor
from ..views import write
from .autocast_mode import present

UNSCALED, STEPPED = "unscaled", "stepped"


class Round:
    """What was done with one optimizer since the last update()."""

    def __init__(self, stage: str, found_inf: Tensor) -> None:
        self.stage, self.found_inf = stage, found_inf
        self.position: Position = users_line()


class GradScaler:
    """Scales the loss, unscales the gradients, skips steps with Inf or NaN in them, and adapts the scale."""

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if enabled and not present(device):
            warnings.warn(f"GradScaler is enabled, but {device.upper()} is not available. Disabling.", stacklevel=2)
            enabled = False
        if enabled and not growth_factor > 1.0:
            fail(PullbackError, f"The growth factor must be > 1.0, but is {growth_factor}")
        if enabled and not backoff_factor < 1.0:
            fail(PullbackError, f"The backoff factor must be < 1.0, but is {backoff_factor}")
        self._device, self._enabled = device, enabled
        self._init_scale, self._init_growth_tracker = init_scale, 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None  # good steps since the scale last changed
        self._rounds: dict[int, Round] = {}  # by id(optimizer)

    # -- a training step -------------------------------------------------------------------------------------------

    def scale(self, outputs: Any) -> Any:
        """A loss, or a nest of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if outputs.npdtype not in FLOATS:
                fail(
                    DTypeError,
                    f"scale() was given a tensor of {outputs.dtype}; only a floating point loss has gradients to scale",
                    "convert it before it is computed from: x.float()",
                )
            return outputs * self._state()[0]
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(part) for part in outputs)
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, in place."""
        if not self._enabled:
            return
        before = self._rounds.get(id(optimizer))
        if before is not None:
            fail(
                GradientError,
                "unscale_() has already been called on this optimizer since the last update()"
                if before.stage is UNSCALED
                else "unscale_() is being called after step()",
                "call it once a step, after the last backward() and before step(); update() ends the step",
                before=before.position,
            )
        scale = self._scaled("unscale_")
        with no_grad():
            self._rounds[id(optimizer)] = Round(UNSCALED, unscale(gradients(optimizer), scale))

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """unscale_ unless that was done, and optimizer.step() unless a gradient is Inf or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            fail(PullbackError, "Closure use is not currently supported if GradScaler is enabled")
        self._scaled("step")
        before = self._rounds.get(id(optimizer))
        if before is not None and before.stage is STEPPED:
            fail(
                GradientError,
                "step() has already been called since the last update()",
                "call update() once at the end of each step, after step() of every optimizer",
                before=before.position,
            )
        if before is None:
            self.unscale_(optimizer)
        done = self._rounds[id(optimizer)]
        done.stage, done.position = STEPPED, users_line()
        if not keeps_what_it_should(optimizer):
            return None if done.found_inf.item() else optimizer.step(*args, **kwargs)
        outer = vars(optimizer).get("found_inf")  # a Trainer's: the loss itself is not finite
        optimizer.found_inf = done.found_inf if outer is None else done.found_inf + outer
        optimizer.grad_scale = None  # the gradients are unscaled
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            del optimizer.found_inf, optimizer.grad_scale
            if outer is not None:
                optimizer.found_inf = outer

    def update(self, new_scale: Any = None) -> None:
        """Ends the step: backs off if a gradient was Inf or NaN, grows after `growth_interval` steps without."""
        if not self._enabled:
            return
        scale, good = self._scaled("update"), self._state()[1]
        with no_grad():
            if new_scale is not None:
                scale.copy_(new_scale) if isinstance(new_scale, Tensor) else scale.fill_(new_scale)
            elif not self._rounds:
                fail(GradientError, "No inf checks were recorded prior to update", "call step(optimizer) first")
            else:
                bad = stack([done.found_inf for done in self._rounds.values()]).sum() > 0
                self._adapt(scale, good, bad)
        self._rounds.clear()

    def _adapt(self, scale: Tensor, good: Tensor, bad: Tensor) -> None:
        """bad: scale * backoff; `growth_interval` good steps: scale * growth, as long as that is finite."""
        exact, steps = scale.double(), good + 1
        smaller = (exact * self._backoff_factor).float()
        larger = (exact * self._growth_factor).float()
        larger = where(isfinite(larger), larger, scale)
        full_row = steps.eq(self._growth_interval)
        write(scale, where(bad, smaller, where(full_row, larger, scale)))
        write(good, where(logical_or(bad, full_row), good * 0, steps))

    def _state(self) -> tuple[Tensor, Tensor]:
        if self._scale is None or self._growth_tracker is None:
            begun(vars(self), "_scale", lambda: full((), self._init_scale, dtype=float32))
            begun(vars(self), "_growth_tracker", lambda: full((), self._init_growth_tracker, dtype=int32))
        assert self._scale is not None and self._growth_tracker is not None
        return self._scale, self._growth_tracker

    def _scaled(self, name: str) -> Tensor:
        if self._scale is None:
            fail(
                GradientError,
                f"{name}() was called before scale(): the gradients are not those of a scaled loss",
                "scaler.scale(loss).backward() instead of loss.backward()",
            )
        return self._scale

    # -- what it is set to -----------------------------------------------------------------------------------------

    def get_scale(self) -> float:
        """The scale as a number; 1.0 if scaling is off."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale.item())

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        return self._init_growth_tracker if self._growth_tracker is None else int(self._growth_tracker.item())

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by after good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Change it."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after a step with Inf or NaN."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Change it."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many good steps in a row it takes for the scale to grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Change it."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Is anything scaled?"""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale, how it changes, and the good steps so far, as numbers; nothing if scaling is off."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what state_dict() gave."""
        if not self._enabled:
            return
        if not state_dict:
            fail(
                PullbackError,
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler",
            )
        self._init_scale, self._init_growth_tracker = state_dict["scale"], state_dict["_growth_tracker"]
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._scale is not None and self._growth_tracker is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)

    def __getstate__(self) -> dict[str, Any]:
        if self._rounds:
            fail(PullbackError, "A GradScaler may only be pickled or copied between steps", "call update() first")
        return {
            **vars(self),
            "_init_scale": self.get_scale(),
            "_init_growth_tracker": self._get_growth_tracker(),
            "_scale": None,
            "_growth_tracker": None,
        }


def gradients(optimizer: Any) -> list[Tensor]:
    """The gradients that an optimizer is about to use."""
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not grads:
        fail(
            GradientError,
            "No inf checks were recorded for this optimizer: none of its parameters has a gradient",
            "call scaler.scale(loss).backward() first, with a loss that depends on them",
        )
    return grads


def unscale(grads: list[Tensor], scale: Tensor) -> Tensor:
    """g / scale for every gradient, in place; 1.0 if one of them is not finite, else 0.0."""
    factor = (1.0 / scale.double()).float()
    finite = []
    for g in grads:
        if g.npdtype == F16:
            fail(
                DTypeError,
                "Attempting to unscale FP16 gradients: small ones would be lost again",
                "keep the parameters in float32 and compute under autocast",
            )
        if g._clipped is not None and g._clipped[0] == g._version:
            warnings.warn(
                f"gradients were clipped while they were still scaled, at {show(g._clipped[1])}\n"
                "  call scaler.unscale_(optimizer) before clipping: the limit is one for the true gradients",
                stacklevel=4,
            )
        finite.append(isfinite(g).all())
        g.mul_(factor)
    return 1.0 - stack(finite).all().float()


def keeps_what_it_should(optimizer: Any) -> bool:
    """Does step() itself leave all as it was where `found_inf` says so? What overrides step() has to say so anew."""
    promise = "_step_supports_amp_scaling"
    for attributes in (vars(optimizer), *map(vars, type(optimizer).__mro__)):
        if promise in attributes:
            return bool(attributes[promise])
        if "step" in attributes:
            return False
    return False
