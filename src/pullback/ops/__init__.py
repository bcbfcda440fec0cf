"""All ops, each one record; `record.py` says what a record holds. Import an op from the file of its family."""

from __future__ import annotations

from . import (
    activation,
    along,
    arithmetic,
    attention,
    compare,
    control,
    convolution,
    counting,
    create,
    decompositions,
    extremes,
    folding,
    grouped,
    indexing,
    joining,
    losses,
    matmul,
    normalization,
    norms,
    pointwise,
    pooling,
    random,
    recurrence,
    reduction,
    resampling,
    scan,
    shape,
    softmax,
    sorting,
    special,
    strided,
    updates,
)
from .record import OPS

__all__ = ["OPS"]
