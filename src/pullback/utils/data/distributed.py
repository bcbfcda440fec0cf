"""`torch.utils.data.distributed`."""

from __future__ import annotations

from ...data.samplers import DistributedSampler

__all__ = ["DistributedSampler"]
