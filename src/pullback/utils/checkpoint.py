"""`torch.utils.checkpoint`: time for memory."""

from __future__ import annotations

from ..checkpointing import checkpoint, checkpoint_sequential

__all__ = ["checkpoint", "checkpoint_sequential"]
