"""Adagrad."""

from __future__ import annotations

from ..functions.creation import full_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State, decayed


class Adagrad(RuleOptimizer):
    """Adaptive subgradient methods for online learning and stochastic optimization (Duchi, Hazan and Singer 2011).

    g = grad + weight_decay p
    G = G + g^2
    p = p - lr / (1 + (t - 1) lr_decay)  g / (sqrt(G) + eps)
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_options(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                self.state_of(p, group)

    def begin(self, p: Tensor, group: Group) -> State:
        return {"step": scalar(0.0, p), "sum": full_like(p, self.defaults["initial_accumulator_value"])}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        t = s["step"] + 1
        g = decayed(p, g, o)
        total = s["sum"] + g * g
        p = p - o["lr"] / (1 + (t.double() - 1) * o["lr_decay"]) * (g / (total.sqrt() + o["eps"]))
        return p, {"step": t, "sum": total}
