"""Attention as two products and a softmax between them; half types on a GPU by cuDNN where it can.

q is (..., H, L, E), k and v (..., K, S, E or F), and H / K heads of queries share one of keys. With p = softmax(scale
q k^T + mask), and zeros in a row without any key to look at:

    y = p v      dv = p^T dy      ds = scale p (dp - sum of dp p), dp = dy v^T      dq = ds k      dk = ds^T q
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import jax.numpy as jnp
from jax import lax

from ....dtypes import BOOL
from . import Array, cudnn, form
from .matmul import product


def _by_key(x: Array, k: Array) -> Array:
    """(..., H, L, n) as (..., K, H / K * L, n): all rows that look at the same keys."""
    batch = k.shape[:-2]
    return x.reshape(*batch, prod(x.shape[:-1]) // max(1, prod(batch)), x.shape[-1])


def _turned(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)


def _weights(q: Array, k: Array, mask: Array | None, causal: bool, scale: float) -> Array:
    """p, (..., H, L, S)"""
    s = product(_by_key(q, k), _turned(k)).reshape(*q.shape[:-1], k.shape[-2]) * float(scale)
    if mask is not None:
        s = jnp.where(mask, s, -jnp.inf) if mask.dtype == BOOL else s + mask
    if causal:
        row, column = (lax.broadcasted_iota(jnp.int32, s.shape[-2:], d) for d in (0, 1))
        s = jnp.where(column > row, -jnp.inf, s)
    top = s.max(-1, keepdims=True, initial=-jnp.inf)
    e = jnp.exp(s - jnp.where(top == -jnp.inf, 0, top))
    total = e.sum(-1, keepdims=True)
    return e / jnp.where(total == 0, 1, total)


def _plain(q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float) -> Array:
    p = _by_key(_weights(q, k, mask, causal, scale), k)
    return product(p.astype(v.dtype), v).reshape(*q.shape[:-1], v.shape[-1]).astype(q.dtype)


def _plain_gradient(g: Array, q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float) -> Any:
    p = _by_key(_weights(q, k, mask, causal, scale), k)
    g, rows = _by_key(g, k), _by_key(q, k)
    dp = product(g, _turned(v))
    ds = (float(scale) * p * (dp - (dp * p).sum(-1, keepdims=True))).astype(q.dtype)
    dv = product(_turned(p.astype(g.dtype)), g)
    dq, dk = product(ds, k).reshape(q.shape), product(_turned(ds), rows)
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)


@form("attention")
@form("attention", half=True)
def _attention(
    q: Array, k: Array, v: Array, mask: Array | None = None, causal: bool = False, scale: float = 1.0
) -> Array:
    if cudnn.takes(q, k, v, mask, causal):
        return lax.platform_dependent(
            q, k, v,
            cuda=partial(cudnn.attention, causal=causal, scale=scale),
            default=partial(_plain, mask=None, causal=causal, scale=scale),
        )  # fmt: skip
    return _plain(q, k, v, mask, causal, scale)


@form("attention_gradient")
@form("attention_gradient", half=True)
def _attention_gradient(
    g: Array, q: Array, k: Array, v: Array, mask: Array | None = None, causal: bool = False, scale: float = 1.0
) -> Any:
    if cudnn.takes(q, k, v, mask, causal):
        return lax.platform_dependent(
            g, q, k, v,
            cuda=partial(cudnn.attention_gradient, causal=causal, scale=scale),
            default=partial(_plain_gradient, mask=None, causal=causal, scale=scale),
        )  # fmt: skip
    return _plain_gradient(g, q, k, v, mask, causal, scale)
