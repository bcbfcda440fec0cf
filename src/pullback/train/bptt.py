"""Truncated backpropagation through time: a long sequence in windows, with the state handed on but not its history.

    state = None
    for x, y in windows(inputs, targets, length=64):
        out, state = model(x, detach(state))
        loss(out, y).backward()

Memory and the way back are as long as a window. What is lost is the part of the gradient that reaches from a window
into those before it; the values are those of the whole sequence.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from .. import trees
from ..errors import ArgumentError, ShapeError, fail
from ..tensor import Tensor


def windows(*sequences: Tensor, length: int, dim: int = 0) -> Iterator[Any]:
    """Slices of `length` steps along `dim`, the last perhaps shorter; of several sequences, tuples of slices."""
    if operator.index(length) < 1:
        fail(ArgumentError, f"windows: length must be at least 1, got {length}")
    sizes = [s.shape[dim] for s in sequences]
    if len(set(sizes)) != 1:
        what = f"the sequences have {sizes} steps in dimension {dim}" if sizes else "there are no sequences"
        fail(ShapeError, f"windows: {what}", "give sequences of one length")
    return _slices(sequences, sizes[0], length, dim)


def _slices(sequences: tuple[Tensor, ...], steps: int, length: int, dim: int) -> Iterator[Any]:
    for start in range(0, steps, length):
        parts = tuple(s.narrow(dim, start, min(length, steps - start)) for s in sequences)
        yield parts if len(parts) > 1 else parts[0]


def detach(state: Any) -> Any:
    """The same tensors, or nest of tensors, without their history; None stays None."""
    return trees.map_tensors(lambda t: t.detach(), state)
