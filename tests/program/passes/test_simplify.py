"""Each rewrite, on numbers of every kind; and what looks like one, but changes a bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pullback.dtypes import BF16, BOOL, F16, F32, F64, I64
from pullback.program.passes import prune, simplify
from pullback.program.program import Program, Write

from .build import Builder, Rewrite, check, inf, names, nan, special

I8, I32, U8 = (np.dtype(d) for d in (np.int8, np.int32, np.uint8))


def both(program: Program) -> Program:
    return prune(simplify(program))


def xs(*shape: int, dtype: Any = F64) -> Any:
    return special(*(shape or (60,)), dtype=dtype)


def whole(dtype: Any) -> Any:
    return np.arange(-9, 9, dtype=dtype)


def turned(b: Builder) -> Any:
    """A matrix whose columns lie in memory one after the other."""
    return b("permute", b.input(xs(4, 3)), dims=(1, 0))


# Each gives the value to check; what should be left of it follows.
GOES: dict[str, tuple[Rewrite, list[str]]] = {
    "x * 1": (lambda b: b("mul", b.input(xs()), 1), []),
    "1.0 * x": (lambda b: b("mul", 1.0, b.input(xs())), []),
    "x * ones": (lambda b: b("mul", b.input(xs(3, 4)), b.constant(np.ones((3, 4)))), []),
    "x * expanded ones": (
        lambda b: b("mul", b.input(xs(40, 40)), b("expand", b.constant(np.float64(1)), shape=(40, 40))), []),
    "x * ones like x": (lambda b: b("mul", b("full_like", x := b.input(xs(30, 30)), value=1.0), x), []),
    "half x * 1": (lambda b: b("mul", b.input(xs(dtype=F16)), 1.0), []),
    "bfloat16 x * 1": (lambda b: b("mul", b.input(xs(dtype=BF16)), b.constant(np.array(1, F32))), []),
    "integers * 1": (lambda b: b("mul", b.input(np.arange(-4, 4)), 1), []),
    "turned x * 1": (lambda b: b("mul", turned(b), 1), ["permute"]),
    "x / 1": (lambda b: b("div", b.input(xs()), 1), []),
    "x - 0.0": (lambda b: b("sub", b.input(xs()), 0.0), []),
    "x - 0": (lambda b: b("sub", b.input(xs(dtype=BF16)), 0), []),
    "x + -0.0": (lambda b: b("add", b.input(xs()), -0.0), []),
    "-0.0 + x": (lambda b: b("add", -0.0, b.input(xs(dtype=F32))), []),
    "integers + 0": (lambda b: b("add", b.input(np.arange(-4, 4)), 0), []),
    "mask + False": (lambda b: b("add", b.input(np.array([True, False])), False), []),
    "-(-x)": (lambda b: b("neg", b("neg", b.input(xs()))), []),
    "-(-(-x))": (lambda b: b("neg", b("neg", b("neg", b.input(xs(dtype=F16))))), ["neg"]),
    "-(-uint8)": (lambda b: b("neg", b("neg", b.input(np.arange(5, dtype=U8)))), []),
    "where(c, x, x)": (lambda b: b("where", b.input(np.arange(60) > 9), x := b.input(xs()), x), []),
    "where(True, x, y)": (lambda b: b("where", b.constant(np.array(True)), b.input(xs()), b.input(xs())), []),
    "where(False, x, y)": (lambda b: b("where", b.constant(np.array(False)), 1.0, b.input(xs())), []),
    "cast to itself": (lambda b: b("cast", b.input(xs()), dtype=F64), []),
    "wider and back": (lambda b: b("cast", b("cast", b.input(xs(dtype=BF16)), dtype=F32), dtype=BF16), []),
    "float16 through float64": (lambda b: b("cast", b("cast", b.input(xs(dtype=F16)), dtype=F64), dtype=F16), []),
    "mask through float16": (lambda b: b("cast", b("cast", b.input(np.arange(3) > 1), dtype=F16), dtype=BOOL), []),
    "int8 through int32": (lambda b: b("cast", b("cast", b.input(whole(I8)), dtype=I32), dtype=I8), []),
    "wider, then other": (lambda b: b("cast", b("cast", b.input(xs(dtype=F32)), dtype=F64), dtype=F16), ["cast"]),
    "half to half": (lambda b: b("cast", b("cast", b.input(xs(dtype=F16)), dtype=F32), dtype=BF16), ["cast"]),
    "clone": (lambda b: b("clone", b.input(xs())), []),
    "reshape to itself": (lambda b: b("reshape", b.input(xs(3, 4)), shape=(3, 4)), []),
    "reshape of a reshape": (
        lambda b: b("reshape", b("reshape", b.input(xs(3, 4)), shape=(12,)), shape=(2, 6)), ["reshape"]),
    "reshape there and back": (lambda b: b("reshape", b("reshape", b.input(xs(3, 4)), shape=(12,)), shape=(3, 4)), []),
    "permute nothing": (lambda b: b("permute", b.input(xs(3, 4)), dims=(0, -1)), []),
    "permute there and back": (lambda b: b("permute", turned(b), dims=(-1, 0)), []),
    "permute twice": (
        lambda b: b("permute", b("permute", b.input(xs(2, 3, 4)), dims=(2, 0, 1)), dims=(0, 2, 1)), ["permute"]),
    "expand to itself": (lambda b: b("expand", b.input(xs(3, 1)), shape=(3, 1)), []),
    "expand twice": (
        lambda b: b("expand", b("expand", b.input(xs(3, 1)), shape=(3, 4)), shape=(2, 3, 4)), ["expand"]),
    "whole slice": (lambda b: b("slice", b.input(xs(3, 4)), key=(slice(None), ..., slice(0, 9))), []),
    "x w^T": (lambda b: b("matmul", b.input(xs(2, 4)), b("permute", b.input(xs(3, 4)), dims=(1, 0))), ["linear"]),
    "batch of x w^T": (
        lambda b: b("matmul", b.input(xs(5, 2, 4)), b("permute", b.input(xs(3, 4)), dims=(1, 0))), ["linear"]),
    "row w^T": (lambda b: b("matmul", b.input(xs(4)), b("permute", b.input(xs(3, 4)), dims=(-1, -2))), ["linear"]),
    "half x w^T": (lambda b: b("matmul", b.input(xs(2, 4, dtype=BF16)),
        b("permute", b.input(xs(3, 4, dtype=BF16)), dims=(1, 0))), ["linear"]),
    "chain": (lambda b: b("div", b("sub", b("mul", b("clone", b("neg", b("neg", b.input(xs())))), 1), 0), 1.0), []),
    "ones through views": (lambda b: b("mul", b.input(xs(40, 9)),
        b("permute", b("expand", b.constant(np.ones((1, 1))), shape=(9, 40)), dims=(1, 0))), []),
}  # fmt: skip

STAYS: dict[str, Rewrite] = {
    "x + 0.0": lambda b: b("add", b.input(xs()), 0.0),
    "x + 0": lambda b: b("add", b.input(xs()), 0),
    "x - (-0.0)": lambda b: b("sub", b.input(xs()), -0.0),
    "0 - x": lambda b: b("sub", 0.0, b.input(xs())),
    "x * 0": lambda b: b("mul", b.input(xs()), 0.0),
    "x * -1": lambda b: b("mul", b.input(xs()), -1.0),
    "x / -1": lambda b: b("div", b.input(xs()), -1.0),
    "1 / x": lambda b: b("div", 1.0, b.input(xs())),
    "x + integer -0.0": lambda b: b("add", b.input(xs()), b("full_like", b.input(np.arange(60)), value=-0.0)),
    "mask * 1": lambda b: b("mul", b.input(np.array([True, False])), 1),
    "integers / 1": lambda b: b("div", b.input(np.arange(4)), 1),
    "integers * 1.0": lambda b: b("mul", b.input(np.arange(4)), 1.0),
    "float32 * double ones": lambda b: b("mul", b.input(xs(3, dtype=F32)), b.constant(np.ones(3))),
    "x * wider ones": lambda b: b("mul", b.input(xs(3)), b.constant(np.ones((2, 3)))),
    "x * nearly ones": lambda b: b("mul", b.input(xs(2)), b.constant(np.array([1.0, 1.5]))),
    "x + zeros of both signs": lambda b: b("add", b.input(xs(2)), b.constant(np.array([-0.0, 0.0]))),
    "number * 1": lambda b: b("mul", b.input(0.1, "number"), 1.0),
    "expanded x * 1": lambda b: b("mul", b("expand", b.input(xs(3, 1)), shape=(3, 4)), 1),
    "where(c, x, x expanded)": lambda b: b("where", b.constant(np.array([[True]])), x := b.input(xs(3)), x),
    "where(True, float32, double)":
        lambda b: b("where", b.constant(np.array(True)), b.input(xs(3, dtype=F32)), b.input(xs(3))),
    "narrower and back": lambda b: b("cast", b("cast", b.input(xs()), dtype=F32), dtype=F64),
    "half, then other half": lambda b: b("cast", b("cast", b.input(xs(dtype=F16)), dtype=BF16), dtype=F16),
    "double to float32 to half": lambda b: b("cast", b("cast", b.input(xs()), dtype=F32), dtype=F16),
    "integers through float32": lambda b: b("cast", b("cast", b.input(2**24 + whole(I64)), dtype=F32), dtype=I64),
    "integers through double": lambda b: b("cast", b("cast", b.input(np.array([2**62 + 1])), dtype=F64), dtype=I64),
    "integers to half by way of double":
        lambda b: b("cast", b("cast", b.input(np.arange(9, dtype=I32)), dtype=F64), dtype=F16),
    "int8 through uint8": lambda b: b("cast", b("cast", b.input(whole(I8)), dtype=U8), dtype=I8),
    "numbers through masks": lambda b: b("cast", b("cast", b.input(xs()), dtype=BOOL), dtype=F64),
    "clone of a turned matrix": lambda b: b("clone", turned(b)),
    "reshape that puts in order": lambda b: b("reshape", b("reshape", turned(b), shape=(12,)), shape=(3, 4)),
    "slice backwards": lambda b: b("slice", b.input(xs(3)), key=(slice(None, None, -1),)),
    "slice of one": lambda b: b("slice", b.input(xs(1, 3)), key=(0, None)),
    "x permuted^T": lambda b: b("matmul", b.input(xs(5, 2, 4)), b("permute", b.input(xs(5, 3, 4)), dims=(0, 2, 1))),
    "x w^T of a batch": lambda b: b("matmul", b.input(xs(2, 4)), b("permute", b.input(xs(3, 1, 4)), dims=(1, 2, 0))),
    "x * infs like x": lambda b: b("mul", b.input(xs(2)), b("full_like", b.input(xs(2)), value=inf)),
    "x + nans": lambda b: b("add", b.input(xs(2)), b.constant(np.full(2, nan))),
    "sum over one -0.0": lambda b: b("sum", b.input(np.full((3, 1), -0.0)), dim=(1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", GOES)
def test_goes(name: str) -> None:
    make, left = GOES[name]
    b = Builder()
    out = make(b)
    program = b.program(out, writes=(Write("state", out, None),))
    changed = check(both, program, b.given)
    assert names(changed) == left
    assert changed.outputs[0] is changed.writes[0].value


@pytest.mark.parametrize("name", STAYS)
def test_stays(name: str) -> None:
    b = Builder()
    program = b.program(STAYS[name](b))
    assert names(check(both, program, b.given)) == names(program)


def test_later_uses_see_the_simpler_value() -> None:
    b = Builder()
    x = b.input(xs(3, 4))
    y = b("mul", x, 1.0)
    changed = check(both, b.program(b("exp", y), b("permute", y, dims=(1, 0)), y), b.given)
    assert [i.inputs for i in changed.instructions] == [(x,), (x,)]
    assert changed.outputs[2] is x


def test_what_comes_into_a_region_stays_what_comes_in() -> None:
    b = Builder()
    x = b.input(xs(3, dtype=BF16))
    entry = b("cast", b("exp", x), dtype=F32)
    with b.again(1):
        y = b("tanh", b("cast", entry, dtype=BF16))
        z = b("cast", b("cast", y, dtype=F32), dtype=BF16)
    changed = check(both, b.program(entry, z), b.given)
    assert names(changed) == ["exp", "cast", "cast", "tanh"]
    assert changed.instructions[2].inputs == (entry,)
