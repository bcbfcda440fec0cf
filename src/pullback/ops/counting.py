"""Ops that count how many elements fall where."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import F32, F64, I64
from ..errors import PullbackError, fail
from .record import Sample, Spec, op, per_input, per_input_element
from .reduction import fractional
from .samples import inf, integers, nan, positive, randn


def _bincount(x: Any, weights: Any = None, size: int = 0) -> Any:
    if x.ndim != 1 or x.dtype.kind not in "iu" or (x.size and x.min() < 0):
        fail(
            PullbackError,
            "bincount() takes non-negative integers in one dimension",
            "flatten the tensor; convert it with .long()",
        )
    if weights is None:
        return np.bincount(x, None, size)
    if weights.shape != x.shape:
        raise ValueError("the weights must have the shape of the input")
    return np.bincount(x, weights, size).astype(_weighted(weights))


def _weighted(weights: Any) -> Any:
    return I64 if weights is None else F32 if weights.dtype == F32 else F64


bincount = op(
    "bincount", "out_i = how many x are i, or the sum of their weights, for i < size", inputs="x weights",
    torch="torch.bincount(x, weights if weights is None else weights.detach(), size)",
    numpy=_bincount, infer=lambda x, weights=None, size=0: Spec((size,), _weighted(weights)), dtypes=per_input,
    flops=per_input_element(1),
    samples=lambda: [
        Sample((integers(0, 5, 9), None), {"size": 5}, smooth=False),
        Sample((integers(0, 5, 9), randn(9)), {"size": 8}, smooth=False, note="weights"),
        Sample((integers(0, 5, 9, dtype=np.uint8), randn(9).astype(F32)), {"size": 5}, smooth=False, note="float32"),
        Sample((integers(0, 5, 9)[::-2], integers(0, 9, 5)), {"size": 5}, smooth=False, note="negative step, integers"),
        Sample((integers(0, 5, 0), None), {"size": 3}, smooth=False, note="empty"),
    ],
)  # fmt: skip


def _limits(x: Any, low: float, high: float) -> tuple[float, float]:
    """The range counted: that of the data where low and high are equal."""
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = (low - 0.5, high + 0.5) if x.size else (0.0, 1.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        fail(
            PullbackError,
            f"the range [{low}, {high}] of the histogram is not finite",
            "pass a finite range, or filter NaN and infinities out first",
        )
    if low > high:
        fail(PullbackError, f"the histogram's range is empty: [{low}, {high}]", "its lower end comes first")
    return low, high


def _histogram(x: Any, weights: Any = None, bins: int = 100, low: float = 0.0, high: float = 0.0) -> Any:
    if bins < 1:
        fail(PullbackError, f"a histogram needs bins, not {bins}", "pass bins >= 1")
    low, high = _limits(x, low, high)
    kept = (x >= low) & (x <= high)
    place = np.minimum(((x[kept] - x.dtype.type(low)) * bins / x.dtype.type(high - low)).astype(I64), bins - 1)
    counts = np.bincount(place, None if weights is None else weights[kept], bins)
    return counts.astype(x.dtype), np.linspace(low, high, bins + 1).astype(x.dtype)


histogram = op(
    "histogram", "how many x (or how much weight) each bin holds, and the bins' edges", inputs="x weights",
    torch="tuple(torch.histogram(x.detach(), bins, weight=weights if weights is None else weights.detach(),"
    " range=(low, high) if low != high else None))",
    numpy=_histogram,
    infer=lambda x, weights=None, bins=100, low=0.0, high=0.0: (Spec((bins,), x.dtype), Spec((bins + 1,), x.dtype)),
    dtypes=fractional, flops=per_input_element(4),
    samples=lambda: [
        Sample((randn(3, 40), None), {"bins": 5, "low": -1.0, "high": 1.5}, smooth=False),
        Sample((randn(3, 40), None), {"bins": 7}, smooth=False, note="range of the data"),
        Sample((randn(3, 40).T, positive(40, 3)), {"bins": 7}, smooth=False, note="weights"),
        Sample((np.array([1.0, 1.0]), None), {"bins": 4}, smooth=False, note="all equal"),
        Sample((np.array([nan, 1.0, inf]), None), {"bins": 2, "low": 0.0, "high": 2.0}, smooth=False, note="special"),
        Sample((randn(), None), {"bins": 3}, smooth=False, note="0-d"),
        Sample((randn(0), None), {"bins": 3}, smooth=False, note="empty"),
        Sample((randn(30).astype(F32), None), {"bins": 3}, smooth=False, note="float32"),
    ],
)  # fmt: skip


def _histogram_between(x: Any, edges: Any, weights: Any = None) -> Any:
    kept = (x >= edges[0]) & (x <= edges[-1])
    place = np.minimum(np.searchsorted(edges, x[kept], "right") - 1, len(edges) - 2)
    return np.bincount(place, None if weights is None else weights[kept], len(edges) - 1).astype(x.dtype)


histogram_between = op(
    "histogram_between", "how many x (or the sum of their weights) lie between each two neighbouring edges",
    inputs="x edges weights",
    torch="torch.histogram(x.detach(), edges.detach(), weight=weights if weights is None else weights.detach())[0]",
    numpy=_histogram_between, infer=lambda x, edges, weights=None: Spec((edges.shape[0] - 1,), x.dtype),
    dtypes=fractional, flops=per_input_element(4),
    samples=lambda: [
        Sample((randn(3, 40), np.array([-1.0, 0.0, 0.5, 2.0]), None), smooth=False),
        Sample((randn(3, 40).T, np.array([-1.0, 0.0, 0.5, 2.0]), positive(40, 3)), smooth=False, note="weights"),
        Sample((np.array([0.0, 1.0, 2.0, nan, inf]), np.array([0.0, 1.0, 2.0]), None), smooth=False, note="on edges"),
        Sample((randn(), np.array([-5.0, 5.0]), None), smooth=False, note="0-d"),
        Sample((randn(0), np.array([-5.0, 5.0]), None), smooth=False, note="empty"),
    ],
)  # fmt: skip
