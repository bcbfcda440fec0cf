"""Normalisation of rows (layer and RMS norm) and of channels (batch, group and instance norm), with their adjoints.

With m and r = 1 / sqrt(variance + eps) the statistics of the elements that are normalised together, n of them,

    h = (x - m) r        y = w h + b        dx = r (w g - mean(w g) - h mean(w g h))

where the means are over those n. Sums of rows and columns are products with ones: BLAS does them fastest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def row_sums(x: Any) -> Array:
    """Sums over the last dimension."""
    sums: Array = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ np.ones(x.shape[-1], x.dtype)
    return sums.reshape(x.shape[:-1])


def column_sums(x: Any) -> Array:
    """Sums over the first of two dimensions."""
    sums: Array = np.ones(len(x), x.dtype) @ x
    return sums


def row_products(x: Any, y: Any) -> Array:
    """Sums of products over the last dimension."""
    products: Array = np.vecdot(x, y) if x.shape[-1] >= 128 else np.einsum("...i,...i->...", x, y)
    return products


# -- rows ------------------------------------------------------------------------------------------------------------


def standardise(x: Any, eps: float, centred: bool) -> tuple[Array, Array]:
    """(h, r) for rows; m is 0 unless `centred`."""
    n = x.shape[1]
    if not centred:
        r = _reciprocal_deviation(row_products(x, x) / n, eps)[:, None]
        return x * r, r
    h = x - (row_sums(x) / n)[:, None]
    r = _reciprocal_deviation(row_products(h, h) / n, eps)[:, None]
    h *= r
    return h, r


def rows(x: Any, weight: Any, bias: Any, eps: float, centred: bool) -> Array:
    """Each row normalised; weight and bias are as long as a row, or None."""
    y, _ = standardise(x, eps, centred)
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return y


def rows_gradient(g: Any, x: Any, weight: Any, eps: float, centred: bool) -> tuple[Array, Array, Array]:
    """dx, dw, db"""
    h, r = standardise(x, eps, centred)
    gh = g * h
    dw, db = column_sums(gh), column_sums(g)
    if weight is None:
        weight = np.ones(x.shape[1], x.dtype)
        dx = g.copy()
    else:
        dx = g * weight
    h *= (gh @ weight / x.shape[1])[:, None]
    dx -= h
    if centred:
        dx -= (g @ weight / x.shape[1])[:, None]
    dx *= r
    return dx, dw, db


# -- channels: x is (N, C, S), and what is normalised together is a pool of its N * C planes --------------------------


def pooled(v: Any, groups: int) -> Array:
    """Sums of (N, C) over pools: all samples of a channel (groups = 0), or a group of channels of each sample."""
    if groups == 0:
        return np.add.reduce(v, axis=0, keepdims=True)
    by_group = np.add.reduce(v.reshape(len(v), groups, v.shape[1] // groups), axis=2)
    return np.repeat(by_group, v.shape[1] // groups, axis=1)


def pool_size(x: Any, groups: int) -> int:
    """How many elements are normalised together."""
    n, c, s = x.shape
    return int(n * s if groups == 0 else c // groups * s)


def standardise_channels(x: Any, eps: float, groups: int) -> tuple[Array, Array, Array, Array]:
    """(x - m, m, variance, r); the last three have a number for each channel, or for each sample's."""
    n = pool_size(x, groups)
    mean = pooled(row_sums(x), groups) / n
    centred = x - mean[:, :, None]
    variance = pooled(row_products(centred, centred), groups) / n
    return centred, mean, variance, _reciprocal_deviation(variance, eps)


def channels(x: Any, weight: Any, bias: Any, eps: float, groups: int) -> tuple[Array, Array, Array]:
    """y, mean, variance; weight and bias are for channels, or None."""
    y, mean, variance, r = standardise_channels(x, eps, groups)
    y *= (r if weight is None else r * weight)[:, :, None]
    if bias is not None:
        y += bias[:, None]
    return y, mean, variance


def channels_gradient(
    g: Any, g_mean: Any, g_variance: Any, x: Any, weight: Any, eps: float, groups: int
) -> tuple[Array, Array, Array]:
    """dx, dw, db, where g_mean and g_variance (None: zero) are cotangents of the statistics."""
    n = pool_size(x, groups)
    h, _, _, r = standardise_channels(x, eps, groups)  # h lacks the factor r, which goes into the coefficients
    sums, products = row_sums(g), row_products(g, h) * r
    dw, db = np.add.reduce(products, axis=0), np.add.reduce(sums, axis=0)
    w = r if weight is None else r * weight
    level, slope = -pooled(sums * w, groups) / n, -pooled(products * w, groups) * r / n
    if g_mean is not None:
        level += g_mean / n
    if g_variance is not None:
        slope += g_variance * 2 / n
    h *= slope[:, :, None]
    dx = g * w[:, :, None]
    dx += h
    dx += level[:, :, None]
    return dx, dw, db


def _reciprocal_deviation(variance: Any, eps: float) -> Array:
    deviation = np.sqrt(variance + np.asarray(eps, variance.dtype))
    reciprocal: Array = np.reciprocal(deviation, out=deviation)
    return reciprocal
