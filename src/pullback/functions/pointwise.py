"""Functions of one number or two, element by element, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from ..dtypes import F64
from ..ops import activation
from ..ops import pointwise as ops
from ..ops.arithmetic import mul
from ..ops.create import cast
from ..tensor import Tensor
from .elementwise import combine, computed, deliver, expect, one, two
from .expose import public

sqrt = one(ops.sqrt)
rsqrt = one(ops.rsqrt)
exp = one(ops.exp)
exp2 = one(ops.exp2)
expm1 = one(ops.expm1)
log = one(ops.log)
log2 = one(ops.log2)
log10 = one(ops.log10)
log1p = one(ops.log1p)
sin = one(ops.sin)
cos = one(ops.cos)
tan = one(ops.tan)
asin = one(ops.asin, "asin", "arcsin")
acos = one(ops.acos, "acos", "arccos")
atan = one(ops.atan, "atan", "arctan")
sinh = one(ops.sinh)
cosh = one(ops.cosh)
tanh = one(ops.tanh)
asinh = one(ops.asinh, "asinh", "arcsinh")
acosh = one(ops.acosh, "acosh", "arccosh")
atanh = one(ops.atanh, "atanh", "arctanh")
sinc = one(ops.sinc)
deg2rad = one(ops.deg2rad)
rad2deg = one(ops.rad2deg)
erf = one(ops.erf)
erfc = one(ops.erfc)
erfinv = one(ops.erfinv)
lgamma = one(ops.lgamma)
digamma = one(ops.digamma)
sigmoid = one(ops.sigmoid)
relu = one(activation.relu)
floor = one(ops.floor)
ceil = one(ops.ceil)
trunc = one(ops.trunc, "trunc", "fix")
frac = one(ops.frac)

atan2 = two(ops.atan2, "atan2", "arctan2")
hypot = two(ops.hypot)
copysign = two(ops.copysign)
xlogy = two(ops.xlogy)
logaddexp = two(ops.logaddexp, inplace=False)
logaddexp2 = two(ops.logaddexp2, inplace=False)


@public()
def pow(input: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent"""
    return computed(ops.pow, input, exponent, out)


@public()
def pow_(self: Tensor, exponent: Any) -> Tensor:
    """self **= exponent"""
    return combine(ops.pow, self, expect("pow_", "exponent", exponent))


@public(inplace=True)
def float_power(input: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent, computed in float64."""
    base, power = (cast(x, dtype=F64) if isinstance(x, Tensor) else float(x) for x in (input, exponent))
    return deliver(ops.pow(base, power), out)


@public(inplace=True)
def ldexp(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """input * 2 ** other"""
    return deliver(mul(input, ops.pow(2.0, other)), out)


@public(inplace=True)
def round(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """The nearest number with so many decimals; halves go to the even one."""
    return deliver(ops.round(expect("round", "input", input), decimals=decimals), out)


@public(inplace=True)
def logit(input: Tensor, eps: float | None = None, *, out: Tensor | None = None) -> Tensor:
    """log(x / (1 - x)), the inverse of sigmoid; `eps` keeps x away from 0 and 1."""
    return deliver(ops.logit(expect("logit", "input", input), eps=eps), out)


@public(inplace=True)
def nan_to_num(
    input: Tensor,
    nan: float | None = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """The tensor with numbers for nan and inf (the type's largest, if none is given)."""
    return deliver(ops.nan_to_num(input, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf), out)


@public(method=False)
def polygamma(n: int, input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The n-th derivative of digamma."""
    return deliver(ops.polygamma(expect("polygamma", "input", input), n=n), out)


@public(function=False, name="polygamma")
def polygamma_method(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of digamma."""
    return polygamma(n, self)


@public(inplace=True)
def heaviside(input: Tensor, values: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The step function: 0 below zero, 1 above, `values` at it."""
    return deliver(ops.heaviside(input, values), out)


@public(inplace=True)
def lerp(input: Tensor, end: Tensor, weight: Any, *, out: Tensor | None = None) -> Tensor:
    """input + weight * (end - input)"""
    return deliver(ops.lerp(input, end, weight), out)


@public(inplace=True)
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Tensor | None = None) -> Tensor:
    """input + value * tensor1 * tensor2"""
    return deliver(ops.addcmul(input, tensor1, tensor2, value=value), out)


@public(inplace=True)
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Tensor | None = None) -> Tensor:
    """input + value * tensor1 / tensor2"""
    return deliver(ops.addcdiv(input, tensor1, tensor2, value=value), out)
