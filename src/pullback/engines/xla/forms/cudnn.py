"""cuDNN's fused attention, which never writes the scores to memory. JAX offers it forwards only: its gradient, which is
called here, is private to JAX. So it is only used where it is there and accepts the arrays; nothing depends on it.
"""

from __future__ import annotations

from functools import cache, partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from ....dtypes import HALVES
from . import Array


def takes(q: Array, k: Array, v: Array, mask: Array | None, causal: bool) -> bool:
    """Whether cuDNN can run it: half types on a GPU, no mask but the causal one, and heads of a size that it has."""
    if jax.default_backend() != "gpu" or mask is not None or not q.dtype == k.dtype == v.dtype or q.dtype not in HALVES:
        return False
    if not (prod(q.shape) and prod(k.shape) and prod(v.shape)) or (causal and q.shape[-2] != k.shape[-2]):
        return False
    return _tried(*((x.shape, x.dtype) for x in (q, k, v)))


@cache
def _tried(*given: Any) -> bool:
    """Trace both directions: JAX says at once what is not supported, or is no longer where it was."""
    q, k, v = (jax.ShapeDtypeStruct(*a) for a in given)
    g = jax.ShapeDtypeStruct((*q.shape[:-1], v.shape[-1]), q.dtype)
    try:
        jax.eval_shape(partial(attention_gradient, causal=False, scale=1.0), g, q, k, v)
    except Exception:  # whatever it is, the plain formulation does without
        return False
    return True


def _layout(x: Array) -> Array:
    """(..., H, L, E) as (batch, L, H, E)"""
    heads = x.shape[-3] if x.ndim > 2 else 1
    return jnp.swapaxes(x.reshape(prod(x.shape[:-3]), heads, *x.shape[-2:]), 1, 2)


def _back(x: Array, like: tuple[int, ...]) -> Array:
    return jnp.swapaxes(x, 1, 2).reshape(like)


def _forward(q: Array, k: Array, v: Array, causal: bool, scale: float) -> Any:
    """The result, and the statistics of the rows that its gradient wants."""
    from jax._src.cudnn import fused_attention_stablehlo as fused

    kind = fused.MaskType.CAUSAL if causal else fused.MaskType.NO_MASK
    return fused.dot_product_attention(q, k, v, scale=float(scale), mask_type=kind, return_residual=True)


def attention(q: Array, k: Array, v: Array, causal: bool, scale: float) -> Array:
    """With the statistics, though they are not used: so that XLA sees that the gradient computes the same once more."""
    out, _ = _forward(_layout(q), _layout(k), _layout(v), causal, scale)
    return _back(out, (*q.shape[:-1], v.shape[-1]))


def attention_gradient(g: Array, q: Array, k: Array, v: Array, causal: bool, scale: float) -> tuple[Array, ...]:
    """(dq, dk, dv)"""
    from jax._src.cudnn import fused_attention_stablehlo as fused

    rows = _layout(q), _layout(k), _layout(v)
    out, statistics = _forward(*rows, causal, scale)
    unused = jnp.zeros(0, q.dtype)
    pulled = fused._dot_product_attention_bwd_p_wrapper.bind(
        *rows, *[unused] * 7, statistics, out, _layout(g),
        scale=float(scale), seed=42, dropout_rate=0.0, variadic_args=(False, False), sliding_window_length=None,
        mask_type=fused.MaskType.CAUSAL if causal else fused.MaskType.NO_MASK, layout=fused.AttentionLayout.BTNH.value,
    )  # fmt: skip
    return tuple(_back(d, x.shape) for d, x in zip(pulled, (q, k, v), strict=True))
