"""Rprop."""

from __future__ import annotations

from ..errors import ArgumentError, fail
from ..functions.compare import where
from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State, scalar_of


class Rprop(RuleOptimizer):
    """Resilient backpropagation (Riedmiller and Braun 1993): steps depend on the gradient's sign only.

    d = d eta+  where g and the gradient before have one sign, d eta- where they differ; within step_sizes
    g = 0       where they differ
    p = p - sign(g) d
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_options(lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            fail(ArgumentError, f"Invalid eta values: {etas[0]}, {etas[1]}", "they must satisfy 0 < eta- < 1 < eta+")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        step_size = zeros_like(p) + scalar_of(group["lr"])
        return {"step": scalar(0.0, p), "prev": zeros_like(p), "step_size": step_size.to(p.dtype).detach()}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        smaller, larger = o["etas"]
        agree = g * s["prev"]
        d = s["step_size"]
        d = where(agree > 0, d * larger, where(agree < 0, d * smaller, d)).clamp(*o["step_sizes"])
        g = where(agree < 0, 0.0, g)
        return p - g.sign() * d, {"step": s["step"] + 1, "prev": g, "step_size": d}
