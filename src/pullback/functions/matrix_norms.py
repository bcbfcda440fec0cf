"""Norms of vectors and matrices, and the condition number, with the names and arguments of `torch.linalg`."""

from __future__ import annotations

from typing import Any

from ..autocasting import autocasts
from ..errors import PullbackError, ShapeError, fail
from ..ops.arithmetic import abs, div, mul
from ..ops.norms import norm as norm_
from ..ops.record import normal_dims
from ..ops.reduction import sum as sum_
from ..ops.shape import permute, reshape
from ..tensor import Tensor
from .decompositions import inv, matrices, square, svdvals
from .dims import converted, fold, given, typed

INF = float("inf")


def vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Tensor | None = None
) -> Tensor:
    """(sum over dim of |x|^ord)^(1/ord); ord may be 0, inf and -inf."""
    return given(out, typed(lambda t: fold(norm_, t, dim, keepdim, p=float(ord)), x, dtype))


@autocasts
def matrix_norm(
    A: Tensor,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
    out: Tensor | None = None,
) -> Tensor:
    """A norm of the matrices in two dims: 'fro', 'nuc', 1 and inf (largest column and row sum), 2 (largest singular
    value); -1, -inf and -2 are the smallest instead.
    """
    matrices("matrix_norm", A)
    rows, columns = normal_dims(dim, A.ndim)
    if dtype is not None:
        A = converted(A, dtype)
    if ord == "fro":
        return given(out, norm_(A, dim=(rows, columns), keepdim=keepdim))
    if ord in (1, -1, INF, -INF):
        along, other = (rows, columns) if ord in (1, -1) else (columns, rows)
        size = sum_(abs(A), dim=(along,), keepdim=True)
        found = size.amax(other, True) if ord > 0 else size.amin(other, True)
    elif ord in (2, -2, "nuc"):
        rest = [d for d in range(A.ndim) if d not in (rows, columns)]
        s = svdvals(permute(A, dims=(*rest, rows, columns)))
        found = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord == 2 else s.amin(-1)
    else:
        fail(
            PullbackError,
            f"linalg.matrix_norm: there is no norm {ord!r}",
            "use 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2",
        )
    shape = tuple(
        1 if d in (rows, columns) else n for d, n in enumerate(A.shape) if keepdim or d not in (rows, columns)
    )
    return given(out, reshape(found, shape=shape))


def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None, dtype: Any = None
) -> Tensor:
    """A matrix norm where there are two dims and an ord, else a vector norm; without either, of all elements."""
    if dim is None and ord is not None:
        if A.ndim not in (1, 2):
            fail(
                ShapeError,
                f"linalg.norm: with ord and without dim, A must be 1D or 2D, not {list(A.shape)}",
                "pass dim",
            )
        dim = tuple(range(A.ndim))
    if ord is not None and isinstance(dim, (tuple, list)) and len(dim) == 2:
        return matrix_norm(A, ord, dim, keepdim, dtype=dtype, out=out)
    if isinstance(ord, str):
        fail(PullbackError, f"linalg.norm: {ord!r} is a norm of matrices", "pass two dims, or a number as ord")
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype, out=out)


@autocasts
def cond(A: Tensor, p: Any = None, *, out: Tensor | None = None) -> Tensor:
    """norm(A) norm(A^-1); for p = None, 2 and -2 the ratio of the extreme singular values."""
    if p in (None, 2, -2):
        s = svdvals(matrices("cond", A))
        largest, smallest = s.amax(-1), s.amin(-1)
        return given(out, div(smallest, largest) if p == -2 else div(largest, smallest))
    return given(out, mul(matrix_norm(A, p), matrix_norm(inv(square("cond", A)), p)))
