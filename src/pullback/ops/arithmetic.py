"""Arithmetic, element by element: + - * / ** and the functions that come straight from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import F32, FLOATS
from ..errors import PullbackError, fail
from .create import full_like
from .record import Op, Sample, elementwise, floating, op, per_element, promoting
from .samples import inf, integer_pairs, integers, nan, pairs, positive, randn, unary


def with_integers(samples: Callable[[], list[Sample]]) -> Callable[[], list[Sample]]:
    """The same, and integers."""
    return lambda: samples() + integer_pairs()


def zero(g: Any) -> Any:
    """The cotangent of something that only changes in jumps."""
    return full_like(g, value=0.0)


add = op(
    "add", "x + y", inputs="x y", torch="torch.add(x, y)",
    numpy=np.add, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: g, "y": lambda g: g},
    samples=with_integers(pairs()),
)  # fmt: skip

sub = op(
    "sub", "x - y", inputs="x y", torch="torch.sub(x, y)",
    numpy=np.subtract, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: g, "y": lambda g: neg(g)},
    samples=with_integers(pairs()),
)  # fmt: skip

mul = op(
    "mul", "x * y", inputs="x y", torch="torch.mul(x, y)",
    numpy=np.multiply, infer=elementwise, dtypes=promoting, flops=per_element(1),
    # d(xy) = y dx + x dy
    vjp={"x": lambda g, y: mul(g, y), "y": lambda g, x: mul(g, x)},
    samples=with_integers(pairs()),
)  # fmt: skip

div = op(
    "div", "x / y", inputs="x y", torch="torch.div(x, y)",
    numpy=np.divide, infer=elementwise, dtypes=floating, flops=per_element(1),
    # d(x/y) = dx / y - (x/y) dy / y
    vjp={"x": lambda g, y: div(g, y), "y": lambda g, y, out: neg(mul(g, div(out, y)))},
    samples=pairs(other=positive),
)  # fmt: skip

neg = op(
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
    numpy=np.square, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, mul(x, 2))},
    samples=unary(),
)  # fmt: skip

abs = op(
    "abs", "|x|", inputs="x", torch="torch.abs(x)",
    numpy=np.abs, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g, x: mul(g, sign(x))},
    samples=unary(),
)  # fmt: skip

sign = op(
    "sign", "-1, 0 or 1; 0 of nan", inputs="x", torch="torch.sign(x)",
    numpy=lambda x: np.subtract(np.greater(x, 0).astype(x.dtype), np.less(x, 0)), infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": zero},
    samples=unary(),
)  # fmt: skip


# -- powers ------------------------------------------------------------------------------------------------------------


def powering(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """As `promoting`; an integer has no integer negative power."""
    x, y = arrays
    if type(y) is int and y < 0 and getattr(x, "dtype", F32) not in FLOATS:
        fail(PullbackError, "Integers to negative integer powers are not allowed.", "convert the base first: x.float()")
    return promoting(op, arrays)


def _pow(x: Any, y: Any) -> Any:
    if type(y) is not np.ndarray:
        shortcut = _POWERS.get(y)
        if shortcut is not None:
            return shortcut(x)
    elif y.dtype.kind == "i" and (y < 0).any():  # exponents in a tensor are rounded towards zero: 1/x is 0 but for x = 1 and -1
        return np.where(y >= 0, np.power(x, np.maximum(y, 0)), np.where(x == 1, 1, np.where(x == -1, 1 - 2 * (y & 1), 0))).astype(x.dtype)
    return np.power(x, y)


_POWERS: dict[float, Callable[[Any], Any]] = {
    2: np.square,
    3: lambda x: np.square(x) * x,
    0.5: np.sqrt,
    -0.5: lambda x: np.reciprocal(np.sqrt(x)),
    -1: np.reciprocal,
    -2: lambda x: np.reciprocal(np.square(x)),
}


def pow_base(g: Any, x: Any, y: Any) -> Any:
    """y x^(y-1) dx, and 0 where y is 0, whatever x."""
    if isinstance(y, (int, float)):
        return zero(g) if y == 0 else mul(g, mul(x, 2)) if y == 2 else mul(g, mul(pow(x, y - 1), y))
    return where(eq(y, 0), 0.0, mul(g, mul(pow(x, sub(y, 1)), y)))


def pow_exponent(g: Any, x: Any, y: Any, out: Any) -> Any:
    """x^y log(x) dy, and 0 where x is 0 (the limit for y > 0)."""
    if isinstance(x, (int, float)):
        x = full_like(out, value=x)
    return where(logical_and(eq(x, 0), ge(y, 0)), 0.0, mul(g, mul(out, log(x))))


pow = op(
    "pow", "x^y", inputs="x y", torch="torch.pow(x, y)",
    numpy=_pow, infer=elementwise, dtypes=powering, flops=per_element(1),
    vjp={"x": pow_base, "y": pow_exponent},
    samples=lambda: [
        *pairs(positive, randn, 2.5)(),
        *[Sample((positive(5), n), note=f"power {n}") for n in (0, 1, 2, 3, -1, -2, 0.5, -0.5, 2.0)],
        Sample((2.0, randn(3)), note="number left"),
        Sample((randn(6), 3), note="negative base"),
        Sample((randn(6, dtype=F32), 2), note="float32 squared"),
        Sample((np.array([0.0, 0.0, 0.0, -2.0, -2.0, nan, inf, 0.0]), np.array([0.0, 2.0, -1.0, 2.0, 0.5, 0.0, -1.0, nan])), smooth=False, note="zeros"),
        Sample((0.0, np.array([0.0, 1.0, -1.0])), smooth=False, note="powers of zero"),
        Sample((np.array([0.0, -0.0, nan, inf, -inf]), 0), smooth=False, note="zeroth power"),
        Sample((integers(-4, 5, 6), integers(0, 4, 6)), smooth=False, note="integers"),
        Sample((integers(-2, 3, 9), integers(-3, 3, 9, seed=1)), smooth=False, note="integers, negative powers"),
        Sample((integers(0, 4, 4), 2), smooth=False, note="integers squared"),
    ],
)  # fmt: skip


# -- division with a whole quotient ------------------------------------------------------------------------------------


def whole(ufunc: Callable[..., Any]) -> Callable[..., Any]:
    """A division of integers, which has no answer for a divisor of 0."""

    def divide(x: Any, y: Any) -> Any:
        if getattr(y, "dtype", F32).kind in "iu" and not np.all(y):
            fail(PullbackError, "ZeroDivisionError: an integer tensor is divided by zero", "divide floating point tensors to get inf or nan")
        return ufunc(x, y)

    return divide


def divisions() -> list[Sample]:
    """Quotients away from whole numbers, signs in all combinations, and division by zero."""
    return [
        *pairs(lambda *shape, seed=0: 5 * randn(*shape, seed=seed), randn)(),
        *integer_pairs(),
        Sample((np.array([7.0, -7.0, 7.0, -7.0]), np.array([3.0, 3.0, -3.0, -3.0])), note="signs"),
        Sample((np.array([7, -7, 7, -7]), np.array([3, 3, -3, -3])), smooth=False, note="signs of integers"),
        Sample((np.array([6.0, -6.0, 0.0, 5.0, -5.0]), np.array([3.0, 2.0, 2.0, inf, inf])), smooth=False, note="whole quotients"),
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

from .compare import eq, ge, logical_and, where  # noqa: E402 (they stand on these ops, and the rule of pow on them)
from .pointwise import log  # noqa: E402
