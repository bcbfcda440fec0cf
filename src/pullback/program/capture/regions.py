"""Memory that a step reads and writes: where it lies, what overlaps, and how to find it at the time of a call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import trees
from ...errors import PullbackError, fail
from ...tensor import Tensor
from .places import MISSING, Place, is_nest
from .symbol import Symbol


class Region:
    """A piece of memory that the step may read and write: an input, and where to find it again."""

    def __init__(self, tensor: Tensor, symbol: Symbol, source: Source, name: str, memory: Any) -> None:
        self.tensor, self.symbol, self.source, self.name, self.span = tensor, symbol, source, name, span(memory)
        self.input, self.dtype = symbol.buffer.value, symbol.dtype
        self.group: list[tuple[Tensor, str]] = [(tensor, name)]  # all that lie there
        self.kind = source.kind


class Source:
    """How to find a tensor at the time of a call."""

    def __init__(self, tensor: Tensor | None = None, place: Place | None = None, leaf: int | None = None,
                 argument: int | None = None) -> None:  # fmt: skip
        self.tensor, self.place, self.leaf, self.argument = tensor, place, leaf, argument
        self.kind = "argument" if argument is not None and place is None else "state"

    def find(self, arguments: Sequence[Any]) -> Any:
        """The tensor, or MISSING."""
        if self.place is not None:
            holder = self.place.holder if self.argument is None else vars(arguments[self.argument])
            held = self.place._replace(holder=holder).get() if self.argument is not None else self.place.get()
            if self.leaf is None:
                return held
            leaves = list(trees.leaves(held)) if is_nest(held) else []
            return leaves[self.leaf] if self.leaf < len(leaves) else MISSING
        return arguments[self.argument] if self.argument is not None else self.tensor


def same_place(a: Any, b: Any) -> bool:
    """Do two arrays look at the same memory in the same way?"""
    return a is b or (
        isinstance(a, np.ndarray)
        and isinstance(b, np.ndarray)
        and a.shape == b.shape
        and a.strides == b.strides
        and a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    )


def span(array: Any) -> tuple[int, int]:
    """Where memory begins and ends; on a device, a number that stands for it."""
    if type(array) is np.ndarray:
        if array.flags.c_contiguous:
            first = array.__array_interface__["data"][0]
            return first, first + array.nbytes
        return np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
    if (memory := getattr(array, "memory", None)) is None:  # a symbol
        return 0, 0
    return -id(memory), 1 - id(memory)


def owner(array: Any) -> Any:
    """The NumPy array whose memory this one looks at; if it has a base all the same, the memory is not NumPy's."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def overlapping(spans: Sequence[tuple[int, int]], written: set[int]) -> tuple[int, int] | None:
    """Two pieces of memory that overlap, one of which is written."""
    last = last_written = -1
    end = end_written = -math.inf
    for i in sorted(range(len(spans)), key=spans.__getitem__):
        first, stop = spans[i]
        if first == stop:
            continue
        if first < end_written:
            return last_written, i
        if i in written:
            if first < end:
                return last, i
            last_written, end_written = i, stop
        if stop > end:
            last, end = i, stop
    return None


def refuse_overlap(one: str, other: str) -> None:
    fail(
        PullbackError,
        f"{one} and {other} share memory, and the step writes there: what is in the one changes with the other, which "
        "cannot be captured",
        "clone() one of them, or let the step reach the one through the other",
    )
