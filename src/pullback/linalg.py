"""`torch.linalg`: linear algebra. Leading dimensions are batches."""

from __future__ import annotations

from typing import NoReturn

from .autocasting import autocasts
from .errors import LinAlgError
from .functions.decompositions import (
    cholesky,
    cholesky_ex,
    det,
    eigh,
    eigvalsh,
    inv,
    lstsq,
    matrix_exp,
    matrix_rank,
    pinv,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
    tensorinv,
    tensorsolve,
)
from .functions.joining import cat
from .functions.linear_algebra import cross as _cross
from .functions.linear_algebra import matmul, matrix_power, multi_dot
from .functions.matrix_norms import cond, matrix_norm, norm, vector_norm
from .tensor import Tensor

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "lstsq",
    "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet",
    "solve", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three elements along `dim`."""
    return _cross(input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices, as a view."""
    return A.diagonal(offset, dim1, dim2)


@autocasts
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of products along `dim`."""
    return (x * y).sum(dim)


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """The powers 0 ... N-1 (by default, as many as there are elements) of x in a new last dimension."""
    n = x.shape[-1] if N is None else N
    powers = x.unsqueeze(-1).expand(*x.shape, max(n - 1, 0)).cumprod(-1)
    return cat([x.new_ones((*x.shape, 1)), powers], -1)[..., :n]


def __getattr__(name: str) -> NoReturn:
    if name in ("eig", "eigvals"):
        raise AttributeError(
            f"pullback.linalg has no {name!r}: its results are complex; see eigh for symmetric matrices"
        )
    raise AttributeError(f"pullback.linalg has no {name!r}")
