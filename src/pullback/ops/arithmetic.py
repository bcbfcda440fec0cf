"""Arithmetic, element by element: + - * / // % and the functions that come straight from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import BOOL, F32
from ..errors import DTypeError, PullbackError, fail
from .create import full_like
from .record import Op, Sample, elementwise, floating, op, per_element, promoting
from .samples import inf, integer_pairs, integers, pairs, positive, unary


def with_integers(samples: Callable[[], list[Sample]]) -> Callable[[], list[Sample]]:
    """The same, and integers."""
    return lambda: samples() + integer_pairs()


def zero(g: Any) -> Any:
    """The cotangent of something that only changes in jumps."""
    return full_like(g, value=0.0)


def numbers_only(f: Callable[..., Any]) -> Callable[..., Any]:
    """f, refusing booleans, of which NumPy would make 8-bit integers."""

    def checked(*arrays: Any) -> Any:
        if getattr(arrays[-1], "dtype", F32) == BOOL:
            raise TypeError("it is not defined for booleans; convert them first: x.int()")
        return f(*arrays)

    return checked


add = op(
    "add", "x + y", inputs="x y", torch="torch.add(x, y)",
    numpy=np.add, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: g, "y": lambda g: g},
    samples=with_integers(pairs()),
)  # fmt: skip


def no_booleans(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """As `promoting`; a mask is not subtracted, it is inverted."""
    if any(type(a) is bool or getattr(a, "dtype", None) == BOOL for a in arrays):
        fail(
            DTypeError,
            "Subtraction, the `-` operator, with a bool tensor is not supported",
            "to invert a mask, use ~mask; to calculate with it, convert it first: mask.int()",
        )
    return promoting(op, arrays)


sub = op(
    "sub", "x - y", inputs="x y", torch="torch.sub(x, y)",
    numpy=np.subtract, infer=elementwise, dtypes=no_booleans, flops=per_element(1),
    vjp={"x": lambda g: g, "y": lambda g: neg(g)},
    samples=with_integers(pairs()),
)  # fmt: skip

mul: Op = op(
    "mul", "x * y", inputs="x y", torch="torch.mul(x, y)",
    numpy=np.multiply, infer=elementwise, dtypes=promoting, flops=per_element(1),
    # d(xy) = y dx + x dy
    vjp={"x": lambda g, y: mul(g, y), "y": lambda g, x: mul(g, x)},
    samples=with_integers(pairs()),
)  # fmt: skip

div: Op = op(
    "div", "x / y", inputs="x y", torch="torch.div(x, y)",
    numpy=np.divide, infer=elementwise, dtypes=floating, flops=per_element(1),
    # d(x/y) = dx / y - (x/y) dy / y
    vjp={"x": lambda g, y: div(g, y), "y": lambda g, y, out: neg(mul(g, div(out, y)))},
    samples=pairs(other=positive),
)  # fmt: skip

neg: Op = op(
    "neg", "-x", inputs="x", torch="torch.neg(x)",
    numpy=np.negative, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: neg(g)},
    samples=unary(),
)  # fmt: skip

reciprocal = op(
    "reciprocal", "1 / x", inputs="x", torch="torch.reciprocal(x)",
    numpy=np.reciprocal, infer=elementwise, dtypes=floating, flops=per_element(1),
    # d(1/x) = -dx / x^2
    vjp={"x": lambda g, out: neg(mul(g, mul(out, out)))},
    samples=unary(positive),
)  # fmt: skip

square = op(
    "square", "x^2", inputs="x", torch="torch.square(x)",
    numpy=numbers_only(np.square), infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, mul(x, 2))},
    samples=unary(),
)  # fmt: skip

abs = op(
    "abs", "|x|", inputs="x", torch="torch.abs(x)",
    numpy=np.abs, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, sign(x))},
    samples=unary(),
)  # fmt: skip

sign: Op = op(
    "sign", "-1, 0 or 1; 0 of nan", inputs="x", torch="torch.sign(x)",
    numpy=lambda x: np.subtract(np.greater(x, 0).astype(x.dtype), np.less(x, 0)), infer=elementwise, dtypes=promoting,
    flops=per_element(1),
    vjp={"x": zero},
    samples=unary(),
)  # fmt: skip


# -- division with a whole quotient ------------------------------------------------------------------------------------


def whole(ufunc: Callable[..., Any]) -> Callable[..., Any]:
    """A division of integers, which has no answer for a divisor of 0."""

    @numbers_only
    def divide(x: Any, y: Any) -> Any:
        if getattr(y, "dtype", F32).kind in "iu" and not np.all(y):
            fail(
                PullbackError,
                "ZeroDivisionError: an integer tensor is divided by zero",
                "divide floating point tensors to get inf or nan",
            )
        return ufunc(x, y)

    return divide


def divisions() -> list[Sample]:
    """Quotients away from whole numbers, signs in all combinations, and division by zero."""

    def dividend(*shape: int, seed: int = 0) -> Any:
        return np.asarray(integers(-9, 9, *shape, seed=seed) + 0.3)

    def divisor(*shape: int, seed: int = 0) -> Any:
        return np.asarray(np.array([1.0, -1.0, 2.0, -2.0, 4.0, -4.0])[integers(0, 6, *shape, seed=seed)])

    return [
        *pairs(dividend, divisor, 2.0)(),
        *integer_pairs(),
        Sample((np.array([7.0, -7.0, 7.0, -7.0]), np.array([3.0, 3.0, -3.0, -3.0])), note="signs"),
        Sample((np.array([7, -7, 7, -7]), np.array([3, 3, -3, -3])), smooth=False, note="signs of integers"),
        Sample(
            (np.array([6.0, -6.0, 0.0, 5.0, -5.0]), np.array([3.0, 2.0, 2.0, inf, inf])),
            smooth=False,
            note="whole quotients",
        ),
        Sample((np.array([1.0, -1.0, 0.0]), 0.0), smooth=False, note="by zero"),
    ]


floor_divide = op(
    "floor_divide", "floor(x / y)", inputs="x y", torch="torch.div(x, y, rounding_mode='floor')",
    numpy=whole(np.floor_divide), infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": zero, "y": zero},
    samples=divisions,
)  # fmt: skip


def _trunc_divide(x: Any, y: Any) -> Any:
    if getattr(x, "dtype", y).kind not in "iu":
        return np.trunc(np.divide(x, y))
    quotient = np.floor_divide(x, y)
    return quotient + ((quotient < 0) & (quotient * y != x))


trunc_divide = op(
    "trunc_divide", "x / y, rounded towards zero", inputs="x y", torch="torch.div(x, y, rounding_mode='trunc')",
    numpy=whole(_trunc_divide), infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": zero, "y": zero},
    samples=divisions,
)  # fmt: skip

remainder = op(
    "remainder", "x - y floor(x / y), with the sign of y", inputs="x y", torch="torch.remainder(x, y)",
    numpy=whole(np.remainder), infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: g, "y": lambda g, x, y: neg(mul(g, floor_divide(x, y)))},
    samples=divisions,
)  # fmt: skip

fmod = op(
    "fmod", "x - y trunc(x / y), with the sign of x", inputs="x y", torch="torch.fmod(x, y)",
    numpy=whole(np.fmod), infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: g, "y": lambda g, x, y: neg(mul(g, trunc_divide(x, y)))},
    samples=divisions,
)  # fmt: skip
