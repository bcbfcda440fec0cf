"""`torch.utils.flop_counter`: how much is computed."""

from __future__ import annotations

from ..lens.flops import FlopCounterMode

__all__ = ["FlopCounterMode"]
