"""Is a compiled step right? Compared with the eager step, with other engines, and with float64."""

from __future__ import annotations

from .step import Report, verified_call, verify

__all__ = ["Report", "verified_call", "verify"]
