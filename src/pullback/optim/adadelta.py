"""Adadelta."""

from __future__ import annotations

from ..errors import ArgumentError, fail
from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State, decayed


class Adadelta(RuleOptimizer):
    """An adaptive learning rate method (Zeiler 2012).

    g = grad + weight_decay p
    v = rho v + (1 - rho) g^2
    d = sqrt(u + eps) / sqrt(v + eps) g
    u = rho u + (1 - rho) d^2
    p = p - lr d
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_options(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
        if not rho <= 1.0:
            fail(ArgumentError, f"Invalid rho value: {rho}", "it must lie in 0 <= rho <= 1")
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        return {"step": scalar(0.0, p), "square_avg": zeros_like(p), "acc_delta": zeros_like(p)}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        rho, eps = o["rho"], o["eps"]
        g = decayed(p, g, o)
        v = rho * s["square_avg"] + (1 - rho) * g * g
        d = (s["acc_delta"] + eps).sqrt() / (v + eps).sqrt() * g
        u = rho * s["acc_delta"] + (1 - rho) * d * d
        return p - o["lr"] * d, {"step": s["step"] + 1, "square_avg": v, "acc_delta": u}
