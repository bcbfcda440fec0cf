"""+ - * / ** and their kin, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from ..ops import arithmetic as ops
from ..tensor import Tensor
from .expose import also_known_as, public


@public(inplace=True)
def add(input: Any, other: Any, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
    """input + alpha * other"""
    return ops.add(input, other if alpha == 1 else ops.mul(other, alpha))


@public(inplace=True)
def mul(input: Any, other: Any) -> Tensor:
    """input * other"""
    return ops.mul(input, other)


also_known_as(mul, "multiply", inplace=True)
