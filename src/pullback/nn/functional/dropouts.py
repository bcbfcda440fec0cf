"""Dropout: random zeros while training, and the rest made larger so that the mean stays."""

from __future__ import annotations

import math

from ...errors import PullbackError, ShapeError, fail
from ...functions.random import bernoulli_array
from ...ops.activation import SELU_ALPHA, SELU_SCALE
from ...ops.arithmetic import add, mul
from ...ops.create import cast, full_like
from ...tensor import Tensor, wrap
from ...views import update


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        fail(PullbackError, f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(input: Tensor, p: float, by_channel: bool) -> Tensor:
    """1 with probability 1 - p, else 0: for each element, or for each channel of each sample."""
    shape = input._array.shape
    if by_channel:
        shape = shape[:2] + (1,) * (len(shape) - 2)
    return wrap(cast(bernoulli_array(full_like(input._array, value=1 - p, shape=shape)), dtype=input.npdtype))


def _drop(input: Tensor, p: float, training: bool, inplace: bool, by_channel: bool = False) -> Tensor:
    _check(p)
    if not training or p == 0:
        return input
    out = mul(input, mul(_kept(input, p, by_channel), 1 / (1 - p)) if p < 1 else 0.0)
    return update(input, out) if inplace else out


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p and divide the others by 1 - p; without `training`, nothing changes."""
    return _drop(input, p, training, inplace)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """dropout of whole channels of (N, C, L), or (C, L)."""
    return _drop_channels("dropout1d", 1, input, p, training, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """dropout of whole channels of (N, C, H, W)."""
    return _drop(input, p, training, inplace, by_channel=True)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """dropout of whole channels of (N, C, D, H, W), or (C, D, H, W)."""
    return _drop_channels("dropout3d", 3, input, p, training, inplace)


def _drop_channels(name: str, n: int, input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    if input.ndim not in (n + 1, n + 2):
        fail(
            ShapeError,
            f"{name}: Expected {n + 1}D or {n + 2}D input, but received a {input.ndim}D input of shape "
            f"{list(input.shape)}",
        )
    batched = input if input.ndim == n + 2 else input.unsqueeze(0)
    out = _drop(batched, p, training, inplace, by_channel=True)
    return out if input.ndim == n + 2 else out.squeeze(0)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """dropout for selu networks: dropped elements take selu's lower limit, and mean and variance stay."""
    return _alpha(input, p, training, inplace, by_channel=False)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """alpha_dropout of whole channels."""
    return _alpha(input, p, training, inplace, by_channel=True)


def _alpha(input: Tensor, p: float, training: bool, inplace: bool, by_channel: bool) -> Tensor:
    _check(p)
    if not training or p == 0:
        return input
    if p == 1:
        out = mul(input, 0.0)
    else:  # a (x kept + low (1 - kept)) + b, with a and b for mean 0 and variance 1
        low = -SELU_ALPHA * SELU_SCALE
        a = 1 / math.sqrt((1 - p) * (1 + p * low**2))
        kept = _kept(input, p, by_channel)
        out = add(mul(input, mul(kept, a)), add(mul(add(kept, -1.0), -low * a), -a * p * low))
    return update(input, out) if inplace else out
