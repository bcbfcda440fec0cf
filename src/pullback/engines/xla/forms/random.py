"""Philox 4x32-10 on XLA: the same bits as `engines.numpy.philox`, and the same numbers made of them.

Every number is computed from its own place in the stream, its block of four words over again. So the random numbers
are one elementwise formula, which XLA computes inside whatever uses them and never stores.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import digamma

from ....dtypes import F32, F64, I64
from ....ops.record import OPS, Shape
from . import Array, form

U32, U64 = np.dtype(np.uint32), np.dtype(np.uint64)
_M0, _M1 = U64.type(0xD2511F53), U64.type(0xCD9E8D57)
_GOLDEN, _SQRT3 = U32.type(0x9E3779B9), U32.type(0xBB67AE85)


# -- bits --------------------------------------------------------------------------------------------------------------


def _low(x: Array) -> Array:
    return x.astype(U32)


def _high(x: Array) -> Array:
    return (x >> U64.type(32)).astype(U32)


def _block(state: Array, number: Array) -> tuple[Array, Array, Array, Array]:
    """The four words of the block `number` (uint64) behind the state's offset, in ten rounds."""
    seed, offset = state[0].astype(U64), state[1].astype(U64)
    k0, k1, counter = _low(seed), _high(seed), number + offset
    c0, c1 = _low(counter), _high(counter)
    c2 = c3 = jnp.zeros_like(c0)
    for _ in range(10):
        p0, p1 = c0.astype(U64) * _M0, c2.astype(U64) * _M1
        c0, c1, c2, c3 = _high(p1) ^ c1 ^ k0, _low(p1), _high(p0) ^ c3 ^ k1, _low(p0)
        k0, k1 = k0 + _GOLDEN, k1 + _SQRT3
    return c0, c1, c2, c3


def words(state: Array, count: int) -> Array:
    """The first `count` words of the stream."""
    i = lax.iota(U64, count)
    a, b, c, d = _block(state, i >> U64.type(2))
    return jnp.where(_bit(i, 1), jnp.where(_bit(i, 0), d, c), jnp.where(_bit(i, 0), b, a))


def _neighbours(state: Array, i: Array) -> tuple[Array, Array]:
    """The words 2i and 2i + 1."""
    a, b, c, d = _block(state, i >> U64.type(1))
    return jnp.where(_bit(i, 0), c, a), jnp.where(_bit(i, 0), d, b)


def _bit(i: Array, n: int) -> Array:
    return (i >> U64.type(n) & U64.type(1)) == U64.type(1)


def _joined(low: Array, high: Array) -> Array:
    """Two words as one."""
    return low.astype(U64) | high.astype(U64) << U64.type(32)


# -- variates ----------------------------------------------------------------------------------------------------------


def _digits(dtype: Any) -> int:
    """The bits of a significand."""
    return int(jnp.finfo(dtype).nmant) + 1


def _unit(bits: Array, dtype: Any) -> Array:
    """k / 2**d, with k the top d bits, in a type that holds it exactly."""
    d = _digits(dtype)
    k = bits >> bits.dtype.type(8 * bits.dtype.itemsize - d)
    return k.astype(F32 if d <= 32 else F64) * 2.0**-d


@form("uniform")
def _uniform(state: Array, shape: Shape = (), dtype: Any = F32) -> Array:
    n = math.prod(shape)
    bits = words(state, n) if _digits(dtype) <= 32 else _joined(*_neighbours(state, lax.iota(U64, n)))
    return _unit(bits, dtype).astype(dtype).reshape(shape)


@form("normal")
def _normal(state: Array, shape: Shape = (), dtype: Any = F32) -> Array:
    """Box-Muller: sqrt(-2 log(1 - u)) times cos(2 pi v), and times sin(2 pi v) beside it."""
    i = lax.iota(U64, math.prod(shape))
    pair = i >> U64.type(1)
    if _digits(dtype) <= 32:
        u, v = (_unit(bits, F32) for bits in _neighbours(state, pair))
    else:
        a, b, c, d = _block(state, pair)
        u, v = _unit(_joined(a, b), F64), _unit(_joined(c, d), F64)
    radius, angle = jnp.sqrt(-2 * jnp.log(1 - u)), 2 * np.pi * v
    return (radius * jnp.where(_bit(i, 0), jnp.sin(angle), jnp.cos(angle))).astype(dtype).reshape(shape)


@form("bernoulli")
def _bernoulli(state: Array, p: Any) -> Array:
    p = jnp.asarray(p)
    return _unit(words(state, p.size), F32).reshape(p.shape) < p


@form("integers")
def _integers(state: Array, low: int = 0, high: int = 2, shape: Shape = ()) -> Array:
    """low + floor(x (high - low) / 2**64): the product's upper half, in limbs of 32 bits."""
    if not -(2**63) <= low < high <= 2**63:
        raise ValueError(f"integers: needs low < high, both within int64, but got low={low}, high={high}")
    span0, span1 = U64.type(high - low & 0xFFFFFFFF), U64.type(high - low >> 32)
    x0, x1 = (w.astype(U64) for w in _neighbours(state, lax.iota(U64, math.prod(shape))))
    half = U64.type(32)
    middle = x1 * span0 + (x0 * span0 >> half)
    upper = x1 * span1 + (middle >> half) + (x0 * span1 + _low(middle).astype(U64) >> half)
    return (upper + U64.type(low % 2**64)).astype(I64).reshape(shape)  # modulo 2**64, as two's complement has it


@form("permutation")
def _permutation(state: Array, n: int = 0) -> Array:
    return jnp.argsort(_joined(*_neighbours(state, lax.iota(U64, n))), stable=True).astype(I64)


# -- by NumPy's generators, which take as many bits as they happen to need: NumPy is called back -----------------------


def _by_numpy(name: str, shape: Shape, dtype: Any, *inputs: Array) -> Array:
    def call(*arrays: Any) -> Any:
        return np.asarray(OPS[name].numpy(*map(np.asarray, arrays)), dtype)

    return jax.pure_callback(call, jax.ShapeDtypeStruct(shape, dtype), *inputs)


@form("standard_gamma")
def _standard_gamma(state: Array, alpha: Array) -> Array:
    return _by_numpy("standard_gamma", alpha.shape, alpha.dtype, state, alpha)


@form("poisson")
def _poisson(state: Array, rate: Array) -> Array:
    return _by_numpy("poisson", rate.shape, rate.dtype, state, rate)


@form("binomial")
def _binomial(state: Array, count: Array, p: Array) -> Array:
    return _by_numpy("binomial", jnp.broadcast_shapes(count.shape, p.shape), count.dtype, state, count, p)


@form("gamma_slope")
def _gamma_slope(alpha: Array, z: Array) -> Array:
    """-z/alpha (sum over n of r_n (log z - digamma(alpha + n + 1))), r_n = z^n / ((alpha+1) ... (alpha+n))"""
    a, x = (v.astype(F64) for v in jnp.broadcast_arrays(alpha, z))

    def unfinished(loop: Any) -> Array:
        _, r, _, _, largest = loop
        return jnp.any(r > 1e-17 * largest)

    def step(loop: Any) -> Any:
        n, r, total, gap, largest = loop
        n, total = n + 1, total + r * gap
        r, gap = r * x / (a + n), gap - 1 / (a + n)
        return n, r, total, gap, jnp.maximum(largest, r)

    one = jnp.ones_like(x)
    start = jnp.zeros((), F64), one, jnp.zeros_like(x), jnp.log(x) - digamma(a + 1), one
    return (-lax.while_loop(unfinished, step, start)[2] * x / a).astype(z.dtype)
