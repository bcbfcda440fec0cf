"""`torch.autograd.graph`: nodes, and what they save."""

from __future__ import annotations

from ..checkpointing import save_on_cpu, saved_tensors_hooks
from ..tape import Node

__all__ = ["Node", "save_on_cpu", "saved_tensors_hooks"]
