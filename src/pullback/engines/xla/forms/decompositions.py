"""Inverses, determinants and factorisations, by jax.numpy.linalg. What is an error in NumPy is NaN here: a program that
is already compiled cannot raise one."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....dtypes import F64
from . import Array, form
from .matmul import product


def _turned(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)


def _beside_matrices(x: Array) -> Array:
    return x[..., None, None]


# -- inverse and solutions ---------------------------------------------------------------------------------------------


def _not_finite(x: Array) -> Array:
    return ~jnp.isfinite(x).all((-2, -1))


@form("inv")
def _inv(x: Array, strict: bool = True) -> Array:
    out = jnp.linalg.inv(x)
    return jnp.where(_beside_matrices(_not_finite(out)), jnp.asarray(jnp.nan, x.dtype), out)


@form("solve")
def _solve(a: Array, b: Array) -> Array:
    return jnp.linalg.solve(*_batches(a, b))


def _batches(a: Array, b: Array) -> tuple[Array, Array]:
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return jnp.broadcast_to(a, (*batch, *a.shape[-2:])), jnp.broadcast_to(b, (*batch, *b.shape[-2:]))


@form("solve_triangular")
def _solve_triangular(a: Array, b: Array, upper: bool, unitriangular: bool = False) -> Array:
    return lax.linalg.triangular_solve(*_batches(a, b), left_side=True, lower=not upper, unit_diagonal=unitriangular)


# -- determinants ------------------------------------------------------------------------------------------------------


form("det")(jnp.linalg.det)


@form("slogdet")
def _slogdet(x: Array) -> tuple[Array, Array]:
    sign, log = jnp.linalg.slogdet(x)
    return sign, log


@form("cofactor")
def _cofactor(x: Array) -> Array:
    """det(X) X^-T; where there is no inverse, from X = U S V^T, det(U V^T) U (for each s, the others' product) V^T"""
    direct = _beside_matrices(jnp.linalg.det(x)) * _turned(jnp.linalg.inv(x))
    singular = _not_finite(direct)

    def by_svd() -> Array:
        u, s, vt = jnp.linalg.svd(x)
        one = jnp.ones((*s.shape[:-1], 1), s.dtype)
        before = jnp.cumprod(jnp.concatenate([one, s[..., :-1]], -1), -1)
        after = jnp.cumprod(jnp.concatenate([one, s[..., :0:-1]], -1), -1)[..., ::-1]
        sign = _beside_matrices(jnp.linalg.det(u) * jnp.linalg.det(vt))
        return jnp.where(_beside_matrices(singular), sign * product(u * (before * after)[..., None, :], vt), direct)

    return lax.cond(singular.any(), by_svd, lambda: direct)


# -- factorisations ----------------------------------------------------------------------------------------------------


@form("cholesky")
def _cholesky(x: Array, strict: bool = True) -> Array:
    return jnp.linalg.cholesky(x, symmetrize_input=False)


@form("qr")
def _qr(x: Array, complete: bool = False) -> tuple[Array, Array]:
    q, r = jnp.linalg.qr(x, "complete" if complete else "reduced")
    return q, r


def _signs(v: Array) -> Array:
    """-1 for each column whose largest component is negative, else 1."""
    largest = jnp.take_along_axis(v, jnp.abs(v).argmax(-2, keepdims=True), -2, mode="clip")
    return jnp.where(largest < 0, -1, 1).astype(v.dtype)


@form("eigh")
def _eigh(x: Array, upper: bool = False) -> tuple[Array, Array]:
    w, v = jnp.linalg.eigh(x, "U" if upper else "L", symmetrize_input=False)
    return w, v * _signs(v) if v.size else v


@form("eigvalsh")
def _eigvalsh(x: Array, upper: bool = False) -> Array:
    return jnp.linalg.eigvalsh(x, "U" if upper else "L", symmetrize_input=False)


@form("svd")
def _svd(x: Array, full: bool = False) -> tuple[Array, Array, Array]:
    u, s, vt = jnp.linalg.svd(x, full)
    if not x.size:
        return u, s, vt
    k, left, right = s.shape[-1], _signs(u), _signs(_turned(vt))
    right = jnp.concatenate([left[..., :k], right[..., k:]], -1)
    return u * left, s, vt * _turned(right)


@form("svdvals")
def _svdvals(x: Array) -> Array:
    return jnp.linalg.svd(x, compute_uv=False)


# -- functions of matrices ---------------------------------------------------------------------------------------------


@form("pinv")
def _pinv(x: Array, atol: float = 0.0, rtol: float | None = None) -> Array:
    if not x.size:
        return jnp.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    u, s, vt = jnp.linalg.svd(x, False)
    rtol = (max(x.shape[-2:]) * float(jnp.finfo(x.dtype).eps) if atol == 0 else 0.0) if rtol is None else rtol
    kept = s > jnp.maximum(atol, rtol * s[..., :1])
    inverse = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0)
    return product(_turned(vt), inverse[..., None] * _turned(u))


@form("matrix_exp")
def _matrix_exp(x: Array) -> Any:
    """exp(X) = exp(X / 2^k)^(2^k), by Taylor's series where |X / 2^k| <= 1/2; in float64."""
    if not x.size:
        return x
    y, one = x.astype(F64), jnp.eye(x.shape[-1], dtype=F64)
    size = _beside_matrices(jnp.abs(y).sum(-2).max(-1))
    k = jnp.where(jnp.isfinite(size), jnp.maximum(jnp.ceil(jnp.log2(2 * jnp.maximum(size, 0.5))), 0), 0)
    y = y / jnp.exp2(k)
    out = jnp.broadcast_to(one, y.shape)
    for i in range(16, 0, -1):  # 1 + y/1 (1 + y/2 (1 + ...))
        out = one + product(y, out) / i
    squared = lax.fori_loop(0, k.max().astype(np.int32), lambda i, e: jnp.where(i < k, product(e, e), e), out)
    return squared.astype(x.dtype)
