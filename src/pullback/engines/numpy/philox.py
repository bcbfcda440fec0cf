"""Counter-based randomness: Philox 4x32-10 bits, and the variates made from them.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Word i of a stream depends on
(seed, offset, i) alone, so a stream can be cut anywhere, replayed, or drawn in parallel with the same result.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

_LOW = np.array(0xFFFFFFFF, np.uint64)
_32 = np.array(32, np.uint64)
_M0 = np.array(0xD2511F53, np.uint64)
_M1 = np.array(0xCD9E8D57, np.uint64)
_CHUNK = 8192  # blocks at a time: 3 buffers of 128 KiB stay in the L2 cache

# The bits of each significand: k / 2**digits with k < 2**digits is exact, so no uniform rounds up to 1.
_DIGITS = {np.dtype(t): d for t, d in ((ml_dtypes.bfloat16, 8), (np.float16, 11), (np.float32, 24), (np.float64, 53))}


def blocks(count: int) -> int:
    """The blocks of four words that hold `count` words: how far a generator's offset advances."""
    return -(-count // 4)


def random_bits(seed: int, offset: int, count: int) -> NDArray[np.uint32]:
    """The first `count` words of the stream `seed`, starting at block `offset` (both modulo 2**64)."""
    out = np.empty((blocks(count), 4), np.uint32)
    work = np.empty((3, 2, min(len(out), _CHUNK)), np.uint64)
    keys = _round_keys(seed)
    for start in range(0, len(out), _CHUNK):
        part = out[start : start + _CHUNK]
        index = np.arange(len(part), dtype=np.uint64)
        index += np.uint64((offset + start) & 0xFFFFFFFFFFFFFFFF)
        _philox((index & _LOW, index >> _32, 0, 0), keys, work[:, :, : len(part)], part)
    return out.reshape(-1)[:count]


@lru_cache(maxsize=64)
def _round_keys(seed: int) -> list[tuple[Any, Any]]:
    """The two key words of each round: they start at the seed's halves and step by golden ratio and sqrt(3) - 1."""
    k0, k1 = seed, seed >> 32
    return [(_word(k0 + r * 0x9E3779B9), _word(k1 + r * 0xBB67AE85)) for r in range(10)]


def _word(value: int) -> NDArray[np.uint64]:
    return np.array(value & 0xFFFFFFFF, np.uint64)


def _philox(counter: tuple[Any, Any, Any, Any], keys: Any, work: Any, out: NDArray[np.uint32]) -> None:
    """Ten rounds on the counter words c0..c3, into the rows of `out`; `work` is scratch of shape (3, 2, len(out)).

    One round: p0, p1 = M0 c0, M1 c2;  c0, c1, c2, c3 = high(p1) ^ c1 ^ k0, low(p1), high(p0) ^ c3 ^ k1, low(p0).
    c3 and c1 are the low halves of the round before's p0 and p1, and are read from there.
    """
    even, product, last = work
    c2, c0 = even
    c0[:], last[1], c2[:], last[0] = counter
    (p0, p1), (q0, q1) = product, last
    for k0, k1 in keys:
        np.multiply(c0, _M0, p0)
        np.multiply(c2, _M1, p1)
        np.right_shift(product, _32, even)
        np.bitwise_xor(even, last, even)
        np.bitwise_and(even, _LOW, even)
        np.bitwise_xor(c0, k0, c0)
        np.bitwise_xor(c2, k1, c2)
        product, last, p0, q0, p1, q1 = last, product, q0, p0, q1, p1
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = c0, q1, c2, q0


def words(variate: str, count: int, dtype: DTypeLike = np.float32) -> int:
    """The words that `count` variates take; `variate` is the name of one of the functions below."""
    match variate:
        case "uniform":
            return count * _width(dtype)
        case "normal":
            return (count + count % 2) * _width(dtype)
        case "bernoulli":
            return count
        case "integers" | "permutation":
            return 2 * count
    raise ValueError(f"words: no variate {variate!r}; there are uniform, normal, bernoulli, integers and permutation")


def uniform(bits: NDArray[np.uint32], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """In [0, 1): k / 2**d, with k the top d bits of a word, or for float64 of a pair, low word first."""
    digits = _digits(dtype)
    k: NDArray[Any] = bits >> (32 - digits) if digits <= 32 else _pairs(bits) >> (64 - digits)
    u = k.astype(_working(dtype))
    u *= 2.0**-digits
    return u.astype(dtype, copy=False)


def normal(bits: NDArray[np.uint32], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Box-Muller: each two uniforms u, v give sqrt(-2 log(1 - u)) times cos(2 pi v) and sin(2 pi v), side by side.

    The number of normals is therefore even. float16 and bfloat16 are rounded from float32.
    """
    z = uniform(bits, _working(dtype)).reshape(-1, 2)
    radius = np.sqrt(-2 * np.log(1 - z[:, 0]))
    angle = 2 * np.pi * z[:, 1]
    np.multiply(radius, np.cos(angle), z[:, 0])
    np.multiply(radius, np.sin(angle), z[:, 1])
    return z.reshape(-1).astype(dtype, copy=False)


def bernoulli(bits: NDArray[np.uint32], p: Any) -> NDArray[np.bool_]:
    """True where a float32 uniform is below `p`: never for p = 0, always for p = 1, else within 2**-24 of p."""
    below: NDArray[np.bool_] = uniform(bits) < p
    return below


def integers(bits: NDArray[np.uint32], low: int, high: int) -> NDArray[np.int64]:
    """In [low, high): low + floor(x (high - low) / 2**64), x a pair of words; every probability is within 2**-64."""
    if not -(2**63) <= low < high <= 2**63:
        raise ValueError(f"integers: needs low < high, both within int64, but got low={low}, high={high}")
    # The product's upper half in 32-bit limbs; no intermediate exceeds 64 bits.
    span0, span1 = _word(high - low), np.array(high - low >> 32, np.uint64)
    x0, x1 = bits.reshape(-1, 2).T.astype(np.uint64, order="C")
    middle = x1 * span0 + ((x0 * span0) >> _32)
    upper: NDArray[np.uint64] = x1 * span1 + (middle >> _32) + ((x0 * span1 + (middle & _LOW)) >> _32)
    upper += np.uint64(low % 2**64)  # modulo 2**64, as two's complement has it
    return upper.view(np.int64)


def permutation(bits: NDArray[np.uint32], n: int) -> NDArray[np.int64]:
    """The order that sorts n 64-bit keys, a pair of words each; equal keys keep their order."""
    order: NDArray[np.int64] = np.argsort(_pairs(bits.reshape(2 * n)), kind="stable").astype(np.int64, copy=False)
    return order


def _digits(dtype: DTypeLike) -> int:
    digits = _DIGITS.get(np.dtype(dtype))
    if digits is None:
        raise TypeError(f"no random floats of dtype {np.dtype(dtype)}; use float16, bfloat16, float32 or float64")
    return digits


def _width(dtype: DTypeLike) -> int:
    """Words a uniform takes."""
    return 1 if _digits(dtype) <= 32 else 2


def _working(dtype: DTypeLike) -> type[np.floating[Any]]:
    """The dtype to compute in: float16 and bfloat16 fit in float32."""
    return np.float32 if _digits(dtype) <= 32 else np.float64


def _pairs(bits: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Words 2i and 2i + 1 as the low and high half of one 64-bit word, on machines of either byte order."""
    return np.ascontiguousarray(bits, "<u4").view("<u8")
