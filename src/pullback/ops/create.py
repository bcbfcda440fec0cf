"""Copies, casts and constants shaped like another array."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import F32, F64
from .record import Spec, op, per_input, same
from .samples import Sample, randn, unary


def _clone(x: Any) -> Any:
    return x.copy()


clone = op(
    "clone", "x, in memory of its own", inputs="x", torch="torch.clone(x)",
    numpy=_clone, infer=same, dtypes=per_input,
    vjp={"x": lambda g: g},
    samples=unary(),
)  # fmt: skip

cast = op(
    "cast", "x in another dtype", inputs="x", torch="x.to(getattr(torch, dtype.name))",
    numpy=lambda x, dtype: x.astype(dtype), infer=lambda x, dtype: Spec(x.shape, np.dtype(dtype)), dtypes=per_input,
    ordered=False,
    vjp={"x": lambda g, x_dtype: cast(g, dtype=x_dtype)},
    samples=lambda: [
        Sample((randn(3, 4),), {"dtype": F32}),
        Sample((randn(3, 4, dtype=np.float32),), {"dtype": F64}),
        Sample((randn(0, 4),), {"dtype": F32}, note="empty"),
        Sample((randn(),), {"dtype": F32}, note="0-d"),
        Sample((3 * randn(3, 4),), {"dtype": np.dtype(np.int64)}, smooth=False, note="to integers"),
    ],
)  # fmt: skip

full_like = op(
    "full_like", "value, in the shape (or another) of x", inputs="x", torch="torch.full_like(x, value)",
    numpy=lambda x, value, shape=None, dtype=None: np.full(x.shape if shape is None else shape, value, x.dtype if dtype is None else dtype),
    infer=lambda x, value, shape=None, dtype=None: Spec(x.shape if shape is None else shape, x.dtype if dtype is None else dtype),
    dtypes=per_input,
    samples=lambda: [Sample((randn(3, 4),), {"value": 2.5}), Sample((randn(),), {"value": -1.0}, note="0-d"), Sample((randn(0, 2),), {"value": 1.0}, note="empty")],
)  # fmt: skip
