"""Comparisons, logic, bits, and choice between values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import BOOL, F32, F64, FLOATS, dtype
from ..errors import DTypeError, fail
from .arithmetic import mul, numbers_only
from .record import Op, Sample, Spec, broadcast, comparison, elementwise, op, per_element, promoting
from .samples import booleans, inf, integer_pairs, integers, nan, pairs, randn, unary


def compared() -> list[Sample]:
    """Pairs, some of them equal, integers and mixed types too."""
    return [
        *[s._replace(smooth=False) for s in pairs()()],
        *integer_pairs(),
        Sample((integers(0, 3, 4, 4), integers(0, 3, 4, 4, seed=1)), smooth=False, note="ties"),
        Sample((booleans(5), booleans(5, seed=1)), smooth=False, note="booleans"),
        Sample((integers(0, 3, 6), 1.5), smooth=False, note="integers with a fraction"),
    ]


COMPARING: dict[str, Any] = {"infer": comparison, "dtypes": promoting, "flops": per_element(1), "samples": compared}

eq = op("eq", "x == y", inputs="x y", torch="torch.eq(x, y)", numpy=np.equal, **COMPARING)  # fmt: skip
ne = op("ne", "x != y", inputs="x y", torch="torch.ne(x, y)", numpy=np.not_equal, **COMPARING)  # fmt: skip
lt = op("lt", "x < y", inputs="x y", torch="torch.lt(x, y)", numpy=np.less, **COMPARING)  # fmt: skip
le = op("le", "x <= y", inputs="x y", torch="torch.le(x, y)", numpy=np.less_equal, **COMPARING)  # fmt: skip
gt = op("gt", "x > y", inputs="x y", torch="torch.gt(x, y)", numpy=np.greater, **COMPARING)  # fmt: skip
ge = op("ge", "x >= y", inputs="x y", torch="torch.ge(x, y)", numpy=np.greater_equal, **COMPARING)  # fmt: skip


# -- logic and bits ----------------------------------------------------------------------------------------------------


def logical() -> list[Sample]:
    """Truth values of every type."""
    return [
        Sample((booleans(3, 4), booleans(3, 4, seed=1)), smooth=False),
        Sample((booleans(3, 1), booleans(4, seed=1)), smooth=False, note="broadcast"),
        Sample((booleans(), booleans(3)), smooth=False, note="0-d"),
        Sample((booleans(0, 3), booleans(3)), smooth=False, note="empty"),
        Sample((booleans(4, 3).T, booleans(3, 8)[:, ::-2]), smooth=False, note="strided"),
        Sample((np.array([nan, 0.0, -0.0, 2.0]), np.array([1.0, inf, 0.0, 1.0], F32)), smooth=False, note="floats"),
        Sample((integers(0, 2, 5), booleans(5)), smooth=False, note="integers"),
    ]


def bits(high: int = 9) -> Any:
    """Integers of every width, and booleans where `high` allows them."""
    return lambda: [
        Sample((integers(0, 99, 3, 4), integers(0, high, 3, 4, seed=1)), smooth=False),
        Sample((integers(0, 99, 3, 1), integers(0, high, 4)), smooth=False, note="broadcast"),
        Sample((integers(0, 99), 3), smooth=False, note="0-d and a number"),
        Sample((integers(0, 99, 0, 3), integers(0, high, 3)), smooth=False, note="empty"),
        Sample((integers(-9, 99, 4, 3).T, integers(0, high, 8)[::-2]), smooth=False, note="strided"),
        Sample(
            (integers(0, 9, 3, dtype=np.uint8), integers(0, high, 3, dtype=np.int16)), smooth=False, note="mixed widths"
        ),
    ]


LOGIC: dict[str, Any] = {"infer": comparison, "dtypes": promoting, "flops": per_element(1), "samples": logical}
BITS: dict[str, Any] = {"infer": elementwise, "dtypes": promoting, "flops": per_element(1)}

logical_and = op(
    "logical_and", "x and y", inputs="x y", torch="torch.logical_and(x, y)", numpy=np.logical_and, **LOGIC,
)  # fmt: skip
logical_or = op(
    "logical_or", "x or y", inputs="x y", torch="torch.logical_or(x, y)", numpy=np.logical_or, **LOGIC,
)  # fmt: skip
logical_xor = op(
    "logical_xor", "x is true, or y, but not both", inputs="x y", torch="torch.logical_xor(x, y)", numpy=np.logical_xor,
    **LOGIC,
)  # fmt: skip
logical_not = op(
    "logical_not", "not x", inputs="x", torch="torch.logical_not(x)",
    numpy=np.logical_not, infer=comparison, dtypes=promoting, flops=per_element(1),
    samples=lambda: [*unary()(), Sample((booleans(3, 4),), smooth=False)],
)  # fmt: skip

bitwise_and = op(
    "bitwise_and", "x & y, bit by bit", inputs="x y", torch="torch.bitwise_and(x, y)", numpy=np.bitwise_and, **BITS,
    samples=bits(),
)  # fmt: skip
bitwise_or = op(
    "bitwise_or", "x | y, bit by bit", inputs="x y", torch="torch.bitwise_or(x, y)", numpy=np.bitwise_or, **BITS,
    samples=bits(),
)  # fmt: skip
bitwise_xor = op(
    "bitwise_xor", "x ^ y, bit by bit", inputs="x y", torch="torch.bitwise_xor(x, y)", numpy=np.bitwise_xor, **BITS,
    samples=bits(),
)  # fmt: skip
bitwise_not = op(
    "bitwise_not", "~x, bit by bit", inputs="x", torch="torch.bitwise_not(x)", numpy=np.invert, **BITS,
    samples=lambda: [*[s._replace(inputs=s.inputs[:1]) for s in bits()()],
        Sample((booleans(4),), smooth=False, note="booleans")],
)  # fmt: skip
left_shift = op(
    "left_shift", "x 2^y", inputs="x y", torch="torch.bitwise_left_shift(x, y)", numpy=numbers_only(np.left_shift),
    **BITS, samples=bits(5),
)  # fmt: skip
right_shift = op(
    "right_shift", "floor(x / 2^y)", inputs="x y", torch="torch.bitwise_right_shift(x, y)",
    numpy=numbers_only(np.right_shift), **BITS, samples=bits(5),
)  # fmt: skip


# -- kinds of numbers --------------------------------------------------------------------------------------------------


def kinds() -> list[Sample]:
    """Floats of every kind, and integers."""
    return [*unary()(), Sample((integers(-3, 3, 4),), smooth=False, note="integers")]


KINDS: dict[str, Any] = {"infer": comparison, "dtypes": promoting, "samples": kinds}

isnan = op("isnan", "x is not a number", inputs="x", torch="torch.isnan(x)", numpy=np.isnan, **KINDS)  # fmt: skip
isinf = op("isinf", "x is +inf or -inf", inputs="x", torch="torch.isinf(x)", numpy=np.isinf, **KINDS)  # fmt: skip
isfinite = op(
    "isfinite", "x is neither infinite nor nan", inputs="x", torch="torch.isfinite(x)", numpy=np.isfinite, **KINDS,
)  # fmt: skip
isposinf = op(
    "isposinf", "x is +inf", inputs="x", torch="torch.isposinf(x)", numpy=lambda x: np.equal(x, inf), **KINDS,
)  # fmt: skip
isneginf = op(
    "isneginf", "x is -inf", inputs="x", torch="torch.isneginf(x)", numpy=lambda x: np.equal(x, -inf), **KINDS,
)  # fmt: skip
signbit = op(
    "signbit", "x is negative, or -0", inputs="x", torch="torch.signbit(x)", **KINDS,
    numpy=lambda x: np.signbit(x) if x.dtype.kind == "f" else np.less(x, 0),
)  # fmt: skip


def _isclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    distance = np.abs(np.subtract(x, y, dtype=F64))
    close = np.equal(x, y) | (np.isfinite(distance) & (distance <= atol + np.abs(rtol * np.asarray(y, F64))))
    return close | (np.isnan(x) & np.isnan(y)) if equal_nan else close


isclose = op(
    "isclose", "|x - y| <= atol + rtol |y|", inputs="x y",
    torch="torch.isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)",
    numpy=_isclose, infer=comparison, dtypes=promoting, flops=per_element(5),
    samples=lambda: [
        Sample((randn(3, 4), randn(3, 4) + 1e-9), smooth=False),
        Sample((randn(3, 1), randn(3, 4)), {"rtol": 0.5}, smooth=False, note="broadcast"),
        Sample((randn(), randn(3)), {"atol": 1.0}, smooth=False, note="0-d"),
        Sample((randn(0, 3), randn(3)), smooth=False, note="empty"),
        Sample((np.array([nan, inf, inf, 1.0, nan]), np.array([nan, inf, -inf, inf, 1.0])), {"equal_nan": True},
            smooth=False, note="special"),
        Sample((integers(0, 4, 6), integers(0, 4, 6, seed=1)), smooth=False, note="integers"),
    ],
)  # fmt: skip


# -- choice ------------------------------------------------------------------------------------------------------------


def choosing(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """The condition stays boolean; what is chosen from has one common type."""
    condition = arrays[0]
    if condition.dtype is not BOOL:
        if condition.dtype != np.uint8:
            name = dtype.by_numpy[condition.dtype].name
            fail(
                DTypeError,
                f"{op.name}: expected condition to be a boolean tensor, but got a tensor with dtype {name}",
                "compare it with something, as in x != 0",
            )
        condition = condition.astype(BOOL)
    values, restore = promoting(op, arrays[1:])
    return (condition, *values), restore


_INTEGERS = {F32: np.dtype(np.int32), F64: np.dtype(np.int64)}  # of the same width


def masked(keep: Any, x: Any) -> Any:
    """x where keep, else 0, by masking bits: on masks without a pattern np.where is 15 times slower."""
    if x.size < 1024 or x.dtype not in _INTEGERS:
        return np.where(keep, x, x.dtype.type(0))
    integer = _INTEGERS[x.dtype]
    mask = np.negative(keep.view(np.int8)).astype(integer)  # 0 or -1: no bits or all bits
    return np.bitwise_and(x.view(integer), mask).view(x.dtype)


def _where(condition: Any, x: Any, y: Any) -> Any:
    if type(y) is not np.ndarray:
        if type(x) is np.ndarray:
            return masked(condition, x) if y == 0 else np.where(condition, x, x.dtype.type(y))
    elif type(x) is not np.ndarray:
        return masked(~condition, y) if x == 0 else np.where(condition, y.dtype.type(x), y)
    return np.where(condition, x, y)


where: Op = op(
    "where", "x where condition, else y", inputs="condition x y", torch="torch.where(condition, x, y)",
    numpy=_where, infer=lambda c, x, y: Spec(broadcast(c, x, y), (x if hasattr(x, "dtype") else y).dtype),
    dtypes=choosing, broadcasts=True,
    vjp={"x": lambda g, condition: where(condition, g, 0.0), "y": lambda g, condition: where(condition, 0.0, g)},
    samples=lambda: [
        Sample((booleans(3, 4), randn(3, 4), randn(3, 4, seed=1))),
        Sample((booleans(3, 1), randn(4), 2.0), note="broadcast, number"),
        Sample((booleans(), randn(), randn(2, seed=1)), note="0-d"),
        Sample((booleans(0, 2), randn(2), randn(0, 2)), note="empty"),
        Sample((booleans(8, 3)[::-2].T, 0.0, randn(4, 3).T), note="strided, number left"),
        Sample((booleans(40, 40), randn(40, 40), 0.0), note="large enough for bit masks"),
        Sample((booleans(3), randn(3, dtype=F32), randn(3)), note="float32 with float64"),
        Sample((booleans(4), np.array([nan, inf, 1.0, nan]), np.array([-inf, nan, nan, 1.0])), smooth=False,
            note="special"),
        Sample((booleans(3), integers(0, 9, 3, dtype=np.uint8), 2.5), smooth=False, note="integers"),
    ],
)  # fmt: skip


def extremes() -> list[Sample]:
    """Pairs with ties and nan."""
    return [
        *pairs(scalar=randn(1))(),
        *integer_pairs()[:2],
        Sample((np.array([1.0, 2.0, -0.0, 3.0]), np.array([1.0, 2.5, 0.0, 3.0])), smooth=False, note="ties"),
    ]


# At a tie each gets half; beside nan both get all of it.
maximum = op(
    "maximum", "max(x, y)", inputs="x y", torch="torch.maximum(x, y)",
    numpy=np.maximum, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={
        "x": lambda g, x, y: where(lt(x, y), 0.0, where(eq(x, y), mul(g, 0.5), g)),
        "y": lambda g, x, y: where(gt(x, y), 0.0, where(eq(x, y), mul(g, 0.5), g)),
    },
    samples=extremes,
)  # fmt: skip

minimum = op(
    "minimum", "min(x, y)", inputs="x y", torch="torch.minimum(x, y)",
    numpy=np.minimum, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={
        "x": lambda g, x, y: where(gt(x, y), 0.0, where(eq(x, y), mul(g, 0.5), g)),
        "y": lambda g, x, y: where(lt(x, y), 0.0, where(eq(x, y), mul(g, 0.5), g)),
    },
    samples=extremes,
)  # fmt: skip

# fmax and fmin prefer a number to nan; a tie goes to x.
fmax = op(
    "fmax", "max(x, y), of numbers only", inputs="x y", torch="torch.fmax(x, y)",
    numpy=np.fmax, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={
        "x": lambda g, x, y: where(logical_or(ge(x, y), isnan(y)), g, 0.0),
        "y": lambda g, x, y: where(logical_or(ge(x, y), isnan(y)), 0.0, g),
    },
    samples=extremes,
)  # fmt: skip

fmin = op(
    "fmin", "min(x, y), of numbers only", inputs="x y", torch="torch.fmin(x, y)",
    numpy=np.fmin, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={
        "x": lambda g, x, y: where(logical_or(le(x, y), isnan(y)), g, 0.0),
        "y": lambda g, x, y: where(logical_or(le(x, y), isnan(y)), 0.0, g),
    },
    samples=extremes,
)  # fmt: skip


def hold(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high), of which either may be missing."""
    if x.size >= 1024 and x.dtype in FLOATS:  # np.clip starts slowly, but then runs five times faster on numbers
        return np.clip(x, -inf if low is None else low, inf if high is None else high)
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def bounded(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """As `promoting`, with bounds that may be missing."""
    _, low, high = arrays
    present = [a for a in arrays if a is not None]
    promoted, restore = promoting(op, present)
    if promoted is present:
        return arrays, None
    rest = iter(promoted[1:])
    return (promoted[0], None if low is None else next(rest), None if high is None else next(rest)), restore


def within(x: Any, min: Any, max: Any) -> Any:
    """Is x between the bounds, or on one?"""
    if min is None:
        return le(x, max)
    return ge(x, min) if max is None else logical_and(ge(x, min), le(x, max))


def below(x: Any, min: Any, max: Any) -> Any:
    """Does clamp give min? Not where the bounds have changed places: then it gives max."""
    return lt(x, min) if max is None else logical_and(lt(x, min), lt(min, max))


def above(x: Any, min: Any, max: Any) -> Any:
    """Does clamp give max?"""
    return gt(x, max) if min is None else logical_or(gt(x, max), lt(max, min))


clamp = op(
    "clamp", "min(max(x, min), max)", inputs="x min max", torch="torch.clamp(x, min, max)",
    numpy=lambda x, min, max: hold(x, min, max), infer=lambda x, *bounds: Spec(broadcast(x, *bounds), x.dtype),
    dtypes=bounded, broadcasts=True,
    flops=per_element(2),
    vjp={
        "x": lambda g, x, min, max: where(within(x, min, max), g, 0.0),
        "min": lambda g, x, min, max: where(below(x, min, max), g, 0.0),
        "max": lambda g, x, min, max: where(above(x, min, max), g, 0.0),
    },
    samples=lambda: [
        Sample((randn(3, 4), -0.5, 0.7)),
        Sample((randn(3, 4), None, 0.2), note="max only"),
        Sample((randn(4, 3).T[::-1], 0.1, None), note="min only, strided"),
        Sample((randn(3, 4), randn(3, 1, seed=1), randn(4, seed=2)), note="tensor bounds"),
        Sample((randn(3, 4), randn(4, seed=1), None), note="tensor min"),
        Sample((randn(), -0.1, 0.1), note="0-d"),
        Sample((randn(0, 3), 0.0, 1.0), note="empty"),
        Sample((randn(5, dtype=F32), -0.5, 1), note="float32"),
        Sample((np.array([nan, inf, -inf, 1.0, 2.0, 1.5]), 1.0, 2.0), smooth=False, note="special and at the bounds"),
        Sample((randn(5), 1.0, -1.0), smooth=False, note="bounds changed places"),
        Sample((randn(40, 30)[:, ::-1], -1.0, 0.5), smooth=False, note="large"),
        Sample((np.tile([nan, inf, -inf, 0.5], 300), None, 0.5), smooth=False, note="large, special"),
        Sample((integers(0, 9, 5), 2, 5), smooth=False, note="integers"),
    ],
)  # fmt: skip
