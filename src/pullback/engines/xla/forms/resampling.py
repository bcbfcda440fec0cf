"""Interpolation and its adjoint: along each dimension, weighted sums of a few elements each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from ....engines.numpy import resampling as kernels
from . import Array, form

NumPy = np.ndarray[Any, Any]
Sizes = Sequence[int]
Scale = Sequence[float] | None


def across(numbers: NumPy, axis: int, rank: int) -> NumPy:
    """A table whose last dimension stands for an axis, with dimensions of 1 for those after it."""
    return numbers.reshape(*numbers.shape, *[1] * (rank - 1 - axis))


def weighted(x: Array, axis: int, reads: NumPy, weights: NumPy | None, inside: NumPy) -> Array:
    """out[i] = sum over k of weights[k, i] x[reads[k, i]] along an axis, of the terms that are `inside`.

    One k after another: XLA makes one quick loop of it, and a slow one of a sum over k.
    """
    out: Any = None
    for k, positions in enumerate(reads):
        term = jnp.take(x, positions, axis, mode="clip")
        if weights is not None:
            term = term * across(weights[k], axis, x.ndim)
        if not inside[k].all():
            term = jnp.where(across(inside[k], axis, x.ndim), term, 0)
        out = term if out is None else out + term
    return out


@lru_cache(maxsize=256)
def _terms(
    size: int, out: int, scale: float | None, method: kernels.Method, kind: str, transposed: bool
) -> tuple[NumPy, NumPy | None, NumPy]:
    """The kernels' matrix for one dimension, as `weighted` takes it."""
    passes = kernels.passes(size, out, scale, method, kind, transposed)
    shape = max(1, len(passes)), size if transposed else out
    reads, weights, inside = np.zeros(shape, np.int32), np.zeros(shape, kind), np.zeros(shape, np.bool_)
    for k, (rows, columns, values) in enumerate(passes):
        reads[k, rows], weights[k, rows], inside[k, rows] = columns, 1 if values is None else values, True
    return reads, None if passes and passes[0][2] is None else weights, inside


@form("interpolate")
def _interpolate(
    x: Array, size: Sizes, mode: str, scale: Scale = None, align_corners: bool | None = None, antialias: bool = False
) -> Array:
    method = kernels.Method(mode, bool(align_corners), antialias)
    for axis in range(x.ndim - 1, 1, -1):
        own = None if scale is None else scale[axis - 2]
        x = weighted(x, axis, *_terms(x.shape[axis], size[axis - 2], own, method, x.dtype.char, False))
    return x


@form("interpolate_gradient")
def _interpolate_gradient(
    g: Array, size: Sizes, mode: str, scale: Scale = None, align_corners: bool | None = None, antialias: bool = False
) -> Array:
    method = kernels.Method(mode, bool(align_corners), antialias)
    for axis in range(2, g.ndim):
        own = None if scale is None else scale[axis - 2]
        g = weighted(g, axis, *_terms(size[axis - 2], g.shape[axis], own, method, g.dtype.char, True))
    return g
