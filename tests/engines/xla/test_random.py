"""Random numbers on XLA: the bits that NumPy's engine has, and the same numbers made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pullback  # noqa: F401 (all records)
from pullback.dtypes import BF16, F16, F32, F64
from pullback.engines.numpy import philox
from pullback.ops.record import OPS

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.parity

STATES = [(0, 0), (1234, 5), (-1, 2**32 - 2), (2**62 + 3, 2**63 - 1), (-(2**63), -2)]
FLOATS = [F16, BF16, F32, F64]
SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (5, 3), (2, 3, 4), (1025,)]


def both(name: str, calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> Iterator[tuple[Any, Any]]:
    """From each state, what these calls of an op give on NumPy and, in one executable, on XLA."""
    from pullback.engines.xla import forms

    forms.register()
    op = OPS[name]
    together = jax.jit(lambda state: [op(state, *inputs, **params) for inputs, params in calls])
    for state in STATES:
        start = np.array(state, np.int64)
        with jax.enable_x64(True):
            got = together(start)
        for (inputs, params), y in zip(calls, got, strict=True):
            x, y = op(start, *inputs, **params), np.asarray(y)
            assert x.shape == y.shape and x.dtype == y.dtype
            yield x, y


@pytest.mark.parametrize("count", [0, 1, 6, 4097])
def test_words_are_the_stream(count: int) -> None:
    from pullback.engines.xla.forms.random import words

    draw = jax.jit(words, static_argnums=1)
    for state in STATES:
        with jax.enable_x64(True):
            got = np.asarray(draw(np.array(state, np.int64), count))
        assert got.dtype == np.uint32
        np.testing.assert_array_equal(got, philox.random_bits(*state, count))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_uniforms_are_equal(dtype: Any) -> None:
    for x, y in both("uniform", [((), {"shape": shape, "dtype": dtype}) for shape in SHAPES]):
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_normals_are_within_a_few_roundings(dtype: Any) -> None:
    close = 4 * float(jax.numpy.finfo(dtype).eps)
    for x, y in both("normal", [((), {"shape": shape, "dtype": dtype}) for shape in SHAPES]):
        np.testing.assert_allclose(y.astype(np.float64), x.astype(np.float64), rtol=close, atol=close)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bernoullis_are_equal(dtype: Any) -> None:
    chances = [np.linspace(0, 1, math.prod(shape)).reshape(shape).astype(dtype) for shape in SHAPES]
    for x, y in both("bernoulli", [((p,), {}) for p in chances]):
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 9), (5, 2**32 + 6), (0, 2**63), (-(2**63), 2**63), (-(2**63), -(2**63) + 1)]
)
def test_integers_are_equal(low: int, high: int) -> None:
    for x, y in both("integers", [((), {"low": low, "high": high, "shape": shape}) for shape in SHAPES]):
        np.testing.assert_array_equal(y, x)


def test_permutations_are_equal() -> None:
    for x, y in both("permutation", [((), {"n": n}) for n in (0, 1, 2, 7, 1000)]):
        np.testing.assert_array_equal(y, x)
