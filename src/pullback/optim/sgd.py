"""SGD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError, fail
from ..functions.creation import zeros_like
from ..ops import updates
from ..tensor import Tensor
from .optimizer import Group, Params, check_options
from .rule import Live, RuleOptimizer, State


class SGD(RuleOptimizer):
    """Stochastic gradient descent, with Polyak's or Nesterov's momentum (Sutskever et al. 2013).

        g = grad + weight_decay p
        b = momentum b + (1 - dampening) g          b = g at the first step
        p = p - lr b                                or p - lr (g + momentum b) if nesterov

    The formula in code is `decompose` of the op `sgd`, which also has a kernel that works in place.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_options(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            fail(ArgumentError, "Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        """A momentum of zero, into which the first gradient goes whole. With dampening, the first step is another."""
        return {"momentum_buffer": zeros_like(p)} if group["momentum"] != 0 and group["dampening"] == 0 else {}

    def update(self, live: Sequence[Live], o: Group) -> None:
        rows = []
        for p, g, s in live:
            b, dampening = None, o["dampening"]
            if o["momentum"] != 0:
                b, dampening = self.buffer(p, s, dampening)
            rows.append((p, b, g, o["lr"], o["momentum"], dampening, o["weight_decay"]))
        self.apply(updates.sgd, rows, nesterov=o["nesterov"], maximize=o["maximize"])

    def buffer(self, p: Tensor, s: dict[str, Tensor], dampening: float) -> tuple[Tensor, Any]:
        """The momentum, and how much to dampen: the first gradient goes in undamped."""
        b = s.get("momentum_buffer")
        if b is None:
            b = self.state[p]["momentum_buffer"] = zeros_like(p)
            return b, 0.0
        if dampening != 0 and self.found_inf is not None:  # the first step may have been skipped
            return b, dampening * b.ne(0).any().double()
        return b, dampening
