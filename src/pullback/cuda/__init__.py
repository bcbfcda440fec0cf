"""`torch.cuda`: what JAX finds of NVIDIA's GPUs. Where JAX or a GPU is missing, every question has an honest answer."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

from .. import devices
from .. import random as _random
from ..devices import elsewhere, named
from ..errors import PullbackError, fail
from ..tensor import device as Device
from . import amp


def is_available() -> bool:
    """Is there a GPU that JAX can use?"""
    return device_count() > 0


def is_initialized() -> bool:
    """Has a GPU been used?"""
    return any(kind == "cuda" for kind, _ in devices.CHECKED)


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """XLA computes in bfloat16 on every GPU."""
    return is_available()


def device_count() -> int:
    """How many GPUs there are."""
    return devices.count("cuda")


def current_device() -> int:
    """The number of the GPU that "cuda" means."""
    named("cuda")
    return devices.CURRENT["cuda"]


def set_device(device: Any) -> None:
    """Let "cuda" mean this GPU."""
    devices.CURRENT["cuda"] = int(_name(device).partition(":")[2])


class device:  # noqa: N801 (PyTorch's name)
    """Inside, "cuda" means this GPU."""

    def __init__(self, device: Any) -> None:
        self.index, self.before = int(_name(device).partition(":")[2]), 0

    def __enter__(self) -> None:
        self.before, devices.CURRENT["cuda"] = devices.CURRENT["cuda"], self.index

    def __exit__(self, *error: object) -> None:
        devices.CURRENT["cuda"] = self.before


def _name(device: Any) -> str:
    name = named("cuda" if device is None else device)
    if not name.startswith("cuda"):
        fail(PullbackError, f"Expected a cuda device, but got: {name}", 'pass "cuda", "cuda:0" or a number')
    return name


def _gpu(device: Any) -> Any:
    return elsewhere().device_of(_name(device))


# -- what a GPU is, and what it holds ----------------------------------------------------------------------------------


def get_device_name(device: Any = None) -> str:
    """`NVIDIA H100 80GB HBM3`"""
    return str(_gpu(device).device_kind)


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """(9, 0): what its instructions are."""
    major, _, minor = str(getattr(_gpu(device), "compute_capability", "0.0")).partition(".")
    return int(major), int(minor or 0)


def get_device_properties(device: Any = None) -> Any:
    """Name, capability and memory."""
    gpu = _gpu(device)
    major, minor = get_device_capability(device)
    return SimpleNamespace(
        name=str(gpu.device_kind),
        major=major,
        minor=minor,
        total_memory=_memory(device, "bytes_limit"),
        multi_processor_count=int(getattr(gpu, "core_count", 0)),
    )


def _memory(device: Any, what: str) -> int:
    """What JAX's allocator tells; 0 where there is no GPU."""
    if device is None and not is_available():
        return 0
    return int((_gpu(device).memory_stats() or {}).get(what, 0))


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by arrays."""
    return _memory(device, "bytes_in_use")


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were ever in use: JAX does not start counting anew."""
    return _memory(device, "peak_bytes_in_use")


def memory_reserved(device: Any = None) -> int:
    """Bytes that JAX has taken from the GPU, in use or not."""
    return _memory(device, "pool_bytes")


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that JAX had taken."""
    return _memory(device, "peak_pool_bytes")


def memory_stats(device: Any = None) -> dict[str, int]:
    """All that JAX's allocator tells."""
    return {} if device is None and not is_available() else dict(_gpu(device).memory_stats() or {})


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, all) bytes that JAX may use."""
    limit = _memory(device, "bytes_limit")
    return limit - _memory(device, "bytes_in_use"), limit


def empty_cache() -> None:
    """JAX keeps the memory it has taken."""


def reset_peak_memory_stats(device: Any = None) -> None:
    """JAX does not start counting anew: compare with what `max_memory_allocated` was before."""


reset_max_memory_allocated = reset_peak_memory_stats

# -- time --------------------------------------------------------------------------------------------------------------


def synchronize(device: Any = None) -> None:
    """Wait until all that was started on a GPU is done."""
    if device is not None or is_initialized():
        elsewhere().wait(_gpu(device))


class Stream:
    """Work on a GPU is done in order: one stream."""

    def __init__(self, device: Any = None, priority: int = 0, **options: Any) -> None:
        self.device = Device(_name(device))

    def synchronize(self) -> None:
        """Wait until its work is done."""
        synchronize(self.device)

    def wait_stream(self, stream: Any) -> None:
        """It does already."""

    wait_event = wait_stream

    def record_event(self, event: Event | None = None) -> Event:
        """A new event, or this one, now."""
        event = Event() if event is None else event
        event.record()
        return event


class Event:
    """A moment: when the work that was there at record() was done."""

    def __init__(self, enable_timing: bool = False, **options: Any) -> None:
        named("cuda")
        self.time: float | None = None

    def record(self, stream: Any = None) -> None:
        """Wait for the work that is there, and note the time."""
        synchronize()
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """record() has waited."""

    wait = synchronize

    def query(self) -> bool:
        """Has it come?"""
        return True

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this one to the other."""
        if self.time is None or end_event.time is None:
            fail(PullbackError, "Both events must be recorded before calculating elapsed time.", "call record()")
        return 1000 * (end_event.time - self.time)


def current_stream(device: Any = None) -> Stream:
    """The one stream."""
    return Stream(device)


default_stream = current_stream


@contextmanager
def _inside() -> Any:
    yield


def stream(stream: Any) -> AbstractContextManager[Any]:
    """There is one stream: nothing changes inside."""
    return _inside()


# -- random numbers ----------------------------------------------------------------------------------------------------


def manual_seed(seed: int) -> None:
    """Tensors on a GPU draw from the one generator that pullback.manual_seed seeds: it is left as it is."""


manual_seed_all = manual_seed
get_rng_state, set_rng_state = _random.get_rng_state, _random.set_rng_state
__all__ = ["Device", "amp"]
