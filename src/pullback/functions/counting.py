"""Histograms, with PyTorch's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import PullbackError, fail
from ..ops import counting as ops
from ..ops.arithmetic import div, mul, sub
from ..ops.extremes import max as max_
from ..ops.reduction import sum as sum_
from ..ops.shape import slice_
from ..tensor import Tensor
from .dims import given, shown_as
from .expose import public


@shown_as("histogram")
class Histogram(NamedTuple):
    """How much lies in each bin, and the edges of the bins."""

    hist: Tensor
    bin_edges: Tensor


@public()
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2 ... occurs, or the sum of its weights."""
    if minlength < 0:
        fail(PullbackError, f"minlength should be >= 0, but got {minlength}")
    size = int(max_(input)) + 1 if input._array.size else 0
    return ops.bincount(input, weights, size=size if size > minlength else minlength)


@public()
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0, *, out: Tensor | None = None) -> Tensor:
    """How many elements lie in each of the bins between min and max (if these are equal: of the data)."""
    return given(out, ops.histogram(input, None, bins=bins, low=float(min), high=float(max))[0])


@public()
def histogram(
    input: Tensor,
    bins: Any,
    *,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Histogram:
    """How many elements (or how much weight) lie in each bin; `bins` is their number, or a tensor of their edges."""
    if isinstance(bins, Tensor):
        hist, edges = ops.histogram_between(input, bins, weight), bins
    else:
        low, high = (0.0, 0.0) if range is None else range
        hist, edges = ops.histogram(input, weight, bins=bins, low=float(low), high=float(high))
    if density:
        widths = sub(slice_(edges, key=(slice(1, None),)), slice_(edges, key=(slice(0, -1),)))
        hist = div(hist, mul(sum_(hist), widths))
    return Histogram(hist, edges)
