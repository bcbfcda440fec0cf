"""Arithmetic, element by element. Integers divided by zero give what XLA gives: nothing stops a compiled program."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from . import FORMS, form

FORMS.update(
    add=jnp.add,
    sub=jnp.subtract,
    mul=jnp.multiply,
    div=jnp.true_divide,
    neg=jnp.negative,
    reciprocal=jnp.reciprocal,
    square=jnp.square,
    abs=jnp.abs,
    fmod=jnp.fmod,
)


@form("sign")
def sign(x: Any) -> Any:
    """-1, 0 or 1; 0 of nan."""
    return jnp.greater(x, 0).astype(x.dtype) - jnp.less(x, 0).astype(x.dtype)


@form("floor_divide")
def floor_divide(x: Any, y: Any) -> Any:
    """floor(x / y); a zero has the sign of x / y."""
    quotient = jnp.floor_divide(x, y)
    if quotient.dtype.kind in "iu":
        return quotient
    return jnp.where(quotient == 0, jnp.copysign(quotient, x / y), quotient)


def exact_quotient(x: Any, y: Any) -> Any:
    """x / y, correctly rounded. Left to itself, XLA multiplies by 1 / y where y broadcasts, and 49 / 49 is below 1."""
    x, y = jnp.broadcast_arrays(x, y)
    return lax.div(x, lax.optimization_barrier(y))


@form("trunc_divide")
def trunc_divide(x: Any, y: Any) -> Any:
    """x / y, rounded towards zero."""
    return lax.div(*jnp.broadcast_arrays(x, y)) if x.dtype.kind in "iu" else jnp.trunc(exact_quotient(x, y))


@form("remainder")
def remainder(x: Any, y: Any) -> Any:
    """x - y floor(x / y); a zero has the sign of y."""
    rest = jnp.remainder(x, y)
    return rest if rest.dtype.kind in "iu" else jnp.where(rest == 0, jnp.copysign(rest, y), rest)
