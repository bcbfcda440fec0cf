"""`torch.utils.data`: datasets, samplers and the loader."""

from __future__ import annotations

from ... import data as _data
from ...data import *  # noqa: F403
from . import dataloader, dataset, distributed, sampler

__all__ = [*_data.__all__, "dataloader", "dataset", "distributed", "sampler"]
