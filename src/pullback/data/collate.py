"""Samples made into batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ..dtypes import float64
from ..errors import KindError, ShapeError, fail
from ..functions.creation import as_tensor, tensor
from ..functions.joining import stack
from ..tensor import Tensor, wrap
from .datasets import Rows


def default_collate(batch: Sequence[Any]) -> Any:
    """Tensors, arrays and numbers of all samples stacked to one tensor; mappings and sequences part by part."""
    if isinstance(batch, Rows):
        return list(batch.columns)
    return _collate(batch, "")


def _collate(batch: Sequence[Any], place: str) -> Any:
    first = batch[0]
    if isinstance(first, Tensor):
        return _stack(batch, place)
    if isinstance(first, (np.ndarray, np.generic)) and not isinstance(first, (str, bytes)):
        if first.dtype.kind in "SUO":
            _refuse(first.dtype, place)
        return _stack([as_tensor(part) for part in batch], place)
    if isinstance(first, float):
        return tensor(batch, dtype=float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        try:
            columns = {key: [sample[key] for sample in batch] for key in first}
        except (KeyError, TypeError, IndexError):
            _check(batch, place, "has the keys", lambda sample: sorted(map(repr, sample.keys())))
            raise
        return _mapping_like(first, {key: _collate(column, f"{place}[{key!r}]") for key, column in columns.items()})
    if isinstance(first, Sequence):
        _check(batch, place, "has length", len)
        parts = [_collate(column, f"{place}[{i}]") for i, column in enumerate(zip(*batch, strict=True))]
        return _sequence_like(first, parts)
    _refuse(type(first), place)


def _refuse(kind: Any, place: str) -> Any:
    what = f"batch must contain tensors, numpy arrays, numbers, dicts or lists; found {kind}"
    fail(
        KindError,
        f"default_collate: {what}{_at(place)}",
        "give the DataLoader a collate_fn of your own",
    )


def _at(place: str) -> str:
    return f" at sample{place}" if place else ""


def _stack(parts: Sequence[Tensor], place: str) -> Tensor:
    if not all(isinstance(part, Tensor) for part in parts):
        _refuse(f"tensors together with {next(type(p) for p in parts if not isinstance(p, Tensor))}", place)
    arrays = [part._array for part in parts]
    if len({array.shape for array in arrays}) > 1:
        _check(parts, place, "has shape", lambda part: list(part.shape))
    kinds = {(type(array), array.dtype) for array in arrays}
    if kinds != {(np.ndarray, arrays[0].dtype)} or any(part.requires_grad for part in parts):
        return stack(parts, 0)
    return wrap(np.array(arrays))  # plain data need not go through the tape


def _check(batch: Sequence[Any], place: str, what: str, measure: Callable[[Any], Any]) -> None:
    """All samples measure the same."""
    try:
        sizes = [measure(sample) for sample in batch]
    except (TypeError, AttributeError):
        kinds = sorted({type(sample).__name__ for sample in batch})
        fail(KindError, f"default_collate: samples of one batch are of different kinds{_at(place)}: {', '.join(kinds)}")
    for k, size in enumerate(sizes):
        if size != sizes[0]:
            fail(
                ShapeError,
                f"each element in list of batch should be of equal size: sample 0 of the batch {what} {sizes[0]}"
                f"{_at(place)}, sample {k} {size}",
                "pad them to one size, in the dataset or in a collate_fn",
            )


def default_convert(data: Any) -> Any:
    """NumPy arrays and scalars made into tensors, in mappings and sequences as well; all else as it is."""
    if isinstance(data, (Tensor, str, bytes)):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else as_tensor(data)
    if isinstance(data, Mapping):
        return _mapping_like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, Sequence):
        return _sequence_like(data, [default_convert(part) for part in data])
    return data


def _mapping_like(like: Any, parts: dict[Any, Any]) -> Any:
    """A mapping of the same class, with whatever else it carries; a dict, if that cannot be made."""
    try:
        if isinstance(like, MutableMapping):
            result = copy.copy(like)
            result.update(parts)
            return result
        return type(like)(parts)
    except TypeError:
        return parts


def _sequence_like(like: Any, parts: list[Any]) -> Any:
    """A sequence of the same class; a list, if that cannot be made, and for plain tuples, as PyTorch has it."""
    if hasattr(like, "_fields"):
        return type(like)(*parts)
    if isinstance(like, tuple):
        return parts
    try:
        if isinstance(like, MutableSequence):
            result = copy.copy(like)
            for i, part in enumerate(parts):
                result[i] = part
            return result
        return type(like)(parts)
    except TypeError:
        return parts
