"""SGD's and Adam's updates in place, for many parameters at once; the formulas stand in ops/updates.py.

Memory traffic is the limit. So each array is gone through in blocks that stay in cache from one NumPy call to the next,
and large updates share the blocks among threads. An element's value does not depend on either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...dtypes import F32, HALVES
from .threads import spread

BLOCK_BYTES = 1 << 19
Row = Sequence[Any]
Task = tuple[tuple[Any, ...], tuple[Any, ...]]  # arrays, and the numbers that go with them


def blocks(arrays: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The same parts of each array (None stays None); they cover it."""
    first = arrays[0]
    if first.nbytes <= BLOCK_BYTES:
        yield arrays if first.ndim else tuple(None if a is None else a.reshape(1) for a in arrays)
        return
    if all(a is None or a.flags.c_contiguous for a in arrays):
        arrays = tuple(None if a is None else a.reshape(-1) for a in arrays)
    n = len(arrays[0])
    rows = max(1, n * BLOCK_BYTES // first.nbytes)
    for i in range(0, n, rows):
        yield tuple(None if a is None else a[i : i + rows] for a in arrays)


def run(block: Any, updates: Iterable[Task], written: int) -> None:
    """block(*arrays, *numbers) for each block of each update, which writes over the first arrays."""

    def work(task: Task) -> None:
        arrays, numbers = task
        if arrays[0].dtype not in HALVES:
            block(*arrays, *numbers)
            return
        wide = [None if a is None else a.astype(F32) for a in arrays]
        block(*wide, *numbers)
        for narrow, new in zip(arrays[:written], wide, strict=False):
            if narrow is not None:
                narrow[...] = new

    tasks = [(part, numbers) for arrays, numbers in updates for part in blocks(arrays)]
    spread(work, tasks, sum(arrays[0].size for arrays, _ in tasks))


def total_gradient(g: Any, p: Any, decay: float, maximize: bool) -> Any:
    """g + decay p, where g's sign is turned to maximize."""
    if decay == 0:
        return np.negative(g) if maximize else g
    a = np.multiply(p, decay)
    return np.subtract(a, g, a) if maximize else np.add(a, g, a)


# -- SGD -------------------------------------------------------------------------------------------------------------


def sgd(rows: Sequence[Row], nesterov: bool = False, maximize: bool = False) -> None:
    """Rows of (p, b, g, lr, momentum, dampening, decay)."""
    flags = nesterov, maximize
    run(sgd_block, [((p, b, g), (*map(float, numbers), *flags)) for p, b, g, *numbers in rows], 2)


def sgd_block(
    p: Any,
    b: Any,
    g: Any,
    lr: float,
    momentum: float,
    dampening: float,
    decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    g = total_gradient(g, p, decay, maximize)
    if b is None:
        np.subtract(p, np.multiply(g, lr), p)
        return
    np.multiply(b, momentum, b)
    np.add(b, g if dampening == 0 else np.multiply(g, 1 - dampening), b)
    if nesterov:
        a = np.multiply(b, momentum)
        np.add(a, g, a)
        np.multiply(a, lr, a)
    else:
        a = np.multiply(b, lr)
    np.subtract(p, a, p)


# -- Adam ------------------------------------------------------------------------------------------------------------


def adam(rows: Sequence[Row], decoupled: bool = False, maximize: bool = False) -> None:
    """Rows of (p, m, v, t, peak, g, lr, beta1, beta2, eps, decay)."""
    updates: list[Task] = []
    for p, m, v, t, peak, g, *numbers in rows:
        np.add(t, 1, t)
        updates.append(((p, m, v, peak, g), adam_numbers(float(t), *map(float, numbers), decoupled, maximize)))
    run(adam_block, updates, 4)


@lru_cache(maxsize=64)
def adam_numbers(
    t: float, lr: float, beta1: float, beta2: float, eps: float, decay: float, decoupled: bool, maximize: bool
) -> tuple[Any, ...]:
    """In double precision. With c = sqrt(1 - beta2^t) and a = lr / (1 - beta1^t),

    a m / (sqrt(v) / c + eps) = c a m / (sqrt(v) + c eps)
    """
    c = (1 - beta2**t) ** 0.5
    shrink, l2 = (1 - lr * decay, 0.0) if decoupled else (1.0, decay)
    return shrink, 1 - beta1, beta2, 1 - beta2, c * eps, c * lr / (1 - beta1**t), l2, maximize


def adam_block(
    p: Any,
    m: Any,
    v: Any,
    peak: Any,
    g: Any,
    shrink: float,
    rest1: float,
    beta2: float,
    rest2: float,
    eps: float,
    lr: float,
    decay: float,
    maximize: bool,
) -> None:
    if shrink != 1:
        np.multiply(p, shrink, p)
    g = total_gradient(g, p, decay, maximize)
    a = np.subtract(g, m)
    np.multiply(a, rest1, a)
    np.add(m, a, m)
    np.multiply(g, g, a)
    np.multiply(a, rest2, a)
    np.multiply(v, beta2, v)
    np.add(v, a, v)
    if peak is not None:
        v = np.maximum(peak, v, out=peak)
    np.sqrt(v, a)
    np.add(a, eps, a)
    np.divide(m, a, a)
    np.multiply(a, lr, a)
    np.subtract(p, a, p)
