"""Sample inputs that the records share. Each covers the shapes and values where an op of its kind can go wrong."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .record import Sample as Sample  # samples and what they are made of come from one place

nan, inf = float("nan"), float("inf")


def randn(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """Fixed normal numbers: the same for the same shape and seed."""
    key = zlib.crc32(repr((shape, seed)).encode())
    return np.random.default_rng(key).standard_normal(shape).astype(dtype)


def positive(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Numbers in 0.2 .. about 3."""
    return np.asarray(np.abs(randn(*shape, seed=seed)) + 0.2)


def between(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Uniform numbers strictly inside an interval."""
    key = zlib.crc32(repr((shape, seed)).encode())
    return np.asarray(np.random.default_rng(key).uniform(low, high, shape))


def integers(low: int, high: int, *shape: int, seed: int = 0, dtype: Any = np.int64) -> np.ndarray[Any, Any]:
    """Fixed integers in [low, high)."""
    key = zlib.crc32(repr((shape, seed)).encode())
    return np.random.default_rng(key).integers(low, high, shape).astype(dtype)


def booleans(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """A fixed mask."""
    return integers(0, 2, *shape, seed=seed).astype(bool)


def unary(
    make: Callable[..., Any] = randn, special: tuple[float, ...] = (nan, inf, -inf, 0.0, -0.0), **params: Any
) -> Callable[[], list[Sample]]:
    """One input: plain, 0-d, empty, transposed, negative step, single precision, and special values."""

    def samples() -> list[Sample]:
        return [
            Sample((make(3, 4),), params),
            Sample((make(),), params, note="0-d"),
            Sample((make(0, 3),), params, note="empty"),
            Sample((make(4, 3, seed=1).T,), params, note="transposed"),
            Sample((make(7, seed=2)[::-2],), params, note="negative step"),
            Sample((make(2, 3, seed=3).astype(np.float32),), params, note="float32"),
            Sample((np.array(special),), params, smooth=False, note="special values"),
        ]

    return samples


def pairs(
    make: Callable[..., Any] = randn, other: Callable[..., Any] | None = None, scalar: Any = 1.5
) -> Callable[[], list[Sample]]:
    """Two inputs: same shape, broadcast both ways, 0-d, a Python number on either side, empty, strided, mixed types, special."""
    second = other or make

    def samples() -> list[Sample]:
        return [
            Sample((make(3, 4), second(3, 4, seed=1))),
            Sample((make(3, 1), second(1, 4, seed=1)), note="broadcast both"),
            Sample((make(2, 3, 4), second(4, seed=1)), note="broadcast right"),
            Sample((make(4), second(2, 3, 4, seed=1)), note="broadcast left"),
            Sample((make(), second(3, seed=1)), note="0-d left"),
            Sample((make(3), scalar), note="number right"),
            Sample((make(0, 3), second(3, seed=1)), note="empty"),
            Sample((make(4, 3).T, second(6, 4, seed=1)[::-2]), note="strided"),
            Sample((make(3).astype(np.float32), second(3, seed=1)), note="float32 with float64"),
            Sample(
                (np.array([nan, inf, -inf, 0.0, -0.0, 1.0]), np.array([1.0, 0.0, inf, 0.0, nan, -inf])),
                smooth=False,
                note="special",
            ),
        ]

    return samples


def integer_pairs() -> list[Sample]:
    """Integer and boolean inputs, mixed widths."""
    return [
        Sample((integers(-9, 9, 3, 4), integers(1, 9, 4)), smooth=False),
        Sample((integers(0, 9, 3, dtype=np.uint8), integers(1, 9, 3, dtype=np.int16)), smooth=False),
        Sample((integers(0, 9, 3, dtype=np.int32), 3), smooth=False, note="number"),
    ]
