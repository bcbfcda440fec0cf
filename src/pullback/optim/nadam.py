"""NAdam."""

from __future__ import annotations

from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State, decayed, shrunk


class NAdam(RuleOptimizer):
    """Incorporating Nesterov momentum into Adam (Dozat 2016).

    g   = grad + weight_decay p                   or p = p (1 - lr weight_decay) if decoupled
    mu  = beta1 (1 - 0.96^(t momentum_decay) / 2),   mu' the same at t + 1,   M the product of all mu so far
    m   = beta1 m + (1 - beta1) g
    v   = beta2 v + (1 - beta2) g^2
    p   = p - lr ((1 - mu) / (1 - M) g + mu' / (1 - M mu') m) / (sqrt(v / (1 - beta2^t)) + eps)
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        return {
            "step": scalar(0.0, p),
            "mu_product": scalar(1.0, p),
            "exp_avg": zeros_like(p),
            "exp_avg_sq": zeros_like(p),
        }

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        beta1, beta2 = o["betas"]
        t = s["step"] + 1
        n = t.double()
        if o["decoupled_weight_decay"]:
            p = shrunk(p, o)
        else:
            g = decayed(p, g, o)
        mu = beta1 * (1 - 0.5 * 0.96 ** (n * o["momentum_decay"]))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((n + 1) * o["momentum_decay"]))
        product = s["mu_product"] * mu.to(s["mu_product"].dtype)
        m = s["exp_avg"] + (1 - beta1) * (g - s["exp_avg"])
        v = beta2 * s["exp_avg_sq"] + (1 - beta2) * g * g
        of_g, of_m = (1 - mu) / (1 - product.double()), mu_next / (1 - product.double() * mu_next)
        p = p - o["lr"] * (of_g * g + of_m * m) / ((v / (1 - beta2**n)).sqrt() + o["eps"])
        return p, {"step": t, "mu_product": product, "exp_avg": m, "exp_avg_sq": v}
