"""The xla engine: a Program as one executable of XLA, on a CPU, a GPU or a TPU. The one package that imports JAX.

JAX is an array library and a compiler here; its autodiff is never used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import PullbackError, fail
from ...program.program import Program

try:
    drawn = np.random.get_state()  # noqa: NPY002
    import jax
except ImportError as error:
    try:
        fail(
            PullbackError,
            f"the xla engine needs JAX, which cannot be imported here: {error}",
            'pip install "pullback[xla]", or "pullback[cuda]" for NVIDIA GPUs',
        )
    except PullbackError as clear:
        raise clear from error
finally:  # JAX draws from it while it is imported: a run that is resumed would go another way
    np.random.set_state(drawn)  # noqa: NPY002

from .array import DeviceArray, place, register
from .engine import Executable

register()


def build(program: Program, device: Any = None) -> Executable:
    """What `engine="xla"` makes of a Program."""
    return Executable(program, device)


__all__ = ["DeviceArray", "Executable", "build", "place"]
