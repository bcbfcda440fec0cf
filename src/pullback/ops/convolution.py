"""Convolution over any number of spatial dimensions, and the two maps its gradients need.

Layouts are PyTorch's: x is (N, C, *size), w is (O, C / groups, *kernel), y is (N, O, *out). The scalar <y, conv(x, w)> is
linear in each of x, w and y, and its gradients for them are the three ops here:

    conv(x, w)  for y        conv_transpose(y, w)  for x        conv_weight_gradient(y, x)  for w

So the pullback of each is made of the other two, and derivatives of any order are among them. Padding is a pair
(before, after) for each spatial dimension; a negative one crops.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engines.numpy import convolution as kernels
from .record import Sample, Spec, bias_flops, matching, op
from .reduction import sum as sum_
from .samples import inf, nan, randn

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


def _products(y: Any, w: Any) -> int:
    """FLOPs: each number of y meets each weight of its channel, once to multiply and once to add."""
    return int(2 * math.prod(y.shape) * math.prod(w.shape[1:]))


def _pull_bias(g: Any) -> Any:
    return sum_(g, dim=(0, *range(2, len(g.shape))))


def _with_bias(y: Any, bias: Any) -> Any:
    if bias is not None:
        y += bias.reshape(-1, *[1] * (y.ndim - 2))
    return y


def _conv(x: Any, w: Any, bias: Any = None, *, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int = 1) -> Any:
    return _with_bias(kernels.forward(x, w, stride, padding, dilation, groups), bias)


def _conv_spec(
    x: Any, w: Any, bias: Any = None, *, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int = 1
) -> Spec:
    return Spec(
        (x.shape[0], w.shape[0], *kernels.output_shape(x.shape[2:], w.shape[2:], stride, padding, dilation)), x.dtype
    )


# fmt: off
def _pull_x(g: Any, w: Any, x_shape: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int) -> Any:
    return conv_transpose(g, w, None, size=x_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups)


def _pull_w(g: Any, x: Any, w_shape: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int) -> Any:
    return conv_weight_gradient(g, x, kernel=w_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups)


def _pull_y(g: Any, w: Any, y_shape: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int) -> Any:
    """conv(g, w) as large as y: where dilation is larger than stride, g may reach a stride further than y needs."""
    geometry = zip(y_shape[2:], g.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)
    padding = tuple([(p, min(q, (n - 1) * s + d * (k - 1) + 1 - m - p)) for n, m, k, s, (p, q), d in geometry])
    return conv(g, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups)
# fmt: on


def _windows(n: int, **params: Any) -> dict[str, Any]:
    """The parameters of a sample: stride 1, no padding, no dilation, where nothing else is said."""
    return {"stride": (1,) * n, "padding": ((0, 0),) * n, "dilation": (1,) * n, **params}


conv = op(
    "conv", "y[n, o, p] = bias[o] + sum over c, t of w[o, c, t] x[n, c, p stride + t dilation - before]", inputs="x w bias",
    torch="getattr(F, f'conv{len(stride)}d')(F.pad(x, sum(padding[::-1], ())), w, bias, stride, 0, dilation, groups)",
    numpy=_conv, infer=_conv_spec, dtypes=matching, flops=lambda arrays, params, out: _products(out, arrays[1]) + bias_flops(arrays, out),
    vjp={"x": _pull_x, "w": _pull_w, "bias": _pull_bias},
    samples=lambda: [
        Sample((randn(2, 3, 5, 6), randn(4, 3, 3, 2), randn(4)), _windows(2, padding=((1, 1), (0, 0)))),
        Sample((randn(2, 4, 9), randn(6, 2, 3), None), _windows(1, stride=(2,), padding=((2, 2),), dilation=(3,), groups=2), note="1-D, dilated, grouped"),
        Sample((randn(1, 2, 4, 3, 5), randn(2, 2, 2, 3, 1), randn(2)), _windows(3, stride=(1, 1, 2), padding=((1, 1), (1, 1), (0, 0))), note="3-D"),
        Sample((randn(2, 3, 6, 5), randn(4, 3, 3, 3), None), _windows(2, stride=(2, 1), padding=((0, 2), (3, 1))), note="uneven padding"),
        Sample((randn(2, 3, 6, 5), randn(4, 3, 3, 3), None), _windows(2, padding=((-1, 1), (0, -1))), note="cropped"),
        Sample((randn(2, 3, 5, 5), randn(6, 1, 3, 3), randn(6)), _windows(2, padding=((1, 1), (1, 1)), groups=3), note="depthwise"),
        Sample((randn(2, 3, 4, 5), randn(2, 3, 1, 1), randn(2)), _windows(2), note="pointwise"),
        Sample((randn(1, 1, 1, 1), randn(1, 1, 1, 1), None), _windows(2), note="one of everything"),
        Sample((randn(0, 3, 4, 5), randn(2, 3, 3, 3), randn(2)), _windows(2, padding=((1, 1), (1, 1))), note="no images"),
        Sample((randn(5, 3, 2, 6).T[::-1], randn(3, 3, 2, 4).T[::-2], randn(4)[::-2]), _windows(2, padding=((1, 0), (1, 0))), note="strided"),
        Sample((randn(2, 3, 5, dtype=np.float32), randn(4, 3, 3, dtype=np.float32), randn(4, dtype=np.float32)), _windows(1, padding=((1, 1),)), note="float32"),
        Sample((np.array([[[1.0, nan, 2.0, 3.0, inf, 4.0]]]), randn(2, 1, 2), None), _windows(1, padding=((1, 1),)), smooth=False, note="special values"),
    ],
)  # fmt: skip


def _conv_transpose(
    x: Any, w: Any, bias: Any = None, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int = 1
) -> Any:
    shape = (len(x), w.shape[1] * groups, *size)
    return _with_bias(kernels.input_gradient(x, w, shape, stride, padding, dilation, groups), bias)


# With y = conv_transpose(x, w) of spatial shape `size`, <g, y> = <x, conv(g, w)>.
conv_transpose = op(
    "conv_transpose", "y[n, c, p stride + t dilation - before] += w[o, c, t] x[n, o, p], and bias[c] to each", inputs="x w bias",
    torch="getattr(F, f'conv_transpose{len(size)}d')(x, w, bias, stride, [p for p, _ in padding], [m - s * (n - 1) + 2 * p - d * (k - 1) - 1"
    " for m, n, k, s, (p, _), d in zip(size, x.shape[2:], w.shape[2:], stride, padding, dilation)], groups, dilation)",
    numpy=_conv_transpose, dtypes=matching, flops=lambda arrays, params, out: _products(arrays[0], arrays[1]) + bias_flops(arrays, out),
    infer=lambda x, w, bias=None, *, size, stride, padding, dilation, groups=1: Spec((x.shape[0], w.shape[1] * groups, *size), x.dtype),
    vjp={
        "x": lambda g, w, x_shape, stride, padding, dilation, groups: _pull_y(g, w, x_shape, stride, padding, dilation, groups),
        "w": lambda g, x, w_shape, stride, padding, dilation, groups: _pull_w(x, g, w_shape, stride, padding, dilation, groups),
        "bias": _pull_bias,
    },
    samples=lambda: [
        Sample((randn(2, 4, 3, 5), randn(4, 3, 3, 2), randn(3)), _windows(2, size=(5, 6))),
        Sample((randn(2, 4, 3, 3), randn(4, 3, 3, 3), None), _windows(2, size=(6, 5), stride=(2, 2), padding=((1, 1), (1, 1))), note="strided, more than needed"),
        Sample((randn(2, 6, 4), randn(6, 2, 3), randn(4)), _windows(1, size=(9,), stride=(2,), padding=((2, 2),), dilation=(3,), groups=2), note="1-D, dilated, grouped"),
        Sample((randn(1, 2, 5, 3, 3), randn(2, 3, 2, 3, 1), randn(3)), _windows(3, size=(4, 3, 5), stride=(1, 1, 2), padding=((1, 1), (1, 1), (0, 0))), note="3-D"),
        Sample((randn(2, 3, 4, 4), randn(3, 1, 2, 2), randn(3)), _windows(2, size=(8, 8), stride=(2, 2), groups=3), note="depthwise"),
        Sample((randn(1, 1, 1, 1), randn(1, 1, 1, 1), None), _windows(2, size=(1, 1)), note="one of everything"),
        Sample((randn(0, 4, 3), randn(4, 3, 3), randn(3)), _windows(1, size=(5,)), note="no images"),
        Sample((randn(5, 4, 2).T[::-1], randn(3, 2, 8).T[::-2], randn(4)[::-2]), _windows(1, size=(7,)), note="strided"),
        Sample((randn(2, 4, 3, dtype=np.float32), randn(4, 3, 3, dtype=np.float32), randn(3, dtype=np.float32)), _windows(1, size=(5,)), note="float32"),
        Sample((np.array([[[1.0, nan, 2.0, inf]]]), randn(1, 2, 2), None), _windows(1, size=(3,), padding=((1, 1),)), smooth=False, note="special values"),
        Sample((randn(2, 3, 3, 4), randn(3, 2, 2, 3), None), _windows(2, size=(6, 6), dilation=(2, 1)), note="one more than needed, dilated"),
    ],
)  # fmt: skip


def _weight_gradient(
    y: Any, x: Any, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int = 1
) -> Any:
    shape = (y.shape[1], x.shape[1] // groups, *kernel)
    return kernels.weight_gradient(y, x, shape, stride, padding, dilation, groups)


conv_weight_gradient = op(
    "conv_weight_gradient", "w[o, c, t] = sum over n, p of y[n, o, p] x[n, c, p stride + t dilation - before]", inputs="y x",
    torch="getattr(torch.nn.grad, f'conv{len(kernel)}d_weight')(x, (y.shape[1], x.shape[1] // groups, *kernel), y, stride, [p for p, _ in padding], dilation, groups)",
    numpy=_weight_gradient, dtypes=matching, flops=lambda arrays, params, out: _products(arrays[0], out),
    infer=lambda y, x, *, kernel, stride, padding, dilation, groups=1: Spec((y.shape[1], x.shape[1] // groups, *kernel), x.dtype),
    vjp={
        "y": lambda g, x, y_shape, stride, padding, dilation, groups: _pull_y(x, g, y_shape, stride, padding, dilation, groups),
        "x": lambda g, y, x_shape, stride, padding, dilation, groups: _pull_x(y, g, x_shape, stride, padding, dilation, groups),
    },
    samples=lambda: [
        Sample((randn(2, 4, 5, 5), randn(2, 3, 5, 6)), _windows(2, kernel=(3, 2), padding=((1, 1), (0, 0)))),
        Sample((randn(2, 6, 4), randn(2, 4, 9)), _windows(1, kernel=(3,), stride=(2,), padding=((2, 2),), dilation=(3,), groups=2), note="1-D, dilated, grouped"),
        Sample((randn(1, 2, 5, 3, 3), randn(1, 3, 4, 3, 5)), _windows(3, kernel=(2, 3, 1), stride=(1, 1, 2), padding=((1, 1), (1, 1), (0, 0))), note="3-D"),
        Sample((randn(2, 6, 5, 5), randn(2, 3, 5, 5)), _windows(2, kernel=(3, 3), padding=((1, 1), (1, 1)), groups=3), note="depthwise"),
        Sample((randn(1, 1, 1, 1), randn(1, 1, 1, 1)), _windows(2, kernel=(1, 1)), note="one of everything"),
        Sample((randn(3, 4, 2).T[::-1], randn(10, 3, 2).T[..., ::-2]), _windows(1, kernel=(3,)), note="strided"),
        Sample((randn(2, 4, 3, dtype=np.float32), randn(2, 3, 5, dtype=np.float32)), _windows(1, kernel=(3,)), note="float32"),
    ],
)  # fmt: skip
