"""The updates of SGD and Adam, each one op: the new parameter and the new state, from the old ones and the gradient.

`decompose` is the formula. The kernel works in place and on many parameters at once, which is what an eager step does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import F64
from ..engines.numpy import updates as kernels
from .arithmetic import add, div, mul, neg, sub
from .compare import maximum
from .create import cast
from .pointwise import pow as pow_
from .pointwise import sqrt
from .record import Sample, Spec, op, per_element, per_input
from .samples import positive, randn


def _rest(x: Any) -> Any:
    """1 - x, of a number or an array."""
    return sub(1.0, x) if hasattr(x, "shape") else 1 - x


def _product(x: Any, y: Any) -> Any:
    return mul(x, y) if hasattr(x, "shape") or hasattr(y, "shape") else x * y


def _like(new: Any, old: Any) -> Any:
    """`new` in the dtype of what it replaces."""
    return new if new.dtype == old.dtype else cast(new, dtype=getattr(old, "npdtype", old.dtype))


def _specs(*written: Any) -> Any:
    specs = tuple(Spec(x.shape, x.dtype) for x in written if x is not None)
    return specs[0] if len(specs) == 1 else specs


def _copies(*row: Any) -> tuple[Any, ...]:
    return tuple(x.copy() if isinstance(x, np.ndarray) else x for x in row)


# -- SGD -------------------------------------------------------------------------------------------------------------


def _sgd(
    p: Any,
    b: Any,
    g: Any,
    lr: Any,
    momentum: Any,
    dampening: Any,
    decay: Any,
    nesterov: Any = False,
    maximize: Any = False,
) -> Any:
    p, b = _copies(p, b)
    kernels.sgd([(p, b, g, lr, momentum, dampening, decay)], nesterov, maximize)
    return p if b is None else (p, b)


def _composed_sgd(
    p: Any,
    b: Any,
    g: Any,
    lr: Any,
    momentum: Any,
    dampening: Any,
    decay: Any,
    nesterov: Any = False,
    maximize: Any = False,
) -> Any:
    g = add(neg(g) if maximize else g, mul(p, decay))
    if b is None:
        return _like(sub(p, mul(g, lr)), p)
    new = add(mul(b, momentum), mul(g, _rest(dampening)))
    step = add(g, mul(new, momentum)) if nesterov else new
    return _like(sub(p, mul(step, lr)), p), _like(new, b)


def _sgd_samples() -> list[Sample]:
    def row(*shape: int) -> tuple[Any, ...]:
        return tuple(randn(*shape, seed=i) for i in range(3))

    p, b, g = row(3, 4)
    return [
        Sample((p, b, g, 0.1, 0.9, 0.0, 0.0)),
        Sample((p, b, g, 0.1, 0.9, 0.5, 0.01), note="dampening, weight decay"),
        Sample((p, b, g, 0.1, 0.9, 0.0, 0.0), {"nesterov": True, "maximize": True}, note="nesterov"),
        Sample((p, b, g, 0.1, 0.9, 0.0, 0.1), {"nesterov": True}, note="nesterov, weight decay"),
        Sample((p, None, g, 0.1, 0.0, 0.0, 0.0), note="no momentum"),
        Sample((p, None, g, 0.1, 0.0, 0.0, 0.1), {"maximize": True}, note="no momentum, weight decay"),
        Sample((*row(), 0.1, 0.9, 0.0, 0.0), note="0-d"),
        Sample((*row(0, 3), 0.1, 0.9, 0.0, 0.0), note="empty"),
        Sample((p.T, randn(6, 4)[::-2].T, randn(4, 3), 0.1, 0.9, 0.0, 0.1), note="strided"),
        Sample((p, b, g, positive(), 0.9, 0.0, 0.1), note="learning rate as an array"),
        Sample((*[x.astype(np.float32) for x in (p, b, g)], 0.1, 0.9, 0.0, 0.1), note="float32"),
    ]


sgd = op(
    "sgd", "g += decay p;  b = momentum b + (1 - dampening) g;  p - lr b, or p - lr (g + momentum b) if nesterov;  and b",
    inputs="p b g lr momentum dampening decay",
    torch="(lambda p, b: torch.optim._functional.sgd([p], [g], [b], lr=lr, momentum=momentum, dampening=dampening, weight_decay="
    "decay, nesterov=nesterov, maximize=maximize) or (p if b is None else (p, b)))(p.clone(), None if b is None else b.clone())",
    numpy=_sgd, in_place=kernels.sgd, writes=2, infer=lambda p, b, *others, **flags: _specs(p, b), dtypes=per_input, flops=per_element(6),
    decompose=_composed_sgd,
    samples=_sgd_samples,
)  # fmt: skip


# -- Adam ------------------------------------------------------------------------------------------------------------


def _adam(
    p: Any, m: Any, v: Any, t: Any, peak: Any, g: Any, lr: Any, beta1: Any, beta2: Any, eps: Any, decay: Any,
    decoupled: Any = False, maximize: Any = False,
) -> Any:  # fmt: skip
    p, m, v, t, peak = _copies(p, m, v, t, peak)
    kernels.adam([(p, m, v, t, peak, g, lr, beta1, beta2, eps, decay)], decoupled, maximize)
    return (p, m, v, t) if peak is None else (p, m, v, t, peak)


def _composed_adam(
    p: Any, m: Any, v: Any, t: Any, peak: Any, g: Any, lr: Any, beta1: Any, beta2: Any, eps: Any, decay: Any,
    decoupled: Any = False, maximize: Any = False,
) -> Any:  # fmt: skip
    old = p, m, v, t
    t = add(t, 1.0)
    n = cast(t, dtype=F64)
    g = neg(g) if maximize else g
    if decoupled:
        p = mul(p, _rest(_product(lr, decay)))
    else:
        g = add(g, mul(p, decay))
    m = add(m, mul(sub(g, m), _rest(beta1)))
    v = add(mul(v, beta2), mul(mul(g, g), _rest(beta2)))
    top = v if peak is None else maximum(peak, v)
    unbiased = add(div(sqrt(top), sqrt(_rest(pow_(beta2, n)))), eps)
    p = sub(p, mul(div(m, unbiased), div(lr, _rest(pow_(beta1, n)))))
    new = tuple(_like(a, b) for a, b in zip((p, m, v, t), old, strict=True))
    return new if peak is None else (*new, _like(top, peak))


def _adam_samples() -> list[Sample]:
    def row(*shape: int, peak: bool = False, t: float = 2.0) -> tuple[Any, ...]:
        p, m, v, g = randn(*shape), randn(*shape, seed=1), positive(*shape, seed=2), randn(*shape, seed=3)
        return p, m, v, np.array(t), positive(*shape, seed=4) if peak else None, g

    usual = (0.1, 0.9, 0.999, 1e-8)
    single = tuple(x if x is None else x.astype(np.float32) for x in row(3, 4, peak=True))
    p, m, v, t, peak, g = row(4, 3, peak=True)
    return [
        Sample((*row(3, 4), *usual, 0.0)),
        Sample((*row(3, 4, t=0.0), *usual, 0.0), note="first step"),
        Sample((*row(3, 4), *usual, 0.1), note="weight decay"),
        Sample((*row(3, 4), *usual, 0.1), {"decoupled": True}, note="decoupled"),
        Sample((*row(3, 4, peak=True), *usual, 0.1), {"maximize": True}, note="amsgrad, maximize"),
        Sample((*row(3, 4), *usual, 0.1), {"maximize": True, "decoupled": True}, note="maximize, decoupled"),
        Sample((*row(), *usual, 0.0), note="0-d"),
        Sample((*row(0, 3), *usual, 0.0), note="empty"),
        Sample((p.T, m.T, randn(8, 3)[::-2].T ** 2 + 0.2, t, peak.T, randn(3, 4), *usual, 0.1), note="strided"),
        Sample(
            (p, m, v, t, None, g, positive(), 0.9, 0.999, 1e-3, 0.1),
            {"decoupled": True},
            note="learning rate as an array",
        ),
        Sample((*single, *usual, 0.1), note="float32"),
    ]


adam = op(
    "adam", "g += decay p, or p -= lr decay p if decoupled;  m += (1 - beta1)(g - m);  v = beta2 v + (1 - beta2) g^2;  t += 1;  "
    "p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps);  and m, v, t;  with a peak, its maximum with v stands for v",
    inputs="p m v t peak g lr beta1 beta2 eps decay",
    torch="(lambda p, m, v, t, *peak: torch.optim._functional.adam([p], [g], [m], [v], list(peak), [t], differentiable=True, "
    "amsgrad=bool(peak), beta1=beta1, beta2=beta2, lr=lr, weight_decay=decay, eps=eps, maximize=maximize, "
    "decoupled_weight_decay=decoupled) or (p, m, v, t, *peak))(*[x.clone() for x in (p, m, v, t, peak) if x is not None])",
    numpy=_adam, in_place=kernels.adam, writes=5, dtypes=per_input, flops=per_element(14),
    infer=lambda p, m, v, t, peak, *others, **flags: _specs(p, m, v, t, peak),
    decompose=_composed_adam,
    samples=_adam_samples,
)  # fmt: skip
