"""softmax, log_softmax and the sums of exponentials under them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from . import FORMS, form
from .reduction import axes, total


def shifted(x: Any, dim: int) -> Any:
    """x - max. A row of -inf gives NaN, as in PyTorch."""
    return x - jnp.max(x, axes(x, dim), keepdims=True, initial=-jnp.inf)


@form("softmax")
def softmax(x: Any, dim: int) -> Any:
    """exp(x) / sum over dim of exp(x)"""
    e = jnp.exp(shifted(x, dim))
    return e / total(e, dim, True)


@form("log_softmax")
def log_softmax(x: Any, dim: int) -> Any:
    """x - log(sum over dim of exp(x))"""
    x = shifted(x, dim)
    return x - jnp.log(total(jnp.exp(x), dim, True))


FORMS.update(
    softmax_pullback=lambda g, out, dim: out * (g - total(g * out, dim, True)),
    log_softmax_pullback=lambda g, out, dim: g - jnp.exp(out) * total(g, dim, True),
)


@form("logsumexp")
def logsumexp(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """log(sum over dim of exp(x))"""
    top = jnp.max(x, axes(x, dim), keepdims=True, initial=-jnp.inf)
    top = jnp.where(jnp.isfinite(top), top, 0)
    out = jnp.log(total(jnp.exp(x - top), dim, True)) + top
    return out if keepdim else jnp.squeeze(out, axes(x, dim))


@form("logcumsumexp")
def logcumsumexp(x: Any, dim: int) -> Any:
    """out_i = log(sum over k <= i of exp(x_k))"""
    return lax.cumlogsumexp(x, dim % x.ndim) if x.ndim else x
