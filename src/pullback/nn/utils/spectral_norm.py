"""The older spectral_norm: weight = weight_orig / sigma. See parametrizations.spectral_norm."""

from __future__ import annotations

from typing import Any

from ...errors import ArgumentError, fail
from ...functions.linear_algebra import dot
from ...tensor import Tensor
from ..functional import normalize
from ..module import Module, Parameter
from .parametrizations import as_matrix, power_iteration, usual_dim
from .recomputed import Recomputed, remove

__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]


class SpectralNorm(Recomputed):
    """Sets the weight before each forward, after steps of power iteration if the module is training."""

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__(name)
        if n_power_iterations <= 0:
            fail(ArgumentError, f"n_power_iterations must be positive, but is {n_power_iterations}")
        self.dim, self.n_power_iterations, self.eps = dim, n_power_iterations, eps

    def start(self, module: Any, weight: Parameter) -> Tensor:
        matrix = as_matrix(weight.detach(), self.dim)
        module.register_parameter(self.name + "_orig", weight)
        for which, size in zip(("_u", "_v"), matrix.shape, strict=True):
            module.register_buffer(self.name + which, normalize(matrix.new_empty(size).normal_(), dim=0, eps=self.eps))
        return weight.detach()

    def compute(self, module: Any, training: bool) -> Tensor:
        weight, u, v = (getattr(module, self.name + which) for which in ("_orig", "_u", "_v"))
        matrix = as_matrix(weight, self.dim)
        if training:
            power_iteration(matrix.t(), v, u, self.n_power_iterations, self.eps)  # v first here, then u
            u, v = u.clone(), v.clone()  # the next iteration writes over them
        return weight / dot(u, matrix.mv(v))

    def stop(self, module: Any) -> None:
        for which in ("_orig", "_u", "_v"):
            delattr(module, self.name + which)


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide the weight by its largest singular value."""
    SpectralNorm(name, n_power_iterations, usual_dim(module) if dim is None else dim, eps).apply(module)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight a parameter again."""
    remove(module, SpectralNorm, name)
    return module
