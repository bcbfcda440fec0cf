"""RAdam."""

from __future__ import annotations

from ..functions.compare import where
from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State, decayed, shrunk


class RAdam(RuleOptimizer):
    """On the variance of the adaptive learning rate and beyond (Liu et al. 2020).

        g    = grad + weight_decay p                   or p = p (1 - lr weight_decay) if decoupled
        m    = beta1 m + (1 - beta1) g
        v    = beta2 v + (1 - beta2) g^2
        rho  = R - 2 t beta2^t / (1 - beta2^t),        R = 2 / (1 - beta2) - 1
        r    = sqrt((rho - 4)(rho - 2) R / ((R - 4)(R - 2) rho))
        p    = p - lr  m / (1 - beta1^t)  r sqrt(1 - beta2^t) / (sqrt(v) + eps)

    Without the last two factors as long as rho <= 5, when v is known too badly.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        return {"step": scalar(0.0, p), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        beta1, beta2 = o["betas"]
        t = s["step"] + 1
        n = t.double()
        if o["decoupled_weight_decay"]:
            p = shrunk(p, o)
        else:
            g = decayed(p, g, o)
        m = s["exp_avg"] + (1 - beta1) * (g - s["exp_avg"])
        v = beta2 * s["exp_avg_sq"] + (1 - beta2) * g * g
        limit = 2 / (1 - beta2) - 1
        rho = limit - 2 * n * beta2**n / (1 - beta2**n)
        known = rho > 5
        rho = rho.clamp(min=5)  # the root below is real
        r = ((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)).sqrt()
        adaptive = r * (1 - beta2**n).sqrt() / (v.sqrt() + o["eps"])
        p = p - o["lr"] / (1 - beta1**n) * m * where(known, adaptive, 1.0)
        return p, {"step": t, "exp_avg": m, "exp_avg_sq": v}
