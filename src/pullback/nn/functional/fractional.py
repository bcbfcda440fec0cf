"""Fractional max pooling: as many windows as asked for, at steps that are random and never regular."""

from __future__ import annotations

import math
from typing import Any

from ...devices import place_of
from ...errors import ArgumentError, ShapeError, fail
from ...functions.creation import arange
from ...functions.joining import cat
from ...functions.random import sample
from ...moves import move
from ...ops.extremes import max_along
from ...ops.pooling import gather_at
from ...ops.random import uniform
from ...tensor import Tensor, wrap
from .arguments import Sizes, batched, sizes, unbatched


def _starts(u: Any, size: int, kernel: int, count: int) -> Any:
    """Where windows start: [(i + u) a] - [u a] for all but the last, which ends with the input; a is the mean step."""
    last = u.new_full((*u.shape, 1), size - kernel)
    if count == 1:
        return last.long()
    step, u = (size - kernel) / (count - 1), u.unsqueeze(-1)
    others = ((arange(count - 1, dtype=u.dtype, device=u.device) + u) * step).trunc() - (u * step).trunc()
    return cat([others, last], -1).long()


def _pool(
    n: int, x: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Tensor | None
) -> tuple[Tensor, Tensor]:
    name = f"fractional_max_pool{n}d"
    x, alone = batched(x, n, f"{name}: Expected {n + 1}D or {n + 2}D input, but got: ")
    size, kernel = x.shape[2:], sizes("kernel_size", kernel_size, n)
    if (output_size is None) == (output_ratio is None):
        fail(ArgumentError, f"{name} requires either an output_size or an output_ratio, and not both")
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * n
        output_size = tuple(int(m * r) for m, r in zip(size, ratios, strict=True))
    out = sizes("output_size", output_size, n)
    if any(m < 1 or m + k - 1 > have for m, k, have in zip(out, kernel, size, strict=True)):
        fail(ShapeError, f"{name}: {out} windows of size {kernel} do not fit into an input of size {tuple(size)}")
    u = move(wrap(sample(uniform, (*x.shape[:2], n), x.npdtype)), place_of(x._array)) if samples is None else samples
    if u.shape != (*x.shape[:2], n):
        fail(ShapeError, f"{name}: expected _random_samples of shape {[*x.shape[:2], n]}, got {list(u.shape)}")
    places = _places(u.flip(2) if n == 2 else u, size, kernel, out)  # in 2-D the first number is for the width
    values, which = max_along(gather_at(x, places), dim=2 + n)
    index = places.gather(-1, which.unsqueeze(-1)).squeeze(-1)
    return unbatched(values, alone), unbatched(index, alone)


def _places(u: Any, size: Any, kernel: Sizes, out: Sizes) -> Any:
    """Indices into the flattened plane: (batch, channels, *out, elements of a window)."""
    n, flat = len(size), 0
    for d in range(n):
        start = _starts(u[..., d], size[d], kernel[d], out[d])
        start = start.reshape(*u.shape[:2], *(out[d] if i == d else 1 for i in range(n)), *(1,) * n)
        inside = arange(kernel[d], device=u.device).reshape([kernel[d] if i == d else 1 for i in range(n)])
        flat = flat * size[d] + start + inside
    return flat.reshape(*u.shape[:2], *out, math.prod(kernel))  # type: ignore[attr-defined]


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The maximum of each window of (batch, channels, height, width), and its index in the flattened plane."""
    return _pool(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The maximum of each window of (batch, channels, depth, height, width), and its index in the flattened volume."""
    return _pool(3, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maximum of each window of (batch, channels, height, width); with return_indices, its place too."""
    pooled = _pool(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return pooled if return_indices else pooled[0]


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maximum of each window of (batch, channels, depth, height, width); with return_indices, its place too."""
    pooled = _pool(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return pooled if return_indices else pooled[0]
