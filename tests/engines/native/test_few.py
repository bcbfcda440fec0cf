"""What makes one token after another: products of few rows, and attention of few queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import Case, agree
from tests.engines.native.test_matmul import agree as same_bits
from tests.engines.native.test_matmul import array

from pullback.dtypes import F32, F64
from pullback.ops.record import OPS

CUT = [(1, 1), (3, 31), (7, 32), (64, 33), (5, 257), (130, 515), (4, 0)]  # columns, terms


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("rows", [2, 3, 4, 5, 8])
def test_products_of_few_rows(dtype: Any, rows: int) -> None:
    cases = []
    for n, k in CUT:
        x, w, bias = array((rows, k), dtype), array((n, k), dtype, seed=1), array((n,), dtype, seed=2)
        wide = array((2, rows, k + 3), dtype, seed=3)[0, :, :k]  # rows apart
        cases += [Case(OPS["linear"], (x, w, b), {}, f"{n, k}") for b in (None, bias)]
        cases.append(Case(OPS["linear"], (wide, array((n, 2 * k), dtype, seed=4)[:, :k], bias), {}, f"{n, k} apart"))
        cases.append(Case(OPS["matmul"], (x[None], w.T), {}, f"{n, k} a stack of one"))
    same_bits(cases)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("size", [5, 16, 40])
@pytest.mark.parametrize("queries", [1, 2])
def test_attention_of_few_queries_to_a_part_of_the_keys(dtype: Any, size: int, queries: int) -> None:
    rng, keys = np.random.default_rng(0), 83
    q = rng.standard_normal((3, 4, queries, size)).astype(dtype)
    k, v = (rng.standard_normal((3, 2, keys, n)).astype(dtype) for n in (size, size + 3))
    at = np.arange(keys)
    parts = [(0, 83), (0, 1), (40, 41), (7, 60), (82, 83), (5, 5)]  # the last is none
    cases = []
    for first, last in parts:
        sees = np.broadcast_to((first <= at) & (at < last), (3, 1, queries, keys)).copy()
        sees[1, :, :, 20:30] = False  # and a hole
        for causal in (False, True):
            cases.append(Case(OPS["attention"], (q, k, v, sees), {"scale": 0.3, "causal": causal}, f"{first, last}"))
    agree(cases)
