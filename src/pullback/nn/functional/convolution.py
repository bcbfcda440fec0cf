"""conv1d, conv2d, conv3d and their transposes; unfold and fold, which lay windows out as columns."""

from __future__ import annotations

import math
from typing import Any

from ...errors import PullbackError, ShapeError, fail
from ...functions.expose import public
from ...ops import convolution as ops
from ...ops import folding
from ...tensor import Tensor
from .arguments import Sizes, batched, sizes, unbatched


def _convolve(
    n: int, x: Tensor, w: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    stride, dilation = sizes("stride", stride, n), sizes("dilation", dilation, n)
    x, alone = batched(x, n, _expected(n, f"conv{n}d"))
    kernel = w._array.shape[2:]
    if isinstance(padding, str):
        pairs = _named_padding(padding, kernel, stride, dilation)
    else:
        pairs = tuple([(p, p) for p in sizes("padding", padding, n)])
    _check(n, x, w, bias, stride, pairs, dilation, groups)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padded = [m + a + b for m, (a, b) in zip(x._array.shape[2:], pairs, strict=True)]
    if any(map(int.__gt__, reach, padded)):
        have, need = (" x ".join(map(str, a)) for a in (padded, reach))
        fail(
            ShapeError,
            f"Calculated padded input size per channel: ({have}). Kernel size: ({need}). "
            "Kernel size can't be greater than actual input size",
            "add padding, or use a smaller kernel or dilation",
        )
    return unbatched(ops.conv(x, w, bias, stride=stride, padding=pairs, dilation=dilation, groups=groups), alone)


def _transposed(
    n: int,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    stride, dilation, padding = sizes("stride", stride, n), sizes("dilation", dilation, n), sizes("padding", padding, n)
    extra = sizes("output_padding", output_padding, n)
    x, alone = batched(x, n, _expected(n, f"conv_transpose{n}d"))
    pairs = tuple([(p, p) for p in padding])
    _check(n, x, w, bias, stride, pairs, dilation, groups, transposed=True)
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        fail(
            PullbackError,
            "output padding must be smaller than either stride or dilation and not negative, "
            f"but got output_padding={extra}, stride={stride}, dilation={dilation}",
        )
    geometry = zip(x._array.shape[2:], w._array.shape[2:], stride, padding, dilation, extra, strict=True)
    size = tuple([(m - 1) * s - 2 * p + d * (k - 1) + e + 1 for m, k, s, p, d, e in geometry])
    if min(size) < 1:
        fail(ShapeError, f"the output would have size {size}", "use less padding or a larger input")
    return unbatched(
        ops.conv_transpose(x, w, bias, size=size, stride=stride, padding=pairs, dilation=dilation, groups=groups), alone
    )


def _expected(n: int, name: str) -> str:
    return f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "


def _named_padding(name: str, kernel: Sizes, stride: Sizes, dilation: Sizes) -> ops.Pairs:
    """`valid` is none; `same` keeps the size, with the odd one behind."""
    if name == "valid":
        return ((0, 0),) * len(kernel)
    if name != "same":
        fail(PullbackError, f"Invalid padding string: {name!r}", "use 'same', 'valid' or numbers")
    if any(s != 1 for s in stride):
        fail(PullbackError, "padding='same' is not supported for strided convolutions", "give the padding in numbers")
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple([(t // 2, t - t // 2) for t in total])


def _check(
    n: int,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: ops.Pairs,
    dilation: Sizes,
    groups: int,
    transposed: bool = False,
) -> None:
    """What has to fit together, before any of it is used."""
    for name, given in ("stride", stride), ("dilation", dilation), ("groups", (groups,)):
        if min(given) < 1:
            fail(PullbackError, f"non-positive {name} is not supported, but got {name}={given}")
    if min(map(min, padding)) < 0:
        fail(PullbackError, f"negative padding is not supported, but got padding={padding}")
    size, weight = x._array.shape, w._array.shape
    if len(weight) != n + 2 or min(weight[2:]) < 1:
        fail(
            ShapeError,
            f"expected a {n + 2}-dimensional weight with a kernel, but got weight of size {list(weight)}",
            "that is (filters, channels / groups, *kernel), or transposed (channels, filters / groups, *kernel)",
        )
    if weight[0] < groups or weight[0] % groups:
        need = "divisible by" if weight[0] >= groups else "at least"
        fail(
            ShapeError,
            f"Given groups={groups}, expected weight to be {need} {groups} at dimension 0, "
            f"but got weight of size {list(weight)} instead",
        )
    channels, filters = (weight[0], weight[1] * groups) if transposed else (weight[1] * groups, weight[0])
    if size[1] != channels:
        fail(
            ShapeError,
            f"Given {'transposed=1' if transposed else f'groups={groups}'}, weight of size {list(weight)}, "
            f"expected input{list(size)} to have {channels} channels, but got {size[1]} channels instead",
            "channels are dimension 1 of a batch: (batch, channels, *spatial sizes)",
        )
    if bias is not None and bias._array.shape != (filters,):
        fail(
            ShapeError,
            f"Given {'transposed=1, ' * transposed}weight of size {list(weight)}, expected bias to be 1-dimensional "
            f"with {filters} elements, but got bias of size {list(bias._array.shape)} instead",
        )


@public(method=False)
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter of `weight` (out, in / groups, k) along `input` (batch, in, length)."""
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


@public(method=False)
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter of `weight` (out, in / groups, kh, kw) over `input` (batch, in, height, width)."""
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


@public(method=False)
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter of `weight` (out, in / groups, *kernel) through `input` (batch, in, depth, height, width)."""
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


@public(method=False)
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """What the gradient of conv1d does to a cotangent, as a layer: `weight` is (in, out / groups, k)."""
    return _transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@public(method=False)
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """What the gradient of conv2d does to a cotangent, as a layer: `weight` is (in, out / groups, kh, kw)."""
    return _transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@public(method=False)
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """What the gradient of conv3d does to a cotangent, as a layer: `weight` is (in, out / groups, kd, kh, kw)."""
    return _transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of `input` (batch, channels, height, width) as columns: (batch, channels * kh * kw, windows)."""
    x, alone = batched(
        input,
        2,
        "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size for input, but got: ",
    )
    windows = _windows(kernel_size, dilation, padding, stride)
    _count(x._array.shape[2:], windows)
    return unbatched(folding.im2col(x, **windows), alone)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Add columns (batch, channels * kh * kw, windows) back to where unfold reads them from."""
    x, alone = batched(
        input,
        1,
        "Expected 2D or 3D (batch mode) tensor with possibly 0 batch size for input, but got: ",
    )
    windows, size = _windows(kernel_size, dilation, padding, stride), sizes("output_size", output_size, 2)
    taps, count = math.prod(windows["kernel"]), _count(size, windows)
    _, rows, columns = x._array.shape
    if rows % taps:
        fail(
            ShapeError,
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={rows} and kernel_size={windows['kernel']}",
        )
    if columns != count:
        fail(
            ShapeError,
            f"Given output_size={size} and {windows}, expected size of input's dimension 2 to match "
            f"the number of windows, {count}, but got {columns}",
        )
    return unbatched(folding.col2im(x, size=size, **windows), alone)


def _windows(kernel: Any, dilation: Any, padding: Any, stride: Any) -> dict[str, Sizes]:
    named = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    windows = {name: sizes(name, value, 2) for name, value in named.items()}
    for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
        if min(windows[name]) < least:
            fail(
                PullbackError,
                f"{name} should be {'greater than zero' if least else 'non-negative'}, but got {windows[name]}",
            )
    return windows


def _count(size: Sizes, windows: dict[str, Sizes]) -> int:
    """How many windows there are in a plane; at least one must fit."""
    out = folding.positions(size, **windows)
    if min(out) < 1:
        fail(
            ShapeError,
            f"Given spatial size {size} and {windows}, calculated shape of the array of sliding blocks as {out}, "
            "but its components must be at least one",
        )
    return math.prod(out)
