"""Adam."""

from __future__ import annotations

from collections.abc import Sequence

from ..functions.creation import zeros_like
from ..ops import updates
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import Live, RuleOptimizer, State, scalar_of


class Adam(RuleOptimizer):
    """Adam: a method for stochastic optimization (Kingma and Ba 2015).

        g = grad + weight_decay p                   or p = p (1 - lr weight_decay) if decoupled
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p = p - lr  m / (1 - beta1^t)  /  (sqrt(v / (1 - beta2^t)) + eps)

    With amsgrad (Reddi et al. 2018), the largest v so far stands for v in the last line. The formula in code is
    `decompose` of the op `adam`, which also has a kernel that works in place.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": tuple(map(scalar_of, betas)),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        return {"step": scalar(0.0, p), **{name: zeros_like(p) for name in names}}

    def update(self, live: Sequence[Live], o: Group) -> None:
        options = o["lr"], *o["betas"], o["eps"], o["weight_decay"]
        rows = []
        for p, g, s in live:
            peak = s["max_exp_avg_sq"] if o["amsgrad"] else None
            rows.append((p, s["exp_avg"], s["exp_avg_sq"], s["step"], peak, g, *options))
        self.apply(updates.adam, rows, decoupled=o["decoupled_weight_decay"], maximize=o["maximize"])
