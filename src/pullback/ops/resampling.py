"""Interpolation to another size, and its adjoint. Both are linear, so each is the other's pullback."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engines.numpy import resampling as kernels
from .record import Op, Sample, Spec, arithmetic, op
from .samples import inf, integers, nan, randn

Sizes = tuple[int, ...]
Scale = tuple[float, ...] | None


def _interpolate(
    x: Any, size: Sizes, mode: str, scale: Scale = None, align_corners: bool | None = None, antialias: bool = False
) -> Any:
    return kernels.interpolate(x, size, scale, kernels.Method(mode, bool(align_corners), antialias))


def _gradient(
    g: Any, size: Sizes, mode: str, scale: Scale = None, align_corners: bool | None = None, antialias: bool = False
) -> Any:
    return kernels.interpolate_gradient(g, size, scale, kernels.Method(mode, bool(align_corners), antialias))


def _resized(x: Any, size: Sizes, **params: Any) -> Spec:
    return Spec((*x.shape[:2], *size), x.dtype)


TAPS = {"nearest": 0, "nearest-exact": 0, "linear": 2, "bilinear": 2, "trilinear": 2, "bicubic": 4, "lanczos": 6}


def _flops(arrays: Any, params: dict[str, Any], out: Any) -> int:
    """A multiplication and an addition for each tap, one dimension after another."""
    (batch, channels, *small), large = sorted((arrays[0].shape, out.shape), key=math.prod)
    lines = [math.prod(small[:i]) * math.prod(large[2 + i :]) for i in range(len(small))]
    return int(2 * TAPS[params["mode"]] * batch * channels * sum(lines))


interpolate = op(
    "interpolate", "x at a new size: for each dimension, out[i] = sum over taps of weight[i, k] x[position[i, k]]", inputs="x",
    torch="F.interpolate(x, **({'size': size} if scale is None else {'scale_factor': scale}), mode=mode, align_corners=align_corners, antialias=antialias)",
    numpy=_interpolate, infer=_resized, dtypes=arithmetic, flops=_flops,
    vjp={
        "x": lambda g, x_shape, mode, scale, align_corners, antialias: interpolate_gradient(
            g, size=x_shape[2:], mode=mode, scale=scale, align_corners=align_corners, antialias=antialias
        )
    },
    samples=lambda: [
        Sample((randn(2, 3, 4, 5),), {"size": (8, 10), "mode": "nearest"}),
        Sample((randn(2, 3, 7),), {"size": (4,), "mode": "nearest"}, note="smaller: some inputs are not read"),
        Sample((randn(1, 2, 3, 4, 5),), {"size": (5, 4, 3), "mode": "nearest-exact"}, note="3-D"),
        Sample((randn(2, 3, 5),), {"size": (12,), "mode": "linear"}, note="1-D"),
        Sample((randn(2, 3, 4, 5),), {"size": (7, 3), "mode": "bilinear", "align_corners": True}, note="corners aligned"),
        Sample((randn(2, 3, 4, 5),), {"size": (6, 7), "mode": "bilinear", "scale": (1.7, 1.5)}, note="own scale"),
        Sample((randn(1, 2, 3, 4, 2),), {"size": (2, 6, 4), "mode": "trilinear"}, note="3-D"),
        Sample((randn(2, 3, 4, 5),), {"size": (7, 3), "mode": "bicubic"}),
        Sample((randn(2, 3, 4, 5),), {"size": (4, 9), "mode": "bicubic", "align_corners": True}, note="corners aligned"),
        Sample((randn(2, 3, 9, 8),), {"size": (4, 11), "mode": "bilinear", "antialias": True}, note="antialiased"),
        Sample((randn(2, 3, 9, 8),), {"size": (4, 3), "mode": "bicubic", "antialias": True}, note="antialiased"),
        Sample((randn(2, 2, 1, 1),), {"size": (3, 1), "mode": "bilinear"}, note="from one"),
        Sample((randn(2, 2, 3, 4),), {"size": (1, 1), "mode": "bilinear", "align_corners": True}, note="to one"),
        Sample((randn(0, 3, 4, 5),), {"size": (2, 3), "mode": "bilinear"}, note="no images"),
        Sample((randn(10, 8, 3, 2).T[..., ::-2],), {"size": (3, 7), "mode": "bilinear"}, note="strided"),
        Sample((randn(2, 3, 4, 5, dtype=np.float32),), {"size": (9, 7), "mode": "bilinear"}, note="float32"),
        Sample((integers(0, 255, 1, 2, 3, 3, dtype=np.uint8),), {"size": (5, 7), "mode": "nearest"}, smooth=False, note="bytes"),
        Sample((np.array([[[1.0, nan, 2.0, 3.0, inf, 4.0, 0.0, 1.0]]]),), {"size": (16,), "mode": "linear"}, smooth=False, note="special values"),
    ],
)  # fmt: skip

interpolate_gradient: Op = op(
    "interpolate_gradient", "the adjoint of interpolate from `size`: each g goes where it was read, times its weight", inputs="g",
    torch="torch.func.vjp(lambda x, size=g.shape[2:], options=dict(mode=mode, align_corners=align_corners, antialias=antialias): F.interpolate(x, size, **options),"
    " torch.zeros(*g.shape[:2], *size, dtype=g.dtype))[1](g)[0]",
    numpy=_gradient, infer=_resized, dtypes=arithmetic, flops=_flops,
    vjp={
        "g": lambda h, g_shape, mode, scale, align_corners, antialias: interpolate(
            h, size=g_shape[2:], mode=mode, scale=scale, align_corners=align_corners, antialias=antialias
        )
    },
    samples=lambda: [
        Sample((randn(2, 3, 8, 10),), {"size": (4, 5), "mode": "nearest"}),
        Sample((randn(2, 3, 4),), {"size": (7,), "mode": "nearest"}, note="some inputs were not read"),
        Sample((randn(2, 3, 12),), {"size": (5,), "mode": "linear"}, note="1-D"),
        Sample((randn(2, 3, 7, 3),), {"size": (4, 5), "mode": "bilinear", "align_corners": True}, note="corners aligned"),
        Sample((randn(1, 2, 2, 6, 4),), {"size": (3, 4, 2), "mode": "trilinear"}, note="3-D"),
        Sample((randn(2, 3, 7, 3),), {"size": (4, 5), "mode": "bicubic"}),
        Sample((randn(2, 3, 4, 11),), {"size": (9, 8), "mode": "bilinear", "antialias": True}, note="antialiased"),
        Sample((randn(0, 3, 2, 3),), {"size": (4, 5), "mode": "bilinear"}, note="no images"),
        Sample((randn(10, 8, 3, 2).T[..., ::-2],), {"size": (3, 7), "mode": "bilinear"}, note="strided"),
        Sample((randn(2, 3, 9, 7, dtype=np.float32),), {"size": (4, 5), "mode": "bilinear"}, note="float32"),
    ],
)  # fmt: skip
