"""Functions that only `torch.special` has; i0 and mvlgamma stand in `torch` itself, too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import PullbackError, fail
from ..ops import special as ops
from ..ops.arithmetic import add
from ..ops.pointwise import lgamma
from ..ops.pointwise import xlog1py as xlog1py_
from ..ops.record import Op
from ..tensor import Tensor
from .elementwise import computed, deliver, expect
from .expose import public


def _one(op: Op, name: str, **params: Any) -> Callable[..., Tensor]:
    """The function of one tensor that an op is with these parameters."""

    def function(input: Tensor, *, out: Tensor | None = None) -> Tensor:
        return deliver(op(expect(name, "input", input), **params), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.formula
    return function


entr = _one(ops.entr, "entr")
erfcx = _one(ops.erfcx, "erfcx")
ndtr = _one(ops.ndtr, "ndtr")
ndtri = _one(ops.ndtri, "ndtri")
log_ndtr = _one(ops.log_ndtr, "log_ndtr")
i0 = public(inplace=True)(_one(ops.bessel, "i0"))
i0e = _one(ops.bessel, "i0e", scaled=True)
i1 = _one(ops.bessel, "i1", n=1)
i1e = _one(ops.bessel, "i1e", n=1, scaled=True)


def xlog1py(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """input * log(1 + other), and 0 where input is 0."""
    return computed(xlog1py_, input, other, out)


@public(inplace=True, name="mvlgamma")
def multigammaln(input: Tensor, p: int, *, out: Tensor | None = None) -> Tensor:
    """log of the multivariate gamma function: p (p-1)/4 log pi + sum over j < p of lgamma(input - j/2)."""
    if p < 1:
        fail(PullbackError, f"multigammaln: p must be at least 1, not {p}")
    total = lgamma(input)
    for j in range(1, p):
        total = add(total, lgamma(add(input, -j / 2)))
    return deliver(add(total, p * (p - 1) / 4 * math.log(math.pi)), out)
