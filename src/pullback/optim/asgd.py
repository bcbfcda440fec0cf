"""ASGD."""

from __future__ import annotations

from ..functions.compare import where
from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State, decayed, scalar_of


class ASGD(RuleOptimizer):
    """Acceleration of stochastic approximation by averaging (Polyak and Juditsky 1992).

    g   = grad + weight_decay p
    p   = p (1 - lambd eta) - eta g
    ax  = ax + mu (p - ax)                      the average of p since step t0
    eta = lr / (1 + lambd lr t)^alpha
    mu  = 1 / max(1, t - t0)
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_options(lr=lr, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        step = scalar(0.0, p)
        eta = (step + scalar_of(group["lr"])).to(step.dtype).detach()
        return {"step": step, "eta": eta, "mu": scalar(1.0, p), "ax": zeros_like(p)}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        lr, eta, mu = o["lr"], s["eta"].double(), s["mu"].double()
        t = s["step"] + 1
        n = t.double()
        g = decayed(p, g, o)
        p = p * (1 - o["lambd"] * eta) - eta * g
        ax = where(mu == 1, p, s["ax"] + mu * (p - s["ax"]))
        eta = lr / (1 + o["lambd"] * lr * n) ** o["alpha"]
        mu = 1 / (n - o["t0"]).clamp(min=1)
        return p, {"step": t, "eta": eta, "mu": mu, "ax": ax}
