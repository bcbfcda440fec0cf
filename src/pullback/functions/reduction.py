"""Sums, products, means, norms, any and all, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from ..autocasting import autocasts
from ..dtypes import BOOL, FLOATS
from ..errors import PullbackError, fail
from ..ops import reduction as ops
from ..ops.arithmetic import div, sub
from ..ops.compare import isnan, logical_not, where
from ..ops.create import cast
from ..ops.norms import norm as norm_
from ..ops.softmax import logsumexp as logsumexp_
from ..tape import apply
from ..tensor import Tensor
from .dims import fold, given, many, numpy_names, one, renamed, typed
from .elementwise import NO_PARAMS
from .expose import public


@public()
def sum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Tensor | None = None, **names: Any
) -> Tensor:
    """The sum over `dim` (default: of everything). Integers and booleans add up in int64."""
    if names:
        return sum(input, dtype=dtype, out=out, **renamed(names, dim=dim, keepdim=keepdim))
    if dtype is not None:
        return typed(lambda x: fold(ops.sum, x, dim, keepdim, out), input, dtype)
    if dim is None and keepdim is False and out is None:
        return apply(ops.sum, (input,), NO_PARAMS)
    return fold(ops.sum, input, dim, keepdim, out)


@public()
def mean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Tensor | None = None, **names: Any
) -> Tensor:
    """The mean over `dim` (default: of everything)."""
    if names:
        return mean(input, dtype=dtype, out=out, **renamed(names, dim=dim, keepdim=keepdim))
    if dtype is not None:
        return typed(lambda x: fold(ops.mean, x, dim, keepdim, out), input, dtype)
    if dim is None and keepdim is False and out is None:
        return apply(ops.mean, (input,), NO_PARAMS)
    return fold(ops.mean, input, dim, keepdim, out)


@public()
@numpy_names
def nansum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Tensor | None = None
) -> Tensor:
    """The sum, with NaN counting as 0."""
    return sum(where(isnan(input), 0, input), dim, keepdim, dtype=dtype, out=out)


@public()
@numpy_names
def nanmean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Tensor | None = None
) -> Tensor:
    """The mean of what is not NaN."""
    if input._array.dtype not in FLOATS:
        return mean(input, dim, keepdim, dtype=dtype, out=out)
    total = nansum(input, dim, keepdim, dtype=dtype)
    return given(out, div(total, sum(logical_not(isnan(input)), dim, keepdim)))


@public()
@numpy_names
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None, out: Tensor | None = None
) -> Tensor:
    """The product along one `dim` (default: of everything)."""
    along = None if dim is None or (input._array.ndim == 0 and one(dim, 0) == 0) else one(dim, input._array.ndim)
    return given(out, typed(ops.prod, input, dtype, dim=along, keepdim=keepdim))


# -- logic -------------------------------------------------------------------------------------------------------------


def _truth(op: Any, input: Tensor, dim: Any, keepdim: bool, out: Tensor | None) -> Tensor:
    if isinstance(dim, (tuple, list)) and not dim:  # no dims: only the dtype changes
        return given(out, cast(input, dtype=BOOL))
    return fold(op, input, dim, keepdim, out)


@public()
@numpy_names
def any(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """Is one element (over `dim`) not zero?"""
    return _truth(ops.any, input, dim, keepdim, out)


@public()
@numpy_names
def all(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """Are all elements (over `dim`) not zero?"""
    return _truth(ops.all, input, dim, keepdim, out)


@public()
@numpy_names
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements (over `dim`) are not zero?"""
    return ops.count_nonzero(input, dim=many(dim, input._array.ndim))


# -- spread ------------------------------------------------------------------------------------------------------------


def _spread(
    op: Any,
    input: Tensor,
    dim: Any,
    unbiased: bool | None,
    keepdim: bool,
    correction: float | None,
    out: Tensor | None = None,
) -> Tensor:
    """`var(x, False)` and `var(x, 1, False)` name `unbiased`, which is a correction of 1 or 0."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    return fold(op, input, dim, keepdim, out, correction=1 if correction is None else correction)


@public()
@numpy_names
def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The variance over `dim`: squared distances from the mean, divided by n - correction."""
    return _spread(ops.var, input, dim, unbiased, keepdim, correction, out)


@public()
@numpy_names
def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The standard deviation over `dim`."""
    return _spread(ops.std, input, dim, unbiased, keepdim, correction, out)


@public(method=False)
@numpy_names
def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The variance and the mean over `dim`."""
    return _spread(ops.var, input, dim, unbiased, keepdim, correction), mean(
        input, None if isinstance(dim, bool) else dim, keepdim
    )


@public(method=False)
@numpy_names
def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The standard deviation and the mean over `dim`."""
    return _spread(ops.std, input, dim, unbiased, keepdim, correction), mean(
        input, None if isinstance(dim, bool) else dim, keepdim
    )


# -- norms -------------------------------------------------------------------------------------------------------------


@public()
@numpy_names
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """log(sum(exp(input))) over `dim`, computed without overflow."""
    return fold(logsumexp_, input, dim, keepdim, out)


@public()
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Tensor | None = None, dtype: Any = None
) -> Tensor:
    """The p-norm over `dim` of the elements as one vector: (sum |x|^p)^(1/p); p may be 0, inf and -inf."""
    if isinstance(p, str) and p != "fro":
        fail(
            PullbackError,
            f"norm(): p = {p!r} is a norm of matrices, not of vectors",
            "pass a number, float('inf') or 'fro'; see linalg.matrix_norm",
        )
    p = 2.0 if p is None or p == "fro" else float(p)
    return typed(lambda x: fold(norm_, x, dim, keepdim, out, p=p), input, dtype)


@public()
@autocasts
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    return norm(sub(input, other), p)
