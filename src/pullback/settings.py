"""PyTorch's global switches: accepted where what they ask for is so already."""

from __future__ import annotations

from typing import Any

from .engines import eager
from .engines.numpy import blas, threads
from .errors import ArgumentError, PullbackError, fail, warn
from .modes import MODES
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
    """Where tensors are made from now on, in this thread; None is the CPU again."""
    MODES.device = check_device(device)


def get_default_device() -> device:
    """Where tensors are made."""
    return CPU if MODES.device is None else device(MODES.device)


def set_num_threads(int: int) -> None:
    """How many threads multiply NumPy's matrices and update parameters. On a busy machine, one is best."""
    if int < 1:
        fail(ArgumentError, f"set_num_threads expects a positive integer, but got {int}")
    threads.limit = int
    if not blas.set_threads(int):
        warn("set_num_threads: NumPy's BLAS is not an OpenBLAS that can be told; set its environment variable instead")


def get_num_threads() -> int:
    """How many threads compute."""
    return blas.get_threads() or threads.cores()


def set_num_interop_threads(int: int) -> None:
    """Ops run one after the other, whatever is asked for."""


def get_num_interop_threads() -> int:
    """1: ops run one after the other."""
    return 1


def set_eager_engine(name: str) -> None:
    """What runs eager ops on large arrays: "native", the kernels that compiled steps use, or "numpy".

    Before it is called, the environment variable PULLBACK_EAGER says so; or PULLBACK_ENGINE, if that is numpy.
    """
    eager.use(name)


def get_eager_engine() -> str:
    """What runs eager ops on large arrays: "numpy", too, where there is no C compiler."""
    return eager.used()
