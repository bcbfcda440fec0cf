from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from pullback.engines.numpy import convolution

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])

# input, weight, stride, padding (pairs), dilation, groups
CASES = {
    "1d": ((3, 4, 17), (6, 4, 3), (1,), ((1, 1),), (1,), 1),
    "1d strided, dilated, grouped": ((3, 4, 17), (6, 2, 3), (2,), ((2, 3),), (3,), 2),
    "1d pointwise": ((3, 4, 17), (6, 4, 1), (1,), ((0, 0),), (1,), 1),
    "2d": ((2, 3, 8, 9), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "2d many filters": ((2, 3, 8, 9), (9, 3, 3, 2), (1, 1), ((1, 1), (0, 0)), (1, 1), 1),
    "2d strided": ((2, 3, 8, 9), (4, 3, 3, 2), (2, 3), ((1, 1), (0, 0)), (1, 1), 1),
    "2d stride over kernel": ((2, 3, 11, 12), (4, 3, 2, 1), (4, 3), ((1, 0), (0, 1)), (1, 1), 1),
    "2d uneven padding": ((2, 3, 6, 5), (4, 3, 3, 3), (1, 1), ((0, 2), (3, 1)), (1, 1), 1),
    "2d padding over kernel": ((2, 3, 4, 5), (2, 3, 2, 2), (1, 1), ((3, 4), (5, 3)), (1, 1), 1),
    "2d cropped": ((2, 3, 8, 9), (2, 3, 3, 3), (1, 1), ((-1, 1), (0, -2)), (1, 1), 1),
    "2d dilated": ((2, 3, 10, 9), (4, 3, 3, 3), (1, 2), ((2, 2), (0, 3)), (2, 3), 1),
    "2d grouped": ((2, 6, 7, 7), (9, 2, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    "2d grouped, strided": ((2, 6, 7, 7), (9, 2, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 3),
    "2d depthwise": ((2, 5, 7, 6), (5, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 5),
    "2d depthwise, strided": ((2, 5, 7, 6), (5, 1, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 5),
    "2d depthwise, multiplied": ((2, 5, 7, 6), (10, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 5),
    "2d thousands of groups": ((2, 3000, 4, 4), (3000, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3000),
    "2d pointwise": ((3, 4, 5, 6), (7, 4, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "2d pointwise, grouped": ((3, 4, 5, 6), (6, 2, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 2),
    "2d pointwise, strided": ((3, 4, 5, 6), (7, 4, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    "2d pointwise, padded": ((3, 4, 5, 6), (7, 4, 1, 1), (1, 1), ((1, 0), (0, 2)), (1, 1), 1),
    "2d pointwise, shifted": ((3, 4, 5, 6), (7, 4, 1, 1), (1, 1), ((1, -1), (0, 0)), (1, 1), 1),
    "2d kernel as large as the input": ((4, 3, 5, 5), (6, 3, 5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "2d pointwise, many filters": ((3, 2, 5, 6), (9, 2, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "2d one image": ((1, 2, 5, 5), (1, 2, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "3d": ((2, 2, 5, 6, 4), (3, 2, 3, 2, 3), (1, 1, 1), ((1, 1), (0, 0), (1, 1)), (1, 1, 1), 1),
    "3d strided, grouped": ((2, 4, 7, 6, 8), (6, 2, 2, 3, 2), (2, 1, 3), ((1, 0), (0, 2), (1, 1)), (2, 1, 1), 2),
}
GEOMETRY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def torch_convolution(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    padded = torch.nn.functional.pad(x, [p for pair in reversed(padding) for p in pair])
    return getattr(torch, f"conv{len(stride)}d")(padded, w, None, stride, 0, dilation, groups)


def check(actual: np.ndarray, expected: Any) -> None:
    expected = expected.detach().numpy()
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[str(expected.dtype)] * scale)


def check_all(case: tuple, x: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> None:
    """The output and both gradients against PyTorch's."""
    geometry = case[2:]
    tx, tw = (torch.tensor(a.copy(), requires_grad=True) for a in (x, w))
    ty = torch_convolution(tx, tw, *geometry)
    g = rng.standard_normal(ty.shape).astype(x.dtype)
    ty.backward(torch.tensor(g))
    check(convolution.forward(x, w, *geometry), ty)
    check(convolution.input_gradient(g, w, x.shape, *geometry), tx.grad)
    check(convolution.weight_gradient(g, x, w.shape, *geometry), tw.grad)


@DTYPES
@GEOMETRY
def test_matches_torch(case: tuple, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in case[:2])
    check_all(case, x, w, rng)


@pytest.mark.parametrize("block_bytes", [1, 3000])
@GEOMETRY
def test_blocks_of_any_size_agree(case: tuple, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(1)
    check_all(case, rng.standard_normal(case[0]), rng.standard_normal(case[1]), rng)


@pytest.mark.parametrize("seed", range(60))
def test_random_geometry(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pick, rng = random.Random(seed), np.random.default_rng(seed)
    n = pick.randint(1, 3)
    groups = pick.randint(1, 3)
    kernel = [pick.randint(1, 3) for _ in range(n)]
    dilation = [pick.randint(1, 3) for _ in range(n)]
    padding = [(pick.randint(0, 3), pick.randint(0, 3)) for _ in range(n)]
    size = [d * (k - 1) + pick.randint(1, 5) for d, k in zip(dilation, kernel, strict=True)]
    x = rng.standard_normal((pick.randint(1, 3), groups * pick.randint(1, 2), *size))
    w = rng.standard_normal((groups * pick.randint(1, 3), x.shape[1] // groups, *kernel))
    monkeypatch.setattr(convolution, "BLOCK_BYTES", pick.choice([1, 2000, 1 << 20]))
    check_all((None, None, [pick.randint(1, 4) for _ in range(n)], padding, dilation, groups), x, w, rng)


@GEOMETRY
def test_non_contiguous(case: tuple) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(case[0][::-1]).T
    w = rng.standard_normal((2 * case[1][0], *case[1][1:]))[::-2]
    check_all(case, x, w, rng)
    expanded = np.broadcast_to(2.0, convolution.forward(x, w, *case[2:]).shape)
    for gradient, other, shape in ((convolution.input_gradient, w, x.shape), (convolution.weight_gradient, x, w.shape)):
        expected = gradient(expanded.copy(), other, shape, *case[2:])
        np.testing.assert_allclose(gradient(expanded, other, shape, *case[2:]), expected, rtol=0, atol=1e-12)


@GEOMETRY
def test_zero_images(case: tuple) -> None:
    rng = np.random.default_rng(3)
    check_all(case, np.empty((0, *case[0][1:])), rng.standard_normal(case[1]), rng)


def test_zero_channels() -> None:
    geometry = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    x, w = np.empty((2, 0, 4, 5)), np.empty((3, 0, 3, 3))
    y = convolution.forward(x, w, *geometry)
    np.testing.assert_array_equal(y, np.zeros((2, 3, 4, 5)))
    assert convolution.input_gradient(y, w, x.shape, *geometry).shape == x.shape
    assert convolution.weight_gradient(y, x, w.shape, *geometry).shape == w.shape


@DTYPES
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "output_padding", "dilation", "groups"),
    [
        ((7,), (3,), (1,), (1,), (0,), (1,), 1),
        ((7,), (3,), (3,), (0,), (2,), (1,), 2),
        ((5, 6), (3, 2), (2, 3), (1, 0), (1, 2), (1, 1), 2),
        ((5, 6), (1, 1), (2, 3), (0, 0), (1, 2), (1, 1), 1),
        ((4, 5), (2, 3), (1, 1), (1, 2), (2, 1), (3, 2), 1),  # more output padding than the stride
        ((3, 4, 2), (2, 2, 3), (2, 1, 2), (1, 0, 1), (1, 0, 0), (1, 2, 1), 1),
    ],
)
def test_transposed(size, kernel, stride, padding, output_padding, dilation, groups, dtype) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(4)
    x = rng.standard_normal((3, 4, *size)).astype(dtype)
    w = rng.standard_normal((4, 3, *kernel)).astype(dtype)
    tx, tw = (torch.tensor(a, requires_grad=True) for a in (x, w))
    transposed = getattr(torch, f"conv_transpose{len(size)}d")
    ty = transposed(tx, tw, None, stride, padding, output_padding, groups, dilation)
    g = rng.standard_normal(ty.shape).astype(dtype)
    ty.backward(torch.tensor(g))
    # What output padding appends is seen by no window: it is cropped off again.
    geometry = (stride, [(p, p - extra) for p, extra in zip(padding, output_padding, strict=True)], dilation, groups)
    assert convolution.output_shape(ty.shape[2:], kernel, *geometry[:3]) == size
    check(convolution.input_gradient(x, w, ty.shape, *geometry), ty)
    check(convolution.forward(g, w, *geometry), tx.grad)
    check(convolution.weight_gradient(x, g, w.shape, *geometry), tw.grad)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_reach_their_windows_only(bad: float) -> None:
    x = np.ones((2, 1, 6, 6))
    x[0, 0, 0, 5] = bad
    w = np.ones((1, 1, 3, 3))
    y = convolution.forward(x, w, (1, 1), ((1, 1), (1, 1)), (1, 1))
    expected = torch_convolution(torch.tensor(x), torch.tensor(w), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    np.testing.assert_array_equal(y, expected.numpy())


def test_kernel_beyond_the_input_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"reaches over \(5, 1\).*padded input has size \(4, 4\)"):
        convolution.forward(np.ones((1, 1, 2, 4)), np.ones((1, 1, 3, 1)), (1, 1), ((1, 1), (0, 0)), (2, 1))
