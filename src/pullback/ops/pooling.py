"""Pooling over the spatial dimensions of (N, C, *size), and the adjoint of each map.

A maximum's gradient goes to where the maximum stood: max_pool returns that place as an index into the flattened spatial
plane, and `gather_at` (read there) and `max_pool_gradient` (add there) are each other's adjoint.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import I64
from ..engines.numpy import pooling as kernels
from .record import Op, Sample, Spec, arithmetic, free, op, per_element, per_input_element
from .samples import inf, integers, nan, randn

Sizes = tuple[int, ...]


def _windowed(arrays: Any, params: dict[str, Any], out: Any) -> int:
    """FLOPs: one for each element of each window."""
    return int(math.prod((out[0] if type(out) is tuple else out).shape) * math.prod(params["kernel"]))


def _scattered(arrays: Any, params: dict[str, Any], out: Any) -> int:
    """As many, going back."""
    return int(math.prod(arrays[0].shape) * math.prod(params["kernel"]))


def _windows(kernel: Sizes, stride: Sizes | None = None, padding: Sizes | None = None, **params: Any) -> dict[str, Any]:
    """The parameters of a sample: windows side by side and no padding, where nothing else is said."""
    return {"kernel": kernel, "stride": stride or kernel, "padding": padding or (0,) * len(kernel), **params}


# -- maxima --------------------------------------------------------------------------------------------------------------


def _max_pool(x: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool = False) -> Any:
    return kernels.max_pool(x, kernel, stride, padding, dilation, ceil_mode)


def _max_pool_spec(
    x: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool = False
) -> tuple[Spec, Spec]:
    shape = (*x.shape[:2], *kernels.output_shape(x.shape[2:], kernel, stride, padding, dilation, ceil_mode))
    return Spec(shape, x.dtype), Spec(shape, I64)


def _pull_maxima(g: Any, out1: Any, x_shape: Sizes) -> Any:
    return max_pool_gradient(g[0], out1, shape=x_shape)


max_pool = op(
    "max_pool", "the maximum of x over each window, and its index in the spatial plane", inputs="x",
    torch="getattr(F, f'max_pool{len(kernel)}d')(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)",
    numpy=_max_pool, infer=_max_pool_spec, dtypes=arithmetic, flops=_windowed,
    vjp={"x": _pull_maxima},
    samples=lambda: [
        Sample((randn(2, 3, 6, 8),), _windows((2, 2), dilation=(1, 1))),
        Sample((randn(2, 3, 7, 5),), _windows((3, 2), (2, 1), (1, 0), dilation=(1, 2)), note="overlapping, padded, dilated"),
        Sample((randn(2, 3, 8),), _windows((3,), (2,), (1,), dilation=(1,), ceil_mode=True), note="1-D, rounded up"),
        Sample((randn(1, 2, 4, 5, 3),), _windows((2, 2, 2), (1, 2, 1), dilation=(1, 1, 1)), note="3-D"),
        Sample((randn(1, 1, 1, 1),), _windows((1, 1), dilation=(1, 1)), note="one of everything"),
        Sample((randn(0, 3, 4, 4),), _windows((2, 2), dilation=(1, 1)), note="no images"),
        Sample((randn(10, 8, 3, 2).T[..., ::-2],), _windows((2, 2), dilation=(1, 1)), note="strided"),
        Sample((randn(2, 3, 6, dtype=np.float32),), _windows((2,), dilation=(1,)), note="float32"),
        Sample((integers(0, 3, 1, 2, 4, 6).astype(float),), _windows((2, 3), dilation=(1, 1)), smooth=False, note="ties: the first wins"),
        Sample((np.array([[[[1.0, nan, -inf, -inf], [nan, 2.0, -inf, -inf]]]]),), _windows((2, 2), dilation=(1, 1)), smooth=False, note="special values"),
        Sample((integers(-9, 9, 1, 2, 4, 4),), _windows((2, 2), dilation=(1, 1)), smooth=False, note="integers"),
    ],
)  # fmt: skip


def _places(size: Sizes, *shape: int) -> Any:
    """Distinct indices into planes of a size."""
    return np.argsort(randn(*shape[:2], math.prod(size)), axis=-1)[..., : math.prod(shape[2:])].reshape(shape)


max_pool_gradient = op(
    "max_pool_gradient", "out[n, c, indices[n, c, p]] += g[n, c, p], in planes of zeros", inputs="g indices",
    torch="torch.zeros(shape, dtype=g.dtype).flatten(2).scatter_add(2, indices.expand_as(g).flatten(2), g.flatten(2)).reshape(shape)",
    numpy=lambda g, indices, shape: kernels.max_pool_gradient(g, indices, shape),
    infer=lambda g, indices, shape: Spec(tuple(shape), g.dtype), dtypes=arithmetic, flops=per_input_element(1),
    vjp={"g": lambda h, indices: gather_at(h, indices)},
    samples=lambda: [
        Sample((randn(2, 3, 3, 4), integers(0, 20, 2, 3, 3, 4)), {"shape": (2, 3, 4, 5)}, note="places repeat"),
        Sample((randn(2, 3, 4), integers(0, 9, 2, 3, 4)), {"shape": (2, 3, 9)}, note="1-D"),
        Sample((randn(1, 2, 2, 1, 3), integers(0, 12, 1, 2, 2, 1, 3)), {"shape": (1, 2, 2, 2, 3)}, note="3-D"),
        Sample((randn(2, 3, 4), integers(0, 9, 2, 1, 4)), {"shape": (2, 3, 9)}, note="the same places in each channel"),
        Sample((randn(0, 2, 2), integers(0, 4, 0, 2, 2)), {"shape": (0, 2, 4)}, note="no images"),
        Sample((randn(4, 3, 2).T[::-1], integers(0, 5, 8, 3, 2).T[..., ::-2]), {"shape": (2, 3, 5)}, note="strided"),
        Sample((randn(2, 3, 4, dtype=np.float32), integers(0, 9, 2, 3, 4)), {"shape": (2, 3, 9)}, note="float32"),
    ],
)  # fmt: skip

gather_at: Op = op(
    "gather_at", "out[n, c, p] = x[n, c, indices[n, c, p]], each plane of x flattened", inputs="x indices",
    torch="(lambda at: x.flatten(2).gather(2, at.flatten(2)).reshape(at.shape))(indices.expand(-1, x.shape[1], *indices.shape[2:]))",
    numpy=lambda x, indices: kernels.gather_at(x, indices),
    infer=lambda x, indices: Spec((*x.shape[:2], *indices.shape[2:]), x.dtype), dtypes=arithmetic, flops=free,
    vjp={"x": lambda g, indices, x_shape: max_pool_gradient(g, indices, shape=x_shape)},
    samples=lambda: [
        Sample((randn(2, 3, 4, 5), integers(0, 20, 2, 3, 3, 4))),
        Sample((randn(2, 3, 9), integers(0, 9, 2, 3, 4)), note="1-D"),
        Sample((randn(1, 2, 2, 2, 3), integers(0, 12, 1, 2, 2, 1, 3)), note="3-D"),
        Sample((randn(2, 3, 9), integers(0, 9, 2, 1, 4)), note="the same places in each channel"),
        Sample((randn(0, 2, 4), integers(0, 4, 0, 2, 2)), note="no images"),
        Sample((randn(5, 3, 2).T[::-1], integers(0, 5, 8, 3, 2).T[..., ::-2]), note="strided"),
        Sample((randn(2, 3, 9, dtype=np.float32), integers(0, 9, 2, 3, 4)), note="float32"),
    ],
)  # fmt: skip

max_unpool = op(
    "max_unpool", "out[n, c, indices[n, c, p]] = x[n, c, p], in planes of zeros", inputs="x indices",
    torch="torch.zeros((*x.shape[:2], *size), dtype=x.dtype).flatten(2).scatter(2, indices.flatten(2), x.flatten(2)).reshape(*x.shape[:2], *size)",
    numpy=lambda x, indices, size: kernels.max_unpool(x, indices, size),
    infer=lambda x, indices, size: Spec((*x.shape[:2], *size), x.dtype), dtypes=arithmetic, flops=free,
    vjp={"x": lambda g, indices: gather_at(g, indices)},
    samples=lambda: [
        Sample((randn(2, 3, 3, 4), _places((4, 5), 2, 3, 3, 4)), {"size": (4, 5)}),
        Sample((randn(2, 3, 4), _places((9,), 2, 3, 4)), {"size": (9,)}, note="1-D"),
        Sample((randn(1, 2, 2, 1, 3), _places((2, 2, 3), 1, 2, 2, 1, 3)), {"size": (2, 2, 3)}, note="3-D"),
        Sample((randn(0, 2, 2), integers(0, 4, 0, 2, 2)), {"size": (4,)}, note="no images"),
        Sample((randn(4, 3, 2).T[::-1], _places((5,), 2, 3, 4)[::-1]), {"size": (5,)}, note="strided"),
        Sample((randn(2, 3, 4, dtype=np.float32), _places((9,), 2, 3, 4)), {"size": (9,)}, note="float32"),
    ],
)  # fmt: skip

adaptive_max_pool = op(
    "adaptive_max_pool", "the maximum of x over each of size[0] x size[1] ... bins, and its index in the spatial plane", inputs="x",
    torch="getattr(F, f'adaptive_max_pool{len(size)}d')(x, size, return_indices=True)",
    numpy=lambda x, size: kernels.adaptive_max_pool(x, size), dtypes=arithmetic, flops=per_input_element(1),
    infer=lambda x, size: (Spec((*x.shape[:2], *size), x.dtype), Spec((*x.shape[:2], *size), I64)),
    vjp={"x": _pull_maxima},
    samples=lambda: [
        Sample((randn(2, 3, 6, 7),), {"size": (3, 2)}),
        Sample((randn(2, 3, 5),), {"size": (7,)}, note="1-D, more bins than elements"),
        Sample((randn(1, 2, 3, 4, 5),), {"size": (2, 4, 1)}, note="3-D"),
        Sample((randn(1, 1, 1, 1),), {"size": (1, 1)}, note="one of everything"),
        Sample((randn(0, 3, 4, 4),), {"size": (2, 2)}, note="no images"),
        Sample((randn(10, 8, 3, 2).T[..., ::-2],), {"size": (3, 2)}, note="strided"),
        Sample((randn(2, 3, 6, dtype=np.float32),), {"size": (4,)}, note="float32"),
        Sample((integers(0, 3, 1, 2, 4, 6).astype(float),), {"size": (2, 2)}, smooth=False, note="ties: the first wins"),
        Sample((np.array([[[[1.0, nan, -inf, -inf], [nan, 2.0, -inf, -inf]]]]),), {"size": (1, 2)}, smooth=False, note="special values"),
    ],
)  # fmt: skip


# -- means ---------------------------------------------------------------------------------------------------------------


def _avg_pool(
    x: Any,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    return kernels.avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _avg_pool_spec(
    x: Any, kernel: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool = False, **params: Any
) -> Spec:
    return Spec(
        (*x.shape[:2], *kernels.output_shape(x.shape[2:], kernel, stride, padding, [1] * len(kernel), ceil_mode)),
        x.dtype,
    )


avg_pool = op(
    "avg_pool", "the sum of x over each window, divided by the size of the window or divisor_override", inputs="x",
    torch="getattr(F, f'avg_pool{len(kernel)}d')(x, kernel, stride, padding, ceil_mode, count_include_pad, *[divisor_override] * (len(kernel) > 1))",
    numpy=_avg_pool, infer=_avg_pool_spec, dtypes=arithmetic, flops=_windowed,
    vjp={
        "x": lambda g, x_shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override: avg_pool_gradient(
            g, shape=x_shape, kernel=kernel, stride=stride, padding=padding,
            ceil_mode=ceil_mode, count_include_pad=count_include_pad, divisor_override=divisor_override,
        )
    },
    samples=lambda: [
        Sample((randn(2, 3, 6, 8),), _windows((2, 2))),
        Sample((randn(2, 3, 7, 5),), _windows((3, 2), (2, 1), (1, 0), count_include_pad=False), note="overlapping, padding not counted"),
        Sample((randn(2, 3, 8),), _windows((3,), (2,), (1,), ceil_mode=True), note="1-D, rounded up"),
        Sample((randn(1, 2, 4, 5, 3),), _windows((2, 2, 2), (1, 2, 1), divisor_override=3), note="3-D, own divisor"),
        Sample((randn(1, 1, 1, 1),), _windows((1, 1)), note="one of everything"),
        Sample((randn(0, 3, 4, 4),), _windows((2, 2)), note="no images"),
        Sample((randn(10, 8, 3, 2).T[..., ::-2],), _windows((2, 2)), note="strided"),
        Sample((randn(2, 3, 6, dtype=np.float32),), _windows((2,)), note="float32"),
        Sample((np.array([[[1.0, nan, 2.0, 3.0, inf, 4.0]]]),), _windows((2,)), smooth=False, note="special values"),
    ],
)  # fmt: skip


def _avg_pool_gradient(
    g: Any, shape: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    return kernels.avg_pool_gradient(g, shape, kernel, stride, padding, count_include_pad, divisor_override)


avg_pool_gradient: Op = op(
    "avg_pool_gradient", "each g, divided as in avg_pool, added to all elements of its window", inputs="g",
    torch="torch.func.vjp(lambda x, f=getattr(F, f'avg_pool{len(kernel)}d'), rest=(kernel, stride, padding, ceil_mode, count_include_pad,"
    " *[divisor_override] * (len(kernel) > 1)): f(x, *rest), torch.zeros(shape, dtype=g.dtype))[1](g)[0]",
    numpy=_avg_pool_gradient, infer=lambda g, shape, **params: Spec(tuple(shape), g.dtype), dtypes=arithmetic, flops=_scattered,
    vjp={
        "g": lambda h, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override: avg_pool(
            h, kernel=kernel, stride=stride, padding=padding,
            ceil_mode=ceil_mode, count_include_pad=count_include_pad, divisor_override=divisor_override,
        )
    },
    samples=lambda: [
        Sample((randn(2, 3, 3, 4),), _windows((2, 2), shape=(2, 3, 6, 8))),
        Sample((randn(2, 3, 4, 4),), _windows((3, 2), (2, 1), (1, 0), shape=(2, 3, 7, 5), count_include_pad=False), note="overlapping, padding not counted"),
        Sample((randn(2, 3, 5),), _windows((3,), (2,), (1,), shape=(2, 3, 8), ceil_mode=True), note="1-D, rounded up"),
        Sample((randn(1, 2, 3, 2, 2),), _windows((2, 2, 2), (1, 2, 1), shape=(1, 2, 4, 5, 3), divisor_override=3), note="3-D, own divisor"),
        Sample((randn(0, 3, 2, 2),), _windows((2, 2), shape=(0, 3, 4, 4)), note="no images"),
        Sample((randn(6, 3, 2).T[..., ::-2],), _windows((2,), shape=(2, 3, 7)), note="strided"),
        Sample((randn(2, 3, 3, dtype=np.float32),), _windows((2,), shape=(2, 3, 6)), note="float32"),
    ],
)  # fmt: skip

adaptive_avg_pool = op(
    "adaptive_avg_pool", "the mean of x over each of size[0] x size[1] ... bins", inputs="x",
    torch="getattr(F, f'adaptive_avg_pool{len(size)}d')(x, size)",
    numpy=lambda x, size: kernels.adaptive_avg_pool(x, size), dtypes=arithmetic, flops=per_input_element(1),
    infer=lambda x, size: Spec((*x.shape[:2], *size), x.dtype),
    vjp={"x": lambda g, x_shape: adaptive_avg_pool_gradient(g, shape=x_shape)},
    samples=lambda: [
        Sample((randn(2, 3, 6, 7),), {"size": (3, 2)}),
        Sample((randn(2, 3, 5),), {"size": (7,)}, note="1-D, more bins than elements"),
        Sample((randn(1, 2, 3, 4, 5),), {"size": (2, 4, 1)}, note="3-D"),
        Sample((randn(2, 3, 4, 4),), {"size": (1, 1)}, note="global"),
        Sample((randn(0, 3, 4, 4),), {"size": (2, 2)}, note="no images"),
        Sample((randn(10, 8, 3, 2).T[..., ::-2],), {"size": (3, 2)}, note="strided"),
        Sample((randn(2, 3, 6, dtype=np.float32),), {"size": (4,)}, note="float32"),
        Sample((np.array([[[1.0, nan, 2.0, 3.0, inf, 4.0]]]),), {"size": (3,)}, smooth=False, note="special values"),
    ],
)  # fmt: skip

adaptive_avg_pool_gradient: Op = op(
    "adaptive_avg_pool_gradient", "each g spread evenly over its bin", inputs="g",
    torch="torch.func.vjp(lambda x, f=getattr(F, f'adaptive_avg_pool{len(shape) - 2}d'), size=g.shape[2:]: f(x, size), torch.zeros(shape, dtype=g.dtype))[1](g)[0]",
    numpy=lambda g, shape: kernels.adaptive_avg_pool_gradient(g, shape), infer=lambda g, shape: Spec(tuple(shape), g.dtype),
    dtypes=arithmetic, flops=per_element(1),
    vjp={"g": lambda h, g_shape: adaptive_avg_pool(h, size=g_shape[2:])},
    samples=lambda: [
        Sample((randn(2, 3, 3, 2),), {"shape": (2, 3, 6, 7)}),
        Sample((randn(2, 3, 7),), {"shape": (2, 3, 5)}, note="1-D, more bins than elements"),
        Sample((randn(1, 2, 2, 4, 1),), {"shape": (1, 2, 3, 4, 5)}, note="3-D"),
        Sample((randn(0, 3, 2, 2),), {"shape": (0, 3, 4, 4)}, note="no images"),
        Sample((randn(8, 3, 2).T[..., ::-2],), {"shape": (2, 3, 6)}, note="strided"),
        Sample((randn(2, 3, 4, dtype=np.float32),), {"shape": (2, 3, 6)}, note="float32"),
    ],
)  # fmt: skip
