"""Convolution layers and their transposes; windows laid out as columns, and back."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ArgumentError, ShapeError, fail
from ..functions.creation import empty
from ..tensor import Tensor
from . import functional as F
from . import init
from .functional.arguments import Sizes, sizes
from .layer import Layer, expect_dims
from .lazy import LazyModuleMixin
from .module import Module
from .parameter import Parameter, UninitializedParameter

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What both directions have in common, with `n` spatial dimensions."""

    n: int
    function: Any  # of nn.functional
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        n = self.n
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = sizes("kernel_size", kernel_size, n), sizes("stride", stride, n)
        self.dilation, self.output_padding = sizes("dilation", dilation, n), sizes("output_padding", output_padding, n)
        self.padding: Any = padding if isinstance(padding, str) else sizes("padding", padding, n)
        self.padding_mode = padding_mode
        self._check_padding()
        self.weight = Parameter(empty(self._weight_shape(), device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _check_padding(self) -> None:
        if self.padding_mode not in PADDING_MODES:
            fail(ArgumentError, f"padding_mode must be one of {PADDING_MODES}, but got {self.padding_mode!r}")
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            fail(ArgumentError, f"Invalid padding string {self.padding!r}", "use 'same', 'valid' or numbers")
        if self.padding == "same" and any(s != 1 for s in self.stride):
            fail(ArgumentError, "padding='same' is not supported for strided convolutions", "give it in numbers")

    def _weight_shape(self) -> Sizes:
        if self.groups < 1:
            fail(ArgumentError, f"groups must be a positive integer, but is {self.groups}")
        for name in "in_channels", "out_channels":
            if getattr(self, name) % self.groups:
                fail(
                    ArgumentError, f"{name} must be divisible by groups, but {getattr(self, name)} % {self.groups} > 0"
                )
        one, other = self.out_channels, self.in_channels
        if self.transposed:
            one, other = other, one
        return one, other // self.groups, *self.kernel_size

    def reset_parameters(self) -> None:
        """U(-k, k), k = 1 / sqrt(weights of one filter), for weight and bias."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None and (fan_in := math.prod(self.weight.shape[1:])):
            init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def extra_repr(self) -> str:
        said = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        usual = {"padding": 0, "dilation": 1, "output_padding": 0}
        said += [f"{k}={v}" for k, value in usual.items() if (v := getattr(self, k)) != (value,) * len(v)]
        said += [f"groups={self.groups}"] if self.groups != 1 else []
        said += ["bias=False"] if self.bias is None else []
        said += [f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []
        return ", ".join(said)


class _Conv(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._around(), self.padding_mode), 0
        out: Tensor = self.function(input, weight, bias, self.stride, padding, self.dilation, self.groups)
        return out

    def _around(self) -> list[int]:
        """The padding as F.pad wants it: the last dimension first, before and behind."""
        if isinstance(self.padding, str):
            same = self.padding == "same"
            total = [d * (k - 1) * same for k, d in zip(self.kernel_size, self.dilation, strict=True)]
            return [side for t in reversed(total) for side in (t // 2, t - t // 2)]
        return [p for p in reversed(self.padding) for _ in range(2)]


class Conv1d(_Conv):
    """Slides out_channels filters along (batch, in_channels, length), or along one without batch."""

    n, function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Slides out_channels filters over (batch, in_channels, height, width), or over one without batch."""

    n, function = 2, staticmethod(F.conv2d)


class Conv3d(_Conv):
    """Slides out_channels filters through (batch, in_channels, depth, height, width), or through one without batch."""

    n, function = 3, staticmethod(F.conv3d)


class _ConvTranspose(_Convolution):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros" or isinstance(padding, str):
            what = f"{type(self).__name__} pads with zeros, by numbers, not by {padding!r} in mode {padding_mode!r}"
            fail(ArgumentError, what)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._extra(input, tuple(output_size))
        out: Tensor = self.function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )
        return out

    def _extra(self, input: Tensor, wanted: Sizes) -> Sizes:
        """The output_padding that gives the size wanted."""
        expect_dims(input, self.n + 1, self.n + 2)
        if len(wanted) not in (self.n, input.ndim):
            fail(ShapeError, f"output_size must have {self.n} or {input.ndim} elements (got {len(wanted)})")
        wanted, have = wanted[-self.n :], input.shape[-self.n :]
        geometry = zip(have, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        least = [(m - 1) * s - 2 * p + d * (k - 1) + 1 for m, k, s, p, d in geometry]
        extra = tuple(w - m for w, m in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = [m + s - 1 for m, s in zip(least, self.stride, strict=True)]
            what = f"requested an output size of {list(wanted)}, but valid sizes range from {least} to {most}"
            fail(ShapeError, f"{what} (for an input of {list(have)})")
        return extra


class ConvTranspose1d(_ConvTranspose):
    """What the gradient of Conv1d does to a cotangent, as a layer."""

    n, function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """What the gradient of Conv2d does to a cotangent, as a layer."""

    n, function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """What the gradient of Conv3d does to a cotangent, as a layer."""

    n, function = 3, staticmethod(F.conv_transpose3d)


# -- in_channels from the first input ----------------------------------------------------------------------------------


class _Lazy(LazyModuleMixin, _Convolution):
    def _await(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        self.out_channels = out_channels
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        expect_dims(input, self.n + 1, self.n + 2)
        self.in_channels = input.shape[-self.n - 1]
        if self.has_uninitialized_params():
            self.weight.materialize(self._weight_shape())
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()


class _LazyConv(_Lazy, _Conv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        self._await(out_channels, bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """A Conv1d that learns `in_channels` from its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """A Conv2d that learns `in_channels` from its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """A Conv3d that learns `in_channels` from its first input."""

    cls_to_become = Conv3d


class _LazyConvTranspose(_Lazy, _ConvTranspose):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode)
        self._await(out_channels, bias, device, dtype)


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """A ConvTranspose1d that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """A ConvTranspose2d that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """A ConvTranspose3d that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose3d


# -- windows as columns ------------------------------------------------------------------------------------------------


class Unfold(Layer):
    """The windows of (batch, channels, height, width) as columns: (batch, channels * kh * kw, windows)."""

    shown = ("kernel_size", "dilation", "padding", "stride")

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Layer):
    """Adds columns (batch, channels * kh * kw, windows) back to where Unfold reads them from."""

    shown = ("output_size", "kernel_size", "dilation", "padding", "stride")

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
