"""How elementwise ops are written in C. {0}, {1} ... are the operands; {t} is f32 or f64 or i64 ..., for functions of functions.h.

An op computes in the type that its record asks for; what comes out is converted to the result's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...dtypes import BF16, BOOL, F16, F32, F64, HALVES
from ...ops.record import Op
from ...program.program import Instruction, Value
from .loops import C, kind

Template = str | Callable[[Instruction, list[str], str], str]

EXPRESSIONS: dict[str, Template] = {
    "clone": "{0}",
    "cast": "{0}",
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "square": "{0} * {0}",
    "reciprocal": "1 / {0}",
    "abs": "abs_{t}({0})",
    "sqrt": "sqrt_{t}({0})",
    "exp": "exp_{t}({0})",
    "log": "log_{t}({0})",
    "tanh": "tanh_{t}({0})",
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "lt": "{0} < {1}",
    "le": "{0} <= {1}",
    "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "logical_not": "!{0}",
    "where": "{0} ? {1} : {2}",
    "relu": "relu_{t}({0})",
    "relu_backward": "{1} > 0 ? {0} : 0",
    "sigmoid": "sigmoid_{t}({0})",
}


def suffix(dtype: Any) -> str:
    """f32, i64, u8 ...: the name of a type in names of functions."""
    return {BOOL: "u8"}.get(dtype, f"{dtype.kind}{8 * dtype.itemsize}")


@cache
def computed_in(op: Op, dtypes: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The types that an op's operands are converted to; None if it does not take them."""
    given = [d if d is None or isinstance(d, (int, float)) else np.empty(0, d) for d in dtypes]
    try:
        arrays, _ = op.dtypes(op, given)
    except Exception:
        return None
    return tuple(getattr(x, "dtype", None) for x in arrays)


def types_of(i: Instruction) -> tuple[Any, ...] | None:
    """The types that an instruction's operands are computed in."""
    given = tuple([(1.0 if x.dtype.kind == "f" else 1) if type(x) is Value and x.weak else
                   x.dtype if type(x) is Value else 1.0 if type(x) is float else 1 if type(x) is int else x
                   for x in i.inputs])  # fmt: skip
    found = computed_in(i.op, given)
    if found is None:
        return None
    common = next((d for d in found if d is not None), None)
    return tuple([common if d is None else d for d in found])


def is_loop(i: Instruction) -> bool:
    """Can this instruction be a part of a loop?"""
    if i.op.name not in EXPRESSIONS or len(i.outputs) != 1 or i.outputs[0].dtype not in C:
        return False
    if any(type(x) not in (Value, int, float, bool) or (type(x) is Value and x.dtype not in C) for x in i.inputs):
        return False
    types = types_of(i)
    return types is not None and all(d in C for d in types) and line_of(i, ["0"] * len(i.inputs)) is not None


def line_of(i: Instruction, operands: list[str]) -> str | None:
    """The expression of an instruction, whose operands are these C expressions; None if there is none."""
    types = types_of(i)
    assert types is not None
    cast = []
    for x, text, to in zip(i.inputs, operands, types, strict=True):
        want = kind(to)
        if type(x) is Value:
            cast.append(text if kind(x.dtype) == want else f"({want}){text}")
        else:
            cast.append(literal(x, want))
    template = EXPRESSIONS[i.op.name]
    t = suffix(F32 if types[-1] in HALVES else types[-1])
    try:
        text = template.format(*cast, t=t) if isinstance(template, str) else template(i, cast, t)
    except KeyError:
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
        return f"({want}){text}" if want == "float" or not text[-1].isdigit() else text
    return f"({want}){int(x)}LL"


__all__ = ["EXPRESSIONS", "F64", "is_loop", "line_of", "types_of"]
