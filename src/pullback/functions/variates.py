"""Gamma, Poisson and binomial random numbers."""

from __future__ import annotations

from typing import Any

from ..errors import PullbackError, fail
from ..ops import random as ops
from ..ops.shape import expand
from ..tensor import Tensor, wrap
from .conversion import known
from .expose import public
from .random import _from


def _state(generator: Any) -> Any:
    """A state no other call has had."""
    return _from(generator).take(1)


def standard_gamma(alpha: Tensor, generator: Any = None) -> Tensor:
    """Gamma variates of these shapes and scale 1; gradients do not flow through it."""
    return wrap(ops.standard_gamma(_state(generator), alpha._array))


def gamma_slope(alpha: Tensor, z: Tensor) -> Tensor:
    """dz/dalpha of gamma variates z, their place in the distribution fixed."""
    return wrap(ops.gamma_slope(alpha._array, z._array))


@public(method=False)
def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Poisson numbers of these rates."""
    if known(input) and bool((input < 0).any()):
        fail(
            PullbackError,
            "poisson: a rate is negative",
            "rates are counts per unit: apply exp, softplus or clamp first",
        )
    return wrap(ops.poisson(_state(generator), input._array))


@public(method=False)
def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """How many of `count` trials succeed, each with probability `prob`."""
    if any(known(bad) and bool(bad.any()) for bad in (count < 0, (prob < 0) | (prob > 1))):
        fail(PullbackError, "binomial: counts must not be negative, and probabilities lie in [0, 1]")
    shape = (count + prob).shape
    return wrap(
        ops.binomial(_state(generator), *[expand(x.detach(), shape=tuple(shape))._array for x in (count, prob)])
    )
