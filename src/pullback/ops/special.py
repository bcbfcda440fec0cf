"""The normal distribution's functions, entropy and Bessel functions, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engines.numpy import special
from .arithmetic import add, div, mul, neg, sign, square, sub
from .compare import eq, where
from .pointwise import exp, log
from .record import Op, Sample, elementwise, floating, op, per_element
from .samples import between, inf, nan, positive, randn, unary


def _within(*shape: int, seed: int = 0) -> Any:
    return between(0.05, 0.95, *shape, seed=seed)


def _entr(x: Any) -> Any:
    return np.where(x > 0, -x * np.log(x), np.where(x < 0, -inf, x * 0)).astype(x.dtype)


entr = op(
    "entr", "-x log x; 0 at 0, -inf below", inputs="x", torch="torch.special.entr(x)",
    numpy=_entr, infer=elementwise, dtypes=floating, flops=per_element(3),
    # d(-x log x) = -(log x + 1) dx
    vjp={"x": lambda g, x: neg(mul(g, add(log(x), 1.0)))},
    samples=unary(positive, special=(nan, inf, 0.0, -1.0)),
)  # fmt: skip

erfcx: Op = op(
    "erfcx", "e^(x^2) erfc(x)", inputs="x", torch="torch.special.erfcx(x)",
    numpy=special.erfcx, infer=elementwise, dtypes=floating, ordered=True, flops=per_element(30),
    vjp={"x": lambda g, x, out: mul(g, sub(mul(mul(x, out), 2.0), 2 / math.sqrt(math.pi)))},
    samples=lambda: [*unary(special=(nan, inf, -inf, 0.0, -30.0))(),
        Sample((np.array([-5.0, -1.0, 0.45, 0.55, 3.0, 27.0, 29.0, 1e3]),), smooth=False, note="far")],
)  # fmt: skip

ndtr = op(
    "ndtr", "the normal distribution function, (1 + erf(x / sqrt 2)) / 2", inputs="x", torch="torch.special.ndtr(x)",
    numpy=lambda x: special.erfc(x * -math.sqrt(0.5)) / 2, infer=elementwise, dtypes=floating,
    ordered=True, flops=per_element(20),
    vjp={"x": lambda g, x: mul(g, mul(exp(mul(square(x), -0.5)), 1 / math.sqrt(2 * math.pi)))},
    samples=unary(),
)  # fmt: skip

log_ndtr = op(
    "log_ndtr", "log ndtr(x), without underflow", inputs="x", torch="torch.special.log_ndtr(x)",
    numpy=special.log_ndtr, infer=elementwise, dtypes=floating, ordered=True, flops=per_element(40),
    # d log ndtr(x) = sqrt(2 / pi) / erfcx(-x / sqrt 2) dx
    vjp={"x": lambda g, x: mul(g, div(math.sqrt(2 / math.pi), erfcx(mul(x, -math.sqrt(0.5)))))},
    samples=lambda: [*unary(special=(nan, inf, 0.0))(),
        Sample((np.array([-40.0, -9.0, -1.1, -0.9, 5.0, 9.0]),), smooth=False, note="far")],
)  # fmt: skip

ndtri = op(
    "ndtri", "the y with ndtr(y) = x", inputs="x", torch="torch.special.ndtri(x)",
    numpy=special.ndtri, infer=elementwise, dtypes=floating, ordered=True, flops=per_element(150),
    vjp={"x": lambda g, out: mul(g, mul(exp(mul(square(out), 0.5)), math.sqrt(2 * math.pi)))},
    samples=lambda: [*unary(_within, special=(nan, 0.0, 1.0, -0.1, 1.1))(),
        Sample((np.array([1e-30, 1e-9, 1e-3, 0.5, 0.999]),), smooth=False, note="far")],
)  # fmt: skip


def _pull_bessel(g: Any, x: Any, out: Any, n: int, scaled: bool) -> Any:
    """dI0 = I1 dx,  dI1 = (I0 - I1/x) dx;  scaled: also -sign(x) out"""
    slope = bessel(x, n=1 - n, scaled=scaled)
    if n == 1:
        origin = eq(x, 0.0)
        slope = sub(slope, where(origin, 0.5, div(out, where(origin, 1.0, x))))
    return mul(g, sub(slope, mul(sign(x), out)) if scaled else slope)


bessel: Op = op(
    "bessel", "I_n(x), the modified Bessel function of order 0 or 1; scaled: times e^-|x|", inputs="x",
    torch="getattr(torch.special, f'i{n}' + 'e' * scaled)(x)",
    numpy=lambda x, n=0, scaled=False: special.bessel(x, n, scaled), infer=elementwise, dtypes=floating, ordered=True,
    flops=per_element(300),
    vjp={"x": _pull_bessel},
    samples=lambda: [
        *unary(special=(nan, 0.0, 1e-30))(),
        *[Sample((3 * randn(5),), {"n": n, "scaled": s}) for n in (0, 1) for s in (False, True)],
        Sample((np.array([-30.0, 8.0, 650.0, 900.0, 1e6]),), {"n": 1, "scaled": True}, smooth=False, note="far"),
        Sample((np.array([-30.0, 8.0, 650.0, 1e3]),), {"n": 0}, smooth=False, note="large"),
    ],
)  # fmt: skip
