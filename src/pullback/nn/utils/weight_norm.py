"""The older weight_norm: weight = g v / |v|, as `weight_g` and `weight_v`. See parametrizations.weight_norm."""

from __future__ import annotations

from typing import Any

from ...modes import no_grad
from ...tensor import Tensor
from ..module import Module, Parameter
from .parametrizations import norm_except, normed
from .recomputed import Recomputed, remove

__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]


class WeightNorm(Recomputed):
    """Sets the weight before each forward."""

    def __init__(self, name: str, dim: int | None) -> None:
        super().__init__(name)
        self.dim = -1 if dim is None else dim

    def start(self, module: Any, weight: Parameter) -> Tensor:
        with no_grad():
            module.register_parameter(self.name + "_g", Parameter(norm_except(weight, self.dim)))
        module.register_parameter(self.name + "_v", Parameter(weight.detach()))
        return self.compute(module, module.training)

    def compute(self, module: Any, training: bool) -> Tensor:
        return normed(getattr(module, self.name + "_g"), getattr(module, self.name + "_v"), self.dim)

    def stop(self, module: Any) -> None:
        delattr(module, self.name + "_g")
        delattr(module, self.name + "_v")


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train norms and directions instead of the weight; dim=None: one norm for all."""
    WeightNorm(name, dim).apply(module)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight a parameter again."""
    remove(module, WeightNorm, name)
    return module
