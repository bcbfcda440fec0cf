"""Comparisons, logic, choice between values."""

from __future__ import annotations

import numpy as np

from .record import Sample, Spec, broadcast, comparison, op, per_element, promoting
from .samples import booleans, pairs, randn
from .arithmetic import mul

eq = op("eq", "x == y", inputs="x y", torch="torch.eq(x, y)", numpy=np.equal, infer=comparison, dtypes=promoting, flops=per_element(1), samples=pairs())  # fmt: skip
ne = op("ne", "x != y", inputs="x y", torch="torch.ne(x, y)", numpy=np.not_equal, infer=comparison, dtypes=promoting, flops=per_element(1), samples=pairs())  # fmt: skip


def choosing(op, arrays):  # type: ignore
    rest, restore = promoting(op, arrays[1:])
    return [arrays[0], *rest], restore


where = op(
    "where", "x where condition, else y", inputs="condition x y", torch="torch.where(condition, x, y)",
    numpy=np.where, infer=lambda c, x, y: Spec(broadcast(c, x, y), (x if hasattr(x, "dtype") else y).dtype), dtypes=choosing, broadcasts=True,
    vjp={"x": lambda g, condition: where(condition, g, 0.0), "y": lambda g, condition: where(condition, 0.0, g)},
    samples=lambda: [
        Sample((booleans(3, 4), randn(3, 4), randn(3, 4, seed=1))),
        Sample((booleans(3, 1), randn(4), 2.0), note="broadcast, number"),
        Sample((booleans(), randn(), randn(2, seed=1)), note="0-d"),
        Sample((booleans(0, 2), randn(2), randn(0, 2)), note="empty"),
    ],
)  # fmt: skip
