"""Muon."""

from __future__ import annotations

import math

from ..errors import ArgumentError, ShapeError, fail
from ..functions.creation import zeros_like
from ..functions.linear_algebra import addmm
from ..tensor import Tensor
from .optimizer import Group, Params, check_options
from .rule import RuleOptimizer, State, shrunk


class Muon(RuleOptimizer):
    """Muon, for the matrices of hidden layers (Jordan 2024): momentum, made orthogonal.

        b = momentum b + (1 - momentum) g
        u = g + momentum (b - g) if nesterov, else b
        O = U V^T, where u = U S V^T; by ns_steps of Newton and Schulz in bfloat16
        p = p (1 - lr weight_decay) - lr s O

    where s = sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns)) for adjust_lr_fn="match_rms_adamw".
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_options(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            fail(
                ArgumentError,
                f"Adjust learning rate function {adjust_lr_fn} is not supported",
                "use 'original' or 'match_rms_adamw'",
            )
        if ns_steps >= 100 or len(ns_coefficients) != 3:
            fail(ArgumentError, f"ns_steps={ns_steps} must be below 100, and ns_coefficients three numbers")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """As in Optimizer; all parameters must be matrices."""
        super().add_param_group(param_group)
        for p in param_group["params"]:
            if p.ndim != 2:
                self.param_groups.pop()
                fail(
                    ShapeError,
                    f"Muon only supports 2D parameters whereas we found a parameter with size: {list(p.shape)}",
                    "give biases, embeddings and the last layer to another optimizer, such as AdamW",
                )

    def begin(self, p: Tensor, group: Group) -> State:
        return {"momentum_buffer": zeros_like(p)}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        momentum = o["momentum"]
        b = s["momentum_buffer"] + (1 - momentum) * (g - s["momentum_buffer"])
        u = g + momentum * (b - g) if o["nesterov"] else b
        u = orthogonalised(u, o["ns_coefficients"], o["ns_steps"], o["eps"])
        rows, columns = p.shape
        scale = 0.2 * math.sqrt(max(rows, columns)) if o["adjust_lr_fn"] == "match_rms_adamw" else None
        scale = math.sqrt(max(1, rows / columns)) if scale is None else scale
        return shrunk(p, o) - o["lr"] * scale * u, {"momentum_buffer": b}


def orthogonalised(u: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The nearest half-orthogonal matrix, roughly: X = a X + (b X X^T + c (X X^T)^2) X, from X = u / |u|."""
    a, b, c = coefficients
    x = u.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.t() if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.t()
        x = addmm(x, addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.t() if tall else x
