"""Comparisons, logic and choice, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from ..errors import PullbackError, fail
from ..ops import compare as ops
from ..tensor import Tensor
from .elementwise import deliver, expect, one, two
from .expose import also_known_as, public

eq = two(ops.eq)
ne = two(ops.ne, "ne", "not_equal")
lt = two(ops.lt, "lt", "less")
le = two(ops.le, "le", "less_equal")
gt = two(ops.gt, "gt", "greater")
ge = two(ops.ge, "ge", "greater_equal")

logical_and = two(ops.logical_and)
logical_or = two(ops.logical_or)
logical_xor = two(ops.logical_xor)
logical_not = one(ops.logical_not)
bitwise_and = two(ops.bitwise_and)
bitwise_or = two(ops.bitwise_or)
bitwise_xor = two(ops.bitwise_xor)
bitwise_not = one(ops.bitwise_not)
bitwise_left_shift = two(ops.left_shift, "bitwise_left_shift")
bitwise_right_shift = two(ops.right_shift, "bitwise_right_shift")

isnan = one(ops.isnan, inplace=False)
isinf = one(ops.isinf, inplace=False)
isfinite = one(ops.isfinite, inplace=False)
isposinf = one(ops.isposinf, inplace=False)
isneginf = one(ops.isneginf, inplace=False)
signbit = one(ops.signbit, inplace=False)

maximum = two(ops.maximum, inplace=False)
minimum = two(ops.minimum, inplace=False)
fmax = two(ops.fmax, inplace=False)
fmin = two(ops.fmin, inplace=False)


@public(inplace=True)
def clamp(input: Tensor, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
    """The tensor held between two bounds, numbers or tensors; where they contradict, the upper one holds."""
    if min is None and max is None:
        fail(PullbackError, "clamp: at least one of 'min' or 'max' must not be None", "pass a bound")
    if min is not None:
        min = expect("clamp", "min", min)
    if max is not None:
        max = expect("clamp", "max", max)
    return deliver(ops.clamp(expect("clamp", "input", input), min, max), out)


@public(inplace=True)
def clamp_min(input: Tensor, min: Any, *, out: Tensor | None = None) -> Tensor:
    """clamp with a lower bound alone."""
    return clamp(input, min, out=out)


@public(inplace=True)
def clamp_max(input: Tensor, max: Any, *, out: Tensor | None = None) -> Tensor:
    """clamp with an upper bound alone."""
    return clamp(input, None, max, out=out)


also_known_as(clamp, "clip", inplace=True)


@public(method=False)
def where(condition: Tensor, input: Any = None, other: Any = None, *, out: Tensor | None = None) -> Any:
    """input where the condition holds, else other; with the condition alone, the indices at which it holds."""
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    return deliver(ops.where(condition, expect("where", "input", input), expect("where", "other", other)), out)


@public(function=False, name="where")
def where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """self where the condition holds, else other."""
    return where(condition, self, other)


@public()
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol |other|, element by element."""
    return ops.isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)


@public()
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Is every element close to the other tensor's?"""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@public()
def equal(input: Tensor, other: Tensor) -> bool:
    """Have both the same shape and the same elements?"""
    return input.shape == other.shape and bool(ops.eq(input, other).all())
