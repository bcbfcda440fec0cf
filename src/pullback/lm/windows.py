"""Windows on a token file: what a language model is given, and what it is to say."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.datasets import Dataset, Rows
from ..errors import ArgumentError, RangeError, fail
from ..tensor import Tensor, wrap
from .model import IGNORED
from .tokenfile import Array, TokenFile


class Windows(Dataset[tuple[Tensor, ...]]):
    """Sample i is (tokens, labels) of `length` each, int64: labels[t] is the token that follows tokens[t].

    Packed, documents lie end to end and are cut wherever a window is full. Otherwise each begins a window of its own,
    and is cut only if it is longer. Either way each token is a label once, and each document follows an end token.
    What is left of a window is filled with end tokens, whose labels do not count (-100).

    With `segments`, a third part numbers the documents in the window 0, 1, 2 ..., for attention that keeps within each.
    """

    def __init__(self, file: TokenFile, length: int, *, packed: bool = True, segments: bool = False) -> None:
        if length < 1:
            fail(ArgumentError, f"windows of {length} tokens", "use length >= 1")
        self.file, self.length, self.packed, self.segments = file, length, packed, segments
        if packed:  # one stretch: from the first end token to the last
            self._begins, self._ends = np.zeros(min(len(file), 1), np.int64), np.asarray(file.ends[-1:])
        else:  # from one end token to the next
            self._begins, self._ends = np.concatenate([[0], file.ends[:-1]])[: len(file)], np.asarray(file.ends)
        rows = -(-(self._ends - self._begins) // length)
        self._until = np.cumsum(rows)  # windows up to the end of each stretch

    def __len__(self) -> int:
        return int(self._until[-1]) if len(self._until) else 0

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(column[0] for column in self.__getitems__([index]).columns)

    def __getitems__(self, indices: Sequence[int]) -> Rows:
        columns = self.arrays(np.array([self._checked(i) for i in indices], np.int64))
        return Rows(tuple(wrap(column) for column in columns), len(indices))

    def arrays(self, indices: Array) -> tuple[Array, ...]:
        """The windows of these indices, one in each row."""
        stretch = np.searchsorted(self._until, indices, side="right")
        before = np.where(stretch > 0, self._until[stretch - 1], 0)
        first = self._begins[stretch] + (indices - before) * self.length
        last = self._ends[stretch, None]  # an end token: the stretch's last label
        at = first[:, None] + np.arange(self.length + 1)
        tokens = self.file.tokens[np.minimum(at, last)].astype(np.int64)
        labels = np.where(at[:, 1:] <= last, tokens[:, 1:], IGNORED)
        inputs = np.ascontiguousarray(tokens[:, :-1])
        if not self.segments:
            return inputs, labels
        number = np.searchsorted(self.file.ends, np.minimum(at[:, :-1], last), side="right")
        return inputs, labels, number - number[:, :1]

    def _checked(self, index: Any) -> int:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            fail(RangeError, f"there is no window {index}: there are {len(self)}")
        return index % len(self)


def bits_per_byte(loss: float, file: TokenFile) -> float:
    """Bits a model needs for each byte of a file's text, from its mean loss over all labels, in nats.

    End tokens count with what they cost, and as no bytes.
    """
    if not file.bytes:
        fail(ArgumentError, f"there is no text in {file!r}")
    return loss * file.labels / math.log(2) / file.bytes
