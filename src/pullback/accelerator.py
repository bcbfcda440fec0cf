"""`torch.accelerator`: the GPU or TPU that JAX finds, whichever it is."""

from __future__ import annotations

from typing import Any

from . import devices
from .devices import elsewhere, named
from .errors import PullbackError, fail
from .tensor import device

__all__ = [
    "current_accelerator",
    "current_device_idx",
    "current_device_index",
    "device_count",
    "device_index",
    "is_available",
    "set_device_idx",
    "set_device_index",
    "synchronize",
]


def _kind() -> str | None:
    return next((kind for kind in ("cuda", "tpu") if devices.count(kind)), None)


def _needed() -> str:
    kind = _kind()
    if kind is None:
        fail(
            PullbackError,
            "there is no accelerator here",
            'ask pullback.accelerator.is_available() first, and use device "cpu"',
        )
    return kind


def is_available() -> bool:
    """Is there one?"""
    return _kind() is not None


def device_count() -> int:
    """How many there are."""
    kind = _kind()
    return 0 if kind is None else devices.count(kind)


def current_accelerator(check_available: bool = False) -> device | None:
    """The kind of device; None if there is none."""
    kind = _kind()
    return None if kind is None else device(kind)


def current_device_index() -> int:
    """The number of the one that a name without a number means."""
    return devices.CURRENT[_needed()]


def set_device_index(device: Any) -> None:
    """Let a name without a number mean this one."""
    kind = _needed()
    index = device if isinstance(device, int) else devices.parsed(device)[1] or 0
    named(f"{kind}:{index}")
    devices.CURRENT[kind] = index


class device_index:  # noqa: N801 (PyTorch's name)
    """Inside, a name without a number means this one; None changes nothing."""

    def __init__(self, device: int | None) -> None:
        self.index, self.before = device, 0

    def __enter__(self) -> None:
        if self.index is not None:
            self.before = current_device_index()
            set_device_index(self.index)

    def __exit__(self, *error: object) -> None:
        if self.index is not None:
            set_device_index(self.before)


def synchronize(device: Any = None) -> None:
    """Wait until all that was started is done."""
    if device is not None or _kind() is not None:
        elsewhere().wait(elsewhere().device_of(named(_needed() if device is None else device)))


current_device_idx, set_device_idx = current_device_index, set_device_index
