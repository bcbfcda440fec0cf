"""Normalisation over batches, layers, groups and instances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...autocasting import autocasts
from ...dtypes import HALVES, finfo, float32
from ...errors import ArgumentError, KindError, PullbackError, ShapeError, fail
from ...functions.creation import triu_indices
from ...modes import no_grad
from ...ops import normalization as ops
from ...ops.arithmetic import add, div, mul, square, sub
from ...ops.compare import clamp, where
from ...ops.create import cast
from ...ops.norms import norm
from ...ops.pointwise import pow, rsqrt
from ...ops.record import normal_dim, normal_dims
from ...ops.reduction import mean as mean_op
from ...ops.shape import pad, reshape
from ...ops.strided import unfold
from ...tensor import Tensor
from ...views import write


def _check_eps(name: str, eps: Any) -> None:
    if not hasattr(eps, "__float__"):
        fail(KindError, f"{name}(): argument 'eps' must be float, not {type(eps).__name__}", "leave it out, or 1e-5")


def _last_dims(name: str, input: Tensor, normalized_shape: Any, **affine: Tensor | None) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    given = input._array.shape
    if not shape or given[len(given) - len(shape) :] != shape:
        wanted = ", ".join(["*", *map(str, shape)])
        fail(
            ShapeError,
            f"{name}: Given normalized_shape={list(shape)}, expected input with shape [{wanted}], but got input of "
            f"size {list(given)}",
        )
    for which, a in affine.items():
        if a is not None and a._array.shape != shape:
            fail(
                ShapeError,
                f"{name}: Expected {which} to be of same shape as normalized_shape, but got {which} of shape "
                f"{list(a.shape)} and {list(shape)}",
            )
    return shape


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over the last dimensions, then weight and bias."""
    _check_eps("layer_norm", eps)
    shape = _last_dims("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    return ops.layer_norm(input, weight, bias, shape=shape, eps=eps)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Root mean square 1 over the last dimensions, then the weight."""
    shape = _last_dims("rms_norm", input, normalized_shape, weight=weight)
    if eps is None:
        eps = finfo(float32 if input.npdtype in HALVES else input.dtype).eps
    _check_eps("rms_norm", eps)
    return ops.rms_norm(input, weight, shape=shape, eps=eps)


def _channels(name: str, input: Tensor, **affine: Tensor | None) -> int:
    if input.ndim < 2:
        fail(
            ShapeError,
            f"{name}: expected at least 2 dimensions (batch, channels, ...), but got input of size {list(input.shape)}",
        )
    channels = int(input._array.shape[1])
    for which, a in affine.items():
        if a is not None and a._array.shape != (channels,):
            fail(
                ShapeError,
                f"{name}: {which} should contain {channels} elements not {a._array.size}; input has size "
                f"{list(input.shape)}",
            )
    return channels


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel standardised by the batch in training, which moves the running statistics, or by those."""
    _check_eps("batch_norm", eps)
    channels = _channels(
        "batch_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if (running_mean is None) != (running_var is None):
        fail(ArgumentError, "running_mean and running_var must either both be None or neither be None")
    if not training:
        if running_mean is None or running_var is None:
            fail(
                PullbackError,
                "Expected running_mean and running_var to be defined when training=False",
                "pass them, or training=True",
            )
        return _standardised_by(input, running_mean, running_var, weight, bias, eps)
    count = math.prod(input._array.shape) // max(1, channels)
    if count == 1:
        fail(
            ShapeError,
            f"Expected more than 1 value per channel when training, got input size {list(input.shape)}",
            "use a larger batch, or eval mode",
        )
    out, mean, variance = ops.batch_norm(input, weight, bias, eps=eps)
    if count == 0:  # nothing to learn from
        return out
    with no_grad():
        if running_mean is not None:
            _move(running_mean, mean, momentum)
        if running_var is not None:  # the unbiased one
            _move(running_var, mul(variance, count / max(1, count - 1)), momentum)
    return out


def _move(running: Tensor, now: Tensor, momentum: float) -> None:
    """running = (1 - momentum) running + momentum now"""
    write(running, add(mul(running, 1 - momentum), mul(cast(now, dtype=running.npdtype), momentum)))


def _standardised_by(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """x scale + shift, with scale = weight / sqrt(variance + eps), shift = bias - mean scale"""
    scale = rsqrt(add(variance, eps))
    scale = scale if weight is None else mul(scale, weight)
    shift = mul(mean, mul(scale, -1.0))
    shift = shift if bias is None else add(shift, bias)
    shape = (-1, *(1 for _ in x.shape[2:]))
    return cast_to(add(mul(x, scale.reshape(shape)), shift.reshape(shape)), x)


def cast_to(out: Tensor, like: Tensor) -> Tensor:
    """out in the dtype of another tensor."""
    return out if out.npdtype == like.npdtype else cast(out, dtype=like.npdtype)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Mean 0 and variance 1 over each group of channels of each sample, then weight and bias by channel."""
    _check_eps("group_norm", eps)
    channels = _channels("group_norm", input, weight=weight, bias=bias)
    if num_groups < 1 or channels % num_groups:
        fail(
            PullbackError,
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}",
        )
    return ops.group_norm(input, weight, bias, groups=num_groups, eps=eps)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 for each channel of each sample, then weight and bias by channel."""
    _check_eps("instance_norm", eps)
    channels = _channels(
        "instance_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if math.prod(input._array.shape[2:]) == 1:
        fail(ShapeError, f"Expected more than 1 spatial element when training, got input size {list(input.shape)}")
    if running_mean is None and running_var is None:
        return ops.group_norm(input, weight, bias, groups=channels, eps=eps)
    # as channels of one sample; the running statistics move by the mean over samples
    n = input.shape[0]
    alone = reshape(input, shape=(1, n * channels, *input.shape[2:]))
    weight, bias, mean, var = (None if a is None else a.repeat(n) for a in (weight, bias, running_mean, running_var))
    out = batch_norm(alone, mean, var, weight, bias, True, momentum, eps)
    with no_grad():
        for running, moved in ((running_mean, mean), (running_var, var)):
            if running is not None and moved is not None:
                write(running, moved.reshape(n, channels).mean(0))
    return reshape(out, shape=input.shape)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Each element divided by a power of the mean square of its neighbours in `size` channels."""
    if input.ndim < 3:
        fail(ShapeError, f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    around = ((0, 0), (size // 2, (size - 1) // 2), *((0, 0) for _ in input.shape[2:]))
    windows = unfold(pad(square(input), padding=around), dim=1, size=size, step=1)
    neighbours = mean_op(windows, dim=(input.ndim,))
    return div(input, pow(add(mul(neighbours, alpha), k), beta))


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Vectors along dim divided by their p-norm, or by eps if that is larger."""
    _check_eps("normalize", eps)
    dims = normal_dims(dim, input.ndim)
    result = div(input, clamp(norm(input, p=p, dim=dims, keepdim=True), eps, None))
    return result if out is None else write(out, result)


@autocasts
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along dim, no norm taken smaller than eps."""
    n = max(x1.ndim, x2.ndim)
    dim = normal_dim(dim, n) - n  # from the end, so that it means the same in both
    one, other = (div(x, at_least(norm(x, p=2.0, dim=(dim + x.ndim,), keepdim=True), eps)) for x in (x1, x2))
    return mul(one, other).sum(dim)


def at_least(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), with a gradient as if nothing had been clamped."""
    fixed = x.detach()
    return where(fixed < bound, add(sub(x, fixed), bound), x)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    apart = add(sub(x1, x2), eps)
    return norm(apart, p=float(p), dim=(apart.ndim - 1,), keepdim=keepdim)


@autocasts
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances between all pairs of rows."""
    if input.ndim != 2:
        fail(ShapeError, f"pdist only supports 2D tensors, got: {input.ndim}D")
    rows, others = triu_indices(len(input), len(input), 1, device=input.device)
    return norm(sub(input[rows], input[others]), p=float(p), dim=(1,))
