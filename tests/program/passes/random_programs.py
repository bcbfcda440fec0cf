"""Random Programs: small arrays of special numbers in three dtypes, through ops that passes look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pullback.dtypes import BF16, BOOL, F32, F64
from pullback.errors import PullbackError
from pullback.program.program import Program, Value, Write

from .build import Builder, special

DTYPES = (F64, F32, BF16)
SHAPES = ((), (3,), (1, 3), (3, 1), (2, 3), (3, 3), (2, 1, 3))
NUMBERS = (1, 1.0, 0, 0.0, -0.0, -1.0, 2.5)

Step = Callable[[Builder, Value, Value, int], Value]


def square(b: Builder, x: Value, y: Value, k: int) -> Value:
    """A product of matrices, y turned or not."""
    y = b("cast", y, dtype=x.dtype)
    return b("matmul", x, b("permute", y, dims=tuple(range(y.ndim - 2)) + ((-1, -2) if k % 2 else (-2, -1))))


def chosen(b: Builder, x: Value, y: Value, k: int) -> Value:
    mask = (b("gt", x, y), b.constant(np.array(k % 2 == 0)), b("full_like", x, value=k % 2, dtype=BOOL))[k % 3]
    return b("where", mask, x, (x, y, 0.0)[k % 5 % 3])


STEPS: dict[str, Step] = {
    "add": lambda b, x, y, k: b("add", x, y),
    "sub": lambda b, x, y, k: b("sub", x, y),
    "mul": lambda b, x, y, k: b("mul", x, y),
    "div": lambda b, x, y, k: b("div", x, y),
    "add a number": lambda b, x, y, k: b("add", x, NUMBERS[k % 7]),
    "a number added": lambda b, x, y, k: b("add", NUMBERS[k % 7], x),
    "sub a number": lambda b, x, y, k: b("sub", x, NUMBERS[k % 7]),
    "mul a number": lambda b, x, y, k: b("mul", x, NUMBERS[k % 7]),
    "div a number": lambda b, x, y, k: b("div", x, NUMBERS[k % 7]),
    "add a constant": lambda b, x, y, k: b("add", x, b.constant(np.array(NUMBERS[k % 7], DTYPES[k % 3]))),
    "mul a constant": lambda b, x, y, k: b("mul", b.constant(np.full(x.shape, NUMBERS[k % 7], DTYPES[k % 3])), x),
    "full": lambda b, x, y, k: b("full_like", x, value=NUMBERS[k % 7]),
    "neg": lambda b, x, y, k: b("neg", x),
    "exp": lambda b, x, y, k: b("exp", x),
    "where": chosen,
    "cast": lambda b, x, y, k: b("cast", x, dtype=DTYPES[k % 3]),
    "clone": lambda b, x, y, k: b("clone", x),
    "reshape": lambda b, x, y, k: b("reshape", x, shape=(x.shape, (x.size,), (1, *x.shape), x.shape[::-1])[k % 4]),
    "permute": lambda b, x, y, k: b("permute", x, dims=tuple((d + k) % x.ndim for d in range(x.ndim))),
    "expand": lambda b, x, y, k: b("expand", x, shape=(x.shape, np.broadcast_shapes(x.shape, y.shape))[k % 2]),
    "slice": lambda b, x, y, k: b("slice", x, key=(..., (slice(None), slice(0, 2), slice(None, None, -1))[k % 3])),
    "sum": lambda b, x, y, k: b("sum", x, dim=(k % x.ndim,), keepdim=k % 2 == 0),
    "total": lambda b, x, y, k: b("sum", x),
    "matmul": square,
}

leaves = st.lists(st.tuples(st.sampled_from(SHAPES), st.sampled_from(DTYPES), st.booleans()), min_size=1, max_size=4)
number = st.integers(0, 41)
steps = st.lists(st.tuples(st.sampled_from(list(STEPS)), number, number, number, st.integers(0, 2)), max_size=25)


def random_program(leaves: list[Any], steps: list[Any]) -> tuple[Builder, Program]:
    """The Program that these lists mean; steps that do not fit are left out."""
    b = Builder()
    values = []
    for seed, (shape, dtype, known) in enumerate(leaves):
        array = special(*shape, dtype=dtype, seed=seed)
        values.append(b.constant(array) if known else b.input(array))
    for name, i, j, k, region in steps:
        x, y = values[-1 - i % len(values)], values[-1 - j % len(values)]
        with b.again(region):
            try:
                values.append(STEPS[name](b, x, y, k))
            except (PullbackError, ValueError, ZeroDivisionError, IndexError):
                continue
    return b, b.program(*values[-3:], writes=(Write("state", values[len(values) // 2], None),))
