"""Where values lie: pieces of memory, and ways of looking at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...program.program import Shape, Value, contiguous

ALIGNMENT = 64  # bytes: a cache line, and the widest vector

# Kinds of memory
INPUT, OUTPUT, ARENA, CONSTANT, NUMBER = "input", "output", "arena", "constant", "number"


class Memory:
    """A piece of memory: an input, a result, a constant, or a part of the arena with a life from step to step."""

    __slots__ = ("base", "first", "index", "kind", "last", "nbytes", "offset")

    def __init__(self, kind: str, nbytes: int, index: int = 0) -> None:
        self.kind, self.nbytes, self.index = kind, nbytes, index
        self.first, self.last = -1, -1  # steps that use it
        self.base: Memory | None = None  # the memory that it shares
        self.offset = 0  # in the arena

    def __repr__(self) -> str:
        return f"{self.kind}{self.index if self.kind != ARENA else f'+{self.offset}'}"


class Place:
    """Memory looked at with a shape and strides; offset and strides count elements. In a loop it may move: by so many
    bytes with each turn of this one and that."""

    __slots__ = ("dtype", "memory", "moving", "offset", "shape", "strides")

    def __init__(self, memory: Memory, dtype: np.dtype[Any], shape: Shape, strides: Shape, offset: int = 0,
                 moving: Sequence[tuple[Any, int]] = ()) -> None:  # fmt: skip
        self.memory, self.dtype, self.shape, self.strides, self.offset = memory, dtype, shape, strides, offset
        self.moving = tuple(moving)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dense(self) -> bool:
        """Do the elements lie one after the other, in order?"""
        return self.size <= 1 or all(
            s == t for n, s, t in zip(self.shape, self.strides, in_order(self.shape), strict=True) if n != 1
        )

    def seen(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Place:
        """The same memory, looked at in another way; `offset` is counted from where this place begins."""
        return Place(self.memory, self.dtype, tuple(shape), tuple(strides), self.offset + offset, self.moving)

    def broadcast(self, shape: Shape) -> Place:
        """Looked at as if it had this shape."""
        new = len(shape) - len(self.shape)
        strides = [0 if m == 1 != n else s for n, m, s in zip(shape[new:], self.shape, self.strides, strict=True)]
        return self.seen(shape, [0] * new + strides)

    def __repr__(self) -> str:
        return f"{self.memory}[{self.offset}]{list(self.shape)}/{list(self.strides)}"


def in_order(shape: Shape) -> Shape:
    """Strides, in elements, of what lies in order."""
    return contiguous(shape, 1)


def fills(shape: Shape, strides: Shape) -> bool:
    """Is each element in a place of its own, and none left out?"""
    step = 1
    for s, n in sorted((s, n) for n, s in zip(shape, strides, strict=True) if n != 1):
        if s != step:
            return False
        step *= n
    return True


def strides_of(value: Value) -> Shape:
    """A value's strides, in elements; in order, if its own leave gaps."""
    strides = tuple([s // value.dtype.itemsize for s in value.strides])
    return strides if fills(value.shape, strides) else in_order(value.shape)


__all__ = [
    "ALIGNMENT",
    "ARENA",
    "CONSTANT",
    "INPUT",
    "NUMBER",
    "OUTPUT",
    "Memory",
    "Place",
    "fills",
    "in_order",
    "strides_of",
]
