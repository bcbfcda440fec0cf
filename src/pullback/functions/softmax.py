"""softmax and log_softmax, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from ..ops import softmax as ops
from ..tensor import Tensor
from .dims import converted, given, numpy_names, one
from .expose import public


@public()
@numpy_names
def softmax(input: Tensor, dim: int, dtype: Any = None, *, out: Tensor | None = None) -> Tensor:
    """exp(input) / sum(exp(input)) along `dim`."""
    x = input if dtype is None else converted(input, dtype)
    return given(out, ops.softmax(x, dim=one(dim, x._array.ndim)))


@public()
@numpy_names
def log_softmax(input: Tensor, dim: int, dtype: Any = None, *, out: Tensor | None = None) -> Tensor:
    """log(softmax(input)) along `dim`, computed without overflow."""
    x = input if dtype is None else converted(input, dtype)
    return given(out, ops.log_softmax(x, dim=one(dim, x._array.ndim)))
