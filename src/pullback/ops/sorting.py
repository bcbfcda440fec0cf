"""Ops that put elements in order, and that look things up in what is in order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import F32, I64
from ..errors import RangeError, fail
from .along import lay_along, take
from .record import Sample, Spec, arithmetic, op, per_input_element, promoting
from .samples import booleans, inf, integers, nan, randn
from .scan import with_indices


def _order(x: Any, dim: int, descending: bool) -> Any:
    """The stable order along dim. NaN counts as the largest."""
    if not descending:
        return np.argsort(x, dim, kind="stable")
    back = (slice(None),) * dim + (slice(None, None, -1),)  # sorted from the other end, equal elements keep their order
    return x.shape[dim] - 1 - np.argsort(x[back], dim, kind="stable")[back]


def _sort(x: Any, dim: int, descending: bool = False) -> Any:
    if x.ndim == 0:
        return x.copy(), np.zeros((), I64)
    order = _order(x, dim, descending)
    return take(x, order, dim), order


def _orders(**params: Any) -> list[Sample]:
    return [
        Sample((randn(3, 5),), {"dim": 1, **params}),
        Sample((randn(4, 3),), {"dim": 0, **params}),
        Sample((randn(2, 4, 3),), {"dim": 1, **params}),
        Sample((randn(4, 3).T[::-1],), {"dim": 1, **params}, note="strided"),
        Sample((randn(2, 5).astype(F32),), {"dim": 1, **params}, note="float32"),
        Sample(
            (np.array([[1.0, nan, -inf, inf, -nan], [0.0, 3.0, nan, 2.0, 1.0]]),),
            {"dim": 1, **params},
            smooth=False,
            note="special",
        ),
        Sample((np.argsort(randn(3, 5)).astype(np.int32),), {"dim": 1, **params}, smooth=False, note="integers"),
    ]


sort = op(
    "sort", "x in order along dim, and where each element stood", inputs="x",
    torch="torch.sort(x, dim=dim, descending=descending, stable=True)",
    numpy=_sort, infer=lambda x, dim, descending=False: with_indices(x, dim), dtypes=arithmetic,
    flops=per_input_element(10),
    vjp={"x": lambda g, out1, x_shape, dim: lay_along(g[0], out1, shape=x_shape, dim=dim)},
    samples=lambda: [
        *_orders(),
        *_orders(descending=True),
        Sample((randn(),), {"dim": 0}, note="0-d"),
        Sample((randn(3, 0),), {"dim": 1}, note="empty"),
        Sample((np.array([2.0, 1.0, 2.0, 1.0, 1.0]),), {"dim": 0}, smooth=False, note="ties"),
        Sample((np.array([2.0, 1.0, 2.0, 1.0, 1.0]),), {"dim": 0, "descending": True}, smooth=False, note="ties"),
        Sample((booleans(3, 5),), {"dim": 1, "descending": True}, smooth=False, note="booleans"),
    ],
)  # fmt: skip


def _topk(x: Any, k: int, dim: int, largest: bool = True) -> Any:
    size = x.shape[dim] if x.ndim else 1
    if not 0 <= k <= size:
        fail(
            RangeError,
            f"topk(): k = {k} is out of range for dim {dim} of size {size}",
            "ask for at most as many as there are",
        )
    if x.ndim == 0:
        return (x.copy(), np.zeros((), I64)) if k else (np.empty(0, x.dtype), np.empty(0, I64))
    first = (slice(None),) * dim + (slice(k),)
    if 0 < k < size // 8:  # few of many: part them from the rest, then sort just them
        order = np.argpartition(x, size - k if largest else k - 1, dim)
        few = np.sort(order[(slice(None),) * dim + (slice(size - k, None),)] if largest else order[first], dim)
        order = take(few, _order(take(x, few, dim), dim, largest), dim)
    else:
        order = _order(x, dim, largest)[first]
    return take(x, order, dim), order


def _few(x: Any, k: int, dim: int, largest: bool = True) -> tuple[Spec, Spec]:
    shape = tuple(k if d == dim else n for d, n in enumerate(x.shape)) if x.ndim else () if k else (0,)
    return Spec(shape, x.dtype), Spec(shape, I64)


topk = op(
    "topk", "the k largest (or smallest) along dim in order, and where they stood", inputs="x",
    torch="torch.topk(x, k, dim, largest)",
    numpy=_topk, infer=_few, dtypes=arithmetic, flops=per_input_element(2),
    vjp={"x": lambda g, out1, x_shape, dim: lay_along(g[0], out1, shape=x_shape, dim=dim)},
    samples=lambda: [
        *[s for s in _orders(k=2) if s.note != "special"],
        *[s for s in _orders(k=3, largest=False) if s.note != "special"],
        Sample((randn(2, 40),), {"k": 3, "dim": 1}, note="few of many"),
        Sample((randn(40, 2),), {"k": 3, "dim": 0, "largest": False}, note="few of many"),
        Sample((np.array([1.0, nan, 3.0, inf]),), {"k": 3, "dim": 0}, smooth=False, note="special"),
        Sample((randn(),), {"k": 1, "dim": 0}, note="0-d"),
        Sample((randn(3, 4),), {"k": 0, "dim": 1}, note="none"),
    ],
)  # fmt: skip

# -- look up -----------------------------------------------------------------------------------------------------------


def _searchsorted(boundaries: Any, x: Any, right: bool = False) -> Any:
    side: Any = "right" if right else "left"
    if boundaries.ndim == 1:
        return np.searchsorted(boundaries, x, side)
    if boundaries.shape[:-1] != x.shape[:-1]:
        raise ValueError(
            "boundaries of several dimensions go with values whose dimensions are the same but for the last"
        )
    out = np.empty(x.shape, I64)
    for row in np.ndindex(x.shape[:-1]):
        out[row] = np.searchsorted(boundaries[row], x[row], side)
    return out


searchsorted = op(
    "searchsorted", "how many boundaries, in order along the last dim, are < x (with right: <= x)",
    inputs="boundaries x",
    torch="torch.searchsorted(boundaries.detach(), x.detach(), right=right)",
    numpy=_searchsorted, infer=lambda boundaries, x, right=False: Spec(x.shape, I64), dtypes=promoting,
    flops=per_input_element(1),
    samples=lambda: [
        Sample((np.array([1.0, 2.0, 3.0, 3.0, 4.0]), np.array([[0.5, 3.0], [2.5, 9.0]])), smooth=False),
        Sample((np.array([1.0, 3.0, 3.0, 4.0]), np.array([[0.5, 3.0], [2.5, 9.0]])), {"right": True}, smooth=False),
        Sample((np.sort(randn(2, 3, 5)), randn(2, 3, 4)), smooth=False, note="a row each"),
        Sample((np.array([1.0, 2.0]), np.array(1.5)), smooth=False, note="0-d"),
        Sample((np.array([1.0, 2.0]), randn(0, 3)), smooth=False, note="empty"),
        Sample((np.array([1.0, 2.0]), np.array([nan, inf, -inf])), smooth=False, note="special"),
        Sample((integers(0, 9, 6).cumsum(), integers(0, 50, 4, 3).T), smooth=False, note="integers, strided"),
    ],
)  # fmt: skip

# -- distinct elements -------------------------------------------------------------------------------------------------


def _distinct(x: Any, dim: int | None = None, consecutive: bool = False) -> Any:
    rows = x.reshape(-1) if dim is None else np.moveaxis(x, dim, 0)
    n = len(rows)
    if consecutive or rows[:1].size == 0:
        order = np.arange(n)
    else:
        order = np.argsort(rows, kind="stable") if dim is None else np.lexsort(rows.reshape(n, -1).T[::-1])
    line = rows[order]
    new = np.arange(n) == 0
    if line.size:
        flat = line.reshape(n, -1)
        new[1:] = (flat[1:] != flat[:-1]).any(1)
    starts = np.flatnonzero(new)
    values, counts, inverse = np.zeros_like(line), np.zeros(n, I64), np.empty(n, I64)
    values[: len(starts)] = line[starts]
    counts[: len(starts)] = np.diff(np.append(starts, n))
    inverse[order] = np.cumsum(new) - 1
    if dim is None:
        return values, inverse.reshape(x.shape), counts, np.asarray(len(starts))
    return np.moveaxis(values, 0, dim), inverse, counts, np.asarray(len(starts))


def _distinct_spec(x: Any, dim: int | None = None, consecutive: bool = False) -> tuple[Spec, ...]:
    n = math.prod(x.shape) if dim is None else x.shape[dim]
    values, inverse = ((n,), x.shape) if dim is None else (x.shape, (n,))
    return Spec(values, x.dtype), Spec(inverse, I64), Spec((n,), I64), Spec((), I64)


distinct = op(
    "distinct", "the distinct elements (or slices along dim), then zeros; each x's place there; their counts; how many",
    inputs="x",
    torch="(lambda n, u, i, c: (F.pad(u, (0,) * (2 * (u.ndim - 1 - (dim or 0)) + 1) + (n - len(c),)), i,"
    " F.pad(c, (0, n - len(c))), torch.tensor(len(c))))"
    "(x.numel() if dim is None else x.shape[dim], *(torch.unique_consecutive(x.detach(), True, True, dim)"
    " if consecutive else torch.unique(x.detach(), True, True, True, dim)))",
    numpy=_distinct, infer=_distinct_spec, dtypes=arithmetic, flops=per_input_element(10),
    samples=lambda: [
        Sample((integers(0, 4, 3, 4),), smooth=False),
        Sample((integers(0, 4, 3, 4),), {"consecutive": True}, smooth=False),
        Sample((integers(0, 2, 6, 2),), {"dim": 0}, smooth=False),
        Sample((integers(0, 2, 2, 6).T[::-1].T,), {"dim": 1}, smooth=False, note="strided"),
        Sample((integers(0, 2, 8, 1, 2),), {"dim": 0, "consecutive": True}, smooth=False, note="neighbours"),
        Sample((np.array([2.0, nan, -inf, 2.0, nan]),), smooth=False, note="special"),
        Sample((np.array([True, False, True]),), smooth=False, note="booleans"),
        Sample((randn(),), smooth=False, note="0-d"),
        Sample((randn(0),), smooth=False, note="empty"),
    ],
)  # fmt: skip
