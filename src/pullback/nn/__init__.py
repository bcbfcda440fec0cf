"""torch.nn: modules and what they are made of."""

from __future__ import annotations

from . import functional
from .module import Buffer, Module, Parameter

__all__ = ["Buffer", "Module", "Parameter", "functional"]
