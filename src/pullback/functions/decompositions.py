"""Inverses, determinants and factorisations of matrices, with the names and arguments of `torch.linalg`.

Some stand in `torch` itself, too; those are public here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..autocasting import autocasts
from ..dtypes import I64, finfo
from ..errors import PullbackError, ShapeError, fail
from ..ops import decompositions as ops
from ..ops.arithmetic import add, mul, sub
from ..ops.compare import gt
from ..ops.create import cast, full_like
from ..ops.matmul import matmul, transpose
from ..ops.reduction import sum as sum_
from ..ops.shape import permute, reshape, slice_
from ..ops.strided import undiagonal
from ..tensor import Tensor
from .dims import given, many, shown_as
from .expose import public


@shown_as("linalg_slogdet")
class SlogDet(NamedTuple):
    sign: Tensor
    logabsdet: Tensor


@shown_as("linalg_qr")
class QR(NamedTuple):
    Q: Tensor
    R: Tensor


@shown_as("linalg_eigh")
class Eigh(NamedTuple):
    eigenvalues: Tensor
    eigenvectors: Tensor


@shown_as("linalg_svd")
class SVD(NamedTuple):
    U: Tensor
    S: Tensor
    Vh: Tensor


@shown_as("svd")
class OldSVD(NamedTuple):
    U: Tensor
    S: Tensor
    V: Tensor


@shown_as("linalg_lstsq")
class Lstsq(NamedTuple):
    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


@shown_as("linalg_cholesky_ex")
class CholeskyEx(NamedTuple):
    L: Tensor
    info: Tensor


@shown_as("triangular_solve")
class TriangularSolve(NamedTuple):
    solution: Tensor
    cloned_coefficient: Tensor


def matrices(name: str, A: Tensor) -> Tensor:
    """A, if it is one matrix or a batch of them."""
    if A.ndim < 2:
        fail(ShapeError, f"linalg.{name}: expected matrices (2 or more dimensions), but got shape {list(A.shape)}")
    return A


def square(name: str, A: Tensor) -> Tensor:
    """A, if it is one square matrix or a batch of them."""
    if A.ndim < 2 or A._array.shape[-1] != A._array.shape[-2]:
        fail(ShapeError, f"linalg.{name}: expected square matrices, but got shape {list(A.shape)}")
    return A


def _upper(name: str, UPLO: str) -> bool:
    if UPLO not in ("L", "U", "l", "u"):
        fail(
            PullbackError,
            f"linalg.{name}: UPLO is {UPLO!r}",
            "use 'L' (read the lower triangle) or 'U' (the upper one)",
        )
    return UPLO in "Uu"


# -- inverse and solutions ---------------------------------------------------------------------------------------------


@public(name="inverse")
def inv(A: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The inverse of square matrices."""
    return given(out, ops.inv(square("inv", A)))


def pinv(
    A: Tensor,
    rtol: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rcond: Any = None,
    out: Tensor | None = None,
) -> Tensor:
    """The pseudo-inverse; singular values up to max(atol, rtol * largest) count as zero."""
    rtol = rcond if rtol is None else rtol
    cut = 0.0 if atol is None else float(atol)
    return given(out, ops.pinv(matrices("pinv", A), atol=cut, rtol=None if rtol is None else float(rtol)))


@public()
@autocasts
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse; singular values up to rcond * largest count as zero."""
    return pinv(input, rcond)


def solve(A: Tensor, B: Tensor, *, left: bool = True, out: Tensor | None = None) -> Tensor:
    """The X with A X = B (not left: X A = B), for matrices or a vector B; batches broadcast."""
    square("solve", A)
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    if vector and not left:
        fail(ShapeError, "linalg.solve: with left=False, B must be a matrix, not a vector", "give it a dimension more")
    if vector:
        B = reshape(B, shape=(*B.shape, 1))
    a, b = (A, B) if left else (transpose(A), transpose(B))
    if a.shape[-1] != b.shape[-2]:
        fail(ShapeError, f"linalg.solve: A {list(A.shape)} and B {list(B.shape)} do not fit", "A X = B: B has A's rows")
    x = ops.solve(a, b)
    if vector:
        return given(out, reshape(x, shape=x.shape[:-1]))
    return given(out, x if left else transpose(x))


def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False, out: Tensor | None = None
) -> Tensor:
    """The X with A X = B (not left: X A = B), A triangular; unitriangular: its diagonal counts as 1."""
    square("solve_triangular", A)
    if matrices("solve_triangular", B).shape[-2 if left else -1] != A.shape[-1]:
        fail(ShapeError, f"linalg.solve_triangular: A {list(A.shape)} and B {list(B.shape)} do not fit")
    if left:
        return given(out, ops.solve_triangular(A, B, upper=upper, unitriangular=unitriangular))
    x = ops.solve_triangular(transpose(A), transpose(B), upper=not upper, unitriangular=unitriangular)
    return given(out, transpose(x))


@public()
@autocasts
def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> TriangularSolve:
    """PyTorch's older solve_triangular(A, input), and A."""
    a = A.mT if transpose else A
    return TriangularSolve(solve_triangular(a, input, upper=upper != transpose, unitriangular=unitriangular), A.clone())


@autocasts
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Lstsq:
    """The X that makes |A X - B| least, and of those the shortest; by singular values, whatever the driver."""
    drivers = ("gels", "gelsy", "gelsd", "gelss")
    if driver not in (None, *drivers):
        fail(PullbackError, f"linalg.lstsq: there is no driver {driver!r}", f"use one of {', '.join(drivers)}")
    matrices("lstsq", A)
    vector = B.ndim == A.ndim - 1 and B.shape == A.shape[:-1]
    b = reshape(B, shape=(*B.shape, 1)) if vector else B
    m, n = A.shape[-2:]
    if b.ndim < 2 or b.shape[-2] != m:
        fail(ShapeError, f"linalg.lstsq: A {list(A.shape)} and B {list(B.shape)} do not fit", "B must have A's rows")
    cut = None if rcond is None or rcond < 0 else float(rcond)
    x = matmul(ops.pinv(A, rtol=cut), b)
    nothing = full_like(A.detach(), value=0.0, shape=(0,))
    rank = cast(nothing, dtype=I64) if driver == "gels" else matrix_rank(A, rtol=cut)
    residuals = nothing
    if m > n and (driver == "gels" or (driver in ("gelsd", "gelss") and bool((rank == n).all()))):
        off = sub(matmul(A, x), b)
        residuals = sum_(mul(off, off), dim=(off.ndim - 2,))
    values = ops.svdvals(A.detach()) if driver in ("gelsd", "gelss") else nothing
    return Lstsq(reshape(x, shape=x.shape[:-1]) if vector else x, residuals, rank, values)


# -- determinants ------------------------------------------------------------------------------------------------------


@public()
def det(A: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The determinant."""
    return given(out, ops.det(square("det", A)))


@public()
def slogdet(A: Tensor) -> SlogDet:
    """The sign of the determinant and the logarithm of its size."""
    return SlogDet(*ops.slogdet(square("slogdet", A)))


@public()
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative."""
    sign, size = slogdet(input)
    return size.where(sign >= 0, full_like(size.detach(), value=math.nan))


@autocasts
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """How many singular values are above max(atol, rtol * largest)."""
    atol = tol if atol is None else atol
    s = ops.svdvals(matrices("matrix_rank", A).detach())
    if not s.shape[-1]:
        return cast(sum_(s, dim=(s.ndim - 1,)), dtype=I64)
    if rtol is None:
        rtol = 0.0 if atol is not None else max(A.shape[-2:]) * finfo(A.dtype).eps
    bound = mul(slice_(s, key=(..., slice(0, 1))), _beside(rtol))
    if atol is not None:
        bound = bound.maximum(add(full_like(bound, value=0.0), _beside(atol)))
    return sum_(gt(s, bound), dim=(s.ndim - 1,))


def _beside(tolerance: Any) -> Any:
    """A number, or one for each matrix beside its singular values."""
    return tolerance.unsqueeze(-1) if isinstance(tolerance, Tensor) else float(tolerance)


# -- factorisations ----------------------------------------------------------------------------------------------------


@public()
def cholesky(A: Tensor, upper: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The lower triangular L with L L^T = A; upper: the U with U^T U = A."""
    square("cholesky", A)
    return given(out, transpose(ops.cholesky(transpose(A))) if upper else ops.cholesky(A))


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> CholeskyEx:
    """cholesky without an error: info is the order of the first leading minor that is not positive definite, or 0."""
    square("cholesky_ex", A)
    factor = ops.cholesky(transpose(A) if upper else A, strict=check_errors)
    failed = factor.detach().diagonal(dim1=-2, dim2=-1).isnan()
    first = failed.int().argmax(-1) + 1 if A.shape[-1] else failed.sum(-1)
    return CholeskyEx(transpose(factor) if upper else factor, (first * failed.any(-1)).int())


@public()
@autocasts
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """The X with L L^T X = B (upper: U^T U X = B)."""
    low = transpose(L) if upper else L
    return solve_triangular(transpose(low), solve_triangular(low, B, upper=False), upper=True)


@public()
@autocasts
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of L L^T (upper: of U^T U)."""
    n = square("cholesky_inverse", L).shape[-1]
    return cholesky_solve(undiagonal(full_like(L.detach(), value=1.0, shape=(n,)), shape=(n, n)), L, upper)


def qr(A: Tensor, mode: str = "reduced") -> QR:
    """Q with orthonormal columns and R upper triangular, Q R = A. Modes: 'reduced', 'complete', and 'r' (R alone)."""
    if mode not in ("reduced", "complete", "r"):
        fail(PullbackError, f"linalg.qr: there is no mode {mode!r}", "use 'reduced', 'complete' or 'r'")
    q, r = ops.qr(matrices("qr", A), complete=mode == "complete")
    return QR(full_like(q.detach(), value=0.0, shape=(0,)) if mode == "r" else q, r)


@public(name="qr")
def old_qr(input: Tensor, some: bool = True) -> QR:
    """PyTorch's older linalg.qr."""
    return qr(input, "reduced" if some else "complete")


def eigh(A: Tensor, UPLO: str = "L") -> Eigh:
    """The eigenvalues (ascending) and eigenvectors of symmetric matrices, of which one triangle is read."""
    return Eigh(*ops.eigh(square("eigh", A), upper=_upper("eigh", UPLO)))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues (ascending) of symmetric matrices, of which one triangle is read."""
    return ops.eigvalsh(square("eigvalsh", A), upper=_upper("eigvalsh", UPLO))


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> SVD:
    """U diag(S) Vh = A with orthonormal U and Vh, S descending; not full: only the first min(m, n) columns and rows."""
    return SVD(*ops.svd(matrices("svd", A), full=full_matrices))


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, descending."""
    return ops.svdvals(matrices("svdvals", A))


@public(name="svd")
def old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> OldSVD:
    """PyTorch's older linalg.svd: gives V, not its transpose."""
    if not compute_uv:
        zeros = [full_like(input.detach(), value=0.0, shape=(*input.shape[:-2], n, n)) for n in input.shape[-2:]]
        return OldSVD(zeros[0], svdvals(input), zeros[1])
    u, s, vh = svd(input, full_matrices=not some)
    return OldSVD(u, s, transpose(vh))


# -- functions of matrices ---------------------------------------------------------------------------------------------


@public()
def matrix_exp(A: Tensor) -> Tensor:
    """1 + A + A A / 2! + ..."""
    return ops.matrix_exp(square("matrix_exp", A))


@autocasts
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A read as a matrix of its first `ind` dimensions by the others."""
    rows, columns = A.shape[:ind], A.shape[ind:]
    if ind <= 0 or math.prod(rows) != math.prod(columns):
        fail(ShapeError, f"linalg.tensorinv: {list(A.shape)} is not square when cut after {ind} dimensions")
    return reshape(inv(reshape(A, shape=(math.prod(rows), math.prod(columns)))), shape=(*columns, *rows))


@autocasts
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """The X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    if dims is not None:
        last = many(dims, A.ndim) or ()
        A = permute(A, dims=(*(d for d in range(A.ndim) if d not in last), *last))
    shape = A.shape[B.ndim :]
    if math.prod(shape) != math.prod(B.shape):
        fail(ShapeError, f"linalg.tensorsolve: A {list(A.shape)} is not square against B {list(B.shape)}")
    n = math.prod(shape)
    return reshape(solve(reshape(A, shape=(n, n)), reshape(B, shape=(n,))), shape=tuple(shape))
