"""Activation functions, softmax and its kin."""

from __future__ import annotations

from typing import Any

from ...autocasting import autocasts
from ...devices import place_of
from ...dtypes import FLOATS
from ...errors import PullbackError, fail
from ...functions.expose import in_place
from ...functions.random import sample
from ...moves import move
from ...ops import activation as ops
from ...ops import pointwise
from ...ops.arithmetic import add, div, mul, neg, sub
from ...ops.compare import eq, where
from ...ops.create import cast, full_like
from ...ops.extremes import max_along
from ...ops.indexing import one_hot
from ...ops.pointwise import log
from ...ops.random import uniform
from ...ops.record import normal_dim
from ...ops.shape import permute, reshape
from ...ops.softmax import log_softmax as log_softmax_op
from ...ops.softmax import softmax as softmax_op
from ...tensor import Tensor, wrap
from ...views import update


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)"""
    out = ops.relu(input)
    return update(input, out) if inplace else out


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)"""
    out = ops.relu6(input)
    return update(input, out) if inplace else out


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x"""
    out = ops.leaky_relu(input, slope=negative_slope)
    return update(input, out) if inplace else out


@autocasts
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x, with one weight or one for each channel (dim 1)."""
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        fail(
            PullbackError,
            f"prelu: weight must be one number or one for each of {channels} channels, but has shape "
            f"{list(weight.shape)}",
        )
    shape = (weight.numel(), *(1 for _ in input.shape[2:])) if input.ndim > 1 else (1,) * input.ndim
    return ops.prelu(input, reshape(weight, shape=shape))


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """leaky_relu with a random slope for each element; in evaluation, with the mean slope."""
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slope = move(sample(uniform, input._array.shape, input.npdtype), place_of(input._array))
    out = ops.prelu(input, wrap(add(mul(slope, upper - lower), lower)))
    return update(input, out) if inplace else out


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1)"""
    out = ops.elu(input, alpha=alpha)
    return update(input, out) if inplace else out


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the constants that keep mean 0 and variance 1 from layer to layer."""
    out = ops.selu(input)
    return update(input, out) if inplace else out


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))"""
    out = ops.celu(input, alpha=alpha)
    return update(input, out) if inplace else out


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x; `approximate="tanh"` for the usual approximation."""
    if approximate not in ("none", "tanh"):
        fail(PullbackError, f"approximate argument must be either none or tanh, not {approximate!r}")
    return ops.gelu(input, approximate=approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)"""
    out = ops.silu(input)
    return update(input, out) if inplace else out


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))"""
    out = ops.mish(input)
    return update(input, out) if inplace else out


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6"""
    out = ops.hardswish(input)
    return update(input, out) if inplace else out


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6"""
    out = ops.hardsigmoid(input)
    return update(input, out) if inplace else out


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val)"""
    if min_val > max_val:
        fail(PullbackError, f"hardtanh: min_val {min_val} cannot be greater than max_val {max_val}")
    if input.npdtype not in FLOATS:
        min_val, max_val = int(min_val), int(max_val)
    out = ops.hardtanh(input, low=min_val, high=max_val)
    return update(input, out) if inplace else out


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value"""
    out = ops.threshold(input, bound=threshold, value=value)
    return update(input, out) if inplace else out


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0"""
    return ops.hardshrink(input, bound=lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd"""
    if lambd < 0:
        fail(PullbackError, f"lambda must be greater or equal to 0, but found to be {lambd}")
    return ops.softshrink(input, bound=lambd)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x where beta * x > threshold"""
    return ops.softplus(input, beta=beta, threshold=threshold)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)"""
    return ops.softsign(input)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)"""
    return ops.tanhshrink(input)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x))"""
    return ops.logsigmoid(input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    return pointwise.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return pointwise.tanh(input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), where a and b are the halves of the input along dim."""
    return ops.glu(input, dim=normal_dim(dim, input.ndim))


relu_, leaky_relu_, elu_ = in_place(relu, "relu"), in_place(leaky_relu, "leaky_relu"), in_place(elu, "elu")
selu_, celu_, rrelu_ = in_place(selu, "selu"), in_place(celu, "celu"), in_place(rrelu, "rrelu")
hardtanh_, threshold_ = in_place(hardtanh, "hardtanh"), in_place(threshold, "threshold")


# -- over a dimension ------------------------------------------------------------------------------------------------


def _dim(dim: int | None, ndim: int) -> int:
    """Without a dim: 0 for 0, 1 or 3 dimensions, else 1, as PyTorch guesses."""
    return normal_dim((0 if ndim in (0, 1, 3) else 1) if dim is None else dim, ndim)


def _as(input: Tensor, dtype: Any) -> Tensor:
    return input if dtype is None else input.to(dtype)


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along dim"""
    return softmax_op(_as(input, dtype), dim=_dim(dim, input._array.ndim))


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax(-x)"""
    return softmax_op(neg(_as(input, dtype)), dim=_dim(dim, input._array.ndim))


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """log(softmax(x)), computed without the division"""
    return log_softmax_op(_as(input, dtype), dim=_dim(dim, input._array.ndim))


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of the Gumbel-softmax distribution; `hard` gives a one-hot vector with the soft one's gradient."""
    u = move(sample(uniform, logits._array.shape, logits.npdtype), place_of(logits._array))
    noise = neg(log(neg(log(where(eq(u, 0), full_like(u, value=2.0**-25), u)))))
    dim = normal_dim(dim, logits.ndim)
    soft = softmax_op(div(add(logits, wrap(noise)), tau), dim=dim)
    if not hard:
        return soft
    n = soft.ndim
    hot = one_hot(max_along(soft._array, dim=dim)[1], classes=soft.shape[dim])
    if n:
        hot = permute(hot, dims=(*range(dim), n - 1, *range(dim, n - 1)))
    return add(sub(wrap(cast(hot, dtype=soft.npdtype)), soft.detach()), soft)
