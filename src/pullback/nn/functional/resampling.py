"""Interpolation to another size, and sampling at any positions."""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

from ...dtypes import FLOATS, HALVES, float32, int64
from ...errors import DTypeError, PullbackError, ShapeError, fail
from ...functions.creation import linspace, ones, zeros
from ...ops import pooling, resampling
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
    size, scale = _target(shape, size, scale_factor, recompute_scale_factor or mode == "area")
    if min((*shape[1:], *size)) < 1:
        fail(ShapeError, f"Input and output sizes should be greater than 0, but got input {list(shape)} and output size {size}")
    if mode == "area":
        return AREA[len(shape)](input, size)
    if input.npdtype not in FLOATS and not mode.startswith("nearest"):
        fail(DTypeError, f"interpolate: {mode} is not implemented for {input.dtype}", "convert the input to a floating point type")
    return resampling.interpolate(input, size=size, mode=mode, scale=scale, align_corners=align_corners, antialias=bool(antialias))


def _check_mode(shape: Sizes, mode: str, align_corners: bool | None, antialias: bool) -> None:
    rank = RANKS.get(mode)
    if align_corners is not None and rank is None:
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear")
    if len(shape) not in (3, 4, 5) or mode not in MODES.split(" | "):
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {len(shape)}D) for the modes: {MODES} (got {mode})")
    if rank is not None and rank != len(shape):
        raise NotImplementedError(f"Got {len(shape)}D input, but {mode} mode needs {rank}D input")
    if antialias and rank != 4:
        raise ValueError("Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input")
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError("lanczos mode requires antialias=True and does not support align_corners=True")


def _target(shape: Sizes, size: Any, factor: Any, recompute: bool) -> tuple[Sizes, tuple[float, ...] | None]:
    """The output size, and the scale that positions are computed with (None: the ratio of the sizes)."""
    if (size is None) == (factor is None):
        raise ValueError("either size or scale_factor should be defined" if size is None else "only one of size or scale_factor should be defined")
    n = len(shape) - 2
    given = factor if size is None else size
    each = tuple(given) if isinstance(given, (tuple, list)) else (given,) * n
    if len(each) != n:
        raise ValueError(
            f"Input and {'scale_factor' if size is None else 'output'} must have the same number of spatial dimensions, but got input with "
            f"spatial dimensions of {list(shape[2:])} and {'scale_factor of shape' if size is None else 'output size of'} {given}"
        )
    if size is not None:
        if recompute and factor is None and size is None:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return tuple(map(operator.index, each)), None
    scale = tuple(map(float, each))
    return tuple(int(m * s) for m, s in zip(shape[2:], scale, strict=True)), None if recompute else scale


def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None) -> Tensor:
    """interpolate, by its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate to the nearest element."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate bilinearly, with the corners aligned."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


# -- sampling at given positions -----------------------------------------------------------------------------------------


def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None) -> Tensor:
    """`input` (N, C, *size) read at the positions in `grid` (N, *out, dimensions): x first, and -1 to 1 spans the input."""
    _check_grid(input, grid, mode, padding_mode)
    if input.npdtype in HALVES:
        return grid_sample(input.to(float32), grid.to(float32), mode, padding_mode, align_corners).to(input.dtype)
    size = tuple(input.shape[2:])
    taps = []
    for d, m in enumerate(size):
        c = grid[..., len(size) - 1 - d]
        c = (c + 1) * ((m - 1) / 2) if align_corners else ((c + 1) * m - 1) / 2  # in elements
        taps.append(_taps(c, m, mode, padding_mode, bool(align_corners)))
    result: Any = 0.0
    for corner in itertools.product(*taps):
        place, inside, weight = _flat([at for at, _ in corner], size), True, 1.0
        for (at, w), m in zip(corner, size, strict=True):
            inside = (at >= 0) & (at <= m - 1) & inside
            weight = w * weight
        value = pooling.gather_at(input, inside.where(place, 0)) if False else _read(input, place, inside)
        result = result + value * _channel(weight)
    return result
