"""Interpolation to another size, and sampling at any positions."""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

from ...autocasting import autocasts
from ...dtypes import FLOATS, HALVES, I64, float32
from ...errors import DTypeError, ShapeError, fail
from ...functions.creation import linspace
from ...ops import pooling, resampling
from ...ops.compare import where
from ...ops.create import cast
from ...ops.joining import stack
from ...tensor import Tensor
from .arguments import Sizes
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

AREA = {3: adaptive_avg_pool1d, 4: adaptive_avg_pool2d, 5: adaptive_avg_pool3d}
RANKS = {"linear": 3, "bilinear": 4, "bicubic": 4, "lanczos": 4, "trilinear": 5}
MODES = "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact"


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """`input` (batch, channels, *spatial sizes) at another `size`, or at `scale_factor` times its size."""
    shape = input._array.shape
    _check_mode(shape, mode, align_corners, antialias)
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    size, scale = _target(shape, size, scale_factor, bool(recompute_scale_factor) or mode == "area")
    if min((*shape[1:], *size)) < 1:
        fail(
            ShapeError,
            f"Input and output sizes should be greater than 0, but got input {list(shape)} and output size {size}",
        )
    if mode == "area":
        return AREA[len(shape)](input, size)
    if input.npdtype not in FLOATS and not mode.startswith("nearest"):
        fail(
            DTypeError,
            f"interpolate: {mode} is not implemented for {input.dtype}",
            "convert the input to a floating point type",
        )
    out: Tensor = resampling.interpolate(
        input, size=size, mode=mode, scale=scale, align_corners=align_corners, antialias=bool(antialias)
    )
    return out


def _check_mode(shape: Sizes, mode: str, align_corners: bool | None, antialias: bool) -> None:
    rank = RANKS.get(mode)
    if align_corners is not None and rank is None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if len(shape) not in (3, 4, 5) or mode not in MODES.split(" | "):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {len(shape)}D) "
            f"for the modes: {MODES} (got {mode})"
        )
    if rank is not None and rank != len(shape):
        raise NotImplementedError(f"Got {len(shape)}D input, but {mode} mode needs {rank}D input")
    if antialias and rank != 4:
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError("lanczos mode requires antialias=True and does not support align_corners=True")


def _target(shape: Sizes, size: Any, factor: Any, recompute: bool) -> tuple[Sizes, tuple[float, ...] | None]:
    """The output size, and the scale that positions are computed with (None: the ratio of the sizes)."""
    if (size is None) == (factor is None):
        raise ValueError(
            "either size or scale_factor should be defined"
            if size is None
            else "only one of size or scale_factor should be defined"
        )
    n = len(shape) - 2
    given = factor if size is None else size
    each = tuple(given) if isinstance(given, (tuple, list)) else (given,) * n
    if len(each) != n:
        name, what = ("scale_factor", "scale_factor of shape") if size is None else ("output", "output size of")
        raise ValueError(
            f"Input and {name} must have the same number of spatial dimensions, but got input with "
            f"spatial dimensions of {list(shape[2:])} and {what} {given}"
        )
    if size is not None:
        return tuple(map(operator.index, each)), None
    scale = tuple(map(float, each))
    return tuple(int(m * s) for m, s in zip(shape[2:], scale, strict=True)), None if recompute else scale


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """interpolate, by its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate to the nearest element."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate bilinearly, with the corners aligned."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


# -- sampling at given positions ---------------------------------------------------------------------------------------

PADDING = ("zeros", "border", "reflection")


@autocasts
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """`input` (N, C, *size) read at positions `grid` (N, *out, dimensions): x first, and -1 to 1 spans the input."""
    _check_grid(input, grid, mode, padding_mode)
    if input.npdtype in HALVES:
        full = grid_sample(input.to(float32), grid.to(float32), mode, padding_mode, align_corners)
        return cast(full, dtype=input.npdtype)
    size, taps = tuple(input.shape[2:]), []
    for d, m in enumerate(size):
        c = grid[..., len(size) - 1 - d]
        c = (c + 1) * ((m - 1) / 2) if align_corners else ((c + 1) * m - 1) / 2  # in elements
        taps.append(_taps(c, m, mode, padding_mode, bool(align_corners)))
    total = input.new_zeros(())
    for corner in itertools.product(*taps):
        value, inside = _read(input, [at for at, _ in corner], size)
        for _, weight in corner:
            value = value * weight
        total = total + where(inside, value, 0.0)
    return total


def _read(x: Tensor, at: list[Any], size: Sizes) -> tuple[Any, Any]:
    """x at whole positions, and which of them lie inside it; outside, x is read somewhere."""
    inside: Any = True
    for p, m in zip(at, size, strict=True):
        inside = (p >= 0) & (p <= m - 1) & inside
    flat: Any = 0
    for p, m in zip(at, size, strict=True):
        flat = flat * m + cast(where(inside, p, 0.0), dtype=I64)
    return pooling.gather_at(x, flat.unsqueeze(1)), inside.unsqueeze(1)


def _taps(c: Any, m: int, mode: str, padding: str, align_corners: bool) -> list[tuple[Any, Any]]:
    """Along one dimension: the whole positions around c, and their weights."""
    if mode == "bicubic":
        first = c.detach().floor()
        t = c - first
        return [
            (_padded(first + k, m, padding, align_corners), _cubic(distance).unsqueeze(1))
            for k, distance in ((-1, t + 1), (0, t), (1, 1 - t), (2, 2 - t))
        ]
    c = _padded(c, m, padding, align_corners)
    if mode == "nearest":
        return [(c.detach().round(), (c * 0 + 1).unsqueeze(1))]  # the gradient is zero, not absent
    first = c.detach().floor()
    return [(first, (first + 1 - c).unsqueeze(1)), (first + 1, (c - first).unsqueeze(1))]


def _padded(c: Any, m: int, padding: str, align_corners: bool) -> Any:
    """Positions led back into the input; their gradient is zero where they meet its border."""
    if padding == "zeros":
        return c
    if padding == "reflection":
        low, span = (0.0, m - 1) if align_corners else (-0.5, m)
        if span == 0:
            return c * 0
        away = where(c < low, low - c, c - low)
        flips = (away.detach() / span).floor()
        rest = away - flips * span
        c = where(flips % 2 == 0, rest, span - rest) + low
    return where((c > 0) & (c < m - 1), c, c.detach().clamp(0, m - 1))


def _cubic(x: Any, a: float = -0.75) -> Any:
    """The cubic convolution kernel at a distance of 0 to 2."""
    return where(x < 1, ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a)


def _check_grid(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    x, g = tuple(input.shape), tuple(grid.shape)
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in PADDING:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', "
            f"but got: '{padding_mode}'"
        )
    wrong = (
        "expected 4D or 5D input and grid with same number of dimensions" if len(x) not in (4, 5) or len(g) != len(x)
        else "expected grid and input to have same batch size" if g[0] != x[0]
        else f"expected grid to have size {len(x) - 2} in last dimension" if g[-1] != len(x) - 2
        else "expected input to have non-empty spatial dimensions" if 0 in x[2:]
        else "expected input and grid to have same dtype" if input.npdtype != grid.npdtype
        else "bicubic interpolation only supports 4D input" if mode == "bicubic" and len(x) == 5
        else None
    )  # fmt: skip
    if wrong:
        got = f"input with sizes {list(x)} ({input.dtype}) and grid with sizes {list(g)} ({grid.dtype})"
        fail(ShapeError, f"grid_sampler(): {wrong}, but got {got}")


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """Positions for grid_sample: an output of `size` (N, C, *size), mapped by the N affine matrices `theta`."""
    n = len(size) - 2
    if theta.npdtype not in FLOATS:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if n not in (2, 3):
        raise NotImplementedError(
            f"affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms. Got size {size}."
        )
    if tuple(theta.shape) != (size[0], n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    shape = tuple(size[2:])
    columns = [theta.new_ones(shape)]
    for d, m in enumerate(shape):  # x, the last dimension, comes first
        line = linspace(-1, 1, m, dtype=theta.dtype, device=theta.device) if m > 1 else theta.new_zeros(1)
        if not align_corners:
            line = line * ((m - 1) / m)
        columns.insert(0, line.reshape([m if i == d else 1 for i in range(n)]).expand(shape))
    base = stack(*columns, dim=n).reshape(1, math.prod(shape), n + 1)
    grid: Tensor = (base @ theta.transpose(1, 2)).reshape(size[0], *shape, n)
    return grid
