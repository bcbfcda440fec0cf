"""Activation functions: each formula in one piece, which XLA makes one loop of."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax.scipy import special

from . import FORMS, form
from .compare import clamp
from .pointwise import sigmoid

# -- made of straight pieces -------------------------------------------------------------------------------------------

FORMS.update(
    relu_backward=lambda g, out: jnp.where(out <= 0, jnp.zeros_like(g), g),
    relu=lambda x: jnp.maximum(x, 0),
    leaky_relu_backward=lambda g, x, slope=0.01: jnp.where(x > 0, g, g * slope),
    leaky_relu=lambda x, slope=0.01: jnp.where(x > 0, x, x * slope),
    prelu=lambda x, weight: jnp.where(x > 0, x, weight * x),
    hardtanh=lambda x, low=-1.0, high=1.0: clamp(x, low, high),
    relu6=lambda x: clamp(x, 0, 6),
    hardsigmoid=lambda x: clamp(x + 3, 0, 6) / 6,
    hardswish=lambda x: clamp(x + 3, 0, 6) * x / 6,
    hardshrink=lambda x, bound=0.5: jnp.where(jnp.abs(x) <= bound, 0, x),
    softshrink=lambda x, bound=0.5: x - clamp(x, -bound, bound),
    threshold=lambda x, bound=0.0, value=0.0: jnp.where(x <= bound, jnp.asarray(value, x.dtype), x),
    softsign=lambda x: x / (jnp.abs(x) + 1),
)

# -- made of exponentials ----------------------------------------------------------------------------------------------

_GELU = math.sqrt(2 / math.pi)

FORMS.update(
    silu=lambda x: x / (1 + jnp.exp(-x)),
    mish=lambda x: x * jnp.tanh(jnp.log1p(jnp.exp(x))),
    logsigmoid=lambda x: jnp.minimum(x, 0) - jnp.log1p(jnp.exp(-jnp.abs(x))),
    tanhshrink=lambda x: x - jnp.tanh(x),
)


@form("elu")
def elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """scale x where x > 0, else scale alpha (e^(input_scale x) - 1)"""
    return jnp.maximum(x, 0) * scale + jnp.expm1(jnp.minimum(x, 0) * input_scale) * (alpha * scale)


@form("elu_backward")
def elu_backward(g: Any, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """g scale, or g alpha scale input_scale e^(input_scale x) for x <= 0"""
    low = jnp.exp(jnp.minimum(x, 0) * input_scale) * (alpha * scale * input_scale)
    return jnp.where(x <= 0, low, scale) * g


@form("silu_backward")
def silu_backward(g: Any, x: Any) -> Any:
    """g s (1 + x (1 - s)), s = sigmoid(x)"""
    s = sigmoid(x)
    return ((1 - s) * x + 1) * s * g


def _rise(x: Any, approximate: str) -> Any:
    """2 Phi(x) - 1, or tanh(sqrt(2/pi) (x + 0.044715 x^3)) near to it."""
    if approximate == "tanh":
        return jnp.tanh((x * x * 0.044715 + 1) * _GELU * x)
    return special.erf(x * math.sqrt(0.5))


@form("gelu")
def gelu(x: Any, approximate: str = "none") -> Any:
    """x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2"""
    return (_rise(x, approximate) + 1) * x * 0.5


@form("gelu_backward")
def gelu_backward(g: Any, x: Any, approximate: str = "none") -> Any:
    """g (Phi(x) + x phi(x)), or that of the approximation."""
    t = _rise(x, approximate)
    if approximate == "tanh":
        slope = (x * x * (3 * 0.044715) + 1) * (_GELU / 2) * x * (1 - t * t)
    else:
        slope = jnp.exp(x * x * -0.5) * x * (1 / math.sqrt(2 * math.pi))
    return (slope + (t + 1) * 0.5) * g


@form("softplus")
def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(beta x)) / beta; x where beta x > threshold"""
    scaled = x * beta
    return jnp.where(scaled > threshold, x, jnp.log1p(jnp.exp(scaled)) / beta)


@form("mish_backward")
def mish_backward(g: Any, x: Any) -> Any:
    """t + x s (1 - t^2), t = tanh(log(1 + e^x)), s = sigmoid(x)"""
    t = jnp.tanh(jnp.log1p(jnp.exp(x)))
    return g * (t + x * sigmoid(x) * (1 - t * t))


@form("glu")
def glu(x: Any, dim: int = -1) -> Any:
    """a sigmoid(b), a and b the halves of x along dim"""
    a, b = jnp.split(x, 2, dim)
    return a * sigmoid(b)
