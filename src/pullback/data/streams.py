"""Random numbers that belong to an epoch or to a batch, whatever else draws from the same generators."""

from __future__ import annotations

import random as python
from hashlib import blake2b

import numpy as np

from .. import random
from ..functions.random import randint
from ..random import Generator
from ..tensor import Tensor

LIMIT = 2**63 - 1


def draw_seed(generator: Generator | None) -> int:
    """A seed from this generator, or from the default one."""
    return int(randint(0, LIMIT, (), generator=generator).item())


def derived(seed: int, *path: int) -> int:
    """The seed of what lies at `path` below `seed`."""
    digest = blake2b(repr((seed, *path)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % LIMIT


def seed_all(seed: int) -> None:
    """Seed the three global generators that a dataset may draw from."""
    random.manual_seed(seed)
    python.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (what users' transforms draw from)


class Streams:
    """Inside `with`, these generators draw from streams of their own; outside they are as if nothing had been drawn."""

    def __init__(self, seeds: dict[Generator, int]) -> None:
        self._states: dict[Generator, Tensor] = {g: Generator().manual_seed(seed).state for g, seed in seeds.items()}

    def _swap(self) -> None:
        for generator, state in self._states.items():
            self._states[generator], generator.state = generator.state, state

    def __enter__(self) -> None:
        random.TAKING.acquire()  # other threads that draw meanwhile wait, instead of drawing from the wrong stream
        self._swap()

    def __exit__(self, *error: object) -> None:
        self._swap()
        random.TAKING.release()
