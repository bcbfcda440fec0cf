"""Features brought to mean 0 and standard deviation 1."""

from __future__ import annotations

from ..functions.creation import ones_like
from ..nn.module import Module
from ..ops.compare import where
from ..tensor import Tensor


class Standardize(Module):
    """(x - mean) / std, and back with `inverse`. Fit it to the training data alone, and use it on all data.

    It is a module: its two buffers are saved and loaded with the model that it stands in front of.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @classmethod
    def fit(cls, x: Tensor, dim: int | tuple[int, ...] = 0) -> Standardize:
        """The mean and deviation over `dim`: over samples, or (0, 2, 3) for images by channel. A constant stays one."""
        x = x.detach()
        mean, std = x.mean(dim, keepdim=True), x.std(dim, correction=0, keepdim=True)
        std = where(std == 0, ones_like(std), std)
        return cls(mean.squeeze(0), std.squeeze(0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def inverse(self, y: Tensor) -> Tensor:
        """The x that gives y."""
        return y * self.std + self.mean

    def extra_repr(self) -> str:
        return f"features={list(self.mean.shape)}"
