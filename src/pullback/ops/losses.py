"""Cross-entropy of logits and class indices, in one pass forward and one back; that of probabilities and bits.

Other losses are composed in `nn.functional`.

With p = softmax(x) over C classes, t the target, v_t its weight (0 where it is ignored), e the label smoothing:

    loss = -(1 - e) v_t log p_t - e / C sum over c of v_c log p_c
    dx_c = g ((1 - e) v_t (p_c - [c = t]) + e / C (p_c sum over k of v_k - v_c))

`mean` divides by the sum of v_t over all targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import PullbackError, fail
from .arithmetic import add, div, mul, neg, sub
from .compare import eq, maximum, where
from .create import full_like
from .indexing import gather, one_hot, take_at
from .pointwise import log, log1p
from .record import Sample, Spec, arithmetic, elementwise, floating, op, per_element, per_input_element
from .reduction import maximum_reduce
from .reduction import sum as sum_
from .samples import between, inf, integers, nan, positive, randn
from .shape import permute, reshape
from .softmax import log_softmax, softmax, softmax_pullback

SHORT = 32
BLOCK_BYTES = 1 << 20  # of logits, taken together so that they stay in cache between steps


def class_dim(x: Any) -> int:
    """Classes stand in dim 1, or in dim 0 where there is no batch."""
    return min(1, len(x.shape) - 1)


def _index(x: Any, target: Any, weight: Any, ignore_index: int) -> tuple[Any, Any, Any]:
    """Targets that are valid indices, where they are ignored (None: nowhere), and their weights (None: 1)."""
    dim = class_dim(x)
    shape = x.shape[:dim] + x.shape[dim + 1 :]
    if target.shape != shape:
        raise ValueError(
            f"expected targets of shape {list(shape)} for logits of shape {list(x.shape)}, got {list(target.shape)}"
        )
    if target.dtype.kind not in "iu":
        raise TypeError(f"class indices must be integers, got {target.dtype}")
    if weight is not None and weight.shape != (x.shape[dim],):
        raise ValueError(
            f"weight should have one number for each of {x.shape[dim]} classes, but has shape {list(weight.shape)}"
        )
    ignored = None
    if target.size:
        low, high = target.min(), target.max()
        if low <= ignore_index <= high:
            ignored = target == ignore_index
            target = np.where(ignored, 0, target)
            low, high = target.min(), target.max()
        if low < 0 or high >= x.shape[dim]:
            raise IndexError(f"Target {low if low < 0 else high} is out of bounds for {x.shape[dim]} classes")
    v = None if weight is None else weight[target]
    if ignored is not None:
        v = np.where(ignored, x.dtype.type(0), x.dtype.type(1) if v is None else v)
    return target, ignored, v


def _total(v: Any, target: Any, dtype: Any) -> Any:
    return dtype.type(target.size) if v is None else np.add.reduce(v, axis=None)


def _blocks(x: Any) -> Iterator[Any]:
    """Ranges of samples, as keys."""
    if x.ndim == 1:
        yield ...
        return
    rows = max(1, BLOCK_BYTES // max(1, x[:1].nbytes))
    for i in range(0, len(x), rows):
        yield slice(i, i + rows)


def _chosen(index: Any, dim: int) -> tuple[Any, ...]:
    """The key of x's elements at the target."""
    n = index.ndim
    if n <= 1:
        return (np.arange(len(index)), index) if n else (index,)
    grid: list[Any] = [np.arange(m).reshape((m,) + (1,) * (n - 1 - d)) for d, m in enumerate(index.shape)]
    return (*grid[:dim], index, *grid[dim:])


def _top(x: Any, dim: int) -> Any:
    """The maximum over classes, kept as a dimension. NumPy is slow at short rows, so those are laid down as columns."""
    if x.ndim == 2 and x.shape[1] <= SHORT:
        return maximum_reduce(x.T.copy(), 0, None, None, False, -inf)[:, None]
    return maximum_reduce(x, dim, None, None, True, -inf)


def _sum(x: Any, dim: int) -> Any:
    """The sum over classes; for rows, BLAS is the fastest."""
    return x @ np.ones(x.shape[1], x.dtype) if x.ndim == 2 else np.add.reduce(x, axis=dim)


def _along(weight: Any, x: Any) -> Any:
    """A number for each class, beside x."""
    return weight.reshape(weight.shape + (1,) * (x.ndim - class_dim(x) - 1))


def _cross_entropy(
    x: Any, target: Any, weight: Any, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
) -> Any:
    dim = class_dim(x)
    index, ignored, v = _index(x, target, weight, ignore_index)
    loss = np.empty(index.shape, x.dtype)
    for here in _blocks(x):
        shifted = x[here] - _top(x[here], dim)
        of_target = shifted[_chosen(index[here], dim)]
        if label_smoothing:
            of_all = np.add.reduce(shifted if weight is None else shifted * _along(weight, x), axis=dim)
        log_sum = np.log(_sum(np.exp(shifted, out=shifted), dim))
        nll = log_sum - of_target
        if v is not None:
            nll *= v[here]
        if label_smoothing:
            mass = x.shape[dim] if weight is None else np.add.reduce(weight)
            nll = nll * (1 - label_smoothing) + (log_sum * mass - of_all) * (label_smoothing / x.shape[dim])
        loss[here] = nll
    if ignored is not None:
        loss[ignored] = 0
    if reduction == "none":
        return loss
    summed = np.add.reduce(loss, axis=None)
    return summed if reduction == "sum" else summed / _total(v, index, x.dtype)


def _cross_entropy_gradient(
    g: Any,
    x: Any,
    target: Any,
    weight: Any,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    dim = class_dim(x)
    index, ignored, v = _index(x, target, weight, ignore_index)
    if reduction == "mean":
        g = g / _total(v, index, x.dtype)
    if ignored is not None:
        g = np.where(ignored, x.dtype.type(0), g)
    of_target = g if v is None else g * v
    of_class = None
    if label_smoothing:
        of_target = of_target * x.dtype.type(1 - label_smoothing)
        of_class = g * x.dtype.type(label_smoothing / x.shape[dim])
    slope = (
        of_target
        if of_class is None
        else of_target + of_class * (x.shape[dim] if weight is None else np.add.reduce(weight))
    )
    dx = np.empty(x.shape, x.dtype)
    for here in _blocks(x):
        p = np.subtract(x[here], _top(x[here], dim), out=dx[here])
        np.exp(p, out=p)
        p *= _beside((slope[here] if slope.ndim else slope) / _sum(p, dim), dim)
        p[_chosen(index[here], dim)] -= of_target[here] if of_target.ndim else of_target
        if of_class is not None:
            each = _beside(of_class[here], dim) if of_class.ndim else of_class
            p -= each if weight is None else each * _along(weight, x)
    return dx


def _beside(a: Any, dim: int) -> Any:
    """Numbers of samples, to broadcast over their classes."""
    return a[:, None] if dim else a[None]


# -- the same, from ops ------------------------------------------------------------------------------------------------


def beside(a: Any, dim: int) -> Any:
    """a with a dimension of one put in at dim."""
    return reshape(a, shape=(*a.shape[:dim], 1, *a.shape[dim:]))


def target_weights(logp: Any, target: Any, weight: Any, ignore_index: int) -> tuple[Any, Any, Any]:
    """Targets that are valid indices, where they are ignored, and their weights (0 where they are ignored)."""
    ignored = eq(target, ignore_index)
    index = where(ignored, 0, target)
    if weight is None:
        weight = full_like(logp, value=1.0, shape=())
        return index, ignored, where(ignored, 0.0, weight)
    flat = take_at(weight, reshape(index, shape=(math.prod(index.shape),)), dims=(0,), wrap=False)
    return index, ignored, where(ignored, 0.0, reshape(flat, shape=index.shape))


def nll(logp: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float = 0.0) -> Any:
    """Negative log likelihood of the targets, given log probabilities."""
    dim = class_dim(logp)
    index, ignored, v = target_weights(logp, target, weight, ignore_index)
    of_target = reshape(gather(logp, beside(index, dim), dim=dim), shape=index.shape)
    loss = where(ignored, 0.0, neg(mul(of_target, v)))
    if label_smoothing:
        weighted = logp if weight is None else mul(logp, _beside_classes(weight, logp))
        of_all = mul(sum_(weighted, dim=(dim,)), -label_smoothing / logp.shape[dim])
        loss = add(mul(loss, 1 - label_smoothing), where(ignored, 0.0, of_all))
    if reduction == "none":
        return loss
    return sum_(loss) if reduction == "sum" else div(sum_(loss), sum_(v))


def _beside_classes(weight: Any, x: Any) -> Any:
    return reshape(weight, shape=(*weight.shape, *(1 for _ in x.shape[class_dim(x) + 1 :])))


def _composed(
    x: Any, target: Any, weight: Any, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
) -> Any:
    return nll(log_softmax(x, dim=class_dim(x)), target, weight, ignore_index, reduction, label_smoothing)


def _pull_logits(
    g: Any, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
    return cross_entropy_gradient(g, x, target, weight, **options)


def _slopes(g: Any, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> tuple[Any, Any, Any]:
    """Valid indices, their weights, and each sample's share of g."""
    index, ignored, v = target_weights(x, target, weight, ignore_index)
    return index, v, where(ignored, 0.0, div(g, sum_(v)) if reduction == "mean" else g)


def _composed_gradient(
    g: Any,
    x: Any,
    target: Any,
    weight: Any,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    dim, n = class_dim(x), len(x.shape)
    index, v, g = _slopes(g, x, target, weight, ignore_index, reduction)
    hot = permute(one_hot(index, classes=x.shape[dim]), dims=(*range(dim), n - 1, *range(dim, n - 1)))
    p = softmax(x, dim=dim)
    dx = mul(sub(p, hot), beside(mul(mul(g, v), 1 - label_smoothing), dim))
    if label_smoothing:
        spread = sub(mul(p, _mass(x, weight)), 1.0 if weight is None else _beside_classes(weight, x))
        dx = add(dx, mul(spread, beside(mul(g, label_smoothing / x.shape[dim]), dim)))
    return dx


def _mass(x: Any, weight: Any) -> Any:
    """The sum of the weights of all classes."""
    return float(x.shape[class_dim(x)]) if weight is None else sum_(weight)


def _pull_gradient_g(
    h: Any, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:  # linear in g: the products of h with the gradient for g = 1
    one, options = full_like(x, value=1.0, shape=()), {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    products = mul(h, cross_entropy_gradient(one, x, target, weight, reduction="sum", **options))
    if reduction == "none":
        return sum_(products, dim=(class_dim(x),))
    return (
        div(sum_(products), sum_(target_weights(x, target, weight, ignore_index)[2]))
        if reduction == "mean"
        else sum_(products)
    )


def _pull_gradient_x(
    h: Any, g: Any, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:  # only p depends on x
    dim = class_dim(x)
    _, v, g = _slopes(g, x, target, weight, ignore_index, reduction)
    slope = mul(mul(g, v), 1 - label_smoothing)
    if label_smoothing:
        slope = add(slope, mul(mul(g, label_smoothing / x.shape[dim]), _mass(x, weight)))
    return mul(softmax_pullback(h, softmax(x, dim=dim), dim=dim), beside(slope, dim))


def _target_shape(x: Any, reduction: str) -> tuple[int, ...]:
    dim = class_dim(x)
    return (*x.shape[:dim], *x.shape[dim + 1 :]) if reduction == "none" else ()


def _samples() -> list[
    Sample
]:  # class weights are constants, as in PyTorch: not smooth here, for finite differences would move them
    return [
        Sample((randn(5, 4), integers(0, 4, 5), None)),
        Sample((randn(5, 4), integers(0, 4, 5), positive(4)), {"reduction": "sum"}, smooth=False, note="weights"),
        Sample(
            (randn(2, 4, 3), np.array([[0, 1, -100], [3, 3, 2]]), positive(4)),
            {"label_smoothing": 0.1},
            smooth=False,
            note="all together",
        ),
        Sample(
            (randn(2, 3, 2, 2), integers(0, 3, 2, 2, 2), None), {"reduction": "none", "ignore_index": 1}, note="images"
        ),
        Sample((randn(4), np.array(2), None), note="no batch"),
        Sample((randn(5, 3), integers(0, 3, 5), None), {"label_smoothing": 0.2, "reduction": "sum"}, note="smoothed"),
        Sample((randn(8, 6).T[::-2], integers(0, 8, 6)[::2], None), {"reduction": "none"}, note="strided"),
        Sample((randn(3, 4), np.full(3, -100), None), smooth=False, note="all ignored: NaN"),
        Sample((randn(0, 4), np.zeros(0, np.int64), None), {"reduction": "sum"}, note="empty"),
        Sample((100 * randn(6, 5, dtype=np.float32), integers(0, 5, 6), None), note="float32, far apart"),
        Sample(
            (np.array([[inf, 0.0, 1.0], [nan, 0.0, 1.0], [-inf, 0.0, 1.0]]), np.array([1, 1, 1]), None),
            {"reduction": "none"},
            smooth=False,
            note="special",
        ),
    ]


cross_entropy = op(
    "cross_entropy", "-log softmax(x)[target], weighted, smoothed and reduced", inputs="x target weight",
    torch="F.cross_entropy(x, target, None if weight is None else weight.detach(), ignore_index=ignore_index, "
    "reduction=reduction, label_smoothing=label_smoothing)",
    numpy=_cross_entropy, dtypes=arithmetic, flops=per_input_element(5),
    infer=lambda x, target, weight=None, reduction="mean", **options: Spec(_target_shape(x, reduction), x.dtype),
    vjp={"x": _pull_logits}, decompose=_composed,
    samples=_samples,
)  # fmt: skip

cross_entropy_gradient = op(
    "cross_entropy_gradient", "dx of cross_entropy", inputs="g x target weight",
    torch="torch.func.vjp(lambda x: F.cross_entropy(x, target, None if weight is None else weight.detach(), "
    "ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing), x)[1](g)[0]",
    numpy=_cross_entropy_gradient, dtypes=arithmetic, flops=per_element(6),
    infer=lambda g, x, target, weight=None, **options: Spec(x.shape, x.dtype),
    vjp={"g": _pull_gradient_g, "x": _pull_gradient_x}, decompose=_composed_gradient,
    samples=lambda: [
        s._replace(inputs=(randn(*cross_entropy.infer(*s.inputs, **s.params).shape, dtype=s.inputs[0].dtype), *s.inputs))
        for s in _samples()
    ],
)  # fmt: skip


# -- probabilities and bits --------------------------------------------------------------------------------------------

SMALLEST = 9.999999960041972e-13  # 1e-12 in float32: what PyTorch divides by where x (1 - x) is smaller


def _binary_cross_entropy(x: Any, target: Any) -> Any:
    if not np.logical_and(x >= 0, x <= 1).all():
        fail(
            PullbackError,
            "binary_cross_entropy: all elements of input should be between 0 and 1",
            "apply sigmoid, or use ..._with_logits",
        )
    return (target - 1) * np.maximum(np.log1p(-x), -100) - target * np.maximum(np.log(x), -100)


binary_cross_entropy = op(
    "binary_cross_entropy", "-(target log x + (1 - target) log(1 - x)), logarithms at least -100", inputs="x target",
    torch="F.binary_cross_entropy(*torch.broadcast_tensors(x, target), reduction='none')",
    numpy=_binary_cross_entropy, infer=elementwise, dtypes=floating, flops=per_element(7),
    vjp={
        "x": lambda g, x, target: mul(g, div(sub(x, target), maximum(mul(sub(1.0, x), x), SMALLEST))),
        "target": lambda g, x: mul(g, sub(log1p(neg(x)), log(x))),
    },
    samples=lambda: [
        Sample((between(0.1, 0.9, 3, 4), between(0, 1, 3, 4, seed=1))),
        Sample((between(0.1, 0.9, 4, 3).T[::-1], between(0, 1, 4, seed=1)), note="strided, broadcast"),
        Sample((between(0.1, 0.9), between(0, 1, seed=1)), note="0-d"),
        Sample((between(0, 1, 0, 3), between(0, 1, 0, 3)), note="empty"),
        Sample((between(0.1, 0.9, 3).astype(np.float32), between(0, 1, 3, seed=1).astype(np.float32)), note="float32"),
        Sample((np.array([0.0, 0.0, 1.0, 1.0, 1e-50]), np.array([0.0, 1.0, 0.0, 1.0, 1.0])), smooth=False, note="sure"),
    ],
)  # fmt: skip
