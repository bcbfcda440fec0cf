"""The functions and methods PyTorch users know, over the ops."""

from __future__ import annotations

from . import (
    arithmetic,
    brackets,
    compare,
    conversion,
    counting,
    creation,
    decompositions,
    differentiate,
    display,
    einsum,
    extremes,
    files,
    indexing,
    joining,
    linear_algebra,
    matrix_norms,
    operators,
    pointwise,
    random,
    rearranging,
    reduction,
    scan,
    scattering,
    shape,
    softmax,
    sorting,
    special,
    variates,
)
from .expose import PUBLIC

__all__ = ["PUBLIC"]
