"""Ops that fold a dimension: sums, products, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .record import Sample, Spec, op, per_input_element, reduced, summing, normal_dims
from .samples import randn
from .shape import expand, reshape


def _axes(dim: Any, ndim: int) -> Any:
    return None if dim is None else normal_dims(dim, ndim)


def unreduce(g: Any, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Any:
    """g with the folded dimensions put back and expanded to `shape`."""
    if not keepdim and dim is not None:
        dims = normal_dims(dim, len(shape))
        g = reshape(g, shape=tuple(1 if i in dims else n for i, n in enumerate(shape)))
    return expand(g, shape=shape)


def reductions(make: Any = randn) -> Any:
    """All, one, several and negative dims, kept or not; empty and 0-d."""
    return lambda: [
        Sample((make(3, 4),)),
        Sample((make(2, 3, 4),), {"dim": (0, 2)}),
        Sample((make(2, 3, 4),), {"dim": (-1,), "keepdim": True}),
        Sample((make(4, 3).T[::-1],), {"dim": (0,)}, note="strided"),
        Sample((make(),), note="0-d"),
        Sample((make(0, 3),), {"dim": (0,)}, note="empty"),
    ]


sum = op(
    "sum", "sum over dim of x", inputs="x", torch="torch.sum(x, dim=dim, keepdim=keepdim)",
    numpy=lambda x, dim=None, keepdim=False: np.add.reduce(x, axis=_axes(dim, x.ndim), keepdims=keepdim),
    infer=reduced, dtypes=summing, flops=per_input_element(1),
    vjp={"x": lambda g, x_shape, dim, keepdim: unreduce(g, x_shape, dim, keepdim)},
    samples=reductions(),
)  # fmt: skip
