"""How elementwise ops are written in C. {0}, {1} ... are the operands, {slope} ... the op's parameters, and {t} is f32,
f64 or i64, for functions of c/functions.h.

An op computes in the type that its record asks for; what comes out is converted to the result's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...dtypes import BF16, BOOL, F16, F64, FLOATS, finfo, get_default_dtype
from ...ops.record import Op
from ...program.program import Instruction, Value
from .loops import C, kind

Written = Callable[["Call"], str | None]
Template = str | Written


class Call:
    """An op on operands that are C expressions already, all converted to the types that it computes in."""

    def __init__(self, i: Instruction, operands: list[str], types: tuple[Any, ...]) -> None:
        self.i, self.operands, self.types = i, operands, types
        self.params = {**i.op.defaults, **i.params}
        self.type = types[-1]  # that it computes in
        self.floats = self.type in FLOATS
        self.t = "i64" if not self.floats else "f64" if self.type == F64 else "f32"

    def __call__(self, template: str, **more: Any) -> str:
        """The template filled in; numbers are given as such."""
        kinds = (int, float, bool) if self.floats else (int, bool)  # a template that lacks a number is for floats only
        params = {k: self.number(x) for k, x in {**self.params, **more}.items() if type(x) in kinds}
        return template.format(*self.operands, t=self.t, **params)

    def number(self, x: float) -> str:
        """A number in the type that is computed in."""
        return literal(x, kind(self.type))


# -- ops that are written differently for some types or options --------------------------------------------------------


def of(floats: str, whole: str | None, truth: str | None = None) -> Written:
    """One template for floats, one for integers, one for booleans; None: it is not for these."""

    def written(call: Call) -> str | None:
        template = floats if call.floats else truth if call.type == BOOL else whole
        return None if template is None else call(template)

    return written


def wrapping(template: str, truth: str | None = None) -> Written:
    """Integers wrap around: computed without a sign, for else C leaves open what an overflow gives."""

    def written(call: Call) -> str | None:
        if call.type == BOOL:
            return None if truth is None else call(truth)
        if call.type.kind == "i" and call.type.itemsize >= 4:
            call.operands = [f"(u{C[call.type]}){x}" for x in call.operands]
        return call(template)

    return written


def cast(call: Call) -> str:
    """Floats become small integers as they become int32, of which the lowest bits are taken."""
    to = call.i.outputs[0].dtype
    if call.floats and to.kind in "iu" and to.itemsize < 4:
        return call("(int32_t){0}")
    return call("(float)(f16){0}") if call.type == F64 and to == F16 else call("{0}")


def whole_quotient(name: str) -> Written:
    """Only NumPy complains of integers divided by zero, so that a divisor of integers has to be known."""

    def written(call: Call) -> str | None:
        divisor = call.i.inputs[1]
        if call.type == BOOL or not (call.floats or (type(divisor) is int and divisor != 0)):
            return None
        return call(f"{name}_{{t}}({{0}}, {{1}})")

    return written


def shift(name: str) -> Written:
    def written(call: Call) -> str | None:
        return None if call.type == BOOL else call(f"{name}({{0}}, {{1}}, {8 * call.type.itemsize})")

    return written


def power(call: Call) -> str | None:
    """Some exponents have a way of their own, as in NumPy's pow."""
    if call.type == BOOL:
        return None
    y = call.i.inputs[1]
    known = None if type(y) is Value else POWERS.get(y)
    if known is None:
        return call("pow_{t}({0}, {1})")
    if call.floats:
        return call(known)
    x = f"(uint64_t){call.operands[0]}"
    return f"{x} * {x}" if y == 2 else f"{x} * {x} * {x}"


POWERS = {2: "{0} * {0}", 3: "{0} * {0} * {0}", 0.5: "sqrt_{t}({0})", -0.5: "1 / sqrt_{t}({0})", -1: "1 / {0}",
          -2: "1 / ({0} * {0})"}  # fmt: skip


def clamp(call: Call) -> str:
    low, high = call.i.inputs[1:]
    text = call.operands[0] if low is None else call("max_{t}({0}, {1})")
    return text if high is None else f"min_{call.t}({text}, {call.operands[2]})"


def lerp(call: Call) -> str:
    weight = call.i.inputs[2]
    rest = call("(1 - {2})") if type(weight) is Value else call.number(1 - weight)
    return call(f"abs_{{t}}({{2}}) < 0.5 ? {{0}} + {{2}} * ({{1}} - {{0}}) : {{1}} - ({{1}} - {{0}}) * {rest}")


def addcmul(call: Call) -> str:
    return call("{0} + {1} * {2}" if call.params["value"] == 1 else "{0} + {1} * {value} * {2}")


def elu(call: Call) -> str:
    low = call.params["alpha"] * call.params["scale"]
    return call("max_{t}({0}, 0) * {scale} + expm1_{t}(min_{t}({0}, 0) * {input_scale}) * {low}", low=low)


def elu_backward(call: Call) -> str:
    low = call.params["alpha"] * call.params["scale"] * call.params["input_scale"]
    return call("({1} <= 0 ? exp_{t}(min_{t}({1}, 0) * {input_scale}) * {low} : {scale}) * {0}", low=low)


def gelu(template: str) -> Written:
    """Its form by erf, or that by tanh."""
    return lambda call: call(template.replace("gelu", "gelu_tanh" if call.params["approximate"] == "tanh" else "gelu"))


def logit(call: Call) -> str:
    eps = call.params["eps"]
    if eps is None:
        return call("logit_{t}({0})")
    return call("logit_{t}(min_{t}(max_{t}({0}, {eps}), {high}))", high=1 - eps)


def rounded(call: Call) -> str | None:
    decimals = call.params["decimals"]
    if not call.floats:
        return None if decimals else call("{0}")
    scale = 10.0 ** abs(decimals)
    return call("rint_{t}({0})" if decimals == 0 else "rint_{t}({0} * {scale}) / {scale}" if decimals > 0
                else "rint_{t}({0} / {scale}) * {scale}", scale=scale)  # fmt: skip


def nan_to_num(call: Call) -> str:
    if not call.floats:
        return call("{0}")
    largest, given = finfo(call.type).max, call.params
    high = largest if given["posinf"] is None else float(given["posinf"])
    low = -largest if given["neginf"] is None else float(given["neginf"])
    return call("{0} != {0} ? {nan} : {0} == INFINITY ? {high} : {0} == -INFINITY ? {low} : {0}", high=high, low=low)


def isclose(call: Call) -> str:
    numbers = ", ".join(literal(float(call.params[k]), "double") for k in ("rtol", "atol"))
    same = call("{0} == {1}") + (call(" || ({0} != {0} && {1} != {1})") if call.params["equal_nan"] else "")
    return f"({same}) | " + call(f"near((double){{0}}, (double){{1}}, {numbers})")


def function(*names: str) -> dict[str, Template]:
    """Ops whose function has their name."""
    return {name: f"{name}_{{t}}({{0}})" for name in names}


EXPRESSIONS: dict[str, Template] = {
    # create, arithmetic
    "clone": "{0}",
    "cast": cast,
    "add": wrapping("{0} + {1}", "{0} + {1}"),
    "sub": wrapping("{0} - {1}"),
    "mul": wrapping("{0} * {1}", "{0} * {1}"),
    "neg": wrapping("-{0}"),
    "square": wrapping("{0} * {0}"),
    "div": "{0} / {1}",
    "reciprocal": "1 / {0}",
    "abs": "abs_{t}({0})",
    "sign": of("sign_{t}({0})", "sign_{t}({0})"),
    "floor_divide": whole_quotient("floor_divide"),
    "trunc_divide": whole_quotient("trunc_divide"),
    "remainder": whole_quotient("remainder"),
    "fmod": whole_quotient("fmod"),
    # compare
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "lt": "{0} < {1}",
    "le": "{0} <= {1}",
    "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "logical_and": "({0} != 0) & ({1} != 0)",
    "logical_or": "({0} != 0) | ({1} != 0)",
    "logical_xor": "({0} != 0) ^ ({1} != 0)",
    "logical_not": "{0} == 0",
    "bitwise_and": of("", "{0} & {1}", "{0} & {1}"),
    "bitwise_or": of("", "{0} | {1}", "{0} | {1}"),
    "bitwise_xor": of("", "{0} ^ {1}", "{0} ^ {1}"),
    "bitwise_not": of("", "~{0}", "{0} == 0"),
    "left_shift": shift("left_shift"),
    "right_shift": shift("right_shift"),
    "isnan": of("{0} != {0}", "0", "0"),
    "isinf": of("abs_{t}({0}) == INFINITY", "0", "0"),
    "isfinite": of("abs_{t}({0}) < INFINITY", "1", "1"),
    "isposinf": of("{0} == INFINITY", "0", "0"),
    "isneginf": of("{0} == -INFINITY", "0", "0"),
    "signbit": of("bits_{t}({0}) < 0", "{0} < 0", "0"),
    "isclose": isclose,
    "where": "{0} ? {1} : {2}",
    "maximum": "max_{t}({0}, {1})",
    "minimum": "min_{t}({0}, {1})",
    "fmax": of("fmax_{t}({0}, {1})", "max_{t}({0}, {1})", "max_{t}({0}, {1})"),
    "fmin": of("fmin_{t}({0}, {1})", "min_{t}({0}, {1})", "min_{t}({0}, {1})"),
    "clamp": clamp,
    # pointwise
    "pow": power,
    **function("sqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos",
               "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sinc", "erf", "erfc", "lgamma", "sigmoid"),
    "rsqrt": "1 / sqrt_{t}({0})",
    "hypot": "hypot_{t}({0}, {1})",
    "logaddexp": "logaddexp_{t}({0}, {1})",
    "logaddexp2": "logaddexp2_{t}({0}, {1})",
    "xlogy": "xlogy_{t}({0}, {1})",
    "xlog1py": "xlog1py_{t}({0}, {1})",
    "atan2": "atan2_{t}({0}, {1})",
    "tanh_backward": "(1 - {1} * {1}) * {0}",
    "sigmoid_backward": "(1 - {1}) * {1} * {0}",
    "deg2rad": lambda call: call("{0} * {unit}", unit=math.pi / 180),
    "rad2deg": lambda call: call("{0} * {unit}", unit=180 / math.pi),
    "logit": logit,
    "floor": of("floor_{t}({0})", "{0}", "{0}"),
    "ceil": of("ceil_{t}({0})", "{0}", "{0}"),
    "trunc": of("trunc_{t}({0})", "{0}", "{0}"),
    "round": rounded,
    "frac": of("{0} - trunc_{t}({0})", "0"),
    "nan_to_num": nan_to_num,
    "copysign": "copysign_{t}({0}, {1})",
    "heaviside": "{0} == 0 ? {1} : {0} > 0",
    "lerp": lerp,
    "addcmul": addcmul,
    "addcdiv": "{0} + {1} * {value} / {2}",
    # activation
    "relu": "{0} < 0 ? 0 : {0}",
    "relu_backward": "{1} <= 0 ? 0 : {0}",
    "leaky_relu": "{0} > 0 ? {0} : {0} * {slope}",
    "leaky_relu_backward": "{1} > 0 ? {0} : {0} * {slope}",
    "prelu": "{0} > 0 ? {0} : {1} * {0}",
    "hardtanh": "min_{t}(max_{t}({0}, {low}), {high})",
    "relu6": "min_{t}(max_{t}({0}, 0), 6)",
    "hardsigmoid": "min_{t}(max_{t}({0} + 3, 0), 6) / 6",
    "hardswish": "min_{t}(max_{t}({0} + 3, 0), 6) * {0} / 6",
    "hardshrink": "abs_{t}({0}) <= {bound} ? 0 : {0}",
    "softshrink": "{0} - min_{t}(max_{t}({0}, -{bound}), {bound})",
    "threshold": "{0} <= {bound} ? {value} : {0}",
    "softsign": "{0} / (abs_{t}({0}) + 1)",
    "elu": elu,
    "elu_backward": elu_backward,
    "silu": "silu_{t}({0})",
    "silu_backward": "silu_slope_{t}({1}) * {0}",
    "gelu": gelu("gelu_{t}({0})"),
    "gelu_backward": gelu("gelu_slope_{t}({1}) * {0}"),
    "softplus": "{0} * {beta} > {threshold} ? {0} : softplus_{t}({0} * {beta}) / {beta}",
    "logsigmoid": "logsigmoid_{t}({0})",
    "mish": "mish_{t}({0})",
    "mish_backward": "mish_slope_{t}({1}) * {0}",
    "tanhshrink": "{0} - tanh_{t}({0})",
    # special, losses
    "entr": "entr_{t}({0})",
    "ndtr": lambda call: call("erfc_{t}({0} * {unit}) / 2", unit=-math.sqrt(0.5)),
}  # fmt: skip


# -- types -------------------------------------------------------------------------------------------------------------


def suffix(dtype: Any) -> str:
    """f32, i64, u8 ...: the name of a type in names of functions."""
    return "u8" if dtype == BOOL else f"{dtype.kind}{8 * dtype.itemsize}"


@cache
def computed_in(op: Op, given: tuple[Any, ...], default: Any) -> tuple[Any, ...] | None:
    """The types that an op's operands are converted to; None if it does not take them. (`default` is for the cache.)"""
    operands = [np.empty((0,) * x[1], x[0]) if type(x) is tuple else x for x in given]
    try:
        arrays, _ = op.dtypes(op, operands)
    except Exception:
        return None
    return tuple([getattr(x, "dtype", None) for x in arrays])


def types_of(i: Instruction) -> tuple[Any, ...] | None:
    """The types that an instruction's operands are computed in."""
    given = [(1.0 if x.dtype.kind == "f" else 1) if type(x) is Value and x.weak else
             (x.dtype, min(x.ndim, 1)) if type(x) is Value else 1.0 if type(x) is float else 1 if type(x) is int else x
             for x in i.inputs]  # fmt: skip
    found = computed_in(i.op, tuple(given), get_default_dtype())
    if found is None:
        return None
    common = next((d for d in reversed(found) if d is not None), None)
    return tuple([d or common or getattr(x, "dtype", None) for x, d in zip(i.inputs, found, strict=True)])


def is_loop(i: Instruction) -> bool:
    """Can this instruction be a part of a loop?"""
    if i.op.name not in EXPRESSIONS or len(i.outputs) != 1 or i.outputs[0].dtype not in C:
        return False
    if any(type(x) not in OPERANDS or (type(x) is Value and x.dtype not in C) for x in i.inputs):
        return False
    types = types_of(i)
    return types is not None and all(d in C for d in types) and line_of(i, ["0"] * len(i.inputs)) is not None


OPERANDS = (Value, int, float, bool, type(None))


def line_of(i: Instruction, operands: list[str]) -> str | None:
    """The expression of an instruction, whose operands are these C expressions; None if there is none."""
    types = types_of(i)
    assert types is not None
    converted = []
    for x, operand, to in zip(i.inputs, operands, types, strict=True):
        want = kind(to)
        if type(x) is Value:
            converted.append(operand if kind(x.dtype) == want else f"({want}){operand}")
        else:
            converted.append("" if x is None else literal(x, want))
    template = EXPRESSIONS[i.op.name]
    call = Call(i, converted, types)
    text: str | None
    try:
        text = call(template) if isinstance(template, str) else template(call)
    except KeyError:
        text = None
    if not text:
        return None
    out = i.outputs[0].dtype
    if out == BOOL:
        return f"({text}) != 0"
    text = f"({kind(out)})({text})"
    return f"bf16_f32(f32_bf16({text}))" if out == BF16 else f"f16_f32(f32_f16({text}))" if out == F16 else text


def literal(x: Any, want: str) -> str:
    """A Python number in C."""
    if isinstance(x, bool):
        return str(int(x))
    if want in ("float", "double"):
        x = float(x)
        text = "NAN" if math.isnan(x) else ("-" if x < 0 else "") + "INFINITY" if math.isinf(x) else repr(x)
        return f"({want}){text}"
    return f"({want}){int(x)}LL"


__all__ = ["EXPRESSIONS", "is_loop", "line_of", "suffix", "types_of"]
