"""What a step may not do while it is captured, and how that is said."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import numpy as np

from ...errors import PullbackError, fail
from .places import is_library

IMPURE = {time.time, time.time_ns, time.perf_counter, time.perf_counter_ns, time.monotonic, time.monotonic_ns}


DRAWS = (random.Random, np.random.RandomState, np.random.Generator)


def notice_calls(frame: Any, event: str, called: Any) -> None:
    if event == "c_call":
        notice(frame, called)


def notice(frame: Any, called: Any) -> None:
    """Refuse what gives another result each time it is called."""
    draws = isinstance(getattr(called, "__self__", None), DRAWS)
    if not draws and called not in IMPURE:
        return
    file = frame.f_code.co_filename
    if not is_library(file) or (draws and file == random.__file__):
        sys.setprofile(None)
        refuse_call(f"{called.__qualname__}()")


def refuse_call(what: str) -> None:
    fail(
        PullbackError,
        f"the step calls {what}: a captured step would use the result of its first call for ever",
        "pass the value as an argument; for random numbers, use pullback's",
    )


def refuse_iterator(name: str) -> None:
    fail(
        PullbackError,
        f"the step takes items from an iterator, {name}: a captured step would use the same ones for ever",
        "take them outside of the step and pass them as arguments",
    )


def refuse_outside(what: str) -> None:
    fail(
        PullbackError,
        f"{what} inside of a captured step reaches a tensor that was computed outside of it",
        "detach() it before passing it to the step, or compute it inside",
    )


def state_of(generator: Any) -> Any:
    """Where a generator of NumPy's is in its stream."""
    if hasattr(generator, "get_state"):
        _, keys, place, *_ = generator.get_state()
        return keys.tobytes(), place
    return generator.bit_generator.state
