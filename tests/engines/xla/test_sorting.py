"""Sorting on XLA where it is done on integers: every type of at most 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.xla.compare import agree

import pullback  # noqa: F401 (all records)
from pullback.ops.record import Sample
from pullback.ops.samples import inf, integers, nan, randn

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.parity

SPECIAL = np.array([1, nan, -0.0, inf, -nan, 0, -inf, 3e38, -3e38, 1e-40, -1e-40, 0, -0.0, 1], np.float32)
WHOLE = [np.array([np.iinfo(t).min, 3, np.iinfo(t).max, 0, 3], t) for t in (np.int8, np.uint8, np.int16, np.int32)]
KINDS = [SPECIAL, *WHOLE, np.array([True, False, True]), randn(5, 7, dtype=np.float32), integers(0, 3, 4, 9)]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("x", KINDS, ids=lambda x: f"{x.dtype}{list(x.shape)}")
def test_order(x: Any, descending: bool) -> None:
    for dim in range(x.ndim):
        agree("sort", Sample((x,), {"dim": dim, "descending": descending}))
        agree("topk", Sample((x,), {"k": 3, "dim": dim, "largest": descending}))
