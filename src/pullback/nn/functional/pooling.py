"""Max, average, power and adaptive pooling in one, two and three dimensions, and the way back from indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...autocasting import autocasts
from ...dtypes import BOOL, FLOATS, I64
from ...errors import DTypeError, PullbackError, ShapeError, fail
from ...functions.expose import public
from ...ops import pooling as ops
from ...tensor import Tensor
from .arguments import Sizes, batched, sizes, unbatched

# -- what the arguments must be ----------------------------------------------------------------------------------------


def _planes(name: str, n: int, x: Tensor) -> tuple[Tensor, bool]:
    """x with a batch in front; all other dimensions have elements."""
    expected = f"{name}(): Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, "
    x, alone = batched(x, n, f"{expected}but got:")
    shape = x._array.shape
    if 0 in shape[1:]:
        fail(
            ShapeError,
            f"{expected}but got:{list(shape)}: Expected input to have non-zero size for non-batch dimensions, "
            f"but dimension {shape.index(0, 1)} is empty",
        )
    return x, alone


def _windows(
    name: str, n: int, size: Sizes, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Sizes, Sizes, Sizes, Sizes]:
    """Kernel, stride, padding and dilation for each dimension, known to fit."""
    kernel = sizes("kernel_size", kernel, n)
    stride = kernel if stride is None or stride == [] or stride == () else sizes("stride", stride, n)
    padding, dilation = sizes("padding", padding, n), sizes("dilation", dilation, n)
    if min(kernel) < 1:
        fail(PullbackError, f"{name}: kernel size should be greater than zero, but got {kernel}")
    if min(stride) < 1:
        fail(
            PullbackError,
            f"{name}: stride should not be zero or negative, but got {stride}",
            "leave it out to take the kernel size",
        )
    if min(dilation) < 1:
        fail(PullbackError, f"{name}: dilation should be greater than zero, but got dilation {dilation}")
    counts = []
    for m, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        if p < 0:
            fail(PullbackError, f"{name}: pad must be non-negative, but got pad: {p}")
        if 2 * p > k:
            fail(
                PullbackError,
                f"{name}: pad should be at most half of effective kernel size, "
                f"but got pad={p}, kernel_size={k} and dilation={d}",
            )
        free = m + 2 * p - d * (k - 1) - 1
        counts.append((-(-free // s) if ceil_mode else free // s) + 1)
    if min(counts) < 1:
        given, got = ("x".join(map(str, a)) for a in (size, counts))
        fail(
            ShapeError,
            f"{name}: Given input size: ({given}). Calculated output size: ({got}). Output size is too small",
            "use a smaller kernel or more padding",
        )
    return kernel, stride, padding, dilation


def _output_size(name: str, n: int, size: Sizes, wanted: Any) -> Sizes:
    """How many bins an adaptive pool has along each dimension; None keeps the size."""
    if isinstance(wanted, (tuple, list)) and len(wanted) == n:
        wanted = [m if w is None else w for w, m in zip(wanted, size, strict=True)]
    bins = sizes("output_size", wanted, n)
    if min(bins) < 0:
        fail(PullbackError, f"{name}: elements of output_size must be greater than or equal to 0 but received {bins}")
    return bins


def _numeric(name: str, x: Tensor, kinds: Any) -> None:
    if x.npdtype not in kinds:
        fail(DTypeError, f'"{name}" not implemented for {x.dtype}', "convert the input to a floating point type")


# -- maxima ------------------------------------------------------------------------------------------------------------


def _max_pool(
    n: int, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    name = f"max_pool{n}d"
    x, alone = _planes(name, n, x)
    kernel, stride, padding, dilation = _windows(
        name, n, x._array.shape[2:], kernel, stride, padding, dilation, ceil_mode
    )
    if x.npdtype == BOOL:
        _numeric(name, x, FLOATS)
    values, indices = ops.max_pool(
        x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=bool(ceil_mode)
    )
    return unbatched(values, alone), unbatched(indices, alone)


@public(method=False)
def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """The maximum of each window of (batch, channels, length), and its position."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """The maximum of each window of (batch, channels, height, width), and its index in the flattened plane."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode)


@autocasts
def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """The maximum of each window of (batch, channels, depth, height, width), and its index in the flattened volume."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode)


@public(method=False)
def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of (batch, channels, length); with return_indices, its position too."""
    pooled = _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode)
    return pooled if return_indices else pooled[0]


@public(method=False)
def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of (batch, channels, height, width); with return_indices, its place too."""
    pooled = _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode)
    return pooled if return_indices else pooled[0]


@public(method=False)
@autocasts
def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of (batch, channels, depth, height, width); with return_indices, its place too."""
    pooled = _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode)
    return pooled if return_indices else pooled[0]


def _adaptive_max_pool(n: int, x: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    name = f"adaptive_max_pool{n}d"
    x, alone = _planes(name, n, x)
    _numeric(name, x, FLOATS)
    values, indices = ops.adaptive_max_pool(x, size=_output_size(name, n, x._array.shape[2:], output_size))
    return unbatched(values, alone), unbatched(indices, alone)


@public(method=False, name="adaptive_max_pool1d")  # torch.adaptive_max_pool1d gives both
def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The maximum of each of output_size bins, and its position."""
    return _adaptive_max_pool(1, input, output_size)


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The maximum of each bin of a grid of output_size, and its index in the flattened plane."""
    return _adaptive_max_pool(2, input, output_size)


@autocasts
def adaptive_max_pool3d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The maximum of each bin of a grid of output_size, and its index in the flattened volume."""
    return _adaptive_max_pool(3, input, output_size)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum of each of output_size bins."""
    pooled = _adaptive_max_pool(1, input, output_size)
    return pooled if return_indices else pooled[0]


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum of each bin of a grid of output_size."""
    pooled = _adaptive_max_pool(2, input, output_size)
    return pooled if return_indices else pooled[0]


@autocasts
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum of each bin of a grid of output_size."""
    pooled = _adaptive_max_pool(3, input, output_size)
    return pooled if return_indices else pooled[0]


def _max_unpool(
    n: int, x: Tensor, indices: Tensor, kernel: Any, stride: Any, padding: Any, output_size: Sequence[int] | None
) -> Tensor:
    name = f"max_unpool{n}d"
    if indices.npdtype != I64:
        fail(DTypeError, f"{name}(): elements in indices should be type int64 but got: {indices.dtype}")
    if indices.shape != x.shape:
        fail(
            ShapeError,
            f"{name}(): Expected shape of indices to be same as that of the input tensor ({list(x.shape)}) "
            f"but got indices tensor with shape: {list(indices.shape)}",
        )
    (x, alone), (places, _) = _planes(name, n, x), _planes(name, n, indices)
    kernel, padding = sizes("kernel_size", kernel, n), sizes("padding", padding, n)
    stride = kernel if stride is None else sizes("stride", stride, n)
    usual = [(m - 1) * s + k - 2 * p for m, k, s, p in zip(x._array.shape[2:], kernel, stride, padding, strict=True)]
    size = tuple(usual) if output_size is None else tuple(output_size)[-n:]
    for d, (m, u, s) in enumerate(zip(size, usual, stride, strict=True)):
        if output_size is not None and not u - s < m < u + s:
            raise ValueError(
                f'invalid output_size "{tuple(output_size)}" (dim {d} must be between {u - s} and {u + s})'
            )
    return unbatched(ops.max_unpool(x, places, size=size), alone)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Put maxima back where max_pool1d found them, among zeros."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@autocasts
def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Put maxima back where max_pool2d found them, among zeros."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@autocasts
def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Put maxima back where max_pool3d found them, among zeros."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


# -- means -------------------------------------------------------------------------------------------------------------


def _avg_pool(
    n: int,
    x: Tensor,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Tensor:
    name = f"avg_pool{n}d"
    x, alone = _planes(name, n, x)
    _numeric(name, x, FLOATS)
    if divisor == 0:
        fail(PullbackError, f"{name}: divisor must be not zero")
    kernel, stride, padding, _ = _windows(name, n, x._array.shape[2:], kernel, stride, padding, 1, ceil_mode)
    out = ops.avg_pool(
        x, kernel=kernel, stride=stride, padding=padding,
        ceil_mode=bool(ceil_mode), count_include_pad=bool(count_include_pad), divisor_override=divisor,
    )  # fmt: skip
    return unbatched(out, alone)


@public(method=False)
def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of (batch, channels, length)."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of (batch, channels, height, width)."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@autocasts
def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of (batch, channels, depth, height, width)."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _adaptive_avg_pool(n: int, x: Tensor, output_size: Any) -> Tensor:
    name = f"adaptive_avg_pool{n}d"
    x, alone = _planes(name, n, x)
    _numeric(name, x, FLOATS)
    return unbatched(ops.adaptive_avg_pool(x, size=_output_size(name, n, x._array.shape[2:], output_size)), alone)


@public(method=False)
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The mean of each of output_size bins."""
    return _adaptive_avg_pool(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The mean of each bin of a grid of output_size."""
    return _adaptive_avg_pool(2, input, output_size)


@autocasts
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The mean of each bin of a grid of output_size."""
    return _adaptive_avg_pool(3, input, output_size)


def _lp_pool(n: int, x: Tensor, p: float, kernel: Any, stride: Any, ceil_mode: bool) -> Tensor:
    """(sum of x^p)^(1/p); the gradient is zero, not infinite, where the sum is."""
    if math.isinf(p):
        largest = _max_pool(n, x.abs() if p > 0 else -x.abs(), kernel, stride, 0, 1, ceil_mode)[0]
        return largest if p > 0 else -largest
    mean = _avg_pool(n, x.pow(p), kernel, stride, 0, ceil_mode, True)
    count = math.prod(sizes("kernel_size", kernel, n))
    norm: Tensor = (mean.sign() * mean.abs().relu() * count).pow(1 / p)
    return norm


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm of each window of (batch, channels, length)."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm of each window of (batch, channels, height, width)."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm of each window of (batch, channels, depth, height, width)."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)
