"""Arithmetic, element by element: + - * / ** and the functions that come straight from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .record import Op, comparison, elementwise, floating, op, per_element, promoting
from .samples import integer_pairs, pairs, positive, unary


def _with_integers(samples: Any) -> Any:
    return lambda: samples() + integer_pairs()


def _same(g: Any) -> Any:
    return g


add = op(
    "add", "x + y", inputs="x y", torch="torch.add(x, y)",
    numpy=np.add, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: g, "y": lambda g: g},
    samples=_with_integers(pairs()),
)  # fmt: skip

sub = op(
    "sub", "x - y", inputs="x y", torch="torch.sub(x, y)",
    numpy=np.subtract, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: g, "y": lambda g: neg(g)},
    samples=_with_integers(pairs()),
)  # fmt: skip

mul = op(
    "mul", "x * y", inputs="x y", torch="torch.mul(x, y)",
    numpy=np.multiply, infer=elementwise, dtypes=promoting, flops=per_element(1),
    # d(xy) = y dx + x dy
    vjp={"x": lambda g, y: mul(g, y), "y": lambda g, x: mul(g, x)},
    samples=_with_integers(pairs()),
)  # fmt: skip

div = op(
    "div", "x / y", inputs="x y", torch="torch.div(x, y)",
    numpy=np.divide, infer=elementwise, dtypes=floating, flops=per_element(1),
    # d(x/y) = dx / y - (x/y) dy / y
    vjp={"x": lambda g, y: div(g, y), "y": lambda g, y, out: neg(mul(g, div(out, y)))},
    samples=_with_integers(pairs(other=positive)),
)  # fmt: skip

neg = op(
    "neg", "-x", inputs="x", torch="torch.neg(x)",
    numpy=np.negative, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g: neg(g)},
    samples=unary(),
)  # fmt: skip
