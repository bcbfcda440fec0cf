"""Lion."""

from __future__ import annotations

from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options
from .rule import RuleOptimizer, State, shrunk


class Lion(RuleOptimizer):
    """Symbolic discovery of optimization algorithms (Chen et al. 2023): steps of one size, by the sign of the momentum.

    c = beta1 m + (1 - beta1) g
    p = p (1 - lr weight_decay) - lr sign(c)
    m = beta2 m + (1 - beta2) g
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_options(lr=lr, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        return {"exp_avg": zeros_like(p)}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        beta1, beta2 = o["betas"]
        m = s["exp_avg"]
        c = beta1 * m + (1 - beta1) * g
        return shrunk(p, o) - o["lr"] * c.sign(), {"exp_avg": beta2 * m + (1 - beta2) * g}
