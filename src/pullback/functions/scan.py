"""Cumulative sums, products and extremes, differences and trapezoids, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from ..dtypes import BOOL
from ..errors import PullbackError, fail
from ..ops import scan as ops
from ..ops.arithmetic import add, mul, sub
from ..ops.compare import logical_xor
from ..ops.joining import cat
from ..ops.reduction import sum as sum_
from ..ops.shape import reshape, slice_
from ..ops.softmax import logcumsumexp as logcumsumexp_
from ..tensor import Tensor
from .dims import Picked, given, numpy_names, one, picked, typed
from .expose import also_known_as, public


@public(inplace=True)
@numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
    """out_i is the sum of the first i + 1 elements along `dim`."""
    return given(out, typed(ops.cumsum, input, dtype, dim=one(dim, input._array.ndim)))


@public(inplace=True)
@numpy_names
def cumprod(input: Tensor, dim: int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
    """out_i is the product of the first i + 1 elements along `dim`."""
    return given(out, typed(ops.cumprod, input, dtype, dim=one(dim, input._array.ndim)))


@public()
@numpy_names
def cummax(input: Tensor, dim: int, *, out: Any = None) -> Picked:
    """The largest so far along `dim`, and where it was last reached."""
    return picked("cummax", out, ops.cummax(input, dim=one(dim, input._array.ndim)))


@public()
@numpy_names
def cummin(input: Tensor, dim: int, *, out: Any = None) -> Picked:
    """The smallest so far along `dim`, and where it was last reached."""
    return picked("cummin", out, ops.cummin(input, dim=one(dim, input._array.ndim)))


@public()
@numpy_names
def logcumsumexp(input: Tensor, dim: int, *, out: Tensor | None = None) -> Tensor:
    """log(cumsum(exp(input))) along `dim`, computed without overflow."""
    return given(out, logcumsumexp_(input, dim=one(dim, input._array.ndim)))


def _neighbours(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """All but the first along dim, all but the last."""
    return slice_(x, key=ops.part(dim, 1, None)), slice_(x, key=ops.part(dim, 0, -1))


@public()
@numpy_names
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The differences of neighbours along `dim`, n times over."""
    if input._array.ndim == 0:
        fail(PullbackError, "diff expects input to be at least one-dimensional")
    if n < 0:
        fail(PullbackError, f"order must be non-negative but got {n}")
    at = one(dim, input._array.ndim)
    parts = [x for x in (prepend, input, append) if x is not None]
    x = cat(*parts, dim=at) if len(parts) > 1 else input
    for _ in range(n):
        if x._array.shape[at] == 0:
            break
        x = (logical_xor if x._array.dtype == BOOL else sub)(*_neighbours(x, at))
    return x


def _trapezoids(y: Tensor, x: Tensor | None, dx: Any, dim: int) -> tuple[Tensor, int]:
    """The area between each two neighbours."""
    at = one(dim, y._array.ndim)
    if x is not None:
        if x._array.ndim == 1:
            x = reshape(x, shape=tuple(-1 if d == at else 1 for d in range(y._array.ndim)))
        dx = sub(*_neighbours(x, one(dim, x._array.ndim)))
    return mul(mul(add(*_neighbours(y, at)), 0.5), 1 if dx is None else dx), at


@public(method=False)
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral of y along `dim` by the trapezoid rule, over the places x or with steps of dx."""
    areas, at = _trapezoids(y, x, dx, dim)
    return sum_(areas, dim=(at,))


also_known_as(trapezoid, "trapz", method=False)


@public(method=False)
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral of y up to each place but the first."""
    areas, at = _trapezoids(y, x, dx, dim)
    return ops.cumsum(areas, dim=at)
