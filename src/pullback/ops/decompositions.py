"""Inverses, determinants and factorisations of matrices. Leading dimensions are batches.

The sign of a singular vector or eigenvector is free. Here the largest component of each is positive (of left and right
singular vectors: of the left one), so that every engine gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import F32, F64, dtype
from ..errors import DTypeError, GradientError, LinAlgError, fail
from .arithmetic import add, div, mul, neg, sub
from .compare import eq, logical_and, where
from .create import full_like
from .joining import cat
from .matmul import matmul, transpose
from .record import Op, Sample, Shape, Spec, matching, op, same
from .reduction import sum as sum_
from .samples import inf, nan, randn
from .shape import reshape, slice_, tril, triu
from .strided import undiagonal


def full_precision(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """float32 or float64, all of one type: LAPACK has no other."""
    for a in arrays:
        if a.dtype not in (F32, F64):
            name = dtype.by_numpy[a.dtype].name
            fail(DTypeError, f"{op.name}: expected float32 or float64, but got {name}", "convert it first: x.float()")
    return matching(op, arrays)


def cubic(share: float) -> Callable[..., int]:
    """share * m n min(m, n) operations for each m x n matrix of the first input."""

    def count(arrays: Any, params: Any, out: Any) -> int:
        shape: Shape = arrays[0].shape
        return round(share * math.prod(shape) * min(shape[-2:]))

    return count


# -- sample matrices ---------------------------------------------------------------------------------------------------


def regular(*shape: int, seed: int = 0) -> Any:
    """Square matrices that are far from singular."""
    return randn(*shape, seed=seed) + (shape[-1] + 1) * np.eye(shape[-1])


def symmetric(*shape: int, seed: int = 0) -> Any:
    x = randn(*shape, seed=seed)
    return x + np.swapaxes(x, -1, -2)


def definite(*shape: int, seed: int = 0) -> Any:
    """Symmetric and positive definite."""
    x = randn(*shape, seed=seed)
    return x @ np.swapaxes(x, -1, -2) + np.eye(shape[-1])


def matrices(make: Callable[..., Any] = regular, *shapes: Shape, smooth: bool = True, **params: Any) -> list[Sample]:
    """One, a batch, other shapes, strided, 1 x 1, no matrices, single precision."""
    return [
        Sample((make(3, 3),), params, smooth),
        Sample((make(2, 4, 4),), params, smooth, "batched"),
        *[Sample((make(*shape),), params, smooth, "x".join(map(str, shape))) for shape in shapes],
        Sample((make(6, 6)[::-2, ::-2].T,), params, smooth, "strided"),
        Sample((make(1, 1),), params, smooth, "of one element"),
        Sample((make(0, 3, 3),), params, smooth, "no matrices"),
        Sample((make(3, 3, seed=1).astype(F32),), params, smooth, "float32"),
    ]


# -- inverse and solutions ---------------------------------------------------------------------------------------------


def _which(failed: Any) -> str:
    """Names the first failed matrix of a batch."""
    return f"batch element {int(np.flatnonzero(failed)[0])}: " if failed.ndim else ""


def _without_singular(name: str, x: Any) -> tuple[Any, Any]:
    """Which matrices have no inverse, and the batch with the identity in their places; `name` makes it an error."""
    finite = np.isfinite(x).all((-2, -1))
    bad = ~finite | (np.linalg.slogdet(x)[0] == 0)
    if name and np.any(singular := np.asarray(bad & finite)):
        fail(
            LinAlgError,
            f"linalg.{name}: {_which(singular)}the matrix is singular",
            "use linalg.pinv or linalg.lstsq, or add a small multiple of the identity",
        )
    bad = bad[..., None, None]
    return bad, np.where(bad, np.eye(x.shape[-1], dtype=x.dtype), x)


def _inv(x: Any, strict: bool = True) -> Any:
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        bad, others = _without_singular("inv" if strict else "", x)
        return np.where(bad, x.dtype.type(nan), np.linalg.inv(others))


inv: Op = op(
    "inv", "x^-1; where there is none an error, or (not strict) NaN", inputs="x", torch="torch.linalg.inv(x)",
    numpy=_inv, infer=same, dtypes=full_precision, flops=cubic(2),
    # d(X^-1) = -X^-1 dX X^-1
    vjp={"x": lambda g, out: neg(matmul(transpose(out), matmul(g, transpose(out))))},
    samples=lambda: matrices(),
)  # fmt: skip


def _product_shape(a: Any, b: Any) -> Spec:
    return Spec((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-1], b.shape[-1]), b.dtype)


def _solve(a: Any, b: Any) -> Any:
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        bad, others = _without_singular("solve", a)
        return np.where(bad, b.dtype.type(nan), np.linalg.solve(others, b))


def _pull_solve(g: Any, a: Any, out: Any, needed: tuple[bool, bool]) -> tuple[Any, Any]:
    """A X = B:  dB = A^-T G,  dA = -dB X^T"""
    db = solve(transpose(a), g)
    return (neg(matmul(db, transpose(out))) if needed[0] else None), db


def _systems(make: Callable[..., Any], **params: Any) -> list[Sample]:
    return [
        Sample((make(3, 3), randn(3, 2)), params),
        Sample((make(2, 4, 4), randn(2, 4, 1)), params, note="batched"),
        Sample((make(3, 3), randn(2, 3, 2)), params, note="one a for all batches"),
        Sample((make(2, 1, 3, 3), randn(3, 3, 2)), params, note="batches broadcast"),
        Sample((make(6, 6)[::-2, ::-2].T, randn(2, 3).T), params, note="strided"),
        Sample((make(3, 3), randn(3, 0)), params, note="empty"),
        Sample((make(3, 3).astype(F32), randn(3, 2).astype(F32)), params, note="float32"),
    ]


solve: Op = op(
    "solve", "a^-1 b", inputs="a b", torch="torch.linalg.solve(a, b)", broadcasts=True,
    numpy=_solve, infer=_product_shape, dtypes=full_precision, ordered=True, flops=cubic(2 / 3),
    vjp_all=_pull_solve,
    samples=lambda: _systems(regular),
)  # fmt: skip


def _substitute(a: Any, b: Any, upper: bool, unitriangular: bool) -> Any:
    """By halves: the part that stands alone first, and what it contributes off the right side of the other."""
    n = a.shape[-1]
    if n < 2:
        return np.divide(b, 1 if unitriangular else a) + np.zeros(_product_shape(a, b).shape, b.dtype)
    first, other = (slice(n // 2, n), slice(n // 2)) if upper else (slice(n // 2), slice(n // 2, n))
    x = _substitute(a[..., first, first], b[..., first, :], upper, unitriangular)
    y = _substitute(a[..., other, other], b[..., other, :] - a[..., other, first] @ x, upper, unitriangular)
    return np.concatenate([y, x] if upper else [x, y], -2)


def _solve_triangular(a: Any, b: Any, upper: bool, unitriangular: bool = False) -> Any:
    return _substitute(a, b, upper, unitriangular)


def _pull_solve_triangular(
    g: Any, a: Any, out: Any, needed: tuple[bool, bool], upper: bool, unitriangular: bool
) -> tuple[Any, Any]:
    """As solve, and only the triangle that is read gets a cotangent."""
    db = solve_triangular(transpose(a), g, upper=not upper, unitriangular=unitriangular)
    if not needed[0]:
        return None, db
    part, off = (triu, 1) if upper else (tril, -1)
    return part(neg(matmul(db, transpose(out))), diagonal=off if unitriangular else 0), db


solve_triangular: Op = op(
    "solve_triangular", "a^-1 b, of a only the upper (lower) triangle", inputs="a b", broadcasts=True,
    torch="torch.linalg.solve_triangular(a, b, upper=upper, unitriangular=unitriangular)",
    numpy=_solve_triangular, infer=lambda a, b, upper, unitriangular=False: _product_shape(a, b), dtypes=full_precision,
    ordered=True,
    flops=lambda arrays, params, out: arrays[0].shape[-1] * math.prod(out.shape),
    vjp_all=_pull_solve_triangular,
    samples=lambda: [
        *_systems(regular, upper=True), *_systems(regular, upper=False)[:5],
        Sample((regular(3, 3), randn(3, 2)), {"upper": True, "unitriangular": True}),
        Sample((regular(5, 5), randn(5, 2)), {"upper": False, "unitriangular": True}),
    ],
)  # fmt: skip

# -- determinants ------------------------------------------------------------------------------------------------------


def _beside_matrices(g: Any) -> Any:
    """One number for each matrix, beside its elements."""
    return reshape(g, shape=(*g.shape, 1, 1))


def _one_each(x: Any) -> Spec:
    return Spec(x.shape[:-2], x.dtype)


det: Op = op(
    "det", "determinant of x", inputs="x", torch="torch.linalg.det(x)",
    numpy=np.linalg.det, infer=_one_each, dtypes=full_precision, flops=cubic(2 / 3),
    # d det X = <cofactors of X, dX>
    vjp={"x": lambda g, x: mul(_beside_matrices(g), cofactor(x))},
    samples=lambda: matrices(),
)  # fmt: skip


def _cofactor(x: Any) -> Any:
    try:  # det(X) X^-T
        return np.linalg.det(x)[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2)
    except np.linalg.LinAlgError:  # with X = U S V^T:  det(U V^T) U (for each s, the product of the others) V^T
        u, s, vt = np.linalg.svd(x)
        ones = np.ones((*s.shape[:-1], 1), s.dtype)
        before = np.cumprod(np.concatenate([ones, s[..., :-1]], -1), -1)
        after = np.cumprod(np.concatenate([ones, s[..., :0:-1]], -1), -1)[..., ::-1]
        sign = np.linalg.det(u) * np.linalg.det(vt)
        return sign[..., None, None] * ((u * (before * after)[..., None, :]) @ vt)


def _pull_cofactor(g: Any, x: Any, out: Any) -> Any:
    """C = det(X) X^-T:  dX = (<G, C> C - C G^T C) / det X"""
    inner = _beside_matrices(sum_(mul(g, out), dim=(len(x.shape) - 2, len(x.shape) - 1)))
    turned = matmul(out, matmul(transpose(g), out))
    return div(sub(mul(inner, out), turned), _beside_matrices(det(x)))


cofactor: Op = op(
    "cofactor", "out[i, j] = d det(x) / d x[i, j]", inputs="x",
    torch="torch.linalg.det(x)[..., None, None] * torch.linalg.inv(x).mT",
    numpy=_cofactor, infer=same, dtypes=full_precision, flops=cubic(8 / 3),
    vjp={"x": _pull_cofactor},
    samples=lambda: matrices(),
)  # fmt: skip


def _slogdet(x: Any) -> tuple[Any, Any]:
    sign, log = np.linalg.slogdet(x)
    return sign, log


slogdet = op(
    "slogdet", "the determinant's sign, and the log of its size", inputs="x",
    torch="torch.linalg.slogdet(x)",
    numpy=_slogdet, infer=lambda x: (_one_each(x), _one_each(x)), dtypes=full_precision, flops=cubic(2 / 3),
    # d log |det X| = <X^-T, dX>; the sign only jumps
    vjp_all=lambda g, x: (mul(_beside_matrices(g[1]), transpose(inv(x, strict=False))),),
    samples=lambda: matrices(),
)  # fmt: skip

# -- factorisations ----------------------------------------------------------------------------------------------------


def _leading_minor(x: Any) -> int:
    """The order of the first leading minor that is not positive definite."""
    for k in range(1, len(x) + 1):
        try:
            np.linalg.cholesky(x[:k, :k])
        except np.linalg.LinAlgError:
            return k
    return 0


def _cholesky(x: Any, strict: bool = True) -> Any:
    try:
        return np.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        orders = np.array([_leading_minor(m) for m in x.reshape(-1, *x.shape[-2:])]).reshape(x.shape[:-2])
    if strict:
        fail(
            LinAlgError,
            f"linalg.cholesky: {_which(orders > 0)}the matrix is not positive definite "
            f"(its leading minor of order {orders[orders > 0].ravel()[0]} is not)",
            "check that it is symmetric, or add a small multiple of the identity",
        )
    out = np.full_like(x, nan)  # what could be factored, and NaN from there on
    for index, k in np.ndenumerate(orders):
        end = k - 1 if k else x.shape[-1]
        out[index] = np.tril(out[index])
        out[index][:end, :end] = np.linalg.cholesky(x[index][:end, :end])
    return out


def _pull_cholesky(g: Any, out: Any) -> Any:
    """X = L L^T:  dX = L^-T phi(L^T G) L^-1, phi the lower triangle with half the diagonal; made symmetric"""
    up, inner = transpose(out), matmul(transpose(out), g)
    phi = mul(add(tril(inner, diagonal=0), tril(inner, diagonal=-1)), 0.5)
    left = solve_triangular(up, phi, upper=True)
    dx = solve_triangular(up, transpose(left), upper=True)
    return mul(add(dx, transpose(dx)), 0.5)


cholesky = op(
    "cholesky", "the lower triangular L with L L^T = x; where there is none an error, or (not strict) NaN", inputs="x",
    torch="torch.linalg.cholesky(x)",
    numpy=_cholesky, infer=same, dtypes=full_precision, flops=cubic(1 / 3),
    vjp={"x": _pull_cholesky},
    samples=lambda: matrices(definite, smooth=False),  # only the lower triangle is read
)  # fmt: skip


def _qr_spec(x: Any, complete: bool = False) -> tuple[Spec, Spec]:
    *batch, m, n = x.shape
    k = m if complete else min(m, n)
    return Spec((*batch, m, k), x.dtype), Spec((*batch, k, n), x.dtype)


def _qr(x: Any, complete: bool = False) -> tuple[Any, Any]:
    q, r = np.linalg.qr(x, "complete" if complete else "reduced")
    return q, r


def _pull_qr(g: tuple[Any, Any], x_shape: Shape, out0: Any, out1: Any) -> tuple[Any]:
    (gq, gr), q, r, (m, n) = g, out0, out1, x_shape[-2:]
    if m < n:  # X = [Y Z] = Q [R S] with Y square: S = Q^T Z
        y, z = (..., slice(0, m)), (..., slice(m, n))
        gs = slice_(gr, key=z)
        gq = add(gq, matmul(matmul(q, slice_(r, key=z)), transpose(gs)))  # of S, with Z = Q S
        gz = matmul(q, gs)
        return (cat(_pull_square_qr(gq, slice_(gr, key=y), q, slice_(r, key=y)), gz, dim=len(x_shape) - 1),)
    if q.shape[-1] > n:
        fail(GradientError, "qr: mode='complete' has no gradient for more rows than columns", "use mode='reduced'")
    return (_pull_square_qr(gq, gr, q, r),)


def _pull_square_qr(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    """dX = (GQ + Q sym(M)) R^-T, M = R GR^T - GQ^T Q, sym the lower triangle and its mirror image"""
    inner = sub(matmul(r, transpose(gr)), matmul(transpose(gq), q))
    mirrored = add(tril(inner, diagonal=0), transpose(tril(inner, diagonal=-1)))
    return transpose(solve_triangular(r, transpose(add(gq, matmul(q, mirrored))), upper=True))


qr = op(
    "qr", "Q with orthonormal columns and R upper triangular, Q R = x", inputs="x",
    torch="torch.linalg.qr(x, 'complete' if complete else 'reduced')",
    numpy=_qr, infer=_qr_spec, dtypes=full_precision, flops=cubic(4),
    vjp_all=_pull_qr,
    samples=lambda: [
        *matrices(regular), Sample((randn(5, 3),), note="tall"), Sample((randn(2, 3, 5),), note="wide"),
        Sample((regular(3, 3),), {"complete": True}),
    ],
)  # fmt: skip


def _signs(v: Any) -> Any:
    """-1 for each column whose largest component is negative, else 1."""
    largest = np.take_along_axis(v, np.abs(v).argmax(-2, keepdims=True), -2)
    return np.where(largest < 0, -1, 1).astype(v.dtype)


def _skew(x: Any) -> Any:
    return sub(x, transpose(x))


def _shares(numerator: Any, gaps: Any) -> Any:
    """numerator / gaps, and 0/0 = 0: where nobody asks for the vectors, values may coincide."""
    return div(numerator, where(logical_and(eq(numerator, 0.0), eq(gaps, 0.0)), 1.0, gaps))


def _gaps(w: Any) -> Any:
    """out[i, j] = w_j - w_i, and inf on the diagonal."""
    n = w.shape[-1]
    row, column = reshape(w, shape=(*w.shape[:-1], 1, n)), reshape(w, shape=(*w.shape, 1))
    return add(sub(row, column), undiagonal(full_like(w, value=inf, shape=(n,)), shape=(n, n)))


def _scaled(v: Any, w: Any) -> Any:
    """V diag(w)"""
    return mul(v, reshape(w, shape=(*w.shape[:-1], 1, w.shape[-1])))


def _as_diagonal(w: Any) -> Any:
    n, rank = w.shape[-1], len(w.shape)
    return undiagonal(w, shape=(*w.shape, n), dim1=rank - 1, dim2=rank)


def _failed(name: str, x: Any) -> None:
    finite = np.isfinite(x).all()
    why = "the algorithm did not converge" if finite else "the matrix contains NaN or infinity"
    fail(LinAlgError, f"linalg.{name}: {why}", "" if finite else "find where it comes from: x.isfinite()")


def _eigh(x: Any, upper: bool = False) -> tuple[Any, Any]:
    if not np.isfinite(x).all():
        _failed("eigh", x)
    w, v = np.linalg.eigh(x, "U" if upper else "L")
    return w, v * _signs(v) if v.size else v


def _pull_eigh(g: tuple[Any, Any], out0: Any, out1: Any) -> tuple[Any]:
    """dX = V (diag(gw) + skew(V^T GV) / (2 gaps)) V^T, with skew(A) = A - A^T and gaps_ij = w_j - w_i"""
    w, v = out0, out1
    turned = _shares(mul(_skew(matmul(transpose(v), g[1])), 0.5), _gaps(w))
    return (matmul(matmul(v, add(_as_diagonal(g[0]), turned)), transpose(v)),)


_SIGNED = "lambda a: a.gather(-2, a.abs().argmax(-2, keepdim=True)).sign().detach()"

eigh = op(
    "eigh", "ascending w and orthogonal V, V diag(w) V^T = x; of x only the lower (upper) triangle",
    inputs="x",
    torch=f"(lambda w, v, sign: (w, v * sign(v)))(*torch.linalg.eigh(x, 'U' if upper else 'L'), {_SIGNED})",
    numpy=_eigh, infer=lambda x, upper=False: (Spec(x.shape[:-1], x.dtype), Spec(x.shape, x.dtype)),
    dtypes=full_precision, flops=cubic(9),
    vjp_all=_pull_eigh,
    samples=lambda: [*matrices(symmetric, smooth=False), Sample((symmetric(3, 3),), {"upper": True}, smooth=False)],
)  # fmt: skip


def _eigvalsh(x: Any, upper: bool = False) -> Any:
    if not np.isfinite(x).all():
        _failed("eigvalsh", x)
    return np.linalg.eigvalsh(x, "U" if upper else "L")


def _pull_eigvalsh(g: Any, x: Any, upper: bool) -> Any:
    """dX = V diag(g) V^T"""
    v = eigh(x, upper=upper)[1]
    return matmul(_scaled(v, g), transpose(v))


eigvalsh = op(
    "eigvalsh", "the eigenvalues of symmetric x, ascending", inputs="x",
    torch="torch.linalg.eigvalsh(x, 'U' if upper else 'L')",
    numpy=_eigvalsh, infer=lambda x, upper=False: Spec(x.shape[:-1], x.dtype), dtypes=full_precision,
    flops=cubic(4 / 3),
    vjp={"x": _pull_eigvalsh},
    samples=lambda: [*matrices(symmetric, smooth=False), Sample((symmetric(3, 3),), {"upper": True}, smooth=False)],
)  # fmt: skip


def _svd_spec(x: Any, full: bool = False) -> tuple[Spec, Spec, Spec]:
    *batch, m, n = x.shape
    k = min(m, n)
    shapes = (*batch, m, m if full else k), (*batch, k), (*batch, n if full else k, n)
    return tuple(Spec(shape, x.dtype) for shape in shapes)  # type: ignore[return-value]


def _svd(x: Any, full: bool = False) -> tuple[Any, Any, Any]:
    try:
        u, s, vt = np.linalg.svd(x, full)
    except np.linalg.LinAlgError:
        _failed("svd", x)
    if not x.size:
        return u, s, vt
    k, left, right = s.shape[-1], _signs(u), _signs(np.swapaxes(vt, -1, -2))
    right[..., :k] = left[..., :k]
    return u * left, s, vt * np.swapaxes(right, -1, -2)


def _pull_svd(g: tuple[Any, Any, Any], x_shape: Shape, out0: Any, out1: Any, out2: Any) -> tuple[Any]:
    """With skew(A) = A - A^T, gaps_ij = s_j^2 - s_i^2, and of full matrices the first columns alone:

    dX = U (skew(U^T GU) / gaps S + S skew(V^T GV) / gaps + diag(gs)) V^T
         + (1 - U U^T) GU S^-1 V^T + U S^-1 GV^T (1 - V V^T)
    """
    s, (m, n) = out1, x_shape[-2:]
    k = s.shape[-1]
    u, gu = (slice_(a, key=(..., slice(0, k))) for a in (out0, g[0]))
    v, gv = (transpose(slice_(a, key=(..., slice(0, k), slice(None)))) for a in (out2, g[2]))
    gaps, column = _gaps(mul(s, s)), reshape(s, shape=(*s.shape, 1))
    inner_u, inner_v = matmul(transpose(u), gu), matmul(transpose(v), gv)
    middle = add(
        add(_scaled(_shares(_skew(inner_u), gaps), s), mul(column, _shares(_skew(inner_v), gaps))), _as_diagonal(g[1])
    )
    dx = matmul(matmul(u, middle), transpose(v))
    row = transpose(column)
    if m > k:
        outside = _shares(sub(gu, matmul(u, inner_u)), row)
        dx = add(dx, matmul(outside, transpose(v)))
    if n > k:
        outside = _shares(sub(gv, matmul(v, inner_v)), row)
        dx = add(dx, matmul(u, transpose(outside)))
    return (dx,)


svd = op(
    "svd", "orthonormal U and V, descending s >= 0, U diag(s) V^T = x; gives U, s, V^T", inputs="x",
    torch="(lambda u, s, vh, sign: (lambda f, h: "
    "(u * f, s, vh * torch.cat([f[..., :s.shape[-1]], h[..., s.shape[-1]:]], -1).mT))"
    f"(sign(u), sign(vh.mT)))(*torch.linalg.svd(x, full_matrices=full), {_SIGNED})",
    numpy=_svd, infer=_svd_spec, dtypes=full_precision, flops=cubic(20),
    vjp_all=_pull_svd,
    samples=lambda: [
        *matrices(randn, (4, 2), (2, 3, 4)),
        Sample((randn(4, 3),), {"full": True}, smooth=False, note="full, tall"),
        Sample((randn(3, 4),), {"full": True}, smooth=False, note="full, wide"),
    ],
)  # fmt: skip


def _svdvals(x: Any) -> Any:
    try:
        return np.linalg.svd(x, compute_uv=False)
    except np.linalg.LinAlgError:
        _failed("svdvals", x)


def _pull_svdvals(g: Any, x: Any) -> Any:
    """dX = U diag(g) V^T"""
    u, _, vt = svd(x)
    return matmul(_scaled(u, g), vt)


svdvals = op(
    "svdvals", "the singular values of x, descending", inputs="x", torch="torch.linalg.svdvals(x)",
    numpy=_svdvals, infer=lambda x: _svd_spec(x)[1], dtypes=full_precision, flops=cubic(4),
    vjp={"x": _pull_svdvals},
    samples=lambda: matrices(randn, (4, 2), (2, 3, 4)),
)  # fmt: skip

# -- functions of matrices ---------------------------------------------------------------------------------------------


def _pinv(x: Any, atol: float = 0.0, rtol: float | None = None) -> Any:
    if not x.size:
        return np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    u, s, vt = _svd(x)
    rtol = (max(x.shape[-2:]) * float(np.finfo(x.dtype).eps) if atol == 0 else 0.0) if rtol is None else rtol
    kept = s > np.maximum(atol, rtol * s[..., :1])
    inverse = np.where(kept, 1 / np.where(kept, s, 1), 0).astype(x.dtype)
    return np.swapaxes(vt, -1, -2) @ (inverse[..., None] * np.swapaxes(u, -1, -2))


def _pull_pinv(g: Any, x: Any, out: Any) -> Any:
    """dX = (1 - X P) G^T P P^T + P^T P G^T (1 - P X) - P^T G P^T   (Golub and Pereyra)"""
    p, pt, gt = out, transpose(out), transpose(g)
    left = matmul(matmul(gt, p), pt)
    right = matmul(matmul(pt, p), gt)
    dx = add(sub(left, matmul(x, matmul(p, left))), sub(right, matmul(matmul(right, p), x)))
    return sub(dx, matmul(matmul(pt, g), pt))


pinv = op(
    "pinv", "V diag(1/s) U^T for x = U diag(s) V^T, of the s > max(atol, rtol max(s)); 0 for the others", inputs="x",
    torch="torch.linalg.pinv(x, atol=atol, rtol=rtol)",
    numpy=_pinv, infer=lambda x, atol=0.0, rtol=None: Spec((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype),
    dtypes=full_precision, flops=cubic(22),
    vjp={"x": _pull_pinv},
    samples=lambda: [
        *matrices(),
        Sample((randn(5, 2),), note="tall"),
        Sample((randn(2, 2, 5),), note="wide"),
        Sample((np.outer([1.0, 2.0], [1.0, 3.0]),), {"rtol": 1e-6}, smooth=False, note="of rank 1"),
        Sample((randn(3, 0),), note="empty"),
    ],
)  # fmt: skip


def _matrix_exp(x: Any) -> Any:
    """exp(X) = exp(X / 2^k)^(2^k), by Taylor's series where |X / 2^k| <= 1/2; in float64."""
    if not x.size:
        return x.copy()
    y, n = x.astype(F64), x.shape[-1]
    size = np.abs(y).sum(-2).max(-1)[..., None, None]
    k = np.where(np.isfinite(size), np.maximum(np.ceil(np.log2(2 * np.maximum(size, 0.5))), 0), 0)
    y = y / np.exp2(k)
    out = np.eye(n)
    for i in range(16, 0, -1):  # 1 + y/1 (1 + y/2 (1 + ...))
        out = np.eye(n) + y @ out / i
    for i in range(int(k.max())):
        out = np.where(i < k, out @ out, out)
    return out.astype(x.dtype)


def _pull_matrix_exp(g: Any, x: Any) -> Any:
    """The upper right block of exp([[X^T, G], [0, X^T]])"""
    xt, n, rank = transpose(x), x.shape[-1], len(x.shape)
    above = cat(xt, g, dim=rank - 1)
    below = cat(full_like(x, value=0.0), xt, dim=rank - 1)
    return slice_(matrix_exp(cat(above, below, dim=rank - 2)), key=(..., slice(0, n), slice(n, 2 * n)))


matrix_exp: Op = op(
    "matrix_exp", "1 + x + x x / 2! + x x x / 3! + ...", inputs="x", torch="torch.linalg.matrix_exp(x)",
    numpy=_matrix_exp, infer=same, dtypes=full_precision, flops=cubic(40),
    vjp={"x": _pull_matrix_exp},
    samples=lambda: [
        *matrices(randn), Sample((20 * randn(3, 3, seed=4),), smooth=False, note="large"),
        Sample((np.zeros((2, 2)),), note="zero"),
    ],
)  # fmt: skip
