"""The p-norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import PullbackError, fail
from .arithmetic import abs, div, mul, sign
from .compare import eq, isnan, logical_or, where
from .pointwise import pow
from .record import Sample, Shape, op, per_input_element, reduced
from .reduction import add_up, count, fractional, keep, maximum_reduce, minimum_reduce, reductions, share_of
from .samples import inf, randn


def _sum_of_squares(x: Any) -> Any:
    """By BLAS, which needs no squares in memory, in rows short enough for its error not to grow."""
    end = x.size - x.size % 4096
    rows = x[:end].reshape(-1, 4096)
    return np.vecdot(rows, rows).sum(dtype=np.float64) + np.dot(x[end:], x[end:])


def _norm(x: Any, p: float = 2.0, dim: Any = None, keepdim: bool = False) -> Any:
    if p == 2 and dim is None and x.size >= 4096 and x.flags.c_contiguous:
        total = np.asarray(np.sqrt(_sum_of_squares(x.reshape(-1))), x.dtype)
        return total.reshape((1,) * x.ndim) if keepdim else total
    if p == 2:
        return np.sqrt(add_up(x * x, dim, keepdim))
    size = np.abs(x)
    if p in (inf, -inf):
        if count(x.shape, dim) == 0:
            fail(
                PullbackError, f"norm: the {p} norm of no elements is not defined", "fold a dimension that has elements"
            )
        return (maximum_reduce if p > 0 else minimum_reduce)(size, dim, None, None, keepdim)
    if p == 0:
        return add_up((x != 0).astype(x.dtype), dim, keepdim)
    if p == 1:
        return add_up(size, dim, keepdim)
    return add_up(size**p, dim, keepdim) ** (1 / p)


def _pull_norm(g: Any, x: Any, out: Any, x_shape: Shape, x_dtype: Any, p: float, dim: Any, keepdim: bool) -> Any:
    """d|x|_p = sum sign(x) (|x| / |x|_p)^(p-1) dx; the gradient chosen at 0 is 0"""
    if p == 0:  # it counts
        return None
    g, out = keep(g, x_shape, dim, keepdim), keep(out, x_shape, dim, keepdim)
    if p == 1:
        return mul(g, sign(x))
    if p == 2:
        return mul(x, where(eq(out, 0.0), 0.0, div(g, out)))
    if p in (inf, -inf):  # shared among the elements that reach it
        return mul(sign(x), mul(g, share_of(logical_or(eq(abs(x), out), isnan(x)), x_dtype, dim)))
    if p > 1:
        return mul(mul(sign(x), pow(abs(x), p - 1)), where(eq(out, 0.0), 0.0, div(g, pow(out, p - 1))))
    return mul(mul(sign(x), where(eq(x, 0.0), 0.0, pow(abs(x), p - 1))), mul(g, pow(out, 1 - p)))


_zeros = np.array([[0.0, 0.0], [0.0, -2.0]])

norm = op(
    "norm", "(sum over dim of |x|^p)^(1/p)", inputs="x", torch="torch.linalg.vector_norm(x, p, dim, keepdim)",
    numpy=_norm, infer=reduced, dtypes=fractional, flops=per_input_element(2),
    vjp={"x": _pull_norm},
    samples=lambda: [
        *[s._replace(smooth=s.note not in ("0-d", "special")) for s in reductions()()],
        *[Sample((randn(3, 4, seed=8),), {"p": p, "dim": (1,)}) for p in (-inf, -1.0, 0.5, 1.0, 1.5, 3.0, inf)],
        *[Sample((_zeros,), {"p": p, "dim": (1,)}, smooth=False, note="0") for p in (-1.0, 0.5, 1.0, 1.5, 2.0, 3.0)],
        Sample((np.array([[2.0, -2.0, 1.0], [0.0, 0.0, 0.0]]),), {"p": inf, "dim": (1,)}, smooth=False, note="ties"),
        Sample((np.array([1.0, 0.0, 3.0]),), {"p": 0.0}, smooth=False, note="a count"),
    ],
)  # fmt: skip
