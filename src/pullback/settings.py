"""PyTorch's global switches: accepted where what they ask for is so already."""

from __future__ import annotations

from typing import Any

from .errors import PullbackError, fail
from .tensor import CPU, check_device, device


def set_float32_matmul_precision(precision: str) -> None:
    """float32 products are computed in float32, which is as precise as every setting asks for."""
    if precision not in ("highest", "high", "medium"):
        fail(PullbackError, f"there is no matmul precision {precision!r}", "use 'highest', 'high' or 'medium'")


def get_float32_matmul_precision() -> str:
    """ "highest": float32 products are computed in float32."""
    return "highest"


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Every op is deterministic, whatever is asked for."""


def are_deterministic_algorithms_enabled() -> bool:
    """True: every op is deterministic."""
    return True


def set_default_device(device: Any) -> None:
    """Where tensors are made: the CPU."""
    check_device(device)


def get_default_device() -> device:
    """The CPU."""
    return CPU
