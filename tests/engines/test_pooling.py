from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from pullback.engines.numpy import pooling

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

TOLERANCE = {"float64": 1e-13, "float32": 1e-5}
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])

# input, kernel, stride, padding, dilation
CASES = {
    "1d": ((2, 3, 9), (2,), (2,), (0,), (1,)),
    "1d overlapping, padded": ((2, 3, 10), (3,), (2,), (1,), (1,)),
    "1d dilated": ((2, 3, 10), (3,), (1,), (1,), (2,)),
    "2d": ((2, 3, 8, 6), (2, 2), (2, 2), (0, 0), (1, 1)),
    "2d odd": ((2, 3, 7, 5), (2, 2), (2, 2), (0, 0), (1, 1)),
    "2d overlapping, padded": ((2, 3, 9, 8), (3, 3), (2, 2), (1, 1), (1, 1)),
    "2d stride over kernel": ((2, 3, 11, 9), (2, 1), (3, 4), (1, 0), (1, 1)),
    "2d dilated": ((2, 3, 9, 10), (3, 2), (1, 2), (1, 1), (2, 3)),
    "2d whole plane": ((2, 3, 4, 5), (4, 5), (1, 1), (0, 0), (1, 1)),
    "2d single elements": ((2, 3, 4, 5), (1, 1), (1, 1), (0, 0), (1, 1)),
    "2d more than 255 taps": ((1, 2, 20, 19), (17, 18), (2, 1), (3, 2), (1, 1)),
    "3d": ((2, 2, 5, 6, 7), (2, 3, 2), (2, 2, 3), (1, 0, 1), (1, 1, 1)),
    "no images": ((0, 3, 8, 6), (2, 2), (2, 2), (0, 0), (1, 1)),
}
GEOMETRY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
UNDILATED = pytest.mark.parametrize("case", [case for case in CASES.values() if max(case[4]) == 1])
CEIL = pytest.mark.parametrize("ceil_mode", [False, True], ids=["floor", "ceil"])

ADAPTIVE = pytest.mark.parametrize(
    ("shape", "output_size"),
    [
        ((2, 3, 10), (4,)),
        ((2, 3, 7, 9), (1, 1)),
        ((2, 3, 8, 6), (4, 2)),
        ((2, 3, 7, 9), (3, 5)),
        ((2, 3, 2, 3), (5, 4)),
        ((2, 3, 5, 4), (5, 4)),
        ((2, 2, 5, 6, 7), (2, 4, 3)),
        ((0, 3, 7, 9), (2, 2)),
    ],
)


def check(actual: np.ndarray, expected: Any) -> None:
    expected = expected.detach().numpy()
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    if expected.dtype == np.int64:
        np.testing.assert_array_equal(actual, expected)
    else:
        tolerance = TOLERANCE[str(expected.dtype)]
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def samples(kind: str, shape: tuple[int, ...], dtype: str = "float64") -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    if kind == "ties":
        x = rng.integers(0, 3, shape).astype(dtype)
    elif kind == "nan":
        x[rng.random(shape) < 0.2] = np.nan
    elif kind == "infinite":
        x = np.where(rng.random(shape) < 0.8, -np.inf, np.inf)
    return x.astype(dtype)


def function(name: str, shape: tuple[int, ...]) -> Any:
    return getattr(torch.nn.functional, f"{name}{len(shape) - 2}d")


def check_max_pool(x: np.ndarray, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> None:
    tx = torch.tensor(x.copy(), requires_grad=True)
    pool = function("max_pool", x.shape)
    tv, ti = pool(tx, kernel, stride, padding, dilation, ceil_mode=ceil_mode, return_indices=True)
    values, indices = pooling.max_pool(x, kernel, stride, padding, dilation, ceil_mode)
    check(values, tv)
    check(indices, ti)
    np.testing.assert_array_equal(pooling.gather_at(x, indices), values)
    g = np.random.default_rng(1).standard_normal(values.shape).astype(x.dtype)
    tv.backward(torch.tensor(g))
    check(pooling.max_pool_gradient(g, indices, x.shape), tx.grad)


@DTYPES
@CEIL
@pytest.mark.parametrize("kind", ["random", "ties", "nan", "infinite"])
@GEOMETRY
def test_max_pool(case: tuple, kind: str, ceil_mode: bool, dtype: str) -> None:
    check_max_pool(samples(kind, case[0], dtype), *case[1:], ceil_mode)


@DTYPES
@CEIL
@pytest.mark.parametrize("include_pad", [False, True])
@UNDILATED
def test_avg_pool(case: tuple, include_pad: bool, ceil_mode: bool, dtype: str) -> None:
    check_avg_pool(samples("random", case[0], dtype), *case[1:4], ceil_mode, include_pad, None)


@pytest.mark.parametrize("divisor", [1, 3, -2])
@pytest.mark.parametrize("name", ["2d overlapping, padded", "3d"])
def test_avg_pool_with_a_divisor(name: str, divisor: int) -> None:
    shape, *geometry, _ = CASES[name]
    check_avg_pool(samples("random", shape), *geometry, True, False, divisor)


def check_avg_pool(
    x: np.ndarray, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, include_pad: bool, override: int | None
) -> None:
    tx = torch.tensor(x.copy(), requires_grad=True)
    extra = {} if override is None else {"divisor_override": override}
    ty = function("avg_pool", x.shape)(tx, kernel, stride, padding, ceil_mode, include_pad, **extra)
    y = pooling.avg_pool(x, kernel, stride, padding, ceil_mode, include_pad, override)
    check(y, ty)
    g = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    ty.backward(torch.tensor(g))
    check(pooling.avg_pool_gradient(g, x.shape, kernel, stride, padding, include_pad, override), tx.grad)


@pytest.mark.parametrize("seed", range(60))
def test_random_geometry(seed: int) -> None:
    pick = random.Random(seed)
    n = pick.randint(1, 3)
    kernel = [pick.randint(1, 4) for _ in range(n)]
    stride = [pick.randint(1, 5) for _ in range(n)]
    padding = [pick.randint(0, k // 2) for k in kernel]
    size = [k + pick.randint(0, 5) for k in kernel]
    x = samples("random", (2, 2, *size))
    check_max_pool(x, kernel, stride, padding, [1] * n, pick.random() < 0.5)
    check_avg_pool(x, kernel, stride, padding, pick.random() < 0.5, pick.random() < 0.5, None)


@DTYPES
@ADAPTIVE
def test_adaptive_avg_pool(shape: tuple, output_size: tuple, dtype: str) -> None:
    x = samples("random", shape, dtype)
    tx = torch.tensor(x, requires_grad=True)
    ty = function("adaptive_avg_pool", shape)(tx, output_size)
    y = pooling.adaptive_avg_pool(x, output_size)
    check(y, ty)
    g = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    ty.backward(torch.tensor(g))
    check(pooling.adaptive_avg_pool_gradient(g, shape), tx.grad)


@DTYPES
@pytest.mark.parametrize("kind", ["random", "ties", "nan", "infinite"])
@ADAPTIVE
def test_adaptive_max_pool(shape: tuple, output_size: tuple, kind: str, dtype: str) -> None:
    x = samples(kind, shape, dtype)
    tx = torch.tensor(x, requires_grad=True)
    tv, ti = function("adaptive_max_pool", shape)(tx, output_size, return_indices=True)
    values, indices = pooling.adaptive_max_pool(x, output_size)
    check(values, tv)
    check(indices, ti)
    g = np.random.default_rng(1).standard_normal(values.shape).astype(dtype)
    tv.backward(torch.tensor(g))
    check(pooling.max_pool_gradient(g, indices, shape), tx.grad)


def test_adaptive_pool_to_nothing() -> None:
    x = np.ones((2, 3, 5, 4))
    values, indices = pooling.adaptive_max_pool(x, (0, 2))
    assert values.shape == indices.shape == pooling.adaptive_avg_pool(x, (0, 2)).shape == (2, 3, 0, 2)
    np.testing.assert_array_equal(pooling.adaptive_avg_pool_gradient(values, x.shape), np.zeros(x.shape))
    np.testing.assert_array_equal(pooling.max_pool_gradient(values, indices, x.shape), np.zeros(x.shape))


def test_non_contiguous() -> None:
    x = samples("random", (9, 8, 3, 4)).T[::-1]
    check_max_pool(x, (3, 2), (2, 1), (1, 1), (1, 1), False)
    check_avg_pool(x, (3, 2), (2, 1), (1, 1), False, True, None)
    for pool in (pooling.adaptive_avg_pool, lambda x, size: pooling.adaptive_max_pool(x, size)[0]):
        np.testing.assert_array_equal(pool(x, (3, 4)), pool(x.copy(), (3, 4)))
    ones = np.broadcast_to(1.0, (3, 3, 4, 2))
    indices = np.broadcast_to(np.arange(8).reshape(4, 2), ones.shape)
    assert pooling.max_pool_gradient(ones, indices, (3, 3, 5, 5)).sum() == ones.size


def test_gather_at_is_the_adjoint_of_max_pool_gradient() -> None:
    x = samples("random", (2, 3, 7, 6))
    _, indices = pooling.max_pool(x, (3, 3), (1, 2), (1, 1), (1, 1))
    g = np.random.default_rng(1).standard_normal(indices.shape)
    spread = pooling.max_pool_gradient(g, indices, x.shape)
    np.testing.assert_allclose((spread * x).sum(), (g * pooling.gather_at(x, indices)).sum(), rtol=1e-12)


def test_empty_output_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"output of size \(2, 0\)"):
        pooling.max_pool(np.ones((1, 1, 4, 2)), (2, 3), (2, 1), (0, 0), (1, 1))


def test_window_of_padding_alone_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="holds padding only"):
        pooling.max_pool(np.ones((1, 1, 2, 2)), (2, 2), (1, 1), (1, 1), (3, 3))
