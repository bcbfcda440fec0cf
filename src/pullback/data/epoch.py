"""Iterators over a loader's batches: made in this process, or by workers."""

from __future__ import annotations

import warnings
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import PullbackError, fail
from .fetch import END, FromIterable, FromMap
from .place import Order, Place, as_at_the_start, streams
from .workers import BATCH, EXHAUSTED

if TYPE_CHECKING:
    from .loader import DataLoader


class Batches:
    """One pass over the data, from `place` on."""

    def __init__(self, loader: DataLoader[Any], place: Place) -> None:
        self.loader, self.place = loader, place
        self.ended = False
        self.failed = ""

    def __iter__(self) -> Batches:
        return self

    def __len__(self) -> int:
        return len(self.loader)

    def __next__(self) -> Any:
        if self.ended:
            raise StopIteration
        if self.failed:
            fail(PullbackError, f"this pass over the data ended with an error: {self.failed}", "begin a new one")
        try:
            return self._next()
        except StopIteration:
            self.ended = True
            self.loader._ended(self.place)
            self._close()
            raise
        except BaseException as error:
            self.failed = f"{type(error).__name__}: {error}"
            self._close()
            raise

    def _next(self) -> Any:
        raise NotImplementedError

    def _close(self) -> None:
        """Let go of workers."""

    def _arrived(self, order: Order, number: int) -> None:
        """Note that a batch of a dataset that is asked by index has come."""
        place = self.place
        place.ahead.append(number)
        while place.received in place.ahead:
            place.ahead.remove(place.received)
            place.sampler = order.states.pop(place.received)
            place.received += 1

    def _arrived_from(self, worker: int, state: Any) -> None:
        """Note that a batch of an iterable dataset has come."""
        place, promised = self.place, self.loader._promised
        place.received += 1
        place.made[worker] += 1
        place.states[worker] = state
        place.turn = (worker + 1) % len(place.made)
        if promised is not None and place.received == promised + 1:
            warnings.warn(
                f"len() said that this loader has {promised} batches, and now comes another one. If each worker "
                "gives all samples, let the dataset's __iter__ give only its share: see get_worker_info()",
                stacklevel=3,
            )


class FromIndices(Batches):
    """Batches of a dataset that is asked by index, made here."""

    def __init__(self, loader: DataLoader[Any], place: Place, fetch: FromMap, resumed: bool) -> None:
        super().__init__(loader, place)
        self.fetch, self.order = fetch, Order(loader, place, resumed)

    def _next(self) -> Any:
        number, index = next(self.order)
        batch = self.fetch(number, index)
        self._arrived(self.order, number)
        return batch


class FromSamples(Batches):
    """Batches of an iterable dataset, made here. It draws from a stream of its own, as samplers do."""

    def __init__(self, loader: DataLoader[Any], place: Place, fetch: FromIterable, resumed: bool) -> None:
        super().__init__(loader, place)
        self.fetch, self.streams = fetch, streams(loader, place)
        if resumed and place.states[0] is not None:
            fetch.load(place.states[0])
        elif resumed and place.received:
            with as_at_the_start(place):
                for _ in range(place.received):
                    self._take()

    def _take(self) -> Any:
        with self.streams:
            return self.fetch.take()

    def _next(self) -> Any:
        samples = self._take()
        if samples is END:
            raise StopIteration
        batch = self.fetch.finish(self.place.received, samples)
        self._arrived_from(0, self.fetch.state())
        return batch


class FromWorkers(Batches):
    """Batches made by workers, each of which has `prefetch_factor` of them in hand."""

    def __init__(self, loader: DataLoader[Any], place: Place, resumed: bool) -> None:
        super().__init__(loader, place)
        self.order = None if loader.iterable else Order(loader, place, resumed)
        self.asked = list(place.made)  # of each worker, if the dataset is iterable
        self.pending: deque[tuple[int, int]] = deque()  # (worker, batch number) in the order of asking
        self.pool = loader._take_pool(place.seed)
        self.pass_ = self.pool.epoch + 1
        n = loader.num_workers
        try:
            self.pool.begin(place.seed, place.made or [0] * n, place.states or [None] * n)
            for k in range(n * (loader.prefetch_factor or 1)):
                self._ask((place.turn + k) % n)
        except BaseException:
            self.pool.close()
            raise

    def _ask(self, worker: int) -> None:
        if self.order is None:
            number, index = self.asked[worker], None
            self.asked[worker] += 1
        else:
            number, index = next(self.order, (-1, None))
            if number < 0:
                return
        self.pending.append((worker, number))
        self.pool.ask(worker, number, index)

    def _next(self) -> Any:
        if self.pass_ != self.pool.epoch:
            what = "the workers are persistent, and a later pass over the data has taken them from this one"
            fail(PullbackError, what, "use persistent_workers=False to have several passes at a time")
        while self.pending:
            asked = [self.pending[0]] if self.loader.in_order else self.pending
            worker, number, kind, result, state = self.pool.answer(list({worker: None for worker, _ in asked}))
            if kind == EXHAUSTED:
                self.pending = deque(entry for entry in self.pending if entry[0] != worker)
                continue
            if kind != BATCH:
                raise _with_story(worker, *result)
            self.pending.remove((worker, number))
            self._ask(worker)
            if self.order is None:
                self._arrived_from(worker, state)
            else:
                self._arrived(self.order, number)
            return result
        raise StopIteration

    def _close(self) -> None:
        taken_over = self.pass_ != self.pool.epoch
        if not taken_over and (self.failed or not self.loader.persistent_workers):
            self.pool.close()


def _with_story(worker: int, error: Exception, traceback: str) -> Exception:
    """A worker's error, to be raised here; where it happened there is told in a note."""
    lines = traceback.rstrip().replace("\n", "\n  ")
    error.add_note(f"raised in DataLoader worker {worker}:\n  {lines}")
    return error
