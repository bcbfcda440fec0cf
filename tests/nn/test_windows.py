"""Convolution, pooling, resampling and folding as functions: what PyTorch gives, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback
from pullback.nn import functional as F

SIZE = {1: (9,), 2: (7, 8), 3: (5, 6, 4)}
KERNEL = {1: (3,), 2: (3, 2), 3: (2, 3, 1)}
Case = tuple[str, tuple[tuple[int, ...], ...], tuple[Any, ...], dict[str, Any]]


def convolutions() -> list[Case]:
    cases: list[Case] = []
    for n, size in SIZE.items():
        f, t, k = f"conv{n}d", f"conv_transpose{n}d", KERNEL[n]
        cases += [
            (f, ((2, 3, *size), (4, 3, *k), (4,)), (), {}),
            (f, ((3, *size), (4, 3, *k), (4,)), (), {"stride": 2, "padding": 1, "dilation": 2}),
            (f, ((2, 4, *size), (6, 2, *k)), (), {"stride": [2], "padding": "valid", "groups": 2}),
            (f, ((2, 3, *size), (6, 1, *k)), (), {"padding": "same", "groups": 3, "dilation": 3}),
            (f, ((0, 3, *size), (4, 3, *k), (4,)), (), {"padding": tuple(range(n))}),
            (t, ((2, 3, *size), (3, 4, *k), (4,)), (), {}),
            (t, ((3, *size), (3, 4, *k), (4,)), (), {"stride": 2, "padding": 1, "output_padding": 1}),
            (t, ((2, 4, *size), (4, 3, *k)), (), {"stride": 3, "groups": 2, "dilation": 2}),
            (t, ((0, 3, *size), (3, 4, *k), (4,)), (), {}),
        ]
    return cases


def poolings() -> list[Case]:
    cases: list[Case] = []
    for n, size in SIZE.items():
        for batch in ((2, 3), (3,), (0, 3)):
            x = ((*batch, *size),)
            cases += [
                (f"max_pool{n}d", x, (3, 2, 1), {"ceil_mode": True, "return_indices": True}),
                (f"max_pool{n}d", x, (2,), {"stride": 1, "dilation": 2}),
                (f"avg_pool{n}d", x, (3, 2, 1), {"ceil_mode": True, "count_include_pad": False}),
                (f"avg_pool{n}d", x, ((3, 2, 1)[:n],), {"ceil_mode": True}),
                (f"adaptive_avg_pool{n}d", x, ((None, 3, 1)[:n] if n > 1 else 4,), {}),
                (f"adaptive_max_pool{n}d", x, (3,), {"return_indices": True}),
                (f"lp_pool{n}d", x, (2, 2), {}),
            ]
    return [*cases, ("avg_pool2d", ((2, 3, 7, 8),), (2,), {"divisor_override": 3})]


def resamplings() -> list[Case]:
    cases: list[Case] = []
    modes = {1: ("nearest", "linear"), 2: ("nearest-exact", "bilinear", "bicubic", "area"), 3: ("nearest", "trilinear")}
    targets: list[dict[str, Any]] = [{"size": 3}, {"scale_factor": 2}, {"scale_factor": 1.7}]
    for n, names in modes.items():
        for name in names:
            for options in ({}, {"align_corners": True}) if name not in ("nearest", "nearest-exact", "area") else ({},):
                cases += [("interpolate", ((2, 3, *SIZE[n]),), (), {"mode": name, **t, **options}) for t in targets]
    for name in ("bilinear", "bicubic"):
        cases += [("interpolate", ((2, 3, 9, 13),), ((4, 20),), {"mode": name, "antialias": True})]
        cases += [
            ("grid_sample", ((2, 3, 5, 6), (2, 4, 3, 2)), (name, p, False), {})
            for p in ("zeros", "border", "reflection")
        ]
    cases += [
        ("grid_sample", ((2, 3, 4, 5, 6), (2, 2, 3, 4, 3)), (m, "reflection", True), {})
        for m in ("bilinear", "nearest")
    ]
    cases += [("affine_grid", ((2, 2, 3),), ((2, 3, 4, 5),), {"align_corners": a}) for a in (False, True)]
    return [
        *cases,
        ("unfold", ((2, 3, 5, 6),), ((2, 3), 1, (1, 0), 2), {}),
        ("unfold", ((3, 5, 6),), (2,), {"dilation": 2}),
        ("fold", ((2, 12, 20),), ((5, 6), 2), {}),
    ]


CASES = convolutions() + poolings() + resamplings()


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1][0]}-{c[2]}-{c[3]}")
def test_as_pytorch(case: Case) -> None:
    """Values, gradients under a random cotangent, and gradients of those."""
    torch = pytest.importorskip("torch")
    name, shapes, args, options = case
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape) for shape in shapes]
    if name.startswith("lp_pool"):
        arrays = [np.abs(a) for a in arrays]

    def results(of: Any, function: Callable[..., Any]) -> list[np.ndarray]:
        xs = [of.tensor(a, requires_grad=True) for a in arrays]
        outs = function(*xs, *((None,) if "conv" in name and len(xs) < 3 else ()), *args, **options)
        y, *indices = outs if isinstance(outs, tuple) else (outs,)
        g = of.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)), requires_grad=True)
        first = of.autograd.grad(y, xs, g, create_graph=True)
        second = of.autograd.grad(sum((d * d).sum() for d in first), [*xs, g], allow_unused=True)
        zeros = [np.zeros(a.shape) for a in (*xs, g)]
        second = [z if s is None else s.detach().numpy() for s, z in zip(second, zeros, strict=True)]
        return [t.detach().numpy() for t in (y, *indices, *first)] + second

    for ours, theirs in zip(
        results(pullback, getattr(F, name)), results(torch, getattr(torch.nn.functional, name)), strict=True
    ):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(theirs).max(initial=0)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_results_keep_the_dtype(dtype: str) -> None:
    x = pullback.ones(2, 3, 6, 6, dtype=getattr(pullback, dtype))
    w = pullback.ones(3, 3, 3, 3, dtype=getattr(pullback, dtype))
    pooled = (
        F.max_pool2d(x, 2),
        F.avg_pool2d(x, 2),
        F.adaptive_avg_pool2d(x, 2),
        F.interpolate(x, scale_factor=2, mode="bilinear"),
    )
    for y in (F.conv2d(x, w), F.conv_transpose2d(x, w), *pooled):
        assert y.dtype is x.dtype


def test_unpooling_undoes_pooling() -> None:
    x = pullback.tensor(np.random.default_rng(0).standard_normal((2, 3, 6, 6)))
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(values, indices, 2)
    assert back.shape == x.shape
    np.testing.assert_array_equal(F.max_pool2d(back.abs(), 2).numpy(), np.abs(values.numpy()))
    assert F.max_unpool2d(values[0], indices[0], 2, output_size=(7, 7)).shape == (3, 7, 7)


x, w = pullback.ones(2, 3, 8, 8), pullback.ones(4, 3, 3, 3)
REFUSALS: dict[str, Callable[[], Any]] = {
    r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv2d": lambda: F.conv2d(x[0, 0], w),
    r"expected input\[2, 3, 8, 8\] to have 2 channels, but got 3": lambda: F.conv2d(x, pullback.ones(4, 2, 3, 3)),
    "divisible by 3 at dimension 0": lambda: F.conv2d(x, w, groups=3),
    "bias to be 1-dimensional with 4 elements": lambda: F.conv2d(x, w, pullback.ones(3)),
    r"Kernel size: \(9 x 9\). Kernel size can't be greater": lambda: F.conv2d(x, pullback.ones(4, 3, 9, 9)),
    "non-positive stride": lambda: F.conv2d(x, w, stride=0),
    "negative padding": lambda: F.conv2d(x, w, padding=-1),
    "list of 2 values": lambda: F.conv2d(x, w, stride=(1, 1, 1)),
    "not supported for strided convolutions": lambda: F.conv2d(x, w, padding="same", stride=2),
    "Invalid padding string": lambda: F.conv2d(x, w, padding="full"),
    "expected one dtype": lambda: F.conv2d(x, w.double()),
    "to have 4 channels, but got 3": lambda: F.conv_transpose2d(x, w),
    "output padding must be smaller": lambda: F.conv_transpose2d(x[:, [0, 1, 2, 0]], w, output_padding=1),
    "at most half of effective kernel size": lambda: F.max_pool2d(x, 3, padding=2),
    "Output size is too small": lambda: F.avg_pool2d(x, 9),
    "stride should not be zero": lambda: F.max_pool2d(x, 2, 0),
    "optional 0 dim batch size": lambda: F.max_pool2d(pullback.ones(2, 0, 8, 8), 2),
    "divisor must be not zero": lambda: F.avg_pool2d(x, 2, divisor_override=0),
    "invalid max index: 99": lambda: F.max_unpool2d(x, pullback.full((2, 3, 8, 8), 9999), 2),
    "greater than or equal to 0": lambda: F.adaptive_avg_pool2d(x, -1),
    "only one of size or scale_factor": lambda: F.interpolate(x, 2, 2),
    "either size or scale_factor": lambda: F.interpolate(x),
    "same number of spatial dimensions": lambda: F.interpolate(x, (2, 2, 2)),
    "align_corners option can only be set": lambda: F.interpolate(x, 2, align_corners=True),
    "Got 4D input, but linear mode needs 3D input": lambda: F.interpolate(x, 2, mode="linear"),
    "greater than 0": lambda: F.interpolate(x, 0),
    "same batch size": lambda: F.grid_sample(x, pullback.ones(1, 2, 2, 2)),
    "Expected a batch of 2D affine matrices": lambda: F.affine_grid(x, (2, 3, 4, 4)),
    "number of windows, 16": lambda: F.fold(pullback.ones(2, 12, 20), 5, 2),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_refusals_say_why(message: str) -> None:
    with pytest.raises((RuntimeError, ValueError, NotImplementedError), match=message):
        REFUSALS[message]()
