"""+ - * / // % and their kin, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from ..errors import PullbackError, fail
from ..ops import arithmetic as ops
from ..tensor import Tensor
from .elementwise import combine, computed, expect, one, two
from .expose import also_known_as, public

mul = two(ops.mul, "mul", "multiply")
floor_divide = two(ops.floor_divide)
remainder = two(ops.remainder)
fmod = two(ops.fmod)
neg = one(ops.neg, "neg", "negative")
abs = one(ops.abs, "abs", "absolute")
sign = one(ops.sign, "sign", "sgn")
reciprocal = one(ops.reciprocal)
square = one(ops.square)


@public()
def add(input: Any, other: Any, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
    """input + alpha * other"""
    return computed(ops.add, input, other if alpha == 1 else mul(other, alpha), out)


@public()
def add_(self: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """self += alpha * other"""
    return combine(ops.add, self, expect("add_", "other", other if alpha == 1 else mul(other, alpha)))


@public()
def sub(input: Any, other: Any, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
    """input - alpha * other"""
    return computed(ops.sub, input, other if alpha == 1 else mul(other, alpha), out)


@public()
def sub_(self: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """self -= alpha * other"""
    return combine(ops.sub, self, expect("sub_", "other", other if alpha == 1 else mul(other, alpha)))


also_known_as(sub, "subtract")
also_known_as(sub_, "subtract_")


@public(method=False)
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input"""
    return sub(other, input, alpha=alpha)


DIVISIONS = {None: ops.div, "floor": ops.floor_divide, "trunc": ops.trunc_divide}


def division(mode: str | None) -> Any:
    """The op of a rounding mode."""
    if mode not in DIVISIONS:
        fail(PullbackError, f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {mode!r}")
    return DIVISIONS[mode]


@public()
def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Tensor | None = None) -> Tensor:
    """input / other, rounded down ("floor") or towards zero ("trunc") if asked for."""
    return computed(division(rounding_mode), input, other, out)


@public()
def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """self /= other"""
    return combine(division(rounding_mode), self, expect("div_", "other", other))


also_known_as(div, "divide", "true_divide")
also_known_as(div_, "divide_", "true_divide_")


@public()
def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    return input
