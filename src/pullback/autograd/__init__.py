"""`torch.autograd`: gradients asked for in every way."""

from __future__ import annotations

from ..anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from ..gradients import backward, grad
from ..modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..tensor import Tensor
from . import function, functional, graph
from .function import Function
from .gradcheck import gradcheck, gradgradcheck

__all__ = [
    "Function", "Variable", "backward", "detect_anomaly", "enable_grad", "function", "functional", "grad", "gradcheck",
    "gradgradcheck", "graph", "inference_mode", "is_anomaly_enabled", "no_grad", "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip


def Variable(data: Tensor, requires_grad: bool = False) -> Tensor:
    """PyTorch's old name for a tensor on the tape."""
    return data.detach().requires_grad_() if requires_grad else data
