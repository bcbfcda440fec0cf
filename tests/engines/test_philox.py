from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pullback.engines.numpy import philox

FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
ONES = np.uint32(0xFFFFFFFF)


def philox_block(counter: list[int], key: list[int]) -> list[int]:
    """One block for any counter and key."""
    out = np.empty((1, 4), np.uint32)
    keys = philox._round_keys(key[0] | key[1] << 32)
    philox._philox((counter[0], counter[1], counter[2], counter[3]), keys, np.empty((3, 2, 1), np.uint64), out)
    return [int(word) for word in out[0]]


def reference(counter: list[int], key: list[int]) -> list[int]:
    """The same block in Python integers, as the paper writes it."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = p1 >> 32 ^ c1 ^ k0, p1 & 0xFFFFFFFF, p0 >> 32 ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def kolmogorov_smirnov(samples: Any, cdf: Any) -> float:
    """sqrt(n) times the largest gap to the distribution function; above 1.95 once in a thousand."""
    x, n = np.sort(np.asarray(samples, np.float64)), len(samples)
    steps, exact = np.arange(n + 1) / n, cdf(x)
    return float(np.sqrt(n) * max(np.max(steps[1:] - exact), np.max(exact - steps[:-1])))


def normal_cdf(x: Any) -> Any:
    """By the trapezoid rule on a fine grid."""
    grid = np.linspace(-9, 9, 20001)
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    return np.interp(x, grid, np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))]))


# Bits


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    c, k, e = ([int(word, 16) for word in text.split()] for text in (counter, key, expected))
    assert philox_block(c, k) == reference(c, k) == e


@pytest.mark.parametrize("seed", [0, 1, 0x0123456789ABCDEF, 2**64 - 1])
@pytest.mark.parametrize("offset", [0, 5, 2**32 - 2, 2**64 - 2])
def test_blocks_count_up_from_the_offset_and_carry(seed: int, offset: int) -> None:
    expected = []
    for i in range(5):
        index = (offset + i) % 2**64
        expected += reference([index & 0xFFFFFFFF, index >> 32, 0, 0], [seed & 0xFFFFFFFF, seed >> 32])
    bits = philox.random_bits(seed, offset, 18)
    assert bits.dtype == np.uint32
    assert bits.tolist() == expected[:18]


def test_any_split_at_a_block_gives_the_same_words() -> None:
    count, chunk = 4 * (2 * philox._CHUNK + 3) + 1, philox._CHUNK
    whole = philox.random_bits(3, 11, count)
    for block in (1, chunk - 1, chunk, chunk + 1, 2 * chunk, philox.blocks(count) - 1):
        head = philox.random_bits(3, 11, 4 * block)
        tail = philox.random_bits(3, 11 + block, count - 4 * block)
        np.testing.assert_array_equal(np.concatenate([head, tail]), whole)


def test_a_shorter_request_is_a_prefix() -> None:
    whole = philox.random_bits(3, 0, 64)
    for count in range(64):
        np.testing.assert_array_equal(philox.random_bits(3, 0, count), whole[:count])


def test_blocks_rounds_up() -> None:
    assert [philox.blocks(n) for n in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]


def test_seeds_are_taken_modulo_2_to_the_64() -> None:
    np.testing.assert_array_equal(philox.random_bits(-1, 0, 8), philox.random_bits(2**64 - 1, 0, 8))
    assert not np.array_equal(philox.random_bits(1, 0, 8), philox.random_bits(1 + 2**32, 0, 8))


def test_every_bit_is_set_half_of_the_time() -> None:
    bits = philox.random_bits(1, 0, 100_000)
    share = [np.mean(bits >> np.uint32(i) & np.uint32(1)) for i in range(32)]
    np.testing.assert_allclose(share, 0.5, atol=0.0075)


# Variates


@pytest.mark.parametrize("variate", ["uniform", "normal", "bernoulli", "integers", "permutation"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_words_is_what_each_variate_consumes(variate: str, dtype: Any, count: int) -> None:
    arguments = {"bernoulli": (0.5,), "integers": (0, 9), "permutation": (count,)}.get(variate, (dtype,))
    bits = philox.random_bits(0, 0, philox.words(variate, count, dtype))
    values = getattr(philox, variate)(bits, *arguments)
    assert len(values) == count + (variate == "normal" and count % 2)
    if variate in ("uniform", "normal"):
        assert values.dtype == dtype


def test_words_rejects_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="no variate 'gamma'; there are uniform"):
        philox.words("gamma", 3)


@pytest.mark.parametrize("dtype", [np.int64, np.complex64, np.longdouble])
def test_other_dtypes_are_an_error(dtype: Any) -> None:
    for function in (philox.uniform, philox.normal):
        with pytest.raises(TypeError, match="use float16, bfloat16, float32 or float64"):
            function(np.zeros(4, np.uint32), dtype)


@pytest.mark.parametrize(("dtype", "digits"), list(zip(FLOATS, [11, 8, 24, 53], strict=True)))
def test_uniform_spans_zero_to_just_below_one(dtype: Any, digits: int) -> None:
    count = philox.words("uniform", 1, dtype)
    assert philox.uniform(np.zeros(count, np.uint32), dtype).astype(np.float64) == 0.0
    assert philox.uniform(np.full(count, ONES), dtype).astype(np.float64) == 1.0 - 2.0**-digits


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_is_uniform(dtype: Any) -> None:
    u = philox.uniform(philox.random_bits(7, 0, philox.words("uniform", 50_000, dtype)), dtype).astype(np.float64)
    step = 2.0 ** -{np.float16: 11, ml_dtypes.bfloat16: 8}.get(dtype, 24)  # of the grid; its mean is (1 - step) / 2
    assert abs(u.mean() - (1 - step) / 2) < 0.004
    assert abs(u.var() - 1 / 12) < 0.002
    if dtype in (np.float32, np.float64):
        assert kolmogorov_smirnov(u, lambda x: x) < 1.95


def test_float64_uniform_takes_the_low_word_first() -> None:
    assert philox.uniform(np.array([0, 1 << 31], np.uint32), np.float64).tolist() == [0.5]
    assert philox.uniform(np.array([1 << 11, 0], np.uint32), np.float64).tolist() == [2.0**-53]


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_is_normal(dtype: Any) -> None:
    z = philox.normal(philox.random_bits(7, 0, philox.words("normal", 50_000, dtype)), dtype).astype(np.float64)
    assert abs(z.mean()) < 0.015
    assert abs(z.var() - 1) < 0.025
    assert abs(np.mean(z**3)) < 0.04
    assert abs(np.mean(z**4) - 3) < 0.15
    assert abs(np.corrcoef(z[0::2], z[1::2])[0, 1]) < 0.02
    if dtype in (np.float32, np.float64):
        assert kolmogorov_smirnov(z, normal_cdf) < 1.95


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_is_finite_at_the_ends_of_uniform(dtype: Any) -> None:
    width = philox.words("uniform", 1, dtype)
    for word in (0, 0xFFFFFFFF):
        z = philox.normal(np.full(2 * width, word, np.uint32), dtype).astype(np.float64)
        assert np.isfinite(z).all()
        assert np.abs(z).max() < 9


def test_normal_agrees_with_its_formula() -> None:
    bits = philox.random_bits(2, 0, 4000)
    u, v = philox.uniform(bits).astype(np.float64).reshape(-1, 2).T
    expected = np.sqrt(-2 * np.log(1 - u))[:, None] * np.stack([np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)], 1)
    np.testing.assert_allclose(philox.normal(bits), expected.reshape(-1), rtol=0, atol=4e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_bernoulli_has_probability_p(p: float) -> None:
    draws = philox.bernoulli(philox.random_bits(5, 0, 50_000), p)
    assert draws.dtype == np.bool_
    assert abs(draws.mean() - p) < 0.008


@pytest.mark.parametrize("dtype", FLOATS)
def test_bernoulli_is_certain_at_zero_and_one_and_takes_arrays(dtype: Any) -> None:
    bits = np.array([0, ONES, 0, ONES], np.uint32)
    p = np.array([0, 0, 1, 1], np.float32).astype(dtype)
    assert philox.bernoulli(bits, p).tolist() == [False, False, True, True]
    assert not philox.bernoulli(bits, 0.0).any()
    assert philox.bernoulli(bits, 1).all()


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (-3, 4), (0, 2**32 - 1), (0, 2**32), (5, 2**32 + 6), (0, 2**63), (-(2**63), 0), (-(2**63), 2**63)],
)
def test_integers_multiply_high_exactly(low: int, high: int) -> None:
    bits = np.concatenate([[0, 0, ONES, ONES, 0, ONES, ONES, 0], philox.random_bits(9, 0, 400)]).astype(np.uint32)
    values = philox.integers(bits, low, high)
    words = bits.tolist()
    expected = [low + ((b << 32 | a) * (high - low) >> 64) for a, b in zip(words[::2], words[1::2], strict=True)]
    assert values.dtype == np.int64
    assert values.tolist() == expected
    assert values[0] == low
    assert values[1] == high - 1


def test_integers_are_equally_likely_and_hit_both_ends() -> None:
    values = philox.integers(philox.random_bits(4, 0, philox.words("integers", 70_000)), -3, 4)
    counts = np.bincount(values + 3)
    assert len(counts) == 7
    assert np.sum((counts - 10_000) ** 2 / 10_000) < 22.5  # chi-squared, 6 degrees of freedom: once in a thousand


@pytest.mark.parametrize(("low", "high"), [(0, 0), (3, 2), (-(2**63) - 1, 0), (0, 2**63 + 1)])
def test_integers_rejects_impossible_ranges(low: int, high: int) -> None:
    with pytest.raises(ValueError, match=f"low={low}, high={high}"):
        philox.integers(np.zeros(2, np.uint32), low, high)


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_permutation_is_a_permutation(n: int) -> None:
    order = philox.permutation(philox.random_bits(6, 0, philox.words("permutation", n)), n)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert n < 3 or not np.array_equal(order, np.arange(n))


def test_permutations_are_equally_likely() -> None:
    bits = philox.random_bits(8, 0, 6 * 6000).reshape(6000, 6)
    _, counts = np.unique([philox.permutation(row, 3) for row in bits], axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.sum((counts - 1000) ** 2 / 1000) < 20.5  # chi-squared, 5 degrees of freedom: once in a thousand


def test_permutation_keeps_the_order_of_equal_keys() -> None:
    keys = np.array([[5, 1], [9, 0], [5, 1], [9, 0], [0, 2]], np.uint32)
    assert philox.permutation(keys.reshape(-1), 5).tolist() == [1, 3, 0, 2, 4]
