"""Random numbers as a function of a generator's state: the same (seed, offset) gives the same numbers on every engine.

The state is an int64 array [seed, offset]; how an op turns Philox's bits into numbers is told in `engines.numpy.philox`.
PyTorch's own random values are not reproduced, so these records have no PyTorch expression.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import BOOL, F32, I64
from ..engines.numpy import philox
from .record import Array, Op, Sample, Shape, Spec, op, per_input

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
