"""A larger batch wants a larger learning rate."""

from __future__ import annotations

from ..errors import ArgumentError, fail


def linear_scaled_lr(base_lr: float, base_batch: int, batch: int) -> float:
    """base_lr batch / base_batch: for SGD (Goyal et al. 2017). Batches so much larger want a warm-up as well."""
    return base_lr * _growth(base_batch, batch)


def sqrt_scaled_lr(base_lr: float, base_batch: int, batch: int) -> float:
    """base_lr sqrt(batch / base_batch): for Adam and its kin (Malladi et al. 2022)."""
    return base_lr * _growth(base_batch, batch) ** 0.5


def _growth(base_batch: int, batch: int) -> float:
    if base_batch <= 0 or batch <= 0:
        fail(ArgumentError, f"batch sizes must be positive, not {base_batch} and {batch}")
    return batch / base_batch
