"""Comparisons, logic, bits, and choice between values."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ....dtypes import F64
from . import FORMS, form

FORMS.update(
    eq=jnp.equal,
    ne=jnp.not_equal,
    lt=jnp.less,
    le=jnp.less_equal,
    gt=jnp.greater,
    ge=jnp.greater_equal,
    bitwise_not=jnp.bitwise_not,
    isposinf=lambda x: jnp.equal(x, jnp.inf),
    isneginf=lambda x: jnp.equal(x, -jnp.inf),
)
for name in ("logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor"):
    FORMS[name] = getattr(jnp, name)
for name in ("left_shift", "right_shift", "isnan", "isinf", "isfinite", "signbit"):
    FORMS[name] = getattr(jnp, name)
for name in ("where", "maximum", "minimum", "fmax", "fmin"):
    FORMS[name] = getattr(jnp, name)


@form("isclose")
def isclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """|x - y| <= atol + rtol |y|"""
    a, b = x.astype(F64), y.astype(F64)
    distance = jnp.abs(a - b)
    close = (x == y) | (jnp.isfinite(distance) & (distance <= atol + jnp.abs(rtol * b)))
    return close | (jnp.isnan(a) & jnp.isnan(b)) if equal_nan else close


@form("clamp")
def clamp(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high), of which either may be missing."""
    if low is not None:
        x = jnp.maximum(x, low)
    return x if high is None else jnp.minimum(x, high)
