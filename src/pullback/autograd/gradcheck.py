"""`torch.autograd.gradcheck`: gradients against differences."""

from __future__ import annotations

from ..gradcheck import GradcheckError, gradcheck, gradgradcheck, numerical_gradient

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck", "numerical_gradient"]
