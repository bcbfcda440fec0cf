"""Pooling as modules: the maximum, mean or p-norm of each window, or of each of a number of bins."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, fail
from ..tensor import Tensor
from . import functional as F
from .functional.arguments import sizes
from .layer import Layer

# -- maxima ------------------------------------------------------------------------------------------------------------


class _MaxPool(Layer):
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    pool: Any  # the function

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        return self.pool(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


class MaxPool1d(_MaxPool):
    """The maximum of each window of (batch, channels, length)."""

    pool = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The maximum of each window of (batch, channels, height, width)."""

    pool = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The maximum of each window of (batch, channels, depth, height, width)."""

    pool = staticmethod(F.max_pool3d)


class _MaxUnpool(Layer):
    shown = ("kernel_size", "stride", "padding")
    n: int
    unpool: Any

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = sizes("kernel_size", kernel_size, self.n)
        self.stride = sizes("stride", kernel_size if stride is None else stride, self.n)
        self.padding = sizes("padding", padding, self.n)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        out: Tensor = self.unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)
        return out


class MaxUnpool1d(_MaxUnpool):
    """Maxima put back where MaxPool1d found them, among zeros."""

    n, unpool = 1, staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """Maxima put back where MaxPool2d found them, among zeros."""

    n, unpool = 2, staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """Maxima put back where MaxPool3d found them, among zeros."""

    n, unpool = 3, staticmethod(F.max_unpool3d)


class _FractionalMaxPool(Layer):
    n: int
    pool: Any

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            fail(ArgumentError, f"{type(self).__name__} needs either output_size or output_ratio, and not both")
        self.kernel_size = sizes("kernel_size", kernel_size, self.n)
        self.output_size = None if output_size is None else sizes("output_size", output_size, self.n)
        ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * self.n
        self.output_ratio = None if output_ratio is None else tuple(ratios)
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            fail(ArgumentError, f"output_ratio must be between 0 and 1 (got {output_ratio})")
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, input: Tensor) -> Any:
        return self.pool(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """The maximum of windows at random steps, as many as give output_size."""

    n, pool = 2, staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """The maximum of windows at random steps, as many as give output_size."""

    n, pool = 3, staticmethod(F.fractional_max_pool3d)


# -- means and norms ---------------------------------------------------------------------------------------------------


class AvgPool1d(Layer):
    """The mean of each window of (batch, channels, length)."""

    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = sizes("kernel_size", kernel_size, 1)
        self.stride = sizes("stride", kernel_size if stride is None else stride, 1)
        self.padding = sizes("padding", padding, 1)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _AvgPool(Layer):
    shown = ("kernel_size", "stride", "padding")
    pool: Any

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = self.pool(
            input, self.kernel_size, self.stride, self.padding,
            self.ceil_mode, self.count_include_pad, self.divisor_override,
        )  # fmt: skip
        return out


class AvgPool2d(_AvgPool):
    """The mean of each window of (batch, channels, height, width)."""

    pool = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of (batch, channels, depth, height, width)."""

    pool = staticmethod(F.avg_pool3d)


class _LPPool(Layer):
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")
    pool: Any

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = self.pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)
        return out


class LPPool1d(_LPPool):
    """The p-norm of each window of (batch, channels, length)."""

    pool = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """The p-norm of each window of (batch, channels, height, width)."""

    pool = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """The p-norm of each window of (batch, channels, depth, height, width)."""

    pool = staticmethod(F.lp_pool3d)


# -- bins --------------------------------------------------------------------------------------------------------------


class _AdaptiveMaxPool(Layer):
    shown = ("output_size",)
    pool: Any

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        return self.pool(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maximum of each of output_size bins."""

    pool = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maximum of each bin of a grid of output_size."""

    pool = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maximum of each bin of a grid of output_size."""

    pool = staticmethod(F.adaptive_max_pool3d)


class _AdaptiveAvgPool(Layer):
    shown = ("output_size",)
    pool: Any

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = self.pool(input, self.output_size)
        return out


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each of output_size bins."""

    pool = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each bin of a grid of output_size."""

    pool = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of each bin of a grid of output_size."""

    pool = staticmethod(F.adaptive_avg_pool3d)
