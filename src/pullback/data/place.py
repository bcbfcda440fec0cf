"""Where a pass over a loader is, and the order it follows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import random
from ..errors import PullbackError, fail
from ..io.generators import get_states, set_states
from ..random import Generator
from . import samplers
from .fetch import END, has_state
from .streams import Streams, derived, draw_seed

if TYPE_CHECKING:
    from .loader import DataLoader

KNOWN = (*vars(samplers).values(), list, tuple, range)  # samplers that draw from nothing but pullback's generators


@dataclass
class Place:
    """Where an epoch is: what its rest follows from, whoever computes it. Counts are of batches that were received."""

    seed: int  # of the order, and of every batch that a worker makes
    sampler_seeds: list[int]  # of samplers with generators of their own
    globals: dict[str, Any] | None = None  # Python's and NumPy's generators at the start, where they may matter
    received: int = 0  # all batches before this one
    ahead: list[int] = field(default_factory=list)  # and these, which overtook others
    sampler: Any = None  # a sampler's own account of where it was after `received` batches
    made: list[int] = field(default_factory=list)  # batches of an iterable dataset, by worker
    states: list[Any] = field(default_factory=list)  # their datasets' own accounts
    turn: int = 0  # the worker whose batch is next


def begin(loader: DataLoader[Any]) -> Place:
    """The place where a new epoch starts. Its seeds are all that is drawn from the generators."""
    seed = draw_seed(loader.generator)
    others = own_generators(loader.sampler, loader.batch_sampler)
    place = Place(seed, [seed if g is loader.generator else draw_seed(g) for g in others])
    if _draws_elsewhere(loader):
        place.globals = get_states()
    if (sampler := _stateful(loader)) is not None:
        place.sampler = {"ended": False, "own": sampler.state_dict()}
    if loader.iterable:
        copies = max(loader.num_workers, 1)
        place.made, place.states = [0] * copies, [None] * copies
    return place


def sampler_chain(sampler: Any) -> Iterator[Any]:
    """A sampler, the one it takes its indices from, and so on."""
    while sampler is not None:
        yield sampler
        sampler = getattr(sampler, "sampler", None)


def own_generators(*of: Any) -> list[Generator]:
    """The generators that samplers were given, other than the default one."""
    found = [getattr(part, "generator", None) for sampler in of for part in sampler_chain(sampler)]
    return list(dict.fromkeys(g for g in found if isinstance(g, Generator) and g is not random.default_generator))


def _stateful(loader: DataLoader[Any]) -> Any:
    """The sampler that says itself where it is, if there is one."""
    return next(filter(has_state, sampler_chain(loader._index_sampler)), None)


def _draws_elsewhere(loader: DataLoader[Any]) -> bool:
    """May the order come from Python's or NumPy's generator?"""
    if loader.iterable:
        return loader.num_workers == 0
    return any(type(part) not in KNOWN for part in sampler_chain(loader._index_sampler))


def streams(loader: DataLoader[Any], place: Place) -> Streams:
    """Generators for what decides the order: streams of their own, so that it does not matter who else draws when."""
    others = zip(own_generators(loader.sampler, loader.batch_sampler), place.sampler_seeds, strict=True)
    return Streams({random.default_generator: derived(place.seed), **{g: derived(seed) for g, seed in others}})


@contextlib.contextmanager
def as_at_the_start(place: Place) -> Iterator[None]:
    """Inside, Python's and NumPy's generators are where they were when the epoch began; then, where they are now."""
    if place.globals is None:
        yield
        return
    now = get_states()
    try:
        set_states({**place.globals, "pullback": now["pullback"]})
        yield
    finally:
        set_states(now)


class Order:
    """(number, index or indices) of each batch that is still to come; `states` has the sampler's state after each."""

    def __init__(self, loader: DataLoader[Any], place: Place, resumed: bool) -> None:
        self.streams, self.stateful = streams(loader, place), _stateful(loader)
        self.number, self.ahead = place.received, set(place.ahead)
        self.states: dict[int, Any] = {}
        self.batch_size = loader.batch_size if type(loader.batch_sampler) is samplers.BatchSampler else None
        if not resumed:
            self._start(loader, 0)
        elif self.stateful is not None:
            self.stateful.load_state_dict(place.sampler["own"])
            self.indices: Iterator[Any] = iter(())
            self.first: tuple[Any, Any] | None = None
            if not place.sampler["ended"]:
                self._start(loader, 0)
        else:
            with as_at_the_start(place):
                self._start(loader, place.received)

    def _start(self, loader: DataLoader[Any], skip: int) -> None:
        """Also fetch the first index: a sampler that draws random numbers does so now."""
        with self.streams:
            self.indices = iter(loader._index_sampler)
            for number in range(skip):
                if next(self.indices, END) is END:
                    fail(
                        PullbackError,
                        f"the loader was saved after {skip} batches, but its sampler ends after {number}",
                        "resume with the same dataset and sampler",
                    )
        self.first = self._advance()

    def _advance(self) -> tuple[Any, Any]:
        with self.streams:
            index: Any = next(self.indices, END)
        if self.stateful is None or index is END:
            return index, None
        # A batch that is too short has run into the sampler's end: its state is already that of a new beginning.
        ended = self.batch_size is not None and len(index) < self.batch_size
        return index, {"ended": ended, "own": self.stateful.state_dict()}

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self

    def __next__(self) -> tuple[int, Any]:
        (index, state), self.first = self.first or self._advance(), None
        if index is END:
            raise StopIteration
        number = self.number
        self._pass(state)
        while self.number in self.ahead:
            self._pass(self._advance()[1])
        return number, index

    def _pass(self, state: Any) -> None:
        self.states[self.number] = state
        self.number += 1
