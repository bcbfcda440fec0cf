"""Fetching one batch from a dataset, here or in a worker; an error says which sample it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import PullbackError
from .collate import default_collate
from .datasets import Rows

Mark = Callable[[int], None]  # told how many samples of the batch are there; -1: it is being collated
END = object()  # what an iterable dataset gives when it has no batch any more


def unmarked(place: int) -> None:
    """Nobody watches."""


def listed(indices: Any, most: int = 8) -> str:
    """`dataset[3], dataset[1], ... (64 samples)`"""
    if not isinstance(indices, (list, tuple)):
        return f"dataset[{indices!r}]"
    names = [f"dataset[{index!r}]" for index in indices[:most]]
    return ", ".join(names) + (f", ... ({len(indices)} samples)" if len(indices) > most else "")


def has_state(part: Any) -> bool:
    """Can it say where it is, and go on from there?"""
    return callable(getattr(part, "state_dict", None)) and callable(getattr(part, "load_state_dict", None))


class Naming:
    """An error inside is given a note that says where it was: `where()`."""

    def __init__(self, where: Callable[[], str]) -> None:
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, StopIteration):  # it would end the epoch in silence
            where = self.where()
            raise PullbackError(f"StopIteration was raised {where}; raise another error") from error
        if isinstance(error, (Exception, SystemExit)):
            error.add_note(self.where())


class FromMap:
    """Batches of a dataset that is asked by index. `batched`: an index is the list of a batch's."""

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], batched: bool) -> None:
        self.dataset, self.collate, self.batched = dataset, collate, batched

    def __call__(self, number: int, index: Any, mark: Mark = unmarked) -> Any:
        samples = self._samples(number, index, mark)
        mark(-1)
        if isinstance(samples, Rows) and self.collate is not default_collate:
            samples = list(samples)
        with Naming(lambda: f"while collating batch {number}: {listed(index)}"):
            return self.collate(samples)

    def _samples(self, number: int, index: Any, mark: Mark) -> Any:
        if not self.batched:
            with Naming(lambda: f"while fetching dataset[{index!r}]"):
                return self.dataset[index]
        if callable(getattr(self.dataset, "__getitems__", None)):
            with Naming(lambda: f"while fetching batch {number}: {listed(index)}"):
                return self.dataset.__getitems__(index)
        samples: list[Any] = []
        i = None
        with Naming(lambda: f"while fetching dataset[{i!r}], sample {len(samples)} of batch {number}"):
            for i in index:
                samples.append(self.dataset[i])
                mark(len(samples))
        return samples


class FromIterable:
    """Batches of `size` samples (None: single samples) of a dataset that gives them one after the other."""

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], size: int | None, drop_last: bool) -> None:
        self.dataset, self.collate, self.size, self.drop_last = dataset, collate, size, drop_last
        self.restart()

    def restart(self) -> None:
        """Begin anew. The iterator is made when first asked: in a worker, under the first batch's generators."""
        self.samples: Any = None
        self.taken = 0
        self.ended = False

    def take(self, mark: Mark = unmarked) -> Any:
        """The next samples, not collated; END if there are none."""
        batch: list[Any] = []
        wanted = self.size or 1
        with Naming(lambda: f"while fetching sample {self.taken} of {type(self.dataset).__name__}"):
            if self.samples is None and not self.ended:
                self.samples = iter(self.dataset)
            while len(batch) < wanted and not self.ended:
                sample = next(self.samples, END)
                if sample is END:
                    self.ended = True
                else:
                    batch.append(sample)
                    self.taken += 1
                    mark(len(batch))
        if not batch or (self.drop_last and len(batch) < wanted):
            return END
        return batch if self.size else batch[0]

    def state(self) -> Any:
        """The dataset's own account of where it is, if it gives one. After the end, that is a new beginning."""
        return {"ended": self.ended, "own": self.dataset.state_dict()} if has_state(self.dataset) else None

    def load(self, state: Any) -> None:
        """Go on from there."""
        self.dataset.load_state_dict(state["own"])
        self.ended = state["ended"]

    def finish(self, number: int, samples: Any, mark: Mark = unmarked) -> Any:
        """A batch of these samples."""
        mark(-1)
        with Naming(lambda: f"while collating batch {number}, which ends at sample {self.taken - 1}"):
            return self.collate(samples)


def known_index(index: Any, place: int) -> str:
    """What was being worked on when `place` samples of the batch were there."""
    if isinstance(index, Sequence) and 0 <= place < len(index):
        return f"dataset[{index[place]!r}], sample {place} of"
    return ""
