"""Generators: where in a stream of random bits we are.

A generator's whole state is one small tensor [seed, offset], so that it can be saved, restored and replayed exactly.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from .devices import moved, place_of
from .errors import PullbackError, fail
from .ops.arithmetic import add
from .tensor import Tensor, check_device, device, wrap

_WORD = 1 << 64
TAKING = threading.RLock()  # no two threads draw the same numbers


def _signed(value: int) -> int:
    """A 64-bit word as int64 holds it."""
    value %= _WORD
    return value - _WORD if value >= _WORD >> 1 else value


class Generator:
    """A stream of random numbers."""

    def __init__(self, device: Any = "cpu") -> None:
        state = np.array([67280421310721, 0], np.int64)  # PyTorch's default seed
        self.state = wrap(moved(state, check_device(device) or "cpu"))

    @property
    def device(self) -> device:
        return self.state.device

    def take(self, blocks: int) -> Any:
        """The state to draw from; the generator itself moves on by `blocks`."""
        with TAKING:
            before = self.state._array
            if hasattr(before, "in_host") and before.device == "cpu":  # a compiled step has taken it to a device
                before = before.known()
            self.state = wrap(add(before, moved(np.array([0, blocks], np.int64), place_of(before))))
        return before

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of this seed."""
        if not -_WORD >> 1 <= int(seed) < _WORD:
            fail(PullbackError, f"the seed {seed} does not fit into 64 bits", "use a smaller number")
        self.state = wrap(moved(np.array([_signed(int(seed)), 0], np.int64), place_of(self.state._array)))
        return self

    def seed(self) -> int:
        """Start a stream that nobody can predict; returns its seed."""
        seed = int.from_bytes(os.urandom(7), "little")
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed of the current stream."""
        return int(self.state._array[0]) % _WORD

    def get_state(self) -> Tensor:
        """A copy of [seed, offset], on the CPU."""
        return wrap(moved(self.state._array, "cpu"))

    def set_state(self, new_state: Tensor) -> Generator:
        """Continue where `get_state` was taken."""
        if tuple(new_state.shape) != (2,) or new_state._array.dtype != np.int64:
            what = f"{new_state.dtype} of shape {list(new_state.shape)}"
            fail(PullbackError, f"not a generator state: {what}", "pass what get_state() returned")
        self.state = wrap(moved(new_state._array, place_of(self.state._array)))
        return self

    def clone_state(self) -> Generator:
        """Another generator at the same place."""
        return Generator(self.device).set_state(self.state)


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator unpredictably."""
    return default_generator.seed()


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator's state back."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """Whatever is drawn inside leaves the default generator as it was."""
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)
