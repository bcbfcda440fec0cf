"""erf, gamma and their kin on whole arrays: NumPy has none of them.

Each is computed in float64 by polynomials fitted to the function (Chebyshev interpolation in 50 digits) after its
zeros, exponentials and logarithms are taken out, so that the error is relative: a few units in the last place. float32
results are those, rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
F32 = np.dtype(np.float32)
BLOCK = 4096  # elements worked on at a time: the temporaries stay in cache


def horner(coefficients: tuple[float, ...], x: Array) -> Array:
    """The polynomial with these coefficients, highest power first."""
    y = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        np.multiply(y, x, out=y)
        np.add(y, c, out=y)
    return y


def in_float64(f: Callable[..., Array]) -> Callable[..., Array]:
    """f over an array of any shape and float type, block by block."""

    def whole(x: Array, *numbers: int) -> Array:
        flat = x.reshape(-1)
        out = np.empty(flat.shape, x.dtype)
        for i in range(0, flat.size, BLOCK):
            out[i : i + BLOCK] = f(flat[i : i + BLOCK].astype(np.float64), *numbers)
        return out.reshape(x.shape)

    whole.__name__, whole.__doc__ = f.__name__, f.__doc__
    return whole


# -- the error function ------------------------------------------------------------------------------------------------

# erf(x) / x in x^2, for |x| <= 1/2
_ERF = (
    -1.4620256114391553e-07, 1.6371164552892836e-06, -1.4923000283850108e-05, 0.00012055286128871108,
    -0.0008548326509718547, 0.005223977622008845, -0.026866170644999358, 0.11283791670954868,
    -0.3761263890318375, 1.1283791670955126,
)  # fmt: skip
# (1 + 2x) exp(x^2) erfc(x) in (x - 2) / (x + 2), for 1/2 <= x <= 28
_ERFC = (
    -1.0761752667757282e-07, 2.0266186178874037e-07, 3.322227341163351e-07, -4.07512709743952e-07,
    -9.467397443540274e-07, -5.582414811465211e-07, 1.5267377381291389e-06, 5.1564578315773314e-06,
    3.7162601952217067e-06, -1.347303723164562e-05, -3.6427729153257963e-05, -1.5135274397568287e-06,
    0.00015104031653751022, 0.00020636764528885794, -0.00045434098949147906, -0.0014568139787562704,
    0.0012713389783176223, 0.008722653877070658, -0.008034015082938164, -0.05422000099206743,
    0.1640512800334517, -0.16603039761528912, -0.09276382658574606, 1.2769783815525286,
)  # fmt: skip
# artanh(erf(x)) / x in x^2: grows for all x, so that tanh of it is erf to 2.5e-7, which is enough for float32
_ERF_SINGLE = (
    1.4185268756427204e-07, -5.668484789772093e-06, 8.763739114587565e-05, -0.0006197848514826238,
    -0.00019183054890726603, 0.1027690556659929, 1.1283792743219945,
)  # fmt: skip


def _centre(x: Array) -> Array:
    """erf for |x| <= 1/2."""
    return x * horner(_ERF, x * x)


def _tail(x: Array) -> Array:
    """erfc for x >= 1/2."""
    x = np.minimum(x, 28.0)  # beyond, erfc is below the smallest number
    rough = x.astype(F32).astype(np.float64)  # its square is exact: exp(-x^2) without the rounding error of x^2
    gauss = np.exp(-rough * rough) * np.exp((rough - x) * (rough + x))
    return gauss * horner(_ERFC, (x - 2) / (x + 2)) / (1 + 2 * x)


@in_float64
def _erf_double(x: Array) -> Array:
    size = np.abs(x)
    return np.where(size < 0.5, _centre(x), np.copysign(1 - _tail(size), x))


def erf(x: Array) -> Array:
    """2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    if x.size <= 64:  # one by one is quicker
        return np.array([math.erf(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)
    if x.dtype != F32:
        return _erf_double(x)
    y = horner(_ERF_SINGLE, x * x)
    np.multiply(y, x, out=y)
    return np.tanh(y, out=y)


@in_float64
def erfc(x: Array) -> Array:
    """1 - erf(x), without cancellation."""
    size = np.abs(x)
    tail = _tail(size)
    return np.where(size < 0.5, 1 - _centre(x), np.where(x < 0, 2 - tail, tail))


def _scaled_tail(x: Array) -> Array:
    """exp(x^2) erfc(x) for x >= 1/2; for large x by its asymptotic series."""
    near = np.minimum(x, 28.0)
    t = -0.5 / np.square(np.maximum(x, 28.0))
    far = horner((945.0, 105.0, 15.0, 3.0, 1.0, 1.0), t) / (math.sqrt(math.pi) * x)
    return np.where(x <= 28, horner(_ERFC, (near - 2) / (near + 2)) / (1 + 2 * near), far)


@in_float64
def erfcx(x: Array) -> Array:
    """exp(x^2) erfc(x)"""
    size = np.abs(x)
    tail, gauss = _scaled_tail(np.maximum(size, 0.5)), np.exp(x * x)
    return np.where(size < 0.5, gauss * (1 - _centre(x)), np.where(x < 0, 2 * gauss - tail, tail))


def _log_ndtr(x: Array) -> Array:
    y = x * -math.sqrt(0.5)
    low = np.log(_scaled_tail(np.maximum(y, 0.5)) / 2) - y * y
    return np.where(y > 0.5, low, np.log1p(-erfc(-np.minimum(y, 1.0)) / 2))


@in_float64
def log_ndtr(x: Array) -> Array:
    """log of the normal distribution function."""
    return _log_ndtr(x)


@in_float64
def ndtri(x: Array) -> Array:
    """The y whose normal distribution function is x."""
    p = np.minimum(x, 1 - x)
    log = np.log(p)
    # a start from the tail's size, then Newton's method on log ndtr, which is nearly straight there
    t = np.sqrt(-2 * log)
    y = (2.30753 + 0.27061 * t) / (1 + t * (0.99229 + t * 0.04481)) - t
    for _ in range(4):
        value = _log_ndtr(y)
        y = y - (value - log) / (np.exp(-0.5 * y * y - value) / math.sqrt(2 * math.pi))
    y = np.where(p > 0, y, np.where(p == 0, -np.inf, np.nan))
    return np.where(x > 0.5, -y, np.where(x == 0.5, 0.0, y))


@in_float64
def erfinv(x: Array) -> Array:
    """The y whose erf is x."""
    size = np.abs(x)
    # a start that is right to 0.4 % (Winitzki), then two steps of Halley's method, each of which triples the digits
    log, c = np.log1p(-size * size), 2 / (math.pi * 0.147)
    half = c + log / 2
    y = np.sqrt(np.maximum(np.sqrt(half * half - log / 0.147) - half, 0))
    for _ in range(2):
        error = np.where(y < 0.5, _centre(y) - size, (1 - size) - _tail(y))
        step = error * np.exp(y * y) * (math.sqrt(math.pi) / 2)
        y = y - step / (1 + y * step)
    y = np.where(size < 1, y, np.where(size == 1, np.inf, np.nan))
    return np.copysign(y, x)


# -- the gamma function ------------------------------------------------------------------------------------------------

# log gamma(2 + d) / d, for |d| <= 1/2
_LGAMMA = (
    2.7475390051909663e-07, -5.811277768921246e-07, 9.242852225162277e-07, -1.9743106888421067e-06,
    4.3828545383846665e-06, -9.45628851510172e-06, 2.050601970174762e-05, -4.4923727564247656e-05,
    9.945761692157133e-05, -0.00022315497746292723, 0.0005096695196526673, -0.0011927539009983087,
    0.002890510330865901, -0.007385551028935545, 0.02058080842778338, -0.06735230105319563,
    0.3224670334241132, 0.42278433509846713,
)  # fmt: skip
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)  # B2, B4, ...
_LARGE = 10.0  # from here on, the asymptotic series in B2k is exact to float64


@in_float64
def lgamma(x: Array) -> Array:
    """log |gamma(x)|"""
    size = np.abs(x)
    value = np.where(size < _LARGE, _lgamma_small(np.minimum(size, _LARGE)), _stirling(np.maximum(size, _LARGE)))
    # gamma(x) gamma(-x) = -pi / (x sin(pi x))
    mirrored = math.log(math.pi) - np.log(size * np.abs(np.sin(np.pi * (size % 1)))) - value
    mirrored[(size % 1 == 0) | (size == np.inf)] = np.inf
    return np.where(x <= 0, mirrored, value)


def _lgamma_small(x: Array) -> Array:
    """By gamma(x + 1) = x gamma(x), from the interval around 2."""
    y, product = x, np.ones_like(x)
    while np.any(high := y >= 2.5):
        y = np.where(high, y - 1, y)
        product = np.where(high, product * y, product)
    steps = np.where(y < 0.5, 2, np.where(y < 1.5, 1, 0))
    d = y - (2 - steps)
    divided = np.where(steps == 2, np.log(y) + np.log1p(y), np.where(steps == 1, np.log(y), -np.log(product)))
    return d * horner(_LGAMMA, d) - divided


def _stirling(x: Array) -> Array:
    """(x - 1/2) log x - x + log(2 pi)/2 + sum of B2k / (2k (2k-1) x^(2k-1))"""
    series = (
        horner(tuple(b / (2 * k * (2 * k - 1)) for k, b in reversed(list(enumerate(_BERNOULLI, 1)))), 1 / (x * x)) / x
    )
    return (x - 0.5) * (np.log(x) - 1) + (0.5 * math.log(2 * math.pi) - 0.5) + series


@in_float64
def digamma(x: Array) -> Array:
    """The derivative of log gamma."""
    # psi(x) = psi(1 - x) - pi / tan(pi x)
    mirrored = np.where(x < 0, -math.pi / np.tan(math.pi * (x - np.rint(x))), 0.0)
    y = np.where(x < 0, 1 - x, x)
    below = np.zeros_like(y)
    for _ in range(int(_LARGE)):  # psi(y) = psi(y + 1) - 1/y
        low = y < _LARGE
        below = np.where(low, below + 1 / y, below)
        y = np.where(low, y + 1, y)
    series = horner((*[b / (2 * k) for k, b in reversed(list(enumerate(_BERNOULLI, 1)))], 0.0), 1 / (y * y))
    value = np.log(y) - 0.5 / y - series - below + mirrored
    value = np.where(x == 0, np.copysign(np.inf, -x), value)
    return np.where((x < 0) & (x == np.floor(x)), np.nan, value)


@in_float64
def polygamma(x: Array, n: int) -> Array:
    """The n-th derivative of digamma, n >= 1: (-1)^(n+1) n! zeta(n + 1, x)."""
    y, s = x, n + 1
    below = np.zeros_like(y)
    while np.any(low := (y < _LARGE + n) & (y != -np.inf)):  # zeta(s, y) = y^-s + zeta(s, y + 1)
        below = np.where(low, below + np.power(y, -float(s)), below)
        y = np.where(low, y + 1, y)
    # Euler and Maclaurin's sum for the rest
    zeta = np.power(y, 1.0 - s) / (s - 1) + 0.5 * np.power(y, -float(s))
    factor = float(s)  # s (s+1) ... (s+2k-2) / (2k)!
    term = np.power(y, -float(s) - 1)
    for k, b in enumerate(_BERNOULLI, 1):
        zeta = zeta + b / math.factorial(2 * k) * factor * term
        factor *= (s + 2 * k - 1) * (s + 2 * k)
        term = term / (y * y)
    return np.where(x == -np.inf, np.nan, (-1.0) ** (n + 1) * math.factorial(n) * (zeta + below))


# -- Bessel functions --------------------------------------------------------------------------------------------------


@in_float64
def bessel(x: Array, n: int, scaled: int) -> Array:
    """The modified Bessel function I_n, n = 0 or 1; scaled: times exp(-|x|).

    I_0 = mean of e^(x cos t),  I_1 = x mean of e^(x cos t) sin^2 t  over a period: evenly spaced points are exact to
    rounding once they resolve the peak. From 700 on, by the asymptotic series.
    """
    size = np.abs(x)
    near = np.minimum(np.where(np.isnan(size), 0, size), 700.0)
    points = 16 + int(4 * math.sqrt(near.max(initial=0)))
    total = np.zeros_like(near)
    for t in (np.arange(points) + 0.5) * (math.pi / points):
        total += np.exp(near * (math.cos(t) - 1)) * (math.sin(t) ** 2 if n else 1)
    value = total / points * (near if n else 1)
    r, m = 1 / (8 * np.maximum(size, 700.0)), 4 * n * n
    series = 1 - (m - 1) * r * (1 - (m - 9) * r / 2 * (1 - (m - 25) * r / 3 * (1 - (m - 49) * r / 4)))
    value = np.where(size < 700, value, series * np.sqrt(4 * r / math.pi))
    value = np.where(np.isnan(x), np.nan, value if scaled else value * np.exp(size))
    return np.copysign(value, x) if n else value
