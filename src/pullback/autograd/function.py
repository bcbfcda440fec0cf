"""`torch.autograd.function`: ops of one's own."""

from __future__ import annotations

from ..function import Function, FunctionCtx, once_differentiable

__all__ = ["Function", "FunctionCtx", "once_differentiable"]
