"""Scaled dot-product attention and its adjoint, a block of scores at a time: the whole score matrix never exists.

With p = softmax(scale q k^T + mask) over the keys:

    y = p v      dv = p^T dy      ds = p (dp - sum of dp p), dp = dy v^T      dq = scale ds k      dk = scale ds^T q

q is (B, G, L, E), k is (B, S, E), v is (B, S, F): G heads of queries share one head of keys and values. A row without
any key to look at gives zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .normalization import row_products, row_sums

Array = np.ndarray[Any, Any]

BLOCK_BYTES = 1 << 19  # of scores: they are read and written a few times, in cache
FEWEST_ROWS = 16


def forward(q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float) -> Array:
    """y"""
    y = np.empty((*q.shape[:3], v.shape[2]), q.dtype)
    for heads, rows, keys in _blocks(q, k, causal):
        p, total = _weights(q, k, mask, causal, scale, heads, rows, keys)
        part = y[heads, :, rows]
        np.matmul(p, v[heads, None, keys], out=part)
        part /= total
    return y


def gradient(g: Any, q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float) -> tuple[Array, Array, Array]:
    """dq, dk, dv"""
    dq, dk, dv = np.empty(q.shape, q.dtype), np.zeros(k.shape, k.dtype), np.zeros(v.shape, v.dtype)
    factor = q.dtype.type(scale)
    for heads, rows, keys in _blocks(q, k, causal):
        p, total = _weights(q, k, mask, causal, scale, heads, rows, keys)
        p /= total
        dy = g[heads, :, rows]
        dv[heads, keys] += _over_group(p, dy)
        ds = np.matmul(dy, v[heads, None, keys].swapaxes(2, 3))
        ds -= row_products(ds, p)[..., None]
        ds *= p
        ds *= factor
        np.matmul(ds, k[heads, None, keys], out=dq[heads, :, rows])
        dk[heads, keys] += _over_group(ds, q[heads, :, rows])
    return dq, dk, dv


def _blocks(q: Any, k: Any, causal: bool) -> Iterator[tuple[slice, slice, slice]]:
    """Heads, rows of queries, and the keys those can see: several heads if they are small, else some rows of one."""
    batch, group, length, _ = q.shape
    row_bytes = max(1, group * k.shape[1] * q.dtype.itemsize)
    count = max(1, BLOCK_BYTES // max(1, row_bytes * length))
    height = length if count > 1 else max(FEWEST_ROWS, BLOCK_BYTES // row_bytes)
    for b in range(0, batch, count):
        for i in range(0, length, height):
            stop = min(length, i + height)
            yield slice(b, b + count), slice(i, stop), slice(0, min(stop, k.shape[1]) if causal else k.shape[1])


def _weights(
    q: Any, k: Any, mask: Any, causal: bool, scale: float, heads: slice, rows: slice, keys: slice
) -> tuple[Array, Array]:
    """exp(scores - their maximum), and its sum over each row."""
    s = np.matmul(q[heads, :, rows] * q.dtype.type(scale), k[heads, None, keys].swapaxes(2, 3))
    if mask is not None:
        table, which = mask
        part = table[:, rows if table.shape[1] > 1 else slice(None), keys if table.shape[2] > 1 else slice(None)]
        part = part[which[heads]] if len(table) > 1 else part[0]
        if part.dtype == np.bool_:
            np.copyto(s, -np.inf, where=~part)
        else:
            s += part
    if causal and rows.start < keys.stop:
        beyond = np.arange(rows.start, keys.stop) > np.arange(rows.start, rows.stop)[:, None]
        np.copyto(s[..., rows.start :], -np.inf, where=beyond)
    top = np.maximum.reduce(s, axis=-1, keepdims=True, initial=-np.inf)
    top[top == -np.inf] = 0
    s -= top
    np.exp(s, out=s)
    total = row_sums(s)[..., None]
    total[total == 0] = 1
    return s, total


def _over_group(a: Any, b: Any) -> Array:
    """a^T b, summed over the heads that share a key: one product over their rows together."""
    n, group, rows, _ = a.shape
    a, b = (x.reshape(n, group * rows, x.shape[3]) for x in (a, b))
    product: Array = np.matmul(a.swapaxes(1, 2), b)
    return product
