"""Normalisation by the decompositions: XLA makes few passes of their sums and elementwise parts."""

from __future__ import annotations

from typing import Any

from ....dtypes import F32, HALVES
from ....ops import normalization as records
from . import Array, form

for record in (
    records.layer_norm,
    records.rms_norm,
    records.row_norm_gradient,
    records.group_norm,
    records.channel_norm_gradient,
):
    assert record.decompose is not None
    form(record.name)(record.decompose)


@form("batch_norm")
def _batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> Any:
    """The statistics of half types are float32."""
    assert records.batch_norm.decompose is not None
    wide = [a.astype(F32) if a is not None and a.dtype in HALVES else a for a in (x, weight, bias)]
    y, mean, variance = records.batch_norm.decompose(*wide, eps=eps)
    return y.astype(x.dtype), mean, variance
