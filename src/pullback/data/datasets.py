"""Where samples come from."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from ..errors import ArgumentError, RangeError, ShapeError, fail
from ..functions.creation import tensor
from ..functions.random import randperm
from ..random import Generator
from ..tensor import Tensor

T = TypeVar("T", covariant=True)


class Dataset(Generic[T]):
    """Samples that are asked for by index: define `__getitem__`, and `__len__` for samplers to know how many there are.

    A `__getitems__(indices)`, where there is one, fetches the samples of a whole batch at once.
    """

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__")

    def __add__(self, other: Dataset[Any]) -> Dataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T], Iterable[T]):
    """Samples that come one after the other: define `__iter__`.

    With several workers each has a copy of the dataset; `get_worker_info()` in `__iter__` says which part to give.
    """

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__")

    def __add__(self, other: Dataset[Any]) -> Dataset[Any]:
        return ChainDataset([self, other])


class Rows(Sequence[tuple[Tensor, ...]]):
    """Samples of a TensorDataset that were taken in one go: what stacking them would give is here already."""

    def __init__(self, columns: tuple[Tensor, ...], count: int) -> None:
        self.columns, self._length = columns, count

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        return tuple(column[index] for column in self.columns)


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is (t[i] for each tensor t)."""

    def __init__(self, *tensors: Tensor) -> None:
        sizes = [t.shape[0] if t.ndim else None for t in tensors]
        if not sizes or None in sizes or len(set(sizes)) > 1:
            shapes = ", ".join(str(list(t.shape)) for t in tensors) or "none"
            fail(ShapeError, f"Size mismatch between tensors: {shapes}", "the first dimension counts the samples")
        self.tensors = tensors

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> Any:
        if type(self).__getitem__ is not TensorDataset.__getitem__:  # a subclass has samples of its own
            return [self[i] for i in indices]
        index = tensor(indices)
        return Rows(tuple(t[index] for t in self.tensors), len(indices))


def fetch_all(dataset: Any, indices: Sequence[Any]) -> Sequence[Any]:
    """The samples of these indices, at once if the dataset knows how to."""
    getitems = getattr(dataset, "__getitems__", None)
    if getitems is None:
        return [dataset[i] for i in indices]
    samples: Sequence[Any] = getitems(indices)
    if len(samples) != len(indices):
        what = f"{type(dataset).__name__}.__getitems__ was asked for {len(indices)} samples and gave {len(samples)}"
        fail(ArgumentError, f"Nested dataset's output size mismatch: {what}")
    return samples


class StackDataset(Dataset[Any]):
    """Datasets side by side: sample i is a tuple of their samples i, or a dict of them if they were given by name."""

    datasets: Any

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if args and kwargs:
            fail(ArgumentError, "StackDataset takes datasets or named datasets, but both were given")
        self.datasets = args or kwargs
        if not self.datasets:
            fail(ArgumentError, "At least one dataset should be passed")
        sizes = [len(dataset) for dataset in self._parts()]  # type: ignore[arg-type]
        if len(set(sizes)) > 1:
            fail(ArgumentError, f"Size mismatch between datasets: {sizes}")
        self._length = sizes[0]

    def _parts(self) -> Sequence[Dataset[Any]]:
        return list(self.datasets.values()) if isinstance(self.datasets, dict) else self.datasets

    def _sample(self, parts: Iterable[Any]) -> Any:
        return dict(zip(self.datasets, parts, strict=True)) if isinstance(self.datasets, dict) else tuple(parts)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return self._sample(dataset[index] for dataset in self._parts())

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        if type(self).__getitem__ is not StackDataset.__getitem__:
            return [self[i] for i in indices]
        return [self._sample(parts) for parts in zip(*(fetch_all(d, indices) for d in self._parts()), strict=True)]


class Subset(Dataset[T]):
    """The samples of a dataset that `indices` name."""

    def __init__(self, dataset: Dataset[T], indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> T:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        if type(self).__getitem__ is not Subset.__getitem__:
            return [self[i] for i in indices]
        return fetch_all(self.dataset, [self.indices[i] for i in indices])


class ConcatDataset(Dataset[T]):
    """Datasets one after the other, as one."""

    def __init__(self, datasets: Iterable[Dataset[T]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            fail(ArgumentError, "datasets should not be an empty iterable")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            fail(ArgumentError, "ConcatDataset does not support IterableDataset", "use ChainDataset")
        self.cumulative_sizes = self.cumsum(self.datasets)

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        """Where each dataset ends."""
        return list(itertools.accumulate(len(part) for part in sequence))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> T:
        if not -len(self) <= idx < len(self):
            kind = ArgumentError if idx < 0 else RangeError  # the kinds that PyTorch raises
            fail(
                kind,
                f"index {idx} is out of range: absolute value of index should not exceed dataset length {len(self)}",
            )
        idx %= len(self)
        which = bisect.bisect_right(self.cumulative_sizes, idx)
        return self.datasets[which][idx - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset[T]):
    """Iterable datasets one after the other, as one."""

    def __init__(self, datasets: Iterable[Dataset[T]]) -> None:
        self.datasets = datasets

    def _parts(self) -> Iterator[IterableDataset[T]]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                fail(ArgumentError, "ChainDataset only supports IterableDataset", "use ConcatDataset")
            yield dataset

    def __iter__(self) -> Iterator[T]:
        for dataset in self._parts():
            yield from dataset

    def __len__(self) -> int:
        return sum(map(len, self._parts()))  # type: ignore[arg-type]


def _lengths(total: int, fractions: Sequence[float]) -> list[int]:
    """floor(total * fraction) each; what is left over goes to the first ones, one by one."""
    for i, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            fail(ArgumentError, f"Fraction at index {i} is not between 0 and 1: {fraction}")
    lengths = [math.floor(total * fraction) for fraction in fractions]
    for i in range(total - sum(lengths)):
        lengths[i % len(lengths)] += 1
    for i, length in enumerate(lengths):
        if length == 0:
            warnings.warn(f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=3)
    return lengths


def random_split(
    dataset: Dataset[T], lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset[T]]:
    """Subsets of these lengths, or of these fractions of the dataset, without a common sample."""
    total = len(dataset)  # type: ignore[arg-type]
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        lengths = _lengths(total, lengths)
    if sum(lengths) != total:
        fail(
            ArgumentError,
            f"Sum of input lengths does not equal the length of the input dataset! {sum(lengths)} is not {total}",
            "give lengths that add up to it, or fractions that add up to 1",
        )
    order = iter(randperm(total, generator=generator).tolist())
    return [Subset(dataset, list(itertools.islice(order, int(length)))) for length in lengths]
