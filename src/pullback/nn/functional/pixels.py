"""Channels traded for resolution, and channels shuffled."""

from __future__ import annotations

from ...errors import ShapeError, fail
from ...functions.expose import public
from ...ops.shape import permute, reshape
from ...tensor import Tensor


@public(method=False)
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C r^2, H, W) as (*, C, H r, W r)."""
    *batch, c, h, w = _image("pixel_shuffle", input)
    r = upscale_factor
    if r < 1 or c % (r * r):
        fail(
            ShapeError,
            f"pixel_shuffle expects its input's channels to be divisible by the square of upscale_factor={r}, but "
            f"there are {c}",
        )
    n = len(batch)
    x = reshape(input, shape=(*batch, c // (r * r), r, r, h, w))
    x = permute(x, dims=(*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(x, shape=(*batch, c // (r * r), h * r, w * r))


@public(method=False)
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H r, W r) as (*, C r^2, H, W)."""
    *batch, c, h, w = _image("pixel_unshuffle", input)
    r = downscale_factor
    if r < 1 or h % r or w % r:
        fail(
            ShapeError,
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor={r}, but they are {h} and "
            f"{w}",
        )
    n = len(batch)
    x = reshape(input, shape=(*batch, c, h // r, r, w // r, r))
    x = permute(x, dims=(*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(x, shape=(*batch, c * r * r, h // r, w // r))


@public(method=False)
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels (dim 1) dealt out: the first of each group, then the second of each ..."""
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        fail(
            ShapeError,
            f"channel_shuffle: the channels of input {list(input.shape)} must be divisible by groups={groups}",
        )
    n, c, *size = input.shape
    x = reshape(input, shape=(n, groups, c // groups, *size))
    return reshape(permute(x, dims=(0, 2, 1, *range(3, x.ndim))), shape=input.shape)


def _image(name: str, x: Tensor) -> tuple[int, ...]:
    if x.ndim < 3:
        fail(
            ShapeError, f"{name} expects input to have at least 3 dimensions, but got input with {x.ndim} dimension(s)"
        )
    return x.shape
