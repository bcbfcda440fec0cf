"""`torch.utils`."""

from __future__ import annotations

from . import checkpoint, flop_counter

__all__ = ["checkpoint", "flop_counter"]
