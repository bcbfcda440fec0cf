"""Losses. `reduction` is "none", "mean" or "sum"; the older size_average and reduce are understood too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...autocasting import autocasts
from ...dtypes import FLOATS
from ...errors import ArgumentError, GradientError, PullbackError, ShapeError, fail, warn
from ...functions.conversion import known
from ...functions.creation import arange
from ...ops.activation import logsigmoid, relu
from ...ops.arithmetic import abs, add, div, mul, neg, square, sub
from ...ops.compare import clamp, eq, logical_and, logical_not, minimum, ne, where
from ...ops.losses import binary_cross_entropy as bce
from ...ops.losses import class_dim, nll
from ...ops.losses import cross_entropy as cross_entropy_op
from ...ops.pointwise import exp, log, pow, xlogy
from ...ops.reduction import mean as mean_op
from ...ops.reduction import sum as sum_
from ...ops.shape import reshape
from ...ops.softmax import log_softmax
from ...tensor import Tensor
from .dense import linear
from .normalization import at_least, pairwise_distance


def reduction_of(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction's name; the two older flags, where given, decide."""
    if size_average is not None or reduce is not None:
        return "none" if reduce is False else "sum" if size_average is False else "mean"
    if reduction not in ("none", "mean", "sum"):
        fail(PullbackError, f"{reduction!r} is not a valid value for reduction", "use 'none', 'mean' or 'sum'")
    return reduction


def _reduced(loss: Tensor, reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> Tensor:
    which = reduction_of(reduction, size_average, reduce)
    return loss if which == "none" else mean_op(loss) if which == "mean" else sum_(loss)


def _weighted(loss: Tensor, weight: Tensor | None, reduction: str, *older: bool | None) -> Tensor:
    """The mean of a weighted loss is weighted too."""
    if weight is None:
        return _reduced(loss, reduction, *older)
    if weight.shape != loss.shape:
        fail(
            ShapeError,
            f"Weights and input must have the same size, but they are {list(weight.shape)} and {list(loss.shape)}",
        )
    loss = mul(loss, weight)
    return (
        div(sum_(loss), sum_(weight))
        if reduction_of(reduction, *older) == "mean"
        else _reduced(loss, reduction, *older)
    )


def _warn_if_broadcast(input: Tensor, target: Tensor) -> None:
    if input._array.shape != target._array.shape:
        warn(
            f"Using a target size ({list(target.shape)}) that is different to the input size ({list(input.shape)}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size."
        )


# -- distances between numbers -----------------------------------------------------------------------------------------


@autocasts
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(x - y)^2"""
    _warn_if_broadcast(input, target)
    return _weighted(square(sub(input, target)), weight, reduction, size_average, reduce)


@autocasts
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|x - y|"""
    _warn_if_broadcast(input, target)
    return _weighted(abs(sub(input, target)), weight, reduction, size_average, reduce)


@autocasts
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """|d| - beta / 2, and d^2 / (2 beta) where |d| < beta, with d = x - y"""
    _warn_if_broadcast(input, target)
    if beta < 0:
        fail(PullbackError, f"smooth_l1_loss does not support negative values for beta, got {beta}")
    apart = abs(sub(input, target))
    return _reduced(
        apart if beta == 0 else mul(_quadratic_then_linear(apart, beta), 1 / beta), reduction, size_average, reduce
    )


@autocasts
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """delta (|d| - delta / 2), and d^2 / 2 where |d| <= delta, with d = x - y"""
    _warn_if_broadcast(input, target)
    if delta <= 0:
        fail(PullbackError, f"huber_loss does not support non-positive values for delta, got {delta}")
    loss = _quadratic_then_linear(abs(sub(input, target)), delta)
    return _reduced(loss if weight is None else mul(loss, weight), reduction)


def _quadratic_then_linear(apart: Tensor, knee: float) -> Tensor:
    """q (a - q / 2) with q = min(a, knee)"""
    q = clamp(apart, None, knee)
    return mul(q, sub(apart, mul(q, 0.5)))


@autocasts
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(x) - y x, or x - y log(x + eps); `full` adds Stirling's approximation of log y!"""
    loss = sub(exp(input), mul(target, input)) if log_input else sub(input, mul(target, log(add(input, eps))))
    if full:
        stirling = add(sub(mul(target, log(target)), target), mul(log(mul(target, 2 * math.pi)), 0.5))
        loss = add(loss, where(target <= 1, 0.0, stirling))
    return _reduced(loss, reduction, size_average, reduce)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log var + (x - y)^2 / var) / 2, var no smaller than eps"""
    if not isinstance(var, Tensor):
        if var < 0:
            fail(PullbackError, "var has negative entry/entries")
        var = input.new_full(input.shape, var)
    if var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = var.unsqueeze(-1)
        elif var.shape != (*input.shape[:-1], 1):
            fail(ShapeError, f"var is of incorrect size: {list(var.shape)} beside input {list(input.shape)}")
    if known(var) and (var < 0).any():
        fail(PullbackError, "var has negative entry/entries")
    var = at_least(var, eps)
    loss = mul(add(log(var), div(square(sub(input, target)), var)), 0.5)
    return _reduced(add(loss, 0.5 * math.log(2 * math.pi)) if full else loss, reduction)


# -- classes -----------------------------------------------------------------------------------------------------------


def _fixed(weight: Tensor | None) -> None:
    if weight is not None and weight.requires_grad:
        fail(GradientError, "class weights have no gradient and cannot require one", "pass weight.detach()")


@autocasts
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(x) at the target's class; a target of probabilities, shaped as the input, weighs all classes."""
    reduction = reduction_of(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        fail(PullbackError, f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if input._array.ndim == 0:
        fail(ShapeError, "cross_entropy: the input needs a dimension of classes, but is 0-d")
    if target.npdtype not in FLOATS:
        _fixed(weight)
        return cross_entropy_op(
            input, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
        )
    if target.shape != input.shape:
        fail(
            ShapeError,
            f"cross_entropy: a target of probabilities must be shaped as the input {list(input.shape)}, but is "
            f"{list(target.shape)}",
            "for class indices, convert the target with .long()",
        )
    if ignore_index >= 0:
        fail(PullbackError, "ignore_index is not supported for floating point target", "set those rows' weights to 0")
    dim = class_dim(input)
    classes = input.shape[dim]
    if label_smoothing and classes:
        target = add(mul(target, 1 - label_smoothing), label_smoothing / classes)
    loss = mul(log_softmax(input, dim=dim), target)
    if weight is not None:
        loss = mul(loss, reshape(weight, shape=(classes, *(1 for _ in input.shape[dim + 1 :]))))
    loss = neg(sum_(loss, dim=(dim,)))
    return div(sum_(loss), loss._array.size) if reduction == "mean" else _reduced(loss, reduction)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy(input @ linear_weight^T + linear_bias), for weights (classes, in) or (classes, *sizes, in)."""
    if options is not None:
        fail(ArgumentError, "linear_cross_entropy: there are no options of how to compute it", "leave `options` out")
    each, features = linear_weight.shape[:-1], linear_weight.shape[-1]
    if input.ndim not in (1, 2) or input.shape[-1] != features or (input.ndim == 1 and len(each) > 1):
        fail(
            ShapeError,
            f"linear_cross_entropy: input {list(input.shape)} does not fit linear_weight {list(linear_weight.shape)}",
        )
    if linear_bias is not None and linear_bias.shape != each:
        fail(ShapeError, f"expected linear_bias shape {list(each)}, got {list(linear_bias.shape)}")
    logits = linear(
        input, linear_weight.reshape(-1, features), None if linear_bias is None else linear_bias.reshape(-1)
    ).reshape(*input.shape[:-1], *each)
    if ignore_index is not None and target.shape == logits.shape:
        fail(ArgumentError, "ignore_index cannot be specified when target contains probabilities")
    return cross_entropy(
        logits, target, weight, None, -100 if ignore_index is None else ignore_index, None, reduction, label_smoothing
    )


@autocasts
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-x at the target's class, where x are log probabilities."""
    _fixed(weight)
    dim = class_dim(input)
    if input.ndim == 0 or target.shape != (*input.shape[:dim], *input.shape[dim + 1 :]):
        fail(
            ShapeError,
            f"nll_loss: target of shape {list(target.shape)} does not fit input of shape {list(input.shape)}",
        )
    return nll(input, target, weight, ignore_index, reduction_of(reduction, size_average, reduce))


@autocasts
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """t (log t - x), where x are log probabilities; "batchmean" is the divergence: the sum over the batch size."""
    loss = mul(exp(target), sub(target, input)) if log_target else sub(xlogy(target, target), mul(target, input))
    if reduction == "batchmean" and size_average is None and reduce is None:
        return div(sum_(loss), input.shape[0]) if input.ndim else sum_(loss)
    return _reduced(loss, reduction, size_average, reduce)


@autocasts
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t log x + (1 - t) log(1 - x)), logarithms at least -100"""
    if input.shape != target.shape:
        fail(
            ShapeError,
            f"binary_cross_entropy: target {list(target.shape)} must be shaped as the input {list(input.shape)}",
            "reshape one of them",
        )
    loss = bce(input, target)
    return _reduced(loss if weight is None else mul(loss, weight), reduction, size_average, reduce)


@autocasts
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(x), without the loss of precision; pos_weight weighs the positive class."""
    if input.shape != target.shape:
        fail(
            ShapeError,
            f"binary_cross_entropy_with_logits: target {list(target.shape)} must be shaped as the input "
            f"{list(input.shape)}",
            "reshape one of them",
        )
    certain = logsigmoid(input)
    if pos_weight is not None:
        certain = mul(certain, add(mul(sub(pos_weight, 1.0), target), 1.0))
    loss = sub(mul(sub(1.0, target), input), certain)
    return _reduced(loss if weight is None else mul(loss, weight), reduction, size_average, reduce)


# -- margins -----------------------------------------------------------------------------------------------------------


@autocasts
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1"""
    apart = where(ne(target, 1), clamp(sub(margin, input), 0.0, None), 0.0)
    return _reduced(add(apart, where(ne(target, -1), input, 0.0)), reduction, size_average, reduce)


@autocasts
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -t (x1 - x2) + margin)"""
    if not input1.ndim == input2.ndim == target.ndim:
        fail(
            ShapeError,
            f"margin_ranking_loss: all inputs should have the same number of dimensions, but they have {input1.ndim}, "
            f"{input2.ndim} and {target.ndim}",
        )
    loss = clamp(add(mul(neg(target), sub(input1, input2)), margin), 0.0, None)
    return _reduced(loss, reduction, size_average, reduce)


@autocasts
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1"""
    if target.ndim > 1 or target.ndim + 1 != input1.ndim or input1.ndim != input2.ndim:
        given = f"{list(input1.shape)}, {list(input2.shape)} and target {list(target.shape)}"
        fail(
            ShapeError,
            f"cosine_embedding_loss: expected 2D inputs and a 1D target, or 1D inputs and a 0D target, got {given}",
        )
    dim = (target.ndim,)
    squares = [add(sum_(square(x), dim=dim), 1e-12) for x in (input1, input2)]
    cos = div(sum_(mul(input1, input2), dim=dim), pow(mul(*squares), 0.5))
    loss = add(where(eq(target, 1), sub(1.0, cos), 0.0), where(eq(target, -1), clamp(sub(cos, margin), 0.0, None), 0.0))
    return _reduced(loss, reduction, size_average, reduce)


@autocasts
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """log(1 + exp(-t x))"""
    return _reduced(neg(logsigmoid(mul(target, input))), reduction, size_average, reduce)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """binary_cross_entropy_with_logits, the mean over classes"""
    loss = neg(add(mul(target, logsigmoid(input)), mul(sub(1.0, target), logsigmoid(neg(input)))))
    loss = loss if weight is None else mul(loss, weight)
    return _reduced(mean_op(loss, dim=(input.ndim - 1,)), reduction, size_average, reduce)


@autocasts
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over the other classes of max(0, margin - x_t + x_c)^p, over the number of classes"""
    if p not in (1, 2):
        fail(PullbackError, f"multi_margin_loss: only p == 1 and p == 2 supported, not {p}")
    _fixed(weight)
    classes = input.shape[-1]
    index = reshape(target, shape=(*input.shape[:-1], 1))
    loss = relu(add(sub(input, input.gather(-1, index)), margin))
    loss = square(loss) if p == 2 else loss
    if weight is not None:
        loss = mul(loss, weight[index])
    loss = where(arange(classes, device=input.device) == index, 0.0, loss)
    return _reduced(div(sum_(loss, dim=(input.ndim - 1,)), classes), reduction, size_average, reduce)


@autocasts
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """The sum of max(0, 1 - x_t + x_c) over targets t (-1 ends them) and other classes c, over the number of classes"""
    if input.shape != target.shape or input.ndim not in (1, 2):
        fail(
            ShapeError,
            f"multilabel_margin_loss: target {list(target.shape)} must be shaped as the input {list(input.shape)}, "
            "which is 1D or 2D",
        )
    classes = input.shape[-1]
    listed = (target < 0).cumsum(-1) == 0
    index = where(listed, target, 0)
    is_target = logical_and(index.unsqueeze(-1) == arange(classes, device=input.device), listed.unsqueeze(-1)).any(-2)
    of_target = input.gather(-1, index)
    margins = relu(add(sub(input.unsqueeze(-2), of_target.unsqueeze(-1)), 1.0))
    counted = logical_and(listed.unsqueeze(-1), logical_not(is_target).unsqueeze(-2))
    n = input.ndim
    return _reduced(div(sum_(where(counted, margins, 0.0), dim=(n - 1, n)), classes), reduction, size_average, reduce)


@autocasts
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |a - p| - |a - n| + margin); with swap, |p - n| counts if it is smaller than |a - n|"""
    which = reduction_of(reduction, size_average, reduce)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap, reduction=which
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """triplet_margin_loss with any distance."""
    if margin <= 0:
        fail(PullbackError, f"margin must be greater than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return _reduced(clamp(add(sub(near, far), margin), 0.0, None), reduction)
