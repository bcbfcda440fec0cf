"""Largest, smallest, middle and most frequent elements, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autocasting import autocasts
from ..dtypes import F32, F64, I64
from ..errors import DTypeError, PullbackError, fail
from ..ops import extremes as ops
from ..ops.arithmetic import mul, sub
from ..ops.compare import isnan, logical_not, maximum, minimum, where
from ..ops.create import cast, full_like
from ..ops.indexing import gather
from ..ops.pointwise import ceil, floor, lerp
from ..ops.pointwise import round as round_
from ..ops.reduction import sum as sum_
from ..ops.shape import permute, reshape, slice_
from ..ops.sorting import sort as sort_
from ..tensor import Tensor
from .conversion import known
from .dims import Picked, fold, given, numpy_names, one, picked, shown_as
from .expose import public


@shown_as("aminmax")
class MinMax(NamedTuple):
    """The smallest and the largest."""

    min: Tensor
    max: Tensor


def along(op: Any, input: Tensor, dim: int, keepdim: bool, out: Any, **params: Any) -> Picked:
    """Values and indices of an op that picks one element along a dim."""
    return picked(
        op.name.removesuffix("_along"), out, op(input, dim=one(dim, input._array.ndim), keepdim=keepdim, **params)
    )


@public()
@numpy_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
    """The largest element; with `dim`, those along it and their indices; with a second tensor, the larger."""
    if dim is None and other is None:
        return given(out, ops.max(input))
    if other is not None or isinstance(dim, Tensor):
        return given(out, maximum(input, dim if other is None else other))
    return along(ops.max_along, input, dim, keepdim, out)


@public()
@numpy_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
    """The smallest element; with `dim`, those along it and their indices; with a second tensor, the smaller."""
    if dim is None and other is None:
        return given(out, ops.min(input))
    if other is not None or isinstance(dim, Tensor):
        return given(out, minimum(input, dim if other is None else other))
    return along(ops.min_along, input, dim, keepdim, out)


@public()
@numpy_names
def amax(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The largest over `dim`, which may be several."""
    return fold(ops.amax, input, dim, keepdim, out)


@public()
@numpy_names
def amin(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The smallest over `dim`, which may be several."""
    return fold(ops.amin, input, dim, keepdim, out)


@public()
@numpy_names
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """The smallest and the largest over `dim`."""
    return MinMax(fold(ops.amin, input, dim, keepdim), fold(ops.amax, input, dim, keepdim))


@public()
@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first index of the largest along `dim` (default: in the flattened tensor)."""
    return ops.argmax(input, dim=None if dim is None else one(dim, input._array.ndim), keepdim=keepdim)


@public()
@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first index of the smallest along `dim` (default: in the flattened tensor)."""
    return ops.argmin(input, dim=None if dim is None else one(dim, input._array.ndim), keepdim=keepdim)


@public()
@numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The middle element in order (of two, the lower); with `dim`, the middle ones along it and their indices."""
    return ops.median(input) if dim is None else along(ops.median_along, input, dim, keepdim, out)


@public()
@numpy_names
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The median of what is not NaN."""
    return ops.nanmedian(input) if dim is None else along(ops.nanmedian_along, input, dim, keepdim, out)


@public()
@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Picked:
    """The most frequent elements along `dim` (of several, the smallest), and their last indices."""
    return along(ops.mode, input, dim, keepdim, out)


@public()
@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Picked:
    """The k-th smallest elements along `dim`, and their indices; k counts from 1."""
    return along(ops.kthvalue, input, dim, keepdim, out, k=k)


# -- quantiles ---------------------------------------------------------------------------------------------------------


_ROUND = {"lower": floor, "higher": ceil, "nearest": round_}


def _checked(name: str, input: Tensor, q: Any, interpolation: str) -> Any:
    """q as a tensor of the input's dtype."""
    if input._array.dtype not in (F32, F64):
        fail(DTypeError, f"{name}() input tensor must be either float or double dtype", "convert it first: x.float()")
    if input._array.size == 0:
        fail(PullbackError, f"{name}() input tensor must be non-empty")
    if interpolation not in ("linear", "midpoint", *_ROUND):
        fail(
            PullbackError,
            f"{name}() interpolation must be linear, lower, higher, midpoint or nearest, but got {interpolation!r}",
        )
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            fail(PullbackError, f"{name}() q must be in the range [0, 1], but got {q}")
        q = full_like(input, value=float(q), shape=())
    if q._array.dtype != input._array.dtype:
        fail(
            DTypeError, f"{name}() q tensor must be same dtype as the input tensor, but got {q.dtype} and {input.dtype}"
        )
    if q._array.ndim > 1:
        fail(PullbackError, f"{name}() q must be a scalar or 1D tensor, but got shape {list(q.shape)}")
    if q._array.size and known(q) and not (float(ops.amin(q)) >= 0 and float(ops.amax(q)) <= 1):
        fail(PullbackError, f"{name}() q must be in the range [0, 1], but got {q.tolist()}")
    return q


def _between(ordered: Tensor, q: Tensor, interpolation: str, skip: bool) -> Tensor:
    """What stands at place q (n - 1) of the last dim, in order. A NaN is the result; with `skip`, it does not count."""
    last, n = ordered._array.ndim - 1, ordered._array.shape[-1]
    if skip:
        known = sum_(cast(logical_not(isnan(ordered)), dtype=ordered._array.dtype), dim=(last,), keepdim=True)
        place = mul(q, maximum(sub(known, 1.0), 0.0))
    else:
        place = where(isnan(slice_(ordered, key=(..., slice(n - 1, n)))), float(n - 1), mul(q, float(n - 1)))
    if interpolation in _ROUND:
        place = _ROUND[interpolation](place)
    below = floor(place)
    low = gather(ordered, cast(below, dtype=I64), dim=last)
    if interpolation in _ROUND:
        return low
    high = gather(ordered, cast(ceil(place), dtype=I64), dim=last)
    return lerp(low, high, sub(place, below) if interpolation == "linear" else 0.5)


def _quantile(input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip: bool) -> Tensor:
    q = _checked("nanquantile" if skip else "quantile", input, q, interpolation)
    shape, ndim = tuple(input.shape), input._array.ndim
    at = 0 if dim is None else one(dim, ndim)
    if dim is None or not ndim:
        line, rest = reshape(input, shape=(input._array.size,)), (1,) * ndim if keepdim else ()
    else:
        line = permute(input, dims=(*range(at), *range(at + 1, ndim), at))
        rest = (*shape[:at], *(1,) * keepdim, *shape[at + 1 :])
    last = line._array.ndim - 1
    values = _between(sort_(line, dim=last)[0], reshape(q, shape=(q._array.size,)), interpolation, skip)
    return reshape(permute(values, dims=(last, *range(last))), shape=(*q.shape, *rest))


@public()
@numpy_names
@autocasts
def quantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
    out: Tensor | None = None,
) -> Tensor:
    """The q-th quantiles along `dim` (default: of everything); several q give a new first dimension."""
    return given(out, _quantile(input, q, dim, keepdim, interpolation, skip=False))


@public()
@numpy_names
@autocasts
def nanquantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
    out: Tensor | None = None,
) -> Tensor:
    """The quantiles of what is not NaN."""
    return given(out, _quantile(input, q, dim, keepdim, interpolation, skip=True))
