"""Ops that run along a dimension and keep what they have so far: cumulative sums, products and extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import F32, F64, I64
from .arithmetic import add, mul
from .create import full_like
from .indexing import scatter_add
from .record import Sample, Spec, arithmetic, op, per_input_element, same, summing
from .samples import inf, integers, nan, randn
from .shape import flip, slice_, unslice


def scans(**params: Any) -> Callable[[], list[Sample]]:
    """First, last and middle dim; strided, 0-d, empty, float32, special values."""
    return lambda: [
        Sample((randn(5, 3),), {"dim": 0, **params}),
        Sample((randn(2, 4, 3),), {"dim": 1, **params}),
        Sample((randn(4, 3).T[::-1],), {"dim": 1, **params}, note="strided"),
        Sample((randn(),), {"dim": 0, **params}, note="0-d"),
        Sample((randn(3, 0),), {"dim": 1, **params}, note="empty"),
        Sample((randn(2, 5).astype(F32),), {"dim": 1, **params}, note="float32"),
        Sample(
            (np.array([[1.0, nan, 2.0, 3.0], [1.0, inf, -inf, 2.0], [-inf, 0.0, inf, 1.0]]),),
            {"dim": 1, **params},
            smooth=False,
            note="special",
        ),
    ]


def part(dim: int, *limits: int | None) -> tuple[Any, ...]:
    """The key x[:, ..., start:stop:step], at dim."""
    return (*[slice(None)] * dim, slice(*limits))


def around(f: Callable[[Any, int], Any], x: Any, dim: int) -> Any:
    """f along dim, from the other end."""
    return flip(f(flip(x, dims=(dim,)), dim), dims=(dim,)) if x.shape else f(x, dim)


def previous(x: Any, dim: int) -> Any:
    """out_i = x_(i-1), and 0 at the start."""
    if not x.shape:
        return full_like(x, value=0.0)
    return unslice(slice_(x, key=part(dim, 0, -1)), shape=tuple(x.shape), key=part(dim, 1, None))


def prefix_products(x: Any, dim: int) -> Any:
    """The product of all before each element; 1 for the first."""
    return _previous_or_one(cumprod(x, dim=dim), dim)


def _previous_or_one(products: Any, dim: int) -> Any:
    if not products.shape:
        return full_like(products, value=1.0)
    first = part(dim, 0, 1)
    one = full_like(slice_(products, key=first), value=1.0)
    return add(previous(products, dim), unslice(one, shape=tuple(products.shape), key=first))


def accumulate(ufunc: np.ufunc) -> Callable[..., Any]:
    def run(x: Any, dim: int) -> Any:
        if x.ndim == 0:
            return x.copy()
        if x.dtype == F32:  # in double, as PyTorch on the CPU
            return ufunc.accumulate(x.astype(F64), dim).astype(F32)
        return ufunc.accumulate(x, dim)

    return run


def _sums(x: Any, dim: int) -> Any:
    return cumsum(x, dim=dim)


cumsum = op(
    "cumsum", "out_i = sum over k <= i of x_k", inputs="x", torch="torch.cumsum(x, dim)",
    numpy=accumulate(np.add), infer=same, dtypes=summing, flops=per_input_element(1),
    vjp={"x": lambda g, dim: around(_sums, g, dim)},
    samples=lambda: [
        *scans()(),
        Sample((integers(-5, 5, 3, 4, dtype=np.int32),), {"dim": 1}, smooth=False, note="integers"),
    ],
)  # fmt: skip


def _recurrence(a: Any, b: Any, dim: int) -> Any:
    out = b.copy()
    if out.ndim:
        rows, factors = np.moveaxis(out, dim, 0), np.moveaxis(a, dim, 0)
        for i in range(1, len(rows)):
            rows[i] += factors[i] * rows[i - 1]
    return out


def recur_back(a: Any, g: Any, dim: int) -> Any:
    """What `recurrence` sends back to b: s_i = g_i + a_(i+1) s_(i+1)."""
    if not g.shape:
        return g
    return around(lambda h, d: recurrence(previous(flip(a, dims=(d,)), d), h, dim=d), g, dim)


def _pull_recurrence(g: Any, a: Any, out: Any, dim: int, needed: tuple[bool, bool]) -> list[Any]:
    """With s = the cotangents summed backwards: db = s, da_i = s_i out_(i-1)"""
    s = recur_back(a, g, dim)
    return [mul(s, previous(out, dim)) if needed[0] else None, s]


recurrence = op(
    "recurrence", "out_i = a_i out_(i-1) + b_i, out_0 = b_0", inputs="a b",
    torch="torch.stack([s := b.select(dim, i) + a.select(dim, i) * (s if i else 0) for i in range(b.shape[dim])], dim)"
    " if b.ndim and b.numel() else b + 0 * a",
    numpy=_recurrence, infer=lambda a, b, dim: Spec(b.shape, b.dtype), dtypes=arithmetic, flops=per_input_element(2),
    vjp_all=_pull_recurrence,
    samples=lambda: [
        Sample((randn(5, 3), randn(5, 3, seed=1)), {"dim": 0}),
        Sample((randn(2, 4, 3), randn(2, 4, 3, seed=1)), {"dim": 1}),
        Sample((randn(4, 3).T[::-1], randn(3, 4, seed=1)), {"dim": 1}, note="strided"),
        Sample((randn(), randn(seed=1)), {"dim": 0}, note="0-d"),
        Sample((randn(3, 0), randn(3, 0)), {"dim": 1}, note="empty"),
        Sample((randn(2, 5).astype(F32), randn(2, 5, seed=1).astype(F32)), {"dim": 1}, note="float32"),
    ],
)  # fmt: skip

cumprod = op(
    "cumprod", "out_i = product over k <= i of x_k", inputs="x", torch="torch.cumprod(x, dim)",
    numpy=accumulate(np.multiply), infer=same, dtypes=summing, flops=per_input_element(1),
    # out_i = x_i out_(i-1): go back through that, so that nothing is divided by x
    vjp={"x": lambda g, x, out, dim: mul(recur_back(x, g, dim), _previous_or_one(out, dim))},
    samples=lambda: [
        *[s for s in scans()() if s.note != "special"],
        Sample((randn(3, 1) * np.array([2.0, 0.0, 3.0, 0.0, 1.0]),), {"dim": 1}, note="zeros"),
        Sample((integers(-5, 5, 3, 4, dtype=np.int32),), {"dim": 1}, smooth=False, note="integers"),
    ],
)  # fmt: skip


def _running(ufunc: np.ufunc, reaches: np.ufunc) -> Callable[..., Any]:
    """The extreme so far, and where it was last reached. A NaN stays."""

    def run(x: Any, dim: int) -> Any:
        if x.ndim == 0:
            return x.copy(), np.zeros((), I64)
        values = ufunc.accumulate(x, dim)
        places = np.arange(x.shape[dim]).reshape([-1 if d == dim else 1 for d in range(x.ndim)])
        reached = reaches(x, values) | (x != x)
        return values, np.maximum.accumulate(np.where(reached, places, 0), dim)

    return run


def with_indices(x: Any, dim: int) -> tuple[Spec, Spec]:
    """Values and indices, shaped like x."""
    return Spec(x.shape, x.dtype), Spec(x.shape, I64)


def _runs() -> list[Sample]:
    return [
        *[s._replace(smooth=s.note != "special" and s.inputs[0].ndim > 0) for s in scans()()],
        Sample((np.array([2.0, 1.0, 2.0, 3.0, 3.0, 0.0, 0.0]),), {"dim": 0}, smooth=False, note="ties"),
        Sample((integers(-5, 5, 3, 4, dtype=np.int32),), {"dim": 1}, smooth=False, note="integers"),
    ]


def _pull_running(g: Any, out1: Any, x_shape: Any, dim: int) -> Any:
    """What was the extreme for a while gets what all of these places send."""
    return scatter_add(full_like(g[0], value=0.0), out1, g[0], dim=dim) if x_shape else g[0]


cummax = op(
    "cummax", "out_i = max over k <= i of x_k, and its index", inputs="x", torch="torch.cummax(x, dim)",
    numpy=_running(np.maximum, np.greater_equal), infer=with_indices, dtypes=arithmetic, flops=per_input_element(1),
    vjp={"x": _pull_running}, samples=_runs,
)  # fmt: skip

cummin = op(
    "cummin", "out_i = min over k <= i of x_k, and its index", inputs="x", torch="torch.cummin(x, dim)",
    numpy=_running(np.minimum, np.less_equal), infer=with_indices, dtypes=arithmetic, flops=per_input_element(1),
    vjp={"x": _pull_running}, samples=_runs,
)  # fmt: skip
