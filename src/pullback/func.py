"""`torch.func`: functions from functions."""

from __future__ import annotations

from .nn.utils.stateless import functional_call
from .transforms import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, value_and_grad, vjp

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "value_and_grad", "vjp",
]  # fmt: skip
