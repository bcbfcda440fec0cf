"""Looking into a computation: what backward does, why a gradient is what it is, what a step costs."""

from __future__ import annotations

from . import explain, why
from .flops import FlopCounterMode

__all__ = ["FlopCounterMode", "explain", "why"]
