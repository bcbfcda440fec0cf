"""What text costs without a network."""

from __future__ import annotations

import lzma
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.errors import ArgumentError
from pullback.lm.baselines import NGram, xz_bits_per_byte

STEADY = settings(derandomize=True, deadline=None)

few = st.lists(st.sampled_from(b"ab\x00\xff"), max_size=40).map(bytes)


def slowly(training: bytes, context: bytes, byte: int) -> float:
    """P_k(byte | context), as the formula says it."""
    lower = slowly(training, context[1:], byte) if context else 1 / 256
    k = len(context)
    followers = Counter(training[i + k] for i in range(len(training) - k) if training[i : i + k] == context)
    if not followers:
        return lower
    return (followers[byte] + len(followers) * lower) / (followers.total() + len(followers))


@STEADY
@given(few, few, st.integers(0, 4))
def test_probabilities_are_those_of_the_formula(training: bytes, data: bytes, order: int) -> None:
    found = NGram(training, order).probabilities(data)
    wanted = [slowly(training, data[max(i - order, 0) : i], data[i]) for i in range(len(data))]
    assert np.allclose(found, wanted, rtol=1e-12, atol=0)


@settings(STEADY, max_examples=25)
@given(st.binary(max_size=60), st.binary(max_size=6), st.integers(0, 7))
def test_they_sum_to_one_over_all_next_bytes(training: bytes, context: bytes, order: int) -> None:
    model = NGram(training, order)
    total = sum(model.probabilities(context + bytes([byte]))[-1] for byte in range(256))
    assert math.isclose(total, 1, rel_tol=1e-12)


@STEADY
@given(few, few)
def test_bits_are_those_of_the_whole_text(training: bytes, data: bytes) -> None:
    if data:
        model = NGram(training)
        assert math.isclose(model.bits_per_byte(data), -math.log2(math.prod(model.probabilities(data))) / len(data))


def test_without_training_a_byte_has_eight_bits() -> None:
    assert NGram(b"").bits_per_byte(b"anything") == 8


def test_longer_contexts_help_where_there_is_something_to_learn() -> None:
    rng = np.random.default_rng(0)
    words = [b"the ", b"quick ", b"brown ", b"fox ", b"jumps "]
    text = b"".join(words[i] for i in rng.integers(0, 5, 4000))
    bits = [NGram(text[:-2000], order).bits_per_byte(text[-2000:]) for order in range(4)]
    assert bits == sorted(bits, reverse=True) and len(set(bits)) == 4
    entropy = math.log2(5) / np.mean([len(word) for word in words])
    assert entropy < bits[-1] < 1.1 * entropy
    noise = rng.bytes(20_000)
    assert 8 < NGram(noise[:-2000]).bits_per_byte(noise[-2000:]) < 9


def test_xz_is_charged_for_what_is_new() -> None:
    text = np.random.default_rng(0).bytes(20_000).hex().encode()  # four bits of news in each byte
    assert xz_bits_per_byte(text, text[1000:5000]) < 0.2  # it was all there before
    assert 4 < xz_bits_per_byte(text[:20_000], text[20_000:24_000]) < 4.8
    assert 4 < xz_bits_per_byte(text, text[20_000:24_000], most=10_000) < 4.8  # what it might know is not shown to it


def test_xz_looks_back_to_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        lzma, "compress", lambda data, filters: seen.append((len(data), filters[0]["dict_size"])) or b""
    )
    large = bytes(70 * 2**20)  # more than the dictionary of any preset
    xz_bits_per_byte(large, b"abc")
    assert [size for size, _ in seen] == [len(large) + 3, len(large)]
    assert all(dictionary >= size for size, dictionary in seen)


def test_what_means_nothing() -> None:
    with pytest.raises(ArgumentError, match="order 8"):
        NGram(b"a", 8)
    for measure in (NGram(b"a").bits_per_byte, lambda data: xz_bits_per_byte(b"a", data)):
        with pytest.raises(ArgumentError, match="bits per byte of nothing"):
            measure(b"")
