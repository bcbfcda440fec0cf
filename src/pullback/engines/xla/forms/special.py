"""The normal distribution's functions, entropy and Bessel functions."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax.scipy import special

from . import FORMS, form
from .pointwise import in_float64


def _erfcx(x: Any) -> Any:
    """e^(x^2) erfc(x); beyond 26, where erfc nearly underflows, by its asymptotic series."""
    large = jnp.maximum(x, 26)
    series = jnp.polyval(jnp.array([945.0, 105.0, 15.0, 3.0, 1.0, 1.0]), -0.5 / (large * large))
    return jnp.where(x > 26, series / (large * math.sqrt(math.pi)), special.erfcx(jnp.minimum(x, 26)))


def _log_ndtr(x: Any) -> Any:
    """log(erfc(y) / 2), y = -x / sqrt 2; in the tail by e^(y^2) erfc(y), which does not underflow."""
    y = x * -math.sqrt(0.5)
    tail = jnp.log(_erfcx(jnp.maximum(y, 0.5)) / 2) - y * y
    return jnp.where(y > 0.5, tail, jnp.log1p(-special.erfc(-jnp.minimum(y, 1)) / 2))


FORMS.update(
    ndtr=lambda x: special.erfc(x * -math.sqrt(0.5)) / 2,
    erfcx=in_float64(_erfcx),
    ndtri=in_float64(special.ndtri),
    log_ndtr=in_float64(_log_ndtr),
)


@form("entr")
def entr(x: Any) -> Any:
    """-x log x; 0 at 0, -inf below"""
    return jnp.where(x > 0, -x * jnp.log(x), jnp.where(x < 0, -jnp.inf, x * 0))


def _bessel(x: Any, n: int = 0, scaled: bool = False) -> Any:
    return getattr(special, f"i{n}" + "e" * scaled)(x)


FORMS["bessel"] = in_float64(_bessel)
