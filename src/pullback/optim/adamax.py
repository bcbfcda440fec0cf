"""Adamax."""

from __future__ import annotations

from ..functions.compare import maximum
from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State, decayed


class Adamax(RuleOptimizer):
    """Adam with the infinity norm of past gradients (Kingma and Ba 2015, section 7).

    g = grad + weight_decay p
    m = beta1 m + (1 - beta1) g
    u = max(beta2 u, |g| + eps)
    p = p - lr / (1 - beta1^t)  m / u
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        return {"step": scalar(0.0, p), "exp_avg": zeros_like(p), "exp_inf": zeros_like(p)}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        beta1, beta2 = o["betas"]
        t = s["step"] + 1
        g = decayed(p, g, o)
        m = s["exp_avg"] + (1 - beta1) * (g - s["exp_avg"])
        u = maximum(beta2 * s["exp_inf"], g.abs() + o["eps"])
        p = p - o["lr"] / (1 - beta1 ** t.double()) * (m / u)
        return p, {"step": t, "exp_avg": m, "exp_inf": u}
