"""`torch.cuda` where there is no CUDA device: every question has an honest answer, nothing pretends to run."""

from __future__ import annotations

from typing import Any

from .. import random as _random
from ..errors import PullbackError, fail
from . import amp


def is_available() -> bool:
    """False: eager tensors live on the CPU."""
    return False


is_bf16_supported = is_initialized = is_available


def device_count() -> int:
    """0"""
    return 0


def memory_allocated(device: Any = None) -> int:
    """0: nothing is on a device."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def synchronize(device: Any = None) -> None:
    """Nothing runs in the background, so there is nothing to wait for."""


empty_cache = reset_peak_memory_stats = reset_max_memory_allocated = synchronize


def manual_seed(seed: int) -> None:
    """Seeds no device; the CPU generator is seeded by pullback.manual_seed."""


manual_seed_all = manual_seed


def _missing(*args: Any, **kwargs: Any) -> Any:
    fail(PullbackError, "there is no CUDA device here", 'ask pullback.cuda.is_available() first, and use device "cpu"')


current_device = set_device = get_device_name = get_device_properties = get_device_capability = _missing
Event = Stream = _missing
get_rng_state, set_rng_state = _random.get_rng_state, _random.set_rng_state
