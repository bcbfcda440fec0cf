"""`torch.accelerator` where there is none."""

from __future__ import annotations

from typing import Any

from .cuda import _missing, device_count, is_available, synchronize

__all__ = [
    "current_accelerator",
    "current_device_index",
    "device_count",
    "device_index",
    "is_available",
    "set_device_index",
    "synchronize",
]


def current_accelerator(check_available: bool = False) -> Any:
    """None: there is no accelerator."""
    return None


current_device_index = set_device_index = device_index = _missing
