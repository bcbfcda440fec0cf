"""Sorting and counting in C: the order is NumPy's, ties and NaN included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import Case, agree, cases, check

import pullback as torch
from pullback.dtypes import BF16, F16, F32, F64
from pullback.ops.record import OPS


def test_samples() -> None:
    check(["sort", "topk", "searchsorted", "bincount"], host=False)


def test_histograms() -> None:
    """NumPy looks for the range of the data; one that is given is counted in C."""
    some = [c for dtype in (None, F32, F16, BF16) for c in cases(["histogram"], dtype)]
    agree([c for c in some if c.instruction.params.get("high")], host=False)
    agree(some)


def case(name: str, *inputs: Any, **params: Any) -> Case:
    return Case(OPS[name], inputs, params, f"{[(x.dtype, x.shape) for x in inputs]} {params}")


TYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", F16, BF16, F32, F64]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_order_is_stable(dtype: Any) -> None:
    """Few elements, and many: with ties, signed zeros, and the smallest and largest there are."""
    rng, some = np.random.default_rng(0), []
    for rows, n in ((200, 5), (3, 64), (3, 65), (40, 300), (1, 5000)):
        x = rng.integers(0, 2, (rows, n)) if dtype == "bool" else rng.integers(-60, 60, (rows, n)) // 2
        x = np.asarray(x).astype(dtype)
        if x.dtype.kind in "iu":
            x[0, :2] = np.iinfo(dtype).max, np.iinfo(dtype).min
        elif dtype != "bool":
            x[0, :5] = -0.0, np.nan, np.inf, -np.inf, 0.0
            x[-1] = x[-1] / 7
        for descending in (False, True):
            some.append(case("sort", x, dim=1, descending=descending))
            some.append(case("sort", x.T, dim=0, descending=descending))
            k = n // 2 + 1  # of ties, NumPy takes any if it has to find few of many
            some.append(case("topk", x, k=k, dim=1, largest=descending))
    agree(some, host=False)


def test_few_of_many() -> None:
    """Numbers without ties: the first of them are those of PyTorch and NumPy."""
    x = np.random.default_rng(0).permutation(40 * 900).reshape(40, 900).astype(F32)
    agree([case("topk", x, k=k, dim=1, largest=largest) for k in (1, 64, 65, 111) for largest in (False, True)]
          + [case("topk", x.T, k=3, dim=0)], host=False)  # fmt: skip


def test_looked_up() -> None:
    rng = np.random.default_rng(0)
    edges, x = np.sort(rng.integers(0, 50, (20, 70)), 1), rng.integers(-5, 60, (20, 900))
    pairs = [(edges, x), (edges[0], x), (edges[:, :0], x), (edges[0], np.array(7))]
    agree([case("searchsorted", a.astype(dtype), b.astype(dtype), right=right)
           for dtype in ("int32", "int64", "float32", "float16") for right in (False, True)
           for a, b in pairs], host=False)  # fmt: skip


def test_counts() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.integers(0, 200, 50000), rng.standard_normal(50000)
    agree([case("bincount", x, size=200), case("bincount", x.astype("uint8"), size=256),
           case("bincount", x, weights, size=203), case("bincount", x, weights.astype(F32), size=200)],
          host=False, tolerance={"float32": 1e-5})  # fmt: skip


def test_a_count_out_of_range() -> None:
    run = torch.compile(lambda x: OPS["bincount"](x, size=3), engine="native")
    assert run(torch.tensor([0, 2, 2])).tolist() == [1, 0, 2]
    for wrong in (3, -1):
        with pytest.raises(IndexError, match=f"index {wrong} is out of range"):
            run(torch.tensor([0, wrong]))


def test_only_the_order() -> None:
    """What nobody reads is not made."""
    x = torch.randn(7, 9)
    run = torch.compile(lambda x: x.argsort(1, descending=True), engine="native")
    assert run(x).tolist() == x.argsort(1, descending=True).tolist()
    (call,) = [step for step in run._entries[0].run.plan.steps if getattr(step, "family", "") == "sorting"]
    assert call.arguments[0] is None  # type: ignore[attr-defined]
