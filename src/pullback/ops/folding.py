"""Sliding windows laid out as columns, and columns added back to where they were read; each is the other's adjoint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engines.numpy.windows import taps
from .record import Op, Sample, Spec, arithmetic, free, op, per_input, per_input_element
from .samples import inf, nan, randn

Sizes = tuple[int, ...]


def positions(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    """How many windows fit along each dimension."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def _im2col(x: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    size, out = x.shape[2:], positions(x.shape[2:], kernel, stride, padding, dilation)
    columns: Any = np.zeros((*x.shape[:2], *kernel, *out), x.dtype)
    for tap, outputs, inputs in taps(size, out, kernel, stride, padding, dilation):
        columns[:, :, *tap, *outputs] = x[:, :, *inputs]
    return columns.reshape(len(x), x.shape[1] * math.prod(kernel), math.prod(out))


def _im2col_spec(x: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Spec:
    out = positions(x.shape[2:], kernel, stride, padding, dilation)
    return Spec((x.shape[0], x.shape[1] * math.prod(kernel), math.prod(out)), x.dtype)


def _col2im(g: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    out, channels = positions(size, kernel, stride, padding, dilation), g.shape[1] // math.prod(kernel)
    columns = g.reshape(len(g), channels, *kernel, *out)
    x = np.zeros((len(g), channels, *size), g.dtype)
    for tap, outputs, inputs in taps(size, out, kernel, stride, padding, dilation):
        x[:, :, *inputs] += columns[:, :, *tap, *outputs]
    return x


def _windows(*kernel: int, **params: Any) -> dict[str, Any]:
    """The parameters of a sample: stride 1, no padding, no dilation, where nothing else is said."""
    n = len(kernel)
    return {"kernel": kernel, "stride": (1,) * n, "padding": (0,) * n, "dilation": (1,) * n, **params}


im2col = op(
    "im2col", "out[n, (c, t), p] = x[n, c, p stride + t dilation - padding]", inputs="x",
    torch="F.unfold(x, kernel, dilation, padding, stride)",
    numpy=_im2col, infer=_im2col_spec, dtypes=per_input, flops=free,
    vjp={"x": lambda g, x_shape, kernel, stride, padding, dilation: col2im(g, size=x_shape[2:], kernel=kernel, stride=stride, padding=padding, dilation=dilation)},
    samples=lambda: [
        Sample((randn(2, 3, 5, 6),), _windows(3, 2, padding=(1, 0))),
        Sample((randn(2, 3, 9, 8),), _windows(2, 3, stride=(2, 3), padding=(1, 2), dilation=(3, 1)), note="strided, padded, dilated"),
        Sample((randn(2, 3, 4, 4),), _windows(2, 2, stride=(2, 2)), note="side by side"),
        Sample((randn(1, 1, 1, 1),), _windows(1, 1), note="one of everything"),
        Sample((randn(2, 3, 6, 8).transpose(1, 0, 3, 2)[..., ::-2],), _windows(2, 2), note="strided"),
        Sample((randn(2, 3, 4, 4, dtype=np.float32),), _windows(3, 3), note="float32"),
        Sample((np.array([[[[1.0, nan, inf], [0.0, -inf, 2.0]]]]),), _windows(2, 2, padding=(1, 1)), smooth=False, note="special values"),
    ],
)  # fmt: skip

col2im: Op = op(
    "col2im", "x[n, c, p stride + t dilation - padding] += g[n, (c, t), p]", inputs="g",
    torch="F.fold(g, size, kernel, dilation, padding, stride)",
    numpy=_col2im, dtypes=arithmetic, flops=per_input_element(1),
    infer=lambda g, size, kernel, **params: Spec((g.shape[0], g.shape[1] // math.prod(kernel), *size), g.dtype),
    vjp={"g": lambda h, kernel, stride, padding, dilation: im2col(h, kernel=kernel, stride=stride, padding=padding, dilation=dilation)},
    samples=lambda: [
        Sample((randn(2, 18, 25),), _windows(3, 2, size=(5, 6), padding=(1, 0))),
        Sample((randn(2, 18, 16),), _windows(2, 3, size=(9, 8), stride=(2, 3), padding=(1, 2), dilation=(3, 1)), note="strided, padded, dilated"),
        Sample((randn(2, 12, 4),), _windows(2, 2, size=(4, 4), stride=(2, 2)), note="side by side"),
        Sample((randn(1, 1, 1),), _windows(1, 1, size=(1, 1)), note="one of everything"),
        Sample((randn(18, 4, 2).T[..., ::-2].transpose(0, 2, 1)[..., ::-1],), _windows(3, 3, size=(4, 4)), note="strided"),
        Sample((randn(2, 27, 4, dtype=np.float32),), _windows(3, 3, size=(4, 4)), note="float32"),
        Sample((np.array([[[1.0, nan], [inf, -inf]]]),), _windows(2, 1, size=(2, 2)), smooth=False, note="special values"),
    ],
)  # fmt: skip
