"""Sequences of different lengths: padded into one tensor, or packed without padding.

A PackedSequence holds step after step: the first elements of all sequences, then the second elements of those that have
one, and so on. With the longest sequence first, those still running at step t are the first `batch_sizes[t]` ones.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

from ...errors import ArgumentError, ShapeError, fail
from ...functions.creation import tensor
from ...functions.joining import stack
from ...functions.rearranging import pad
from ...tensor import Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
    "pad_sequence", "unpack_sequence", "unpad_sequence",
]  # fmt: skip


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """Sequences without padding; `sorted_indices` is their order, `unsorted_indices` the way back."""

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Any = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Its data in another dtype; itself if it is so already."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Itself: tensors live on the CPU."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """There is no CUDA device here."""
        return type(self)(self.data.cuda(*args, **kwargs), *self[1:])

    def pin_memory(self) -> PackedSequence:
        """Itself: there is nothing to pin for."""
        return self

    def double(self) -> PackedSequence:
        return self.to(self.data.double().dtype)

    def float(self) -> PackedSequence:
        return self.to(self.data.float().dtype)

    def half(self) -> PackedSequence:
        return self.to(self.data.half().dtype)

    def long(self) -> PackedSequence:
        return self.to(self.data.long().dtype)

    def int(self) -> PackedSequence:
        return self.to(self.data.int().dtype)

    is_cuda = property(lambda self: False)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """q with q[p[i]] = i"""
    return None if permutation is None else permutation.argsort()


def _running(lengths: list[int]) -> list[int]:
    """batch_sizes: how many sequences have an element at step 0, 1, 2, ..."""
    return [sum(length > t for length in lengths) for t in range(max(lengths))]


def _places(batch_sizes: list[int], batch: int) -> Tensor:
    """Where the packed elements stand among time x batch."""
    return tensor([t * batch + b for t, running in enumerate(batch_sizes) for b in range(running)])


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Leave out the padding of `input`, (time, batch, ...) or with `batch_first` (batch, time, ...)."""
    sizes: list[int] = lengths.tolist() if isinstance(lengths, Tensor) else [operator.index(n) for n in lengths]
    if batch_first:
        input = input.transpose(0, 1)
    steps, batch = input.shape[:2]
    if len(sizes) != batch:
        fail(ShapeError, f"{len(sizes)} lengths were given for a batch of {batch} sequences")
    if not sizes or min(sizes) <= 0:
        fail(ArgumentError, f"the length of all sequences must be greater than 0: {sizes}", "leave empty ones out")
    if max(sizes) > steps:
        fail(ShapeError, f"a sequence cannot have {max(sizes)} elements: the input has {steps} steps")
    order = None
    if not enforce_sorted:
        ranks = sorted(range(batch), key=lambda b: -sizes[b])
        order, sizes = tensor(ranks), [sizes[b] for b in ranks]
        input = input.index_select(1, order)
    elif sizes != sorted(sizes, reverse=True):
        what = f"`lengths` must be sorted in decreasing order when `enforce_sorted` is True: {sizes}"
        fail(ArgumentError, what, "pass enforce_sorted=False: the order is put back by pad_packed_sequence")
    running = _running(sizes)
    data = input.flatten(0, 1).index_select(0, _places(running, batch))
    return PackedSequence(data, tensor(running), order)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """(padded tensor, lengths) of a PackedSequence, in the original order; `total_length` adds steps at the end."""
    running: list[int] = sequence.batch_sizes.tolist()
    batch, steps = running[0], len(running) if total_length is None else total_length
    if steps < len(running):
        what = f"total_length {steps} is less than the length of the longest sequence, {len(running)}"
        fail(ArgumentError, what)
    data = sequence.data
    padded = data.new_full((steps * batch, *data.shape[1:]), padding_value)
    padded = padded.index_copy(0, _places(running, batch), data).unflatten(0, (steps, batch))
    lengths = tensor([sum(n > b for n in running) for b in range(batch)])
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths.index_select(0, sequence.unsorted_indices)
    return padded.transpose(0, 1) if batch_first else padded, lengths


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stack tensors (length, ...) of different lengths as (time, batch, ...) or (batch, time, ...)."""
    if padding_side not in ("left", "right"):
        fail(ArgumentError, f"padding_side {padding_side!r} is not known", "use 'left' or 'right'")
    parts = list(sequences)
    if not parts:
        fail(ShapeError, "pad_sequence got no sequences")
    steps = max(len(part) for part in parts)
    widths = [(0, steps - len(part))[:: 1 if padding_side == "right" else -1] for part in parts]
    padded = [
        pad(part, (*(0, 0) * (part.ndim - 1), *width), value=padding_value) if any(width) else part
        for part, width in zip(parts, widths, strict=True)
    ]
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor, without their padding."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:length] for row, length in zip(rows.unbind(0), lengths.tolist(), strict=True)]


def pack_sequence(sequences: Iterable[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack tensors (length, ...) of different lengths."""
    parts = list(sequences)
    return pack_padded_sequence(pad_sequence(parts), [len(part) for part in parts], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a PackedSequence."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))
