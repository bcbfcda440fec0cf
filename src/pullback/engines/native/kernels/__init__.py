"""Which C functions compute an op: a file a family, as in `pullback.ops`."""

from __future__ import annotations

from . import (
    attention,
    control,
    convolution,
    counting,
    indexing,
    matmul,
    movement,
    normalization,
    pooling,
    random,
    recurrence,
    reductions,
    rows,
    sorting,
    views,
)
