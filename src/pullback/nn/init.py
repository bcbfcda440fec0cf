"""torch.nn.init: starting values, written into a tensor in place and without being recorded.

The aim of Xavier and He initialisation: a layer neither shrinks nor grows the variance of what passes through it.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError, ShapeError, fail
from ..functions.decompositions import qr
from ..modes import no_grad
from ..tensor import Tensor

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_GAINS = {**dict.fromkeys(_LINEAR, 1.0), "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that makes up for what a nonlinearity takes from the standard deviation."""
    if nonlinearity == "leaky_relu":
        if isinstance(param, bool) or not isinstance(param, (int, float, type(None))):
            fail(ArgumentError, f"negative_slope {param!r} is not a valid number", "pass a number, or None for 0.01")
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        fail(ArgumentError, f"unsupported nonlinearity {nonlinearity!r}", f"use one of {[*_GAINS, 'leaky_relu']}")
    return _GAINS[nonlinearity]


# -- plain distributions -----------------------------------------------------------------------------------------------


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """U(a, b)"""
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """N(mean, std^2)"""
    return tensor.normal_(mean, std, generator=generator)


@no_grad()
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """N(mean, std^2), as far as it lies in [a, b]."""
    if mean < a - 2 * std or mean > b + 2 * std:
        text = "mean is more than 2 std from [a, b]: the distribution of values may be incorrect"
        warnings.warn(text, stacklevel=3)
    low, high = (math.erf((bound - mean) / (std * math.sqrt(2))) for bound in (a, b))
    # The inverse of the distribution function, of numbers uniform between its values at a and at b.
    tensor.uniform_(low, high, generator=generator).erfinv_().mul_(std * math.sqrt(2)).add_(mean)
    return tensor.clamp_(a, b)


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element is `val`."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Every element is 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element is 0."""
    return constant_(tensor, 0.0)


# -- maps that keep things as they are ---------------------------------------------------------------------------------


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    _need_matrix(tensor)
    tensor.zero_().diagonal().fill_(1.0)
    return tensor


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution (with 'same' padding) that passes on as many channels as it can, group by group."""
    if tensor.ndim not in (3, 4, 5):
        fail(ShapeError, f"dirac_ needs a tensor of 3, 4 or 5 dimensions, got {tensor.ndim}", "pass a conv's weight")
    if tensor.shape[0] % groups != 0:
        fail(ShapeError, f"{tensor.shape[0]} output channels cannot be divided into {groups} groups")
    tensor.zero_()
    middle = tuple(size // 2 for size in tensor.shape[2:])
    for group in tensor.chunk(groups):
        for channel in range(min(group.shape[:2])):
            group[(channel, channel, *middle)] = 1.0
    return tensor


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """gain * Q, with orthonormal rows or columns (whichever are fewer) when seen as a matrix (size[0], the rest)."""
    if tensor.ndim < 2:
        fail(ShapeError, f"orthogonal_ needs a tensor of 2 or more dimensions, got {tensor.ndim}")
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    random = tensor.new_empty((rows, columns)).normal_(0, 1, generator=generator)
    q, r = qr(random.t() if rows < columns else random)
    q = q * r.diagonal().sign()  # otherwise the distribution would depend on how QR chooses its signs
    return tensor.copy_((q.t() if rows < columns else q).reshape(tensor.shape)).mul_(gain)


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """N(0, std^2), where in each column the fraction `sparsity` of elements is 0."""
    _need_matrix(tensor)
    zeros = math.ceil(sparsity * tensor.shape[0])
    tensor.normal_(0, std, generator=generator)
    order = tensor.new_empty(tensor.shape).uniform_(generator=generator).argsort(0)
    tensor[order[:zeros], tensor.new_tensor(range(tensor.shape[1]), dtype=order.dtype)] = 0.0
    return tensor


def _need_matrix(tensor: Tensor) -> None:
    if tensor.ndim != 2:
        fail(ShapeError, f"only a tensor of 2 dimensions can be filled this way, this one has {tensor.ndim}")


# -- Xavier and He -----------------------------------------------------------------------------------------------------


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """U(-a, a), a = gain sqrt(6 / (fan_in + fan_out))"""
    bound = gain * math.sqrt(6 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out))"""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_calculate_fan_in_and_fan_out(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """U(-bound, bound), bound = gain sqrt(3 / fan); `a` is the slope of a leaky ReLU."""
    if _empty(tensor):
        return tensor
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _calculate_correct_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """N(0, std^2), std = gain / sqrt(fan); `a` is the slope of a leaky ReLU."""
    if _empty(tensor):
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def _empty(tensor: Tensor) -> bool:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return 0 in tensor.shape


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs an output of this weight sums, and how many outputs an input goes to."""
    if tensor.ndim < 2:
        what = f"fan in and fan out cannot be computed for a tensor of fewer than 2 dimensions: {list(tensor.shape)}"
        fail(ShapeError, what, "use uniform_ or normal_ for vectors")
    positions = math.prod(tensor.shape[2:])  # of a convolution's kernel
    return tensor.shape[1] * positions, tensor.shape[0] * positions


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    fans = dict(zip(("fan_in", "fan_out"), _calculate_fan_in_and_fan_out(tensor), strict=True))
    if mode.lower() not in fans:
        fail(ArgumentError, f"mode {mode!r} is not known", f"use one of {list(fans)}")
    return fans[mode.lower()]


def _older(name: str) -> Callable[..., Tensor]:
    """The name a function had before PyTorch marked writing in place by an underscore."""
    function = globals()[name + "_"]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Tensor:
        what = f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`."
        warnings.warn(what, FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    return call


uniform, normal, constant = _older("uniform"), _older("normal"), _older("constant")
eye, dirac, sparse, orthogonal = _older("eye"), _older("dirac"), _older("sparse"), _older("orthogonal")
xavier_uniform, xavier_normal = _older("xavier_uniform"), _older("xavier_normal")
kaiming_uniform, kaiming_normal = _older("kaiming_uniform"), _older("kaiming_normal")
