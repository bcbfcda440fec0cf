"""DataLoader: batches of a dataset."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from ..errors import ArgumentError, KindError, PullbackError, fail
from ..random import Generator
from .collate import default_collate, default_convert
from .datasets import Dataset, IterableDataset
from .epoch import Batches, FromIndices, FromSamples, FromWorkers
from .fetch import FromIterable, FromMap, has_state
from .place import Place, begin, own_generators, sampler_chain
from .samplers import BatchSampler, RandomSampler, Sampler, SequentialSampler
from .workers import Pool

T = TypeVar("T", covariant=True)

FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[T]):
    """Batches of a dataset, in order or shuffled, made here or by worker processes.

    The order of an epoch, and the random numbers that workers draw for each of its batches, follow from one seed, which
    is drawn from `generator` (or the default generator) when iteration starts. `state_dict()` says how far the consumer
    has come; after `load_state_dict` the next iteration goes on from there. `pin_memory` changes nothing on a CPU.
    """

    _initialized = False

    def __init__(
        self,
        dataset: Dataset[T],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.iterable = isinstance(dataset, IterableDataset)
        if self.iterable:
            for name, value in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value is not None:
                    what = f"expected unspecified {name} option, but got {name}={value}"
                    fail(
                        ArgumentError,
                        f"DataLoader with IterableDataset: {what}",
                        "an iterable dataset has its own order",
                    )
        _check_batching(batch_size, shuffle, sampler, batch_sampler, drop_last)

        self.dataset = dataset
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers, self.in_order = persistent_workers, in_order
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.drop_last = drop_last
        self.batch_size = None if batch_sampler is not None else batch_size
        if sampler is None and not self.iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)  # type: ignore[arg-type]
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        one_by_one = self.batch_size is None and batch_sampler is None
        self.collate_fn = collate_fn or (default_convert if one_by_one else default_collate)
        self._initialized = True

        self._place: Place | None = None  # of the epoch under way
        self._resume: Place | None = None  # where the next one starts, if not at its beginning
        self._pool: Pool | None = None  # persistent workers
        self._promised: int | None = None  # what len() has said of an iterable dataset

    def __setattr__(self, name: str, value: Any) -> None:
        if self._initialized and name in FIXED:
            fail(ArgumentError, f"{name} attribute should not be set after DataLoader is initialized", "make a new one")
        if name == "multiprocessing_context":
            _check_context(value, self.num_workers)
        super().__setattr__(name, value)

    @property
    def _index_sampler(self) -> Any:
        """What gives the index, or the list of indices, of each batch."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __len__(self) -> int:
        if not self.iterable:
            return len(self._index_sampler)
        n = self._promised = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is not None:
            n = self._promised = n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return n

    def __iter__(self) -> Batches:
        resumed, self._resume = self._resume, None
        place = self._place = begin(self) if resumed is None else resumed
        if self.num_workers:
            return FromWorkers(self, place, resumed is not None)
        fetch = self._fetch()
        if isinstance(fetch, FromIterable):
            return FromSamples(self, place, fetch, resumed is not None)
        return FromIndices(self, place, fetch, resumed is not None)

    def _fetch(self) -> FromMap | FromIterable:
        """How its batches are made."""
        if self.iterable:
            return FromIterable(self.dataset, self.collate_fn, self.batch_size, self.drop_last)
        return FromMap(self.dataset, self.collate_fn, self.batch_sampler is not None)

    # -- the iterator's side -------------------------------------------------------------------------------------------

    def _take_pool(self, seed: int) -> Pool:
        """Workers: those of the epoch before, if they persist."""
        pool = self._pool
        if pool is None or not pool.close.alive:
            pool = Pool(self, self._fetch(), seed)
        if self.persistent_workers:
            self._pool = pool
        return pool

    def _ended(self, place: Place) -> None:
        """This epoch has no more batches."""
        if self._place is place:
            self._place = None

    # -- state ---------------------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a saved place to mean the same batches."""
        sized = hasattr(self.dataset, "__len__")
        return {
            "iterable": self.iterable,
            "length": len(self.dataset) if sized else None,  # type: ignore[arg-type]
            "sampler": [type(part).__name__ for part in sampler_chain(self._index_sampler)],
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            **({"num_workers": self.num_workers} if self.iterable else {}),
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer is: batches it has received count, not those fetched ahead.

        The epoch under way is described by it completely. Those after it depend on the generator: its state is here
        if it was given to the loader or to a sampler; the default generator's is `get_rng_state()`.
        """
        place = self._resume or self._place
        return {
            "loader": self._identity(),
            "place": None if place is None else asdict(place),
            "generators": [g.get_state() for g in self._generators()],
            "sampler_epoch": getattr(self.sampler, "epoch", None) if hasattr(self.sampler, "set_epoch") else None,
            "dataset": self.dataset.state_dict() if self._stateful_dataset() else None,  # type: ignore[attr-defined]
        }

    def _generators(self) -> list[Generator]:
        return own_generators(self, self.batch_sampler)

    def _stateful_dataset(self) -> bool:
        return not self.iterable and has_state(self.dataset)  # an iterable one's state belongs to the epoch

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the next iteration go on where `state_dict` was taken. The number of workers may differ."""
        for name, value in self._identity().items():
            before = state_dict["loader"].get(name)
            if before != value:
                fail(
                    PullbackError,
                    f"this state belongs to a loader with {name}={before}; here it is {value}",
                    "resume with the same data and batches"
                    + (", and as many workers: each gives a part of an iterable dataset" if self.iterable else ""),
                )
        generators = self._generators()
        if len(generators) != len(state_dict["generators"]):
            fail(
                PullbackError, f"this state has {len(state_dict['generators'])} generators; here are {len(generators)}"
            )
        for generator, state in zip(generators, state_dict["generators"], strict=True):
            generator.set_state(state)
        if state_dict["sampler_epoch"] is not None:
            self.sampler.set_epoch(state_dict["sampler_epoch"])  # type: ignore[union-attr]
        if self._stateful_dataset():
            self.dataset.load_state_dict(state_dict["dataset"])  # type: ignore[attr-defined]
        place = state_dict["place"]
        self._place = None
        self._resume = None if place is None else Place(**copy.deepcopy(place))


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    if num_workers < 0:
        fail(ArgumentError, "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        fail(ArgumentError, "timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        fail(ArgumentError, "prefetch_factor option could only be specified in multiprocessing", "let num_workers > 0")
    if prefetch_factor is not None and prefetch_factor < 1:
        fail(
            ArgumentError,
            f"prefetch_factor is how many batches each worker has in hand: at least 1, not {prefetch_factor}",
        )
    if persistent_workers and num_workers == 0:
        fail(ArgumentError, "persistent_workers option needs num_workers > 0")


def _check_batching(batch_size: int | None, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool) -> None:
    if sampler is not None and shuffle:
        fail(ArgumentError, "sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        fail(
            ArgumentError,
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last",
        )
    if batch_sampler is None and batch_size is None and drop_last:
        fail(
            ArgumentError,
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last",
        )
    if batch_size is not None and (not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0):
        fail(ArgumentError, f"batch_size should be a positive integer value, but got batch_size={batch_size}")


def _check_context(context: Any, num_workers: int) -> None:
    if context is None:
        return
    if num_workers == 0:
        fail(ArgumentError, "multiprocessing_context can only be used with multi-process loading (num_workers > 0)")
    import multiprocessing

    if isinstance(context, str):
        if context not in multiprocessing.get_all_start_methods():
            methods = multiprocessing.get_all_start_methods()
            fail(ArgumentError, f"there is no start method {context!r}", f"use one of {', '.join(methods)}")
    elif not isinstance(context, multiprocessing.context.BaseContext):
        fail(
            KindError, f"multiprocessing_context should be a context or the name of a start method, but got {context!r}"
        )
