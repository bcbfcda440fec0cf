"""Attention in C: the records' samples, and sizes at which blocks, chunks and tiles end in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import Case, agree, check

from pullback.dtypes import F32
from pullback.ops.record import OPS
from pullback.ops.samples import booleans, inf, randn

Shapes = tuple[tuple[int, ...], tuple[int, ...], int]

SHAPES: list[Shapes] = [
    ((1, 1, 70, 16), (1, 1, 70, 16), 16),  # one head: several chunks
    ((2, 6, 37, 24), (2, 3, 37, 24), 40),  # groups, and rows that are no whole tiles
    ((1, 2, 130, 5), (1, 2, 33, 5), 3),  # fewer keys than queries
    ((3, 8, 1, 64), (3, 2, 77, 64), 64),  # one query: nothing is packed
    ((1, 1, 9, 8), (1, 1, 2100, 8), 8),  # more keys than scores of a whole block
    ((2, 16, 17, 32), (2, 16, 17, 32), 32),  # as many heads as pieces of work
]


def cases(shapes: Shapes, dtype: Any, mask: Any, transposed: bool = False, **params: Any) -> list[Case]:
    """attention and its gradient."""
    q, k, columns = shapes
    v = (*k[:-1], columns)

    def made(shape: tuple[int, ...], seed: int) -> Any:
        if not transposed:
            return randn(*shape, seed=seed).astype(dtype)
        b, h, n, e = shape
        return randn(b, n, h, e, seed=seed).astype(dtype).transpose(0, 2, 1, 3)

    given = made(q, 0), made(k, 1), made(v, 2), mask
    g = made((*q[:-1], columns), 3)
    options = {"scale": 0.3, **params}
    return [Case(OPS["attention"], given, options, f"{shapes}"),
            Case(OPS["attention_gradient"], (g, *given), options, f"{shapes}")]  # fmt: skip


def test_samples() -> None:
    check(["attention", "attention_gradient"], host=False)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("causal", [False, True])
def test_sizes(dtype: str, causal: bool) -> None:
    some = [c for shapes in SHAPES for t in (False, True) for c in cases(shapes, dtype, None, t, causal=causal)]
    agree(some, host=False, tolerance={"float32": 5e-6})


def test_masks() -> None:
    shapes: Shapes = ((2, 4, 37, 24), (2, 2, 50, 24), 16)
    sees = booleans(2, 1, 37, 50)
    sees[0, :, 5] = False  # a row that sees nothing
    bias = randn(4, 37, 50, dtype=F32)
    bias[:, 3, 7:] = -inf
    masks = [sees, bias, booleans(2, 1, 1, 50), booleans(37, 1), randn(50, dtype=F32), randn(2, 4, 50, 37, dtype=F32)]
    masks[-1] = masks[-1].swapaxes(2, 3)
    for causal in (False, True):
        agree([c for m in masks for c in cases(shapes, F32, m, causal=causal)], host=False)


def test_special_values() -> None:
    """NaN and Inf come out where NumPy has them."""
    (case, back) = cases(((1, 2, 9, 8), (1, 2, 9, 8), 8), F32, None)
    for given in (case, back):
        q = given.arrays[-3]
        q[0, 0, 1, 2], q[0, 0, 4, 3], q[0, 1, 2, 0] = np.nan, np.inf, -np.inf
    again = [Case(c.instruction.op, [*c.arrays, None], c.instruction.params, "special values") for c in (case, back)]
    agree(again, host=False)


def test_results_lie_as_the_inputs_do() -> None:
    """What was split into heads is put together again without a copy."""
    some = cases(((2, 4, 16, 8), (2, 4, 16, 8), 8), F32, None, transposed=True)
    made = agree(some, host=False)
    places = [made.plan.places[v] for c in some for v in c.instruction.outputs]
    assert all(p.strides[1] < p.strides[2] for p in places)
