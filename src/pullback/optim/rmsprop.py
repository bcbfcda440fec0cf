"""RMSprop."""

from __future__ import annotations

from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State, decayed


class RMSprop(RuleOptimizer):
    """Divide the gradient by a running average of its magnitude (Tieleman and Hinton 2012; centred: Graves 2013).

    g = grad + weight_decay p
    v = alpha v + (1 - alpha) g^2
    a = alpha a + (1 - alpha) g                 if centered, else 0
    d = g / (sqrt(v - a^2) + eps)
    b = momentum b + d
    p = p - lr b                                or p - lr d without momentum
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_options(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        state = {"step": scalar(0.0, p), "square_avg": zeros_like(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_like(p)
        if group["centered"]:
            state["grad_avg"] = zeros_like(p)
        return state

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        alpha = o["alpha"]
        g = decayed(p, g, o)
        v = alpha * s["square_avg"] + (1 - alpha) * g * g
        after = {"step": s["step"] + 1, "square_avg": v}
        if o["centered"]:
            a = after["grad_avg"] = s["grad_avg"] + (1 - alpha) * (g - s["grad_avg"])
            v = v - a * a
        d = g / (v.sqrt() + o["eps"])
        if o["momentum"] > 0:
            d = after["momentum_buffer"] = o["momentum"] * s["momentum_buffer"] + d
        return p - o["lr"] * d, after
