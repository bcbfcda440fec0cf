"""Random numbers as a function of a generator's state: the same (seed, offset) gives the same numbers on every engine.

The state is an int64 array [seed, offset]; how an op turns Philox's bits into numbers is told in `engines.numpy.philox`.
PyTorch's own random values are not reproduced, so these records have no PyTorch expression.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import BOOL, F32, F64, I64
from ..engines.numpy import philox, special
from .record import Array, Op, Sample, Shape, Spec, broadcast, elementwise, op, per_input

_STATE = np.array([1234, 5], np.int64)


def draw(state: Array, variate: str, count: int, dtype: Any) -> Any:
    """The bits a variate needs, from the state's place in the stream."""
    seed, offset = (int(v) for v in state)
    return philox.random_bits(seed, offset, philox.words(variate, count, dtype))


def steps(variate: str, shape: Shape, dtype: Any) -> int:
    """How far drawing so many numbers moves the offset."""
    return philox.blocks(philox.words(variate, math.prod(shape), dtype))


def _uniform(state: Array, shape: Shape = (), dtype: Any = F32) -> Array:
    return philox.uniform(draw(state, "uniform", math.prod(shape), dtype), dtype).reshape(shape)


def _normal(state: Array, shape: Shape = (), dtype: Any = F32) -> Array:
    n = math.prod(shape)
    return philox.normal(draw(state, "normal", n, dtype), dtype)[:n].reshape(shape)


def _bernoulli(state: Array, p: Any) -> Array:
    p = np.asarray(p)
    return philox.bernoulli(draw(state, "bernoulli", p.size, F32), p.reshape(-1)).reshape(p.shape)


def _integers(state: Array, low: int = 0, high: int = 2, shape: Shape = ()) -> Array:
    return philox.integers(draw(state, "integers", math.prod(shape), I64), low, high).reshape(shape)


def _permutation(state: Array, n: int = 0) -> Array:
    return philox.permutation(draw(state, "permutation", n, I64), n)


def _random(name: str, formula: str, **fields: Any) -> Op:
    fields = {"inputs": "state", "dtypes": per_input, **fields}
    return op(name, formula, torch="", **fields)


def _numpys(state: Array) -> np.random.Generator:
    """A generator of NumPy's, with the state as its key: for variates that take a varying number of random bits."""
    return np.random.Generator(np.random.Philox(key=state.view(np.uint64)))


def _standard_gamma(state: Array, alpha: Array) -> Array:
    smallest = np.finfo(F32 if alpha.dtype == F32 else F64).tiny
    return np.maximum(_numpys(state).standard_gamma(alpha.astype(F64)), smallest).astype(alpha.dtype)


def _gamma_slope(alpha: Array, z: Array) -> Array:
    """With P the distribution function, p its density, and r_n = z^n / ((alpha+1) ... (alpha+n)):

    P = p z/alpha (sum of r_n),  dz/dalpha = -dP/dalpha / p = -z/alpha (sum of r_n (log z - digamma(alpha + n + 1)))
    """
    a, x = (v.astype(F64) for v in np.broadcast_arrays(alpha, z))
    if not a.size:
        return z.copy()
    r, total, gap = np.ones_like(x), np.zeros_like(x), np.log(x) - special.digamma(a + 1)
    n, largest = 0, np.ones_like(x)
    while np.any(r > 1e-17 * largest):
        total += r * gap
        n += 1
        gap -= 1 / (a + n)
        r = r * x / (a + n)
        largest = np.maximum(largest, r)
    return (-total * x / a).astype(z.dtype)


uniform = _random(
    "uniform", "U in [0, 1)", numpy=_uniform, infer=lambda state, shape, dtype: Spec(shape, np.dtype(dtype)),
    samples=lambda: [Sample((_STATE,), {"shape": s, "dtype": F32}, smooth=False) for s in ((3, 4), (), (0, 2))],
)  # fmt: skip

normal = _random(
    "normal", "sqrt(-2 log(1 - U1)) cos(2 pi U2)", numpy=_normal, infer=lambda state, shape, dtype: Spec(shape, np.dtype(dtype)),
    samples=lambda: [Sample((_STATE,), {"shape": s, "dtype": F32}, smooth=False) for s in ((3, 5), (), (0, 2))],
)  # fmt: skip

bernoulli = _random(
    "bernoulli", "U < p", inputs="state p", numpy=_bernoulli, infer=lambda state, p: Spec(getattr(p, "shape", ()), BOOL),
    samples=lambda: [Sample((_STATE, np.full(s, 0.3, np.float32)), smooth=False) for s in ((3, 5), (), (0, 2))],
)  # fmt: skip

integers = _random(
    "integers", "an integer in [low, high)", numpy=_integers, infer=lambda state, low, high, shape: Spec(shape, I64),
    samples=lambda: [Sample((_STATE,), {"low": -3, "high": 9, "shape": s}, smooth=False) for s in ((3, 5), (), (0, 2))],
)  # fmt: skip

permutation = _random(
    "permutation", "0 ... n-1 in random order", numpy=_permutation, infer=lambda state, n: Spec((n,), I64),
    samples=lambda: [Sample((_STATE,), {"n": n}, smooth=False) for n in (7, 1, 0)],
)  # fmt: skip

# -- by NumPy's generators: the same for the same state, but not the same on other engines -----------------------------

standard_gamma = _random(
    "standard_gamma", "z with density z^(alpha-1) e^-z / gamma(alpha)", inputs="state alpha", numpy=_standard_gamma,
    infer=lambda state, alpha: Spec(alpha.shape, alpha.dtype),
    samples=lambda: [Sample((_STATE, np.full(s, 2.5)), smooth=False) for s in ((3, 5), (), (0, 2))],
)  # fmt: skip

gamma_slope = _random(
    "gamma_slope", "dz/dalpha of a gamma variate z, its place in the distribution fixed", inputs="alpha z",
    numpy=_gamma_slope, infer=elementwise,
    samples=lambda: [Sample((np.full(s, 2.5), np.full(s, 1.5)), smooth=False) for s in ((3, 5), (), (0, 2))],
)  # fmt: skip

poisson = _random(
    "poisson", "k with probability rate^k e^-rate / k!", inputs="state rate",
    numpy=lambda state, rate: np.asarray(_numpys(state).poisson(rate.astype(F64)), rate.dtype),
    infer=lambda state, rate: Spec(rate.shape, rate.dtype),
    samples=lambda: [Sample((_STATE, np.full(s, 2.5)), smooth=False) for s in ((3, 5), (), (0, 2))],
)  # fmt: skip

binomial = _random(
    "binomial", "how many of `count` trials succeed, each with probability p", inputs="state count p",
    numpy=lambda state, count, p: np.asarray(_numpys(state).binomial(count.astype(I64), p.astype(F64)), count.dtype),
    infer=lambda state, count, p: Spec(broadcast(count, p), count.dtype),
    samples=lambda: [Sample((_STATE, np.full(s, 5.0), np.full(s, 0.3)), smooth=False) for s in ((3, 5), (), (0, 2))],
)  # fmt: skip
