"""Functions of one number or two, element by element: powers, logarithms, trigonometry, rounding, special functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import F32, FLOATS, finfo
from ..engines.numpy import special
from ..errors import PullbackError, fail
from .arithmetic import add, div, mul, neg, numbers_only, reciprocal, square, sub, zero
from .compare import eq, ge, isfinite, le, logical_and, logical_or, lt, where
from .create import cast, full_like
from .record import Op, Sample, elementwise, floating, op, per_element, per_input, promoting
from .samples import between, inf, integers, nan, pairs, positive, randn, unary

# -- powers and roots --------------------------------------------------------------------------------------------------


def powering(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """As `promoting`; an integer has no integer negative power."""
    x, y = arrays
    if type(y) is int and y < 0 and getattr(x, "dtype", F32) not in FLOATS:
        fail(PullbackError, "Integers to negative integer powers are not allowed.", "convert the base first: x.float()")
    return promoting(op, arrays)


def _pow(x: Any, y: Any) -> Any:
    if type(y) is not np.ndarray:
        shortcut = _POWERS.get(y)
        if shortcut is not None:
            return shortcut(x)
    elif (
        y.dtype.kind == "i" and (y < 0).any()
    ):  # exponents in a tensor are rounded towards zero: 1/x is 0 but for x = 1 and -1
        return np.where(
            y >= 0, np.power(x, np.maximum(y, 0)), np.where(x == 1, 1, np.where(x == -1, 1 - 2 * (y & 1), 0))
        ).astype(x.dtype)
    return power(x, y)


power = numbers_only(np.power)
_POWERS: dict[float, Callable[[Any], Any]] = {
    2: np.square,
    3: lambda x: np.square(x) * x,
    0.5: np.sqrt,
    -0.5: lambda x: np.reciprocal(np.sqrt(x)),
    -1: np.reciprocal,
    -2: lambda x: np.reciprocal(np.square(x)),
}


def pow_base(g: Any, x: Any, y: Any) -> Any:
    """y x^(y-1) dx, and 0 where y is 0, whatever x."""
    if isinstance(y, (int, float)):
        return zero(g) if y == 0 else mul(g, mul(x, 2)) if y == 2 else mul(g, mul(pow(x, y - 1), y))
    return where(eq(y, 0), 0.0, mul(g, mul(pow(x, sub(y, 1)), y)))


def pow_exponent(g: Any, x: Any, y: Any, out: Any) -> Any:
    """x^y log(x) dy, and 0 where x is 0 (the limit for y > 0)."""
    if isinstance(x, (int, float)):
        x = full_like(out, value=x)
    precise = getattr(out, "npdtype", out.dtype)  # the logarithm is taken in the result's precision
    if x.dtype != out.dtype:
        x = cast(x, dtype=precise)
    return where(logical_and(eq(x, 0), ge(y, 0)), 0.0, mul(g, mul(out, log(x))))


pow = op(
    "pow", "x^y", inputs="x y", torch="torch.pow(x, y)",
    numpy=_pow, infer=elementwise, dtypes=powering, flops=per_element(1),
    vjp={"x": pow_base, "y": pow_exponent},
    samples=lambda: [
        *pairs(positive, randn, 2.5)(),
        *[Sample((positive(5), n), note=f"power {n}") for n in (0, 1, 2, 3, -1, -2, 0.5, -0.5, 2.0)],
        Sample((2.0, randn(3)), note="number left"),
        Sample((randn(6), 3), note="negative base"),
        Sample((randn(6, dtype=F32), 2), note="float32 squared"),
        Sample((np.array([0.0, 0.0, 0.0, -2.0, -2.0, nan, inf, 0.0]),
            np.array([0.0, 2.0, -1.0, 2.0, 0.5, 0.0, -1.0, nan])), smooth=False, note="zeros"),
        Sample((0.0, np.array([0.0, 1.0, -1.0])), smooth=False, note="powers of zero"),
        Sample((np.array([0.0, -0.0, nan, inf, -inf]), 0), smooth=False, note="zeroth power"),
        Sample((integers(-4, 5, 6), integers(0, 4, 6)), smooth=False, note="integers"),
        Sample((integers(-2, 3, 9), integers(-3, 3, 9, seed=1)), smooth=False, note="integers, negative powers"),
        Sample((integers(0, 4, 4), 2), smooth=False, note="integers squared"),
    ],
)  # fmt: skip


sqrt = op(
    "sqrt", "x^(1/2)", inputs="x", torch="torch.sqrt(x)",
    numpy=np.sqrt, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, out: div(g, mul(out, 2))},
    samples=unary(positive),
)  # fmt: skip

rsqrt = op(
    "rsqrt", "x^(-1/2)", inputs="x", torch="torch.rsqrt(x)",
    numpy=lambda x: np.reciprocal(np.sqrt(x)), infer=elementwise, dtypes=floating, flops=per_element(2),
    vjp={"x": lambda g, out: mul(mul(g, -0.5), mul(square(out), out))},
    samples=unary(positive),
)  # fmt: skip

hypot = op(
    "hypot", "(x^2 + y^2)^(1/2)", inputs="x y", torch="torch.hypot(x, y)",
    numpy=np.hypot, infer=elementwise, dtypes=floating, flops=per_element(4),
    vjp={"x": lambda g, x, out: mul(g, div(x, out)), "y": lambda g, y, out: mul(g, div(y, out))},
    samples=pairs(scalar=np.ones(1)),
)  # fmt: skip


# -- exponentials and logarithms ---------------------------------------------------------------------------------------

exp = op(
    "exp", "e^x", inputs="x", torch="torch.exp(x)",
    numpy=np.exp, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, out: mul(g, out)},
    samples=unary(),
)  # fmt: skip

exp2 = op(
    "exp2", "2^x", inputs="x", torch="torch.exp2(x)",
    numpy=np.exp2, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, out: mul(g, mul(out, math.log(2)))},
    samples=unary(),
)  # fmt: skip

expm1 = op(
    "expm1", "e^x - 1", inputs="x", torch="torch.expm1(x)",
    numpy=np.expm1, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, out: mul(g, add(out, 1))},
    samples=unary(),
)  # fmt: skip

log = op(
    "log", "log x", inputs="x", torch="torch.log(x)",
    numpy=np.log, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: div(g, x)},
    samples=unary(positive),
)  # fmt: skip

log2 = op(
    "log2", "log x / log 2", inputs="x", torch="torch.log2(x)",
    numpy=np.log2, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: div(g, mul(x, math.log(2)))},
    samples=unary(positive),
)  # fmt: skip

log10 = op(
    "log10", "log x / log 10", inputs="x", torch="torch.log10(x)",
    numpy=np.log10, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: div(g, mul(x, math.log(10)))},
    samples=unary(positive),
)  # fmt: skip

log1p = op(
    "log1p", "log(1 + x)", inputs="x", torch="torch.log1p(x)",
    numpy=np.log1p, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: div(g, add(x, 1))},
    samples=unary(positive),
)  # fmt: skip

logaddexp = op(
    "logaddexp", "log(e^x + e^y)", inputs="x y", torch="torch.logaddexp(x, y)",
    numpy=np.logaddexp, infer=elementwise, dtypes=floating, flops=per_element(5),
    # e^x / (e^x + e^y) = 1 / (1 + e^(y - x))
    vjp={"x": lambda g, x, y: div(g, add(exp(sub(y, x)), 1)), "y": lambda g, x, y: div(g, add(exp(sub(x, y)), 1))},
    samples=pairs(scalar=np.ones(1)),
)  # fmt: skip

logaddexp2 = op(
    "logaddexp2", "log2(2^x + 2^y)", inputs="x y", torch="torch.logaddexp2(x, y)",
    numpy=np.logaddexp2, infer=elementwise, dtypes=floating, flops=per_element(5),
    vjp={"x": lambda g, x, y: div(g, add(exp2(sub(y, x)), 1)), "y": lambda g, x, y: div(g, add(exp2(sub(x, y)), 1))},
    samples=pairs(scalar=np.ones(1)),
)  # fmt: skip

xlogy: Op = op(
    "xlogy", "x log y, and 0 where x is 0", inputs="x y", torch="torch.xlogy(x, y)",
    numpy=lambda x,
    y: np.where((np.equal(x, 0)) & ~np.isnan(y), 0, np.multiply(x, np.log(y))).astype(np.result_type(x, y)),
    infer=elementwise, dtypes=floating, flops=per_element(2),
    vjp={
        "x": lambda g, x, y: where(logical_and(eq(x, 0), le(y, 0)), 0.0, xlogy(g, y)),
        "y": lambda g, x, y: div(mul(g, x), y),
    },
    samples=pairs(other=positive),
)  # fmt: skip

xlog1py: Op = op(
    "xlog1py", "x log(1 + y), and 0 where x is 0", inputs="x y", torch="torch.special.xlog1py(x, y)",
    numpy=lambda x,
    y: np.where((np.equal(x, 0)) & ~np.isnan(y), 0, np.multiply(x, np.log1p(y))).astype(np.result_type(x, y)),
    infer=elementwise, dtypes=floating, flops=per_element(2),
    vjp={
        "x": lambda g, x, y: where(logical_and(eq(x, 0), le(y, -1)), 0.0, xlog1py(g, y)),
        "y": lambda g, x, y: div(mul(g, x), add(y, 1)),
    },
    samples=pairs(other=positive),
)  # fmt: skip


# -- trigonometry ------------------------------------------------------------------------------------------------------


def _inside(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return between(-0.9, 0.9, *shape, seed=seed)


sin = op(
    "sin", "sin x", inputs="x", torch="torch.sin(x)",
    numpy=np.sin, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, cos(x))},
    samples=unary(),
)  # fmt: skip

cos: Op = op(
    "cos", "cos x", inputs="x", torch="torch.cos(x)",
    numpy=np.cos, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: neg(mul(g, sin(x)))},
    samples=unary(),
)  # fmt: skip

tan = op(
    "tan", "sin x / cos x", inputs="x", torch="torch.tan(x)",
    numpy=np.tan, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, out: mul(g, add(square(out), 1))},
    samples=unary(_inside),
)  # fmt: skip

asin = op(
    "asin", "the angle with sine x", inputs="x", torch="torch.asin(x)",
    numpy=np.arcsin, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, rsqrt(sub(1, square(x))))},
    samples=unary(_inside),
)  # fmt: skip

acos = op(
    "acos", "the angle with cosine x", inputs="x", torch="torch.acos(x)",
    numpy=np.arccos, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: neg(mul(g, rsqrt(sub(1, square(x)))))},
    samples=unary(_inside),
)  # fmt: skip

atan = op(
    "atan", "the angle with tangent x", inputs="x", torch="torch.atan(x)",
    numpy=np.arctan, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: div(g, add(square(x), 1))},
    samples=unary(),
)  # fmt: skip


def per_radius(x: Any, y: Any) -> Any:
    """1 / (x^2 + y^2), and 0 at the origin, where the angle has no slope."""
    area = add(square(x), square(y))
    return where(eq(area, 0), 0.0, reciprocal(area))


atan2 = op(
    "atan2", "the angle of the point (y, x)", inputs="x y", torch="torch.atan2(x, y)",
    numpy=np.arctan2, infer=elementwise, dtypes=floating, flops=per_element(1),
    # d atan2(x, y) = (y dx - x dy) / (x^2 + y^2)
    vjp={
        "x": lambda g, x, y: mul(mul(g, y), per_radius(x, y)),
        "y": lambda g, x, y: mul(mul(g, neg(x)), per_radius(x, y)),
    },
    samples=pairs(scalar=np.ones(1)),
)  # fmt: skip

sinh = op(
    "sinh", "(e^x - e^-x) / 2", inputs="x", torch="torch.sinh(x)",
    numpy=np.sinh, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, cosh(x))},
    samples=unary(),
)  # fmt: skip

cosh: Op = op(
    "cosh", "(e^x + e^-x) / 2", inputs="x", torch="torch.cosh(x)",
    numpy=np.cosh, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, sinh(x))},
    samples=unary(),
)  # fmt: skip


def _tanh_backward(g: Any, out: Any) -> Any:
    slope = np.square(out, out=np.empty_like(out))
    np.subtract(1, slope, out=slope)
    return np.multiply(slope, g, out=slope)


tanh_backward = op(
    "tanh_backward", "g (1 - out^2)", inputs="g out", torch="torch.ops.aten.tanh_backward(g, out)",
    numpy=_tanh_backward, infer=elementwise, dtypes=promoting, ordered=True, flops=per_element(3),
    decompose=lambda g, out: mul(g, sub(1, square(out))),
    samples=lambda: [
        Sample((randn(3, 4), between(-1, 1, 3, 4))),
        Sample((randn(), between(-1, 1))),
        Sample((randn(0, 3), randn(0, 3)), note="empty"),
        Sample((randn(4, 3).T, between(-1, 1, 6, 4)[::-2]), note="strided"),
        Sample((randn(3, dtype=F32), between(-1, 1, 3).astype(F32)), note="float32"),
        Sample((np.array([nan, 2.0, 1.0, -1.0]), np.array([0.5, 1.0, nan, -1.0])), smooth=False, note="special"),
    ],
)  # fmt: skip

tanh = op(
    "tanh", "(e^x - e^-x) / (e^x + e^-x)", inputs="x", torch="torch.tanh(x)",
    numpy=np.tanh, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, out: tanh_backward(g, out)},
    samples=unary(),
)  # fmt: skip

asinh = op(
    "asinh", "log(x + (x^2 + 1)^(1/2))", inputs="x", torch="torch.asinh(x)",
    numpy=np.arcsinh, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, rsqrt(add(square(x), 1)))},
    samples=unary(),
)  # fmt: skip

acosh = op(
    "acosh", "log(x + (x^2 - 1)^(1/2))", inputs="x", torch="torch.acosh(x)",
    numpy=np.arccosh, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, rsqrt(sub(square(x), 1)))},
    samples=unary(lambda *shape, seed=0: 1 + positive(*shape, seed=seed)),
)  # fmt: skip

atanh = op(
    "atanh", "log((1 + x) / (1 - x)) / 2", inputs="x", torch="torch.atanh(x)",
    numpy=np.arctanh, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x: div(g, sub(1, square(x)))},
    samples=unary(_inside),
)  # fmt: skip


def _sinc(x: Any) -> Any:
    angle = np.multiply(x, math.pi)
    return np.where(np.equal(x, 0), x.dtype.type(1), np.divide(np.sin(angle), angle))


def sinc_slope(g: Any, x: Any) -> Any:
    """(pi x cos(pi x) - sin(pi x)) / (pi x^2), and 0 at 0."""
    angle, area = mul(x, math.pi), mul(square(x), math.pi)
    return where(eq(area, 0), 0.0, mul(g, div(sub(mul(angle, cos(angle)), sin(angle)), area)))


sinc = op(
    "sinc", "sin(pi x) / (pi x), and 1 at 0", inputs="x", torch="torch.sinc(x)",
    numpy=_sinc, infer=elementwise, dtypes=floating, flops=per_element(3),
    vjp={"x": sinc_slope},
    samples=unary(),
)  # fmt: skip

deg2rad = op(
    "deg2rad", "x pi / 180", inputs="x", torch="torch.deg2rad(x)",
    numpy=lambda x: np.multiply(x, math.pi / 180), infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g: mul(g, math.pi / 180)},
    samples=unary(),
)  # fmt: skip

rad2deg = op(
    "rad2deg", "x 180 / pi", inputs="x", torch="torch.rad2deg(x)",
    numpy=lambda x: np.multiply(x, 180 / math.pi), infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g: mul(g, 180 / math.pi)},
    samples=unary(),
)  # fmt: skip


# -- special functions -------------------------------------------------------------------------------------------------

erf = op(
    "erf", "2 / sqrt(pi) integral from 0 to x of e^(-t^2)", inputs="x", torch="torch.erf(x)",
    numpy=special.erf, infer=elementwise, dtypes=floating, ordered=True, flops=per_element(20),
    vjp={"x": lambda g, x: mul(g, mul(exp(neg(square(x))), 2 / math.sqrt(math.pi)))},
    samples=lambda: [*unary()(), Sample((4 * randn(20, 10),), note="many"),
        Sample((randn(20, 10, dtype=F32),), note="many, float32")],
)  # fmt: skip

erfc = op(
    "erfc", "1 - erf(x)", inputs="x", torch="torch.erfc(x)",
    numpy=special.erfc, infer=elementwise, dtypes=floating, ordered=True, flops=per_element(20),
    vjp={"x": lambda g, x: mul(g, mul(exp(neg(square(x))), -2 / math.sqrt(math.pi)))},
    samples=unary(),
)  # fmt: skip

erfinv = op(
    "erfinv", "the y with erf(y) = x", inputs="x", torch="torch.erfinv(x)",
    numpy=special.erfinv, infer=elementwise, dtypes=floating, ordered=True, flops=per_element(60),
    vjp={"x": lambda g, out: mul(g, mul(exp(square(out)), math.sqrt(math.pi) / 2))},
    samples=unary(_inside, special=(nan, inf, -1.0, 1.0, 0.0, -0.0, 2.0)),
)  # fmt: skip

lgamma = op(
    "lgamma", "log |gamma(x)|", inputs="x", torch="torch.lgamma(x)",
    numpy=special.lgamma, infer=elementwise, dtypes=floating, ordered=True, flops=per_element(60),
    vjp={"x": lambda g, x: mul(g, digamma(x))},
    samples=unary(positive, special=(nan, inf, -inf, 0.0, -1.5, 12.5, 300.0, 1e-9)),
)  # fmt: skip

digamma: Op = op(
    "digamma", "d/dx log gamma(x)", inputs="x", torch="torch.digamma(x)",
    numpy=special.digamma, infer=elementwise, dtypes=floating, ordered=True, flops=per_element(60),
    vjp={"x": lambda g, x: mul(g, polygamma(x, n=1))},
    samples=unary(positive, special=(nan, inf, -1.5, 12.5, 300.0, 1e-9)),
)  # fmt: skip

polygamma: Op = op(
    "polygamma", "the n-th derivative of digamma", inputs="x", torch="torch.polygamma(n, x)",
    numpy=lambda x, n: special.polygamma(x, n) if n else special.digamma(x), infer=elementwise, dtypes=floating,
    ordered=True,
    flops=per_element(60),
    vjp={"x": lambda g, x, n: mul(g, polygamma(x, n=n + 1))},
    samples=lambda: [*unary(positive, special=(nan, 0.0, -1.5, 12.5, 300.0), n=1)(), Sample((positive(5),), {"n": 2}),
        Sample((positive(5),), {"n": 0})],
)  # fmt: skip


def _sigmoid(x: Any) -> Any:
    out = np.negative(x, out=np.empty_like(x))
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    return np.divide(1, out, out=out)


def _sigmoid_backward(g: Any, out: Any) -> Any:
    slope = np.subtract(1, out, out=np.empty_like(out))
    np.multiply(slope, out, out=slope)
    return np.multiply(slope, g, out=slope)


sigmoid_backward = op(
    "sigmoid_backward", "g out (1 - out)", inputs="g out", torch="torch.ops.aten.sigmoid_backward(g, out)",
    numpy=_sigmoid_backward, infer=elementwise, dtypes=promoting, ordered=True, flops=per_element(3),
    decompose=lambda g, out: mul(g, mul(sub(1, out), out)),
    samples=tanh_backward.samples,
)  # fmt: skip

sigmoid = op(
    "sigmoid", "1 / (1 + e^-x)", inputs="x", torch="torch.sigmoid(x)",
    numpy=_sigmoid, infer=elementwise, dtypes=floating, flops=per_element(4),
    vjp={"x": lambda g, out: sigmoid_backward(g, out)},
    samples=unary(),
)  # fmt: skip


def _logit(x: Any, eps: float | None = None) -> Any:
    if eps is not None:
        x = np.minimum(np.maximum(x, eps), 1 - eps)
    return np.log(np.divide(x, np.subtract(1, x)))


def logit_slope(g: Any, x: Any, eps: float | None) -> Any:
    """1 / (x (1 - x)); outside the bounds 0, or nan where there are none."""
    low, outside = (0.0, nan) if eps is None else (eps, 0.0)
    slope = div(g, mul(x, sub(1, x)))
    return where(logical_or(lt(x, low), lt(1 - low, x)), outside, slope)


logit = op(
    "logit", "log(x / (1 - x)), x kept eps away from 0 and 1", inputs="x", torch="torch.logit(x, eps)",
    numpy=_logit, infer=elementwise, dtypes=floating, flops=per_element(3),
    vjp={"x": logit_slope},
    samples=lambda: [
        *unary(lambda *shape, seed=0: between(0.05, 0.95, *shape, seed=seed), special=(nan, -0.1, 0.0, 1.0, 1.1))(),
        Sample((between(-0.2, 1.2, 9),), {"eps": 0.1}, note="eps"),
        Sample((np.array([nan, 0.0, 1.0, inf]),), {"eps": 0.1}, smooth=False, note="eps, special"),
    ],
)  # fmt: skip


# -- rounding ----------------------------------------------------------------------------------------------------------


def rounded(**params: Any) -> Callable[[], list[Sample]]:
    """Numbers on both sides of zero, halves, and integers."""

    def samples() -> list[Sample]:
        halves = Sample((np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.0]),), params, smooth=False, note="halves")
        whole = [] if params else [Sample((integers(-9, 9, 4),), smooth=False, note="integers")]
        return [*unary(lambda *shape, seed=0: 3 * randn(*shape, seed=seed), **params)(), halves, *whole]

    return samples


floor = op(
    "floor", "the largest integer <= x", inputs="x", torch="torch.floor(x)",
    numpy=np.floor, infer=elementwise, dtypes=promoting, flops=per_element(1), vjp={"x": zero}, samples=rounded(),
)  # fmt: skip
ceil = op(
    "ceil", "the smallest integer >= x", inputs="x", torch="torch.ceil(x)",
    numpy=np.ceil, infer=elementwise, dtypes=promoting, flops=per_element(1), vjp={"x": zero}, samples=rounded(),
)  # fmt: skip
trunc = op(
    "trunc", "x without its fraction", inputs="x", torch="torch.trunc(x)",
    numpy=np.trunc, infer=elementwise, dtypes=promoting, flops=per_element(1), vjp={"x": zero}, samples=rounded(),
)  # fmt: skip


def _round(x: Any, decimals: int = 0) -> Any:
    if decimals == 0:
        return np.rint(x) if x.dtype.kind == "f" else x.copy()
    scale = 10.0 ** abs(decimals)
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


round = op(
    "round", "the nearest number with `decimals` decimals; halves go to the even one", inputs="x",
    torch="torch.round(x, decimals=decimals)",
    numpy=_round, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": zero},
    samples=lambda: [*rounded(decimals=0)(), *rounded(decimals=2)(), *rounded(decimals=-1)()],
)  # fmt: skip

frac = op(
    "frac", "x - trunc(x)", inputs="x", torch="torch.frac(x)",
    numpy=lambda x: np.subtract(x, np.trunc(x)), infer=elementwise, dtypes=promoting, flops=per_element(2),
    vjp={"x": lambda g: g},
    samples=unary(lambda *shape, seed=0: 3 * randn(*shape, seed=seed)),
)  # fmt: skip


# -- mixtures ----------------------------------------------------------------------------------------------------------


def _nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    out = x.copy()
    if x.dtype in FLOATS:
        largest = finfo(x.dtype).max
        out[np.isnan(x)] = nan
        out[np.equal(x, inf)] = largest if posinf is None else posinf
        out[np.equal(x, -inf)] = -largest if neginf is None else neginf
    return out


nan_to_num = op(
    "nan_to_num", "x with numbers for nan, inf and -inf", inputs="x", torch="torch.nan_to_num(x, nan, posinf, neginf)",
    numpy=_nan_to_num, infer=elementwise, dtypes=per_input, ordered=True,
    vjp={"x": lambda g, x: where(isfinite(x), g, 0.0)},
    samples=lambda: [*unary()(), *unary(nan=1.0, posinf=9.0, neginf=-9.0)(),
        Sample((integers(0, 4, 3),), smooth=False, note="integers")],
)  # fmt: skip

copysign = op(
    "copysign", "|x| with the sign of y", inputs="x y", torch="torch.copysign(x, y)",
    numpy=np.copysign, infer=elementwise, dtypes=floating, flops=per_element(1),
    vjp={"x": lambda g, x, out: mul(g, where(eq(x, 0), 0.0, div(out, x))), "y": zero},
    samples=pairs(),
)  # fmt: skip


def _heaviside(x: Any, y: Any) -> Any:
    above = np.greater(x, 0).astype(np.result_type(x, y))
    return np.where(np.equal(x, 0), y, above)


heaviside = op(
    "heaviside", "0 for x < 0, y at 0, 1 for x > 0", inputs="x y", torch="torch.heaviside(x, y)",
    numpy=_heaviside, infer=elementwise, dtypes=promoting,
    samples=lambda: [
        Sample((randn(3, 4), randn(3, 4, seed=1)), smooth=False),
        Sample((randn(3, 1), randn(4, seed=1)), smooth=False, note="broadcast"),
        Sample((np.array(0.0), np.array(0.5)), smooth=False, note="0-d"),
        Sample((randn(0, 3), randn(3)), smooth=False, note="empty"),
        Sample((np.array([0.0, -0.0, nan, inf, -inf]), np.array([0.5, 2.0, 1.0, nan, 1.0])), smooth=False,
            note="special"),
    ],
)  # fmt: skip


def _lerp(start: Any, end: Any, weight: Any) -> Any:
    step = end - start
    near_start = start + weight * step
    if type(weight) is float:
        return near_start if np.abs(weight) < 0.5 else end - step * (1 - weight)
    return np.where(np.abs(weight) < 0.5, near_start, end - step * (1 - weight))


def triples(*tail: Any, smooth: bool = True, **params: Any) -> Callable[[], list[Sample]]:
    """Three inputs, broadcast in several ways; the third may be given."""

    def samples() -> list[Sample]:
        third = (lambda *shape: tail[0]) if tail else (lambda *shape: positive(*shape, seed=2))
        return [
            Sample((randn(3, 4), randn(3, 4, seed=1), third(3, 4)), params),
            Sample((randn(3, 1), randn(4, seed=1), third(2, 1, 1)), params, note="broadcast"),
            Sample((randn(), randn(seed=1), third()), params, note="0-d"),
            Sample((randn(0, 3), randn(3, seed=1), third(3)), params, note="empty"),
            Sample((randn(4, 3).T, randn(6, 4, seed=1)[::-2], third(3, 4)), params, note="strided"),
            Sample(
                (randn(3, dtype=F32), randn(3, seed=1, dtype=F32), tail[0] if tail else third(3).astype(F32)),
                params,
                note="float32",
            ),
            Sample(
                (np.array([nan, inf, 1.0]), np.array([1.0, -inf, inf]), third(3)), params, smooth=False, note="special"
            ),
        ]

    return samples


lerp = op(
    "lerp", "start + weight (end - start)", inputs="start end weight", torch="torch.lerp(start, end, weight)",
    numpy=_lerp, infer=elementwise, dtypes=promoting, flops=per_element(3),
    vjp={
        "start": lambda g, weight: sub(g, mul(g, weight)),
        "end": lambda g, weight: mul(g, weight),
        "weight": lambda g, start, end: mul(g, sub(end, start)),
    },
    samples=lambda: [*triples(0.3)(), *triples(0.75)(), *triples()()],
)  # fmt: skip

addcmul = op(
    "addcmul", "x + value a b", inputs="x a b", torch="torch.addcmul(x, a, b, value=value)",
    numpy=lambda x, a, b,
    value=1: np.add(x, np.multiply(a, b) if value == 1 else np.multiply(np.multiply(a, value), b)),
    infer=elementwise, dtypes=promoting, flops=per_element(3),
    vjp={
        "x": lambda g: g,
        "a": lambda g, b, value: mul(g, mul(b, value)),
        "b": lambda g, a, value: mul(g, mul(a, value)),
    },
    samples=lambda: [*triples()(), *triples(value=-0.5)()],
)  # fmt: skip

addcdiv = op(
    "addcdiv", "x + value a / b", inputs="x a b", torch="torch.addcdiv(x, a, b, value=value)",
    numpy=lambda x, a, b, value=1: np.add(x, np.divide(np.multiply(a, value), b)), infer=elementwise, dtypes=floating,
    flops=per_element(3),
    vjp={
        "x": lambda g: g,
        "a": lambda g, b, value: mul(g, div(value, b)),
        "b": lambda g, a, b, value: neg(mul(g, div(mul(a, value), square(b)))),
    },
    samples=lambda: [*triples()(), *triples(value=-0.5)()],
)  # fmt: skip
