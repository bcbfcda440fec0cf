"""`autocast`: ops inside choose the type they compute in. What they choose is in `pullback.autocasting`."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

from .. import devices
from ..autocasting import POLICIES, Regime
from ..dtypes import HALVES, as_dtype, bfloat16, dtype, float16
from ..errors import PullbackError, fail
from ..modes import MODES


def present(device_type: str) -> bool:
    """Is there a device of this kind?"""
    return device_type == "cpu" or (device_type in devices.KINDS and devices.count(device_type) > 0)


class State(threading.local):
    """What autocast is set to in this thread. Whether it is on for devices that are there is in MODES."""

    def __init__(self) -> None:
        self.dtypes = {"cpu": bfloat16, "cuda": float16, "xla": bfloat16}
        self.elsewhere: set[str] = set()  # absent devices it was switched on for
        self.cache_enabled = True
        self.cache: dict[Any, Any] = {}
        self.depth = 0


STATE = State()


def _checked(device_type: str) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if device_type not in POLICIES:
        fail(
            PullbackError,
            f"User specified an unsupported autocast device_type '{device_type}'",
            f"use one of: {', '.join(POLICIES)}",
        )
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Is there a table of policies for this kind of device?"""
    return device_type in POLICIES


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Is this thread inside autocast for a device? Without one: for CUDA devices, as ever."""
    where = "cuda" if device_type is None else _checked(device_type)
    return (MODES.autocast is not None and MODES.autocast.of(where) is not None) or where in STATE.elsewhere


def set_autocast_enabled(device_type: str | bool, enabled: bool | None = None) -> None:
    """Switch autocast for a device on or off in this thread. `set_autocast_enabled(on)` is the older form, for CUDA."""
    where, on = ("cuda", device_type) if isinstance(device_type, bool) else (_checked(device_type), enabled)
    if present(where):
        outer = None if MODES.autocast is None else MODES.autocast.without(where)
        MODES.autocast = _regime(where, outer) if on else outer
    else:
        (STATE.elsewhere.add if on else STATE.elsewhere.discard)(where)


def get_autocast_dtype(device_type: str) -> dtype:
    """The type that products are computed in on a device, inside autocast."""
    where = _checked(device_type)
    regime = None if MODES.autocast is None else MODES.autocast.of(where)
    return STATE.dtypes[where] if regime is None else dtype.by_numpy[regime.dtype]


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Change that type."""
    STATE.dtypes[_checked(device_type)] = as_dtype(dtype)
    _renew()


def is_autocast_cache_enabled() -> bool:
    """Are casts of parameters kept for the time of the outermost autocast?"""
    return STATE.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Keep casts of parameters, or make them each time."""
    STATE.cache_enabled = bool(enabled)
    _renew()


def clear_autocast_cache() -> None:
    """Forget the casts of parameters made so far."""
    STATE.cache.clear()


def _regime(where: str, outer: Regime | None) -> Regime:
    return Regime(where, STATE.dtypes[where].numpy, STATE.cache if STATE.cache_enabled else None, outer)


def _renew() -> None:
    def again(regime: Regime | None) -> Regime | None:
        return None if regime is None else _regime(regime.device, again(regime.outer))

    MODES.autocast = again(MODES.autocast)


class autocast:  # noqa: N801 (PyTorch's name)
    """Inside, matrix products and convolutions compute in a half type, losses and other delicate ops in float32.

    A context manager and a decorator, for the forward pass and the loss; call backward() outside. With
    `enabled=False`, ops inside compute in the types they are given.
    """

    def __init__(
        self, device_type: str, dtype: dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self.device = _checked(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else as_dtype(dtype)
        self._cache_enabled = is_autocast_cache_enabled() if cache_enabled is None else bool(cache_enabled)
        if enabled and not present(self.device):
            warnings.warn(f"{self.device.upper()} is not available. Disabling autocast.", stacklevel=2)
            enabled = False
        elif enabled and self.fast_dtype.numpy not in HALVES:
            warnings.warn(
                f"In {self.device.upper()} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{self.device.upper()} Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = bool(enabled)
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        where = self.device
        self._before.append((MODES.autocast, where in STATE.elsewhere, STATE.dtypes[where], STATE.cache_enabled))
        STATE.dtypes[where], STATE.cache_enabled = self.fast_dtype, self._cache_enabled
        STATE.depth += 1
        set_autocast_enabled(where, self._enabled)
        return self

    def __exit__(self, *error: object) -> None:
        where = self.device
        STATE.depth -= 1
        if STATE.depth == 0:
            STATE.cache.clear()
        MODES.autocast, elsewhere, STATE.dtypes[where], STATE.cache_enabled = self._before.pop()
        (STATE.elsewhere.add if elsewhere else STATE.elsewhere.discard)(where)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise TypeError(f"autocast()(func) requires a callable, but got {type(function).__name__}")

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside
