"""Writes by index the way a GPU does them, in order of their places: the same as one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.xla.compare import agree

import pullback  # noqa: F401 (all records)
from pullback.ops.record import Sample
from pullback.ops.samples import integers, randn

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.parity

KNOWN = np.array([2.0, np.nan, np.inf, -1.0])


@pytest.fixture(autouse=True)
def _no_scatter(monkeypatch: pytest.MonkeyPatch) -> None:
    from pullback.engines.xla.forms import indexing

    monkeypatch.setattr(indexing, "_scatters_well", lambda dtype, how: False)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(
    ("shape", "index", "values", "dims"),
    [
        ((6, 3), (40,), (40, 3), (0,)),
        ((4, 5, 3), (2, 7), (4, 7), (1, 2)),
        ((3, 5, 4), (2, 2, 7), (2, 7, 5), (0, 2)),
        ((3, 5, 4), (3, 6), (6,), (0, 1, 2)),
        ((3, 4), (0,), (0, 4), (0,)),
    ],
)
def test_put_at(shape: Any, index: Any, values: Any, dims: Any, accumulate: bool) -> None:
    inputs = randn(*shape), integers(-3, 3, *index), randn(*values, seed=1)
    agree("put_at", Sample(inputs, {"dims": dims, "accumulate": accumulate}))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("reduce", ["sum", "prod", "amax", "amin"])
def test_scatter_reduce(reduce: str, dtype: Any) -> None:
    inputs = (9 * randn(4, 5)).astype(dtype), integers(0, 4, 9, 5), (9 * randn(9, 5, seed=1)).astype(dtype)
    agree("scatter_reduce", Sample(inputs, {"dim": 0, "reduce": reduce}))


def test_what_is_not_finite_stays_in_its_row() -> None:
    inputs = KNOWN[[0, 1, 2, 3, 2, 0]].reshape(6, 1), np.array([3, 0, 2, 3, 2, 1])
    agree("unembed", Sample(inputs, {"rows": 5, "padding_idx": 2}))


def test_the_last_of_several_values_is_set() -> None:
    inputs = randn(3), np.array([1, 0, 1, 1, 0]), np.arange(5.0)
    agree("scatter", Sample(inputs, {"dim": 0}))
