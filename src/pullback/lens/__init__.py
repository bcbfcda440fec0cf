"""Looking into a computation: what backward does, why a gradient is what it is, what a step costs."""

from __future__ import annotations

from .explain import explanation
from .flops import FlopCounterMode
from .summary import Summary, summary
from .why import diagnosis

__all__ = ["FlopCounterMode", "Summary", "diagnosis", "explanation", "summary"]
