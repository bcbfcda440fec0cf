"""Cross-entropy of logits and class indices, in the letters of `pullback.ops.losses`; that of probabilities and bits.

A compiled program cannot stop at a target that is no class, or at a probability outside 0 ... 1: the loss is NaN.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from ....dtypes import I64
from ....ops.losses import class_dim
from . import form
from .reduction import total
from .softmax import log_softmax, softmax


def targets(x: Any, target: Any, weight: Any, ignore_index: int) -> tuple[Any, Any, Any, Any]:
    """Targets with a class in place of those ignored, which are kept, their weights v_t, and the sum of these."""
    target = target.astype(I64)
    kept = target != ignore_index
    index = jnp.where(kept, target, 0)
    v = kept if weight is None else jnp.where(kept, weight[index], 0)
    return index, kept, v.astype(x.dtype), jnp.sum(v).astype(x.dtype)


def of_classes(weight: Any, x: Any) -> Any:
    """v_c beside x."""
    return 1 if weight is None else weight.reshape(weight.shape + (1,) * (x.ndim - class_dim(x) - 1))


@form("cross_entropy")
def cross_entropy(
    x: Any, target: Any, weight: Any, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
) -> Any:
    """-(1 - e) v_t log p_t - e / C sum over c of v_c log p_c"""
    dim = class_dim(x)
    classes = x.shape[dim]
    index, kept, v, mass = targets(x, target, weight, ignore_index)
    logp = log_softmax(x, dim)
    place = jnp.expand_dims(jnp.where(index < 0, classes, index), dim)
    loss = -v * jnp.squeeze(jnp.take_along_axis(logp, place, dim, mode="fill"), dim)
    if label_smoothing:
        of_all = total(logp * of_classes(weight, x), dim)
        loss = loss * (1 - label_smoothing) - of_all * (label_smoothing / classes)
    loss = jnp.where(kept, loss, 0)
    if reduction == "none":
        return loss
    return jnp.sum(loss) if reduction == "sum" else jnp.sum(loss) / mass


@form("cross_entropy_gradient")
def cross_entropy_gradient(
    g: Any,
    x: Any,
    target: Any,
    weight: Any,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """g ((1 - e) v_t (p_c - [c = t]) + e / C (p_c sum over k of v_k - v_c))"""
    dim = class_dim(x)
    classes = x.shape[dim]
    index, kept, v, mass = targets(x, target, weight, ignore_index)
    g = jnp.where(kept, g / mass if reduction == "mean" else g, 0)
    p = softmax(x, dim)
    hot = lax.broadcasted_iota(I64, x.shape, dim) == jnp.expand_dims(index, dim)
    dx = (p - hot) * jnp.expand_dims(g * v * (1 - label_smoothing), dim)
    if label_smoothing:
        spread = p * (classes if weight is None else jnp.sum(weight)) - of_classes(weight, x)
        dx += spread * jnp.expand_dims(g * (label_smoothing / classes), dim)
    return dx


@form("binary_cross_entropy")
def binary_cross_entropy(x: Any, target: Any) -> Any:
    """-(target log x + (1 - target) log(1 - x)), logarithms at least -100"""
    return (target - 1) * jnp.maximum(jnp.log1p(-x), -100) - target * jnp.maximum(jnp.log(x), -100)
