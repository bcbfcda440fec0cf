"""Sorting, distinct elements and look-ups, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import BOOL
from ..errors import PullbackError, ShapeError, fail
from ..ops import sorting as ops
from ..ops.compare import eq, logical_not, minimum
from ..ops.create import cast, full_like
from ..ops.indexing import gather, take_at
from ..ops.shape import reshape, slice_
from ..tensor import Tensor
from .creation import tensor
from .dims import Picked, given, numpy_names, one, picked
from .expose import public


@public()
@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Any = None) -> Picked:
    """The elements in order along `dim`, and where each stood. Always stable; NaN counts as the largest."""
    return picked("sort", out, ops.sort(input, dim=one(dim, input._array.ndim), descending=bool(descending)))


@public()
@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that put the elements in order along `dim`."""
    return ops.sort(input, dim=one(dim, input._array.ndim), descending=bool(descending))[1]


@public()
def msort(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements in order along the first dimension."""
    return given(out, ops.sort(input, dim=0)[0])


@public()
@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None) -> Picked:
    """The k largest (or smallest) elements along `dim`, in order, and where they stood."""
    return picked("topk", out, ops.topk(input, k=int(k), dim=one(dim, input._array.ndim), largest=bool(largest)))


def _distinct(input: Tensor, inverse: bool, counts: bool, dim: int | None, consecutive: bool) -> Any:
    at = None if dim is None else one(dim, input._array.ndim)
    values, places, occurrences, number = ops.distinct(input, dim=at, consecutive=consecutive)
    found = slice(int(number))
    values = slice_(values, key=(*[slice(None)] * (at or 0), found))
    results = [values, *([places] if inverse else []), *([slice_(occurrences, key=(found,))] if counts else [])]
    return tuple(results) if len(results) > 1 else values


@public()
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements (or slices along `dim`) in order; where each element went; how often each occurs."""
    return _distinct(input, return_inverse, return_counts, dim, consecutive=False)


@public()
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or slices along `dim`) without those equal to the one before them."""
    return _distinct(input, return_inverse, return_counts, dim, consecutive=True)


@public(method=False)
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    out: Tensor | None = None, sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Where along the last dim of the sorted sequence each value would go: before its equals, or after (`right`)."""
    if side is not None:
        if side not in ("left", "right"):
            fail(PullbackError, f"searchsorted(): side can only be 'left' or 'right' but got {side!r}")
        if right and side == "left":
            fail(
                PullbackError,
                "searchsorted(): side and right can't be set to opposites, got side of left while right was True",
            )
        right = side == "right"
    if sorter is not None:
        if sorter.shape != sorted_sequence.shape:
            fail(
                ShapeError,
                f"searchsorted(): a sorter {list(sorter.shape)} does not fit a sequence {list(sorted_sequence.shape)}",
            )
        sorted_sequence = gather(sorted_sequence, sorter, dim=sorted_sequence._array.ndim - 1)
    values = input if isinstance(input, Tensor) else tensor(input, device=sorted_sequence.device)
    places = ops.searchsorted(sorted_sequence, values, right=bool(right))
    return given(out, cast(places, dtype=np.dtype(np.int32)) if out_int32 else places)


@public(method=False)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Is each element among the test elements?"""
    x, y = (v if isinstance(v, Tensor) else tensor(v) for v in (elements, test_elements))
    line, size = reshape(y, shape=(y._array.size,)), y._array.size
    if size:
        ordered, _ = ops.sort(line, dim=0)
        place = minimum(ops.searchsorted(ordered, x), size - 1)
        found = eq(take_at(ordered, place, dims=(0,)), x)
    else:
        found = full_like(x, value=False, dtype=BOOL)
    return logical_not(found) if invert else found


@public(method=False)
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False, out: Tensor | None = None
) -> Tensor:
    """Which of the intervals between the boundaries each value lies in."""
    if boundaries._array.ndim != 1:
        fail(ShapeError, f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries._array.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)
