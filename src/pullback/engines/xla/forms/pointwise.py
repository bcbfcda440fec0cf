"""Functions of one number or two, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import special

from ....dtypes import F64, FLOATS, finfo
from . import FORMS, form
from .arithmetic import exact_quotient

for name in ("sqrt", "hypot", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp"):
    FORMS[name] = getattr(jnp, name)
for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "sinc", "floor", "ceil", "trunc", "copysign"):
    FORMS[name] = getattr(jnp, name)
for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh"):
    FORMS[f"a{name}"] = getattr(jnp, f"arc{name}")

FORMS.update(
    rsqrt=lax.rsqrt,
    atan2=jnp.arctan2,
    erf=special.erf,
    erfc=special.erfc,
    deg2rad=lambda x: x * (math.pi / 180),
    rad2deg=lambda x: x * (180 / math.pi),
    tanh_backward=lambda g, out: g * (1 - out * out),
    sigmoid_backward=lambda g, out: g * ((1 - out) * out),
    frac=lambda x: x - jnp.trunc(x),
    addcmul=lambda x, a, b, value=1: x + (a * b if value == 1 else a * value * b),
    addcdiv=lambda x, a, b, value=1: x + a * value / b,
)

_POWERS: dict[float, Callable[[Any], Any]] = {
    2: jnp.square,
    3: lambda x: x * x * x,
    0.5: jnp.sqrt,
    -0.5: lax.rsqrt,
    -1: jnp.reciprocal,
    -2: lambda x: 1 / (x * x),
}


@form("pow")
def power(x: Any, y: Any) -> Any:
    """x^y. Exponents of integers are rounded towards zero: 1/x is 0 but for x = 1 and -1."""
    if x.dtype not in FLOATS:
        negative = jnp.where(x == 1, 1, jnp.where(x == -1, 1 - 2 * (y & 1), 0)).astype(x.dtype)
        return jnp.where(y >= 0, jnp.power(x, jnp.maximum(y, 0)), negative)
    if isinstance(y, np.ndarray) and y.ndim == 0 and (shortcut := _POWERS.get(y.item())) is not None:
        return shortcut(x)
    return jnp.power(x, y)


@form("logaddexp2")
def logaddexp2(x: Any, y: Any) -> Any:
    """log2(2^x + 2^y): what the larger gains from the smaller is added to it."""
    high, low = jnp.maximum(x, y), jnp.minimum(x, y)
    return jnp.where(x == y, x + 1, high + jnp.log1p(jnp.exp2(low - high)) * (1 / math.log(2)))


def product_with(log: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """x log y, and 0 where x is 0."""
    return lambda x, y: jnp.where((x == 0) & ~jnp.isnan(y), 0, x * log(y))


FORMS.update(xlogy=product_with(jnp.log), xlog1py=product_with(jnp.log1p))


def in_float64(f: Callable[..., Any]) -> Callable[..., Any]:
    """float32 results are those in float64, rounded, as on NumPy."""
    return lambda x, *more, **params: f(x.astype(F64), *more, **params).astype(x.dtype)


def _erfinv(x: Any) -> Any:
    """By erf(y) = 2 ndtr(y sqrt 2) - 1 near 1 and -1, where XLA's own has ten digits."""
    size = jnp.abs(x)
    return jnp.where(size > 0.9, jnp.copysign(special.ndtri((1 - size) / 2) * math.sqrt(0.5), x), special.erfinv(x))


def _digamma(x: Any) -> Any:
    return jnp.where(x == 0, jnp.copysign(jnp.inf, -x), special.digamma(x))


def _polygamma(x: Any, n: int) -> Any:
    """(-1)^(n+1) n! zeta(n + 1, x); up to 0 by zeta(s, x) = x^-s + zeta(s, x + 1)"""
    if n == 0:
        return _digamma(x)
    s = float(n + 1)

    def low(state: tuple[Any, Any]) -> Any:
        return (state[0] <= 0) & (state[0] != -jnp.inf)

    def step(state: tuple[Any, Any]) -> tuple[Any, Any]:
        y, total = state
        return jnp.where(low(state), y + 1, y), jnp.where(low(state), total + y**-s, total)

    y, total = lax.while_loop(lambda state: low(state).any(), step, (x, jnp.zeros_like(x)))
    zeta = jnp.where(y == jnp.inf, 0, jnp.where(y == -jnp.inf, jnp.nan, special.zeta(s, y)))
    return (-1) ** (n + 1) * float(math.factorial(n)) * (zeta + total)


FORMS.update(
    erfinv=in_float64(_erfinv),
    lgamma=in_float64(special.gammaln),
    digamma=in_float64(_digamma),
    polygamma=in_float64(_polygamma),
)


@form("sigmoid")
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)"""
    return 1 / (1 + jnp.exp(-x))


@form("logit")
def logit(x: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)), x kept eps away from 0 and 1."""
    if eps is not None:
        x = jnp.minimum(jnp.maximum(x, eps), 1 - eps)
    return jnp.log(x / (1 - x))


@form("round")
def rounded(x: Any, decimals: int = 0) -> Any:
    """The nearest number with `decimals` decimals; halves go to the even one."""
    if decimals == 0:
        return jnp.rint(x) if x.dtype in FLOATS else x
    if x.dtype not in FLOATS:
        x = x.astype(F64)
    scale = jnp.asarray(10.0 ** abs(decimals), x.dtype)
    if decimals < 0:
        return jnp.rint(exact_quotient(x, scale)) * scale
    return exact_quotient(jnp.rint(x * scale), scale)


@form("nan_to_num")
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with numbers for nan, inf and -inf."""
    if x.dtype not in FLOATS:
        return x
    largest = finfo(x.dtype).max
    x = jnp.where(jnp.isnan(x), jnp.asarray(nan, x.dtype), x)
    x = jnp.where(x == jnp.inf, jnp.asarray(largest if posinf is None else posinf, x.dtype), x)
    return jnp.where(x == -jnp.inf, jnp.asarray(-largest if neginf is None else neginf, x.dtype), x)


@form("heaviside")
def heaviside(x: Any, y: Any) -> Any:
    """0 for x < 0 and nan, y at 0, 1 for x > 0."""
    return jnp.where(x == 0, y, (x > 0).astype(y.dtype))


@form("lerp")
def lerp(start: Any, end: Any, weight: Any) -> Any:
    """start + weight (end - start), counted from the nearer side."""
    step = end - start
    return jnp.where(jnp.abs(weight) < 0.5, start + weight * step, end - step * (1 - weight))
