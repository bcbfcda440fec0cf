"""Python's operators on Tensors. They go straight to the tape: this is the hottest path there is."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ..dtypes import BOOL, FLOATS
from ..errors import DTypeError, PullbackError, fail
from ..ops import arithmetic, compare, pointwise
from ..ops.record import Op
from ..tape import apply
from ..tensor import Tensor, wrap
from .elementwise import DIRECT, NO_PARAMS, combine, operand


def binary(op: Op) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """`x + y`, `y + x` where y is no Tensor, and `x += y`."""

    def forward(self: Tensor, other: Any) -> Any:
        if type(other) not in DIRECT and (other := operand(other)) is None:
            return NotImplemented
        return apply(op, (self, other), NO_PARAMS)

    def reflected(self: Tensor, other: Any) -> Any:
        if type(other) not in DIRECT and (other := operand(other)) is None:
            return NotImplemented
        return apply(op, (other, self), NO_PARAMS)

    def in_place(self: Tensor, other: Any) -> Any:
        if type(other) not in DIRECT and (other := operand(other)) is None:
            return NotImplemented
        return combine(op, self, other)

    return forward, reflected, in_place


for name, op in {
    "add": arithmetic.add,
    "sub": arithmetic.sub,
    "mul": arithmetic.mul,
    "truediv": arithmetic.div,
    "floordiv": arithmetic.floor_divide,
    "mod": arithmetic.remainder,
    "pow": pointwise.pow,
    "and": compare.bitwise_and,
    "or": compare.bitwise_or,
    "xor": compare.bitwise_xor,
    "lshift": compare.left_shift,
    "rshift": compare.right_shift,
}.items():
    for prefix, method in zip(("", "r", "i"), binary(op), strict=True):
        method.__name__ = f"__{prefix}{name}__"
        setattr(Tensor, method.__name__, method)


for name, op in {
    "eq": compare.eq,
    "ne": compare.ne,
    "lt": compare.lt,
    "le": compare.le,
    "gt": compare.gt,
    "ge": compare.ge,
}.items():
    method = binary(op)[0]
    method.__name__ = f"__{name}__"
    setattr(Tensor, method.__name__, method)


def _neg(self: Tensor) -> Tensor:
    return apply(arithmetic.neg, (self,), NO_PARAMS)


def _abs(self: Tensor) -> Tensor:
    return apply(arithmetic.abs, (self,), NO_PARAMS)


def _pos(self: Tensor) -> Tensor:
    if self._array.dtype == BOOL:
        fail(DTypeError, "The `+` operator, on a bool tensor is not supported.", "convert it first: x.int()")
    return self


def _invert(self: Tensor) -> Tensor:
    if self._array.dtype in FLOATS:
        fail(
            DTypeError,
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors",
            "use -x, or 1 - x",
        )
    return apply(compare.bitwise_not, (self,), NO_PARAMS)


# -- leaving for Python's own types ------------------------------------------------------------------------------------


def _bool(self: Tensor) -> bool:
    if self._array.size != 1:
        what = "no values" if self._array.size == 0 else "more than one value"
        fail(PullbackError, f"Boolean value of Tensor with {what} is ambiguous", "reduce it first: x.any() or x.all()")
    return bool(self.item())


def _number(self: Tensor, kind: Callable[[Any], Any]) -> Any:
    if self._array.size != 1:
        raise ValueError(
            f"only one element tensors can be converted to Python scalars, not a tensor of shape {list(self.shape)}"
        )
    return kind(self.item())


def _index(self: Tensor) -> int:
    if self._array.size != 1 or self._array.dtype in FLOATS:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return operator.index(self.item())


def _len(self: Tensor) -> int:
    shape = self._array.shape
    if not shape:
        raise TypeError("len() of a 0-d tensor")
    return int(shape[0])


def _contains(self: Tensor, element: Any) -> bool:
    if (value := operand(element)) is None:
        kind = type(element).__name__
        fail(
            PullbackError,
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {kind}",
            "compare the elements: (x == y).any()",
        )
    return bool((self == value).any().item())


for method in (_neg, _abs, _pos, _invert, _bool, _index, _len, _contains):
    setattr(Tensor, f"__{method.__name__[1:]}__", method)
Tensor.__float__ = lambda self: _number(self, float)  # type: ignore[method-assign]
Tensor.__int__ = lambda self: _number(self, int)  # type: ignore[method-assign]
Tensor.__complex__ = lambda self: _number(self, complex)  # type: ignore[attr-defined]


def _array_wrap(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Tensor:
    return wrap(array.__array__())


Tensor.__array_wrap__ = _array_wrap  # type: ignore[attr-defined]  # NumPy's functions of Tensors give Tensors
