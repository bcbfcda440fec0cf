"""Ops that fold dimensions into one number: sums, products, means, norms, any and all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import BOOL, F32, F64, FLOATS, I64, dtype
from ..errors import DTypeError, fail
from .arithmetic import div, mul, sub
from .compare import eq, where
from .create import cast
from .pointwise import sqrt
from .record import Op, Sample, Shape, Spec, arithmetic, op, per_input_element, reduced, summing
from .samples import booleans, inf, integers, nan, positive, randn
from .scan import around, prefix_products
from .shape import expand, reshape

# ufunc.reduce(x, dim, dtype, out, keepdim, initial): quicker by position than by keyword.
add_reduce: Any = np.add.reduce
multiply_reduce: Any = np.multiply.reduce
maximum_reduce: Any = np.maximum.reduce
minimum_reduce: Any = np.minimum.reduce

# -- shapes and dtypes -------------------------------------------------------------------------------------------------


def dims_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions folded, as a tuple of non-negative numbers."""
    if dim is None:
        return tuple(range(ndim))
    return tuple([d % (ndim or 1) for d in ((dim,) if isinstance(dim, int) else dim)])


def count(shape: Shape, dim: Any) -> int:
    """How many elements fold into one."""
    return math.prod([shape[d] for d in dims_of(dim, len(shape))])


def keep(g: Any, shape: Shape, dim: Any, keepdim: bool) -> Any:
    """g of a reduction with the folded dimensions put back as 1, so that it broadcasts against what was folded."""
    if keepdim or dim is None:
        return g
    dims = dims_of(dim, len(shape))
    return reshape(g, shape=tuple([1 if i in dims else n for i, n in enumerate(shape)]))


def unreduce(g: Any, shape: Shape, dim: Any, keepdim: bool) -> Any:
    """g of a reduction, given to every element that was folded."""
    return expand(g if dim is None and not keepdim else keep(g, shape, dim, keepdim), shape=shape)


def fractional(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """As `arithmetic`, and integers are refused."""
    if arrays[0].dtype not in FLOATS:
        name = dtype.by_numpy[arrays[0].dtype].name
        fail(
            DTypeError,
            f"{op.name}() expects a floating point tensor, but got {name}",
            "convert it first, x.float(), or pass dtype= where there is one",
        )
    return arithmetic(op, arrays)


def reductions(
    make: Callable[..., Any] = randn, special: Any = (nan, inf, -inf, 0.0, 2.0), empty: bool = True, **params: Any
) -> Callable[[], list[Sample]]:
    """All dims, one, several, kept or not; strided, 0-d, empty, float32, special values."""
    return lambda: [
        Sample((make(3, 4),), params),
        Sample((make(2, 3, 4),), {"dim": (0, 2), **params}),
        Sample((make(2, 3, 4),), {"dim": (2,), "keepdim": True, **params}),
        Sample((make(4, 3).T[::-1],), {"dim": (0,), **params}, note="strided"),
        Sample((make(),), params, note="0-d"),
        Sample((make(3, 0),), {"dim": (0,), **params}, note="to empty"),
        *([Sample((make(0, 3),), {"dim": (0,), **params}, smooth=False, note="of nothing")] if empty else []),
        Sample((make(3, 4).astype(F32),), {"dim": (1,), **params}, note="float32"),
        Sample((np.array([special, special[::-1]]),), {"dim": (0,), **params}, smooth=False, note="special"),
    ]


def whole(make: Callable[..., Any] = integers) -> list[Sample]:
    """Integers and booleans."""
    return [
        Sample((integers(-5, 5, 3, 4, dtype=np.int32),), {"dim": (1,)}, smooth=False, note="integers"),
        Sample((integers(0, 3, 3, 4, dtype=np.uint8),), {"dim": (0,)}, smooth=False, note="uint8"),
        Sample((booleans(3, 4),), smooth=False, note="booleans"),
    ]


# -- sums --------------------------------------------------------------------------------------------------------------


def add_up(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The sum, with an error that hardly grows with the number of elements."""
    if dim is not None and x.size > 16384 and x.ndim > 1:
        if x.flags.c_contiguous:
            return _by_blocks(x, dims_of(dim, x.ndim), keepdim)
        if x.flags.f_contiguous:
            out = _by_blocks(x.T, tuple([x.ndim - 1 - d for d in dims_of(dim, x.ndim)]), keepdim)
            return out.T
    return add_reduce(x, dim, None, None, keepdim)


def _by_blocks(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    """Over dims that are not the last, NumPy adds row to row, and the error grows with their number n: add about
    sqrt(n) blocks of rows to each other first, then the rows that are left. (Long rows are quicker, too.)"""
    first, last = min(dims), max(dims)
    n = math.prod(x.shape[first : last + 1])
    if n < 256 or last == x.ndim - 1 or last - first + 1 > len(dims):
        return add_reduce(x, dims, None, None, keepdim)
    before, after = math.prod(x.shape[:first]), math.prod(x.shape[last + 1 :])
    rows = x.reshape(before, n, after)
    blocks = math.isqrt(n)
    size = n // blocks
    head = add_reduce(rows[:, : blocks * size].reshape(before, blocks, size * after), 1)
    out = add_reduce(head.reshape(before, size, after), 1)
    if blocks * size < n:
        out += add_reduce(rows[:, blocks * size :], 1)
    return out.reshape([1 if i in dims else size for i, size in enumerate(x.shape) if keepdim or i not in dims])


sum = op(
    "sum", "sum over dim of x", inputs="x", torch="torch.sum(x, dim=dim, keepdim=keepdim)",
    numpy=add_up, infer=reduced, dtypes=summing, flops=per_input_element(1),
    vjp={"x": lambda g, x_shape, dim, keepdim: unreduce(g, x_shape, dim, keepdim)},
    samples=lambda: [
        *reductions()(),
        *whole(),
        Sample((positive(700, 3, 9),), {"dim": (0, 1)}, note="by blocks"),
        Sample((positive(5, 700, 9),), {"dim": (1,), "keepdim": True}, note="by blocks, inside"),
        Sample((positive(40, 700).T,), {"dim": (1,)}, note="by blocks, transposed"),
    ],
)  # fmt: skip


def _mean(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return add_up(x, dim, keepdim) / count(x.shape, dim)


mean = op(
    "mean", "(sum over dim of x) / n", inputs="x", torch="torch.mean(x, dim=dim, keepdim=keepdim)",
    numpy=_mean, infer=reduced, dtypes=fractional, flops=per_input_element(1),
    vjp={"x": lambda g, x_shape, dim, keepdim: unreduce(div(g, count(x_shape, dim)), x_shape, dim, keepdim)},
    samples=reductions(),
)  # fmt: skip


def _count_nonzero(x: Any, dim: Any = None) -> Any:
    return np.count_nonzero(x, axis=dim)


count_nonzero = op(
    "count_nonzero", "how many x over dim are not 0", inputs="x", torch="torch.count_nonzero(x, dim=dim)",
    numpy=_count_nonzero, infer=lambda x, dim=None: Spec(reduced(x, dim).shape, I64), dtypes=arithmetic,
    flops=per_input_element(1),
    samples=lambda: [
        Sample((booleans(3, 4) * randn(3, 4),)),
        Sample((integers(0, 2, 2, 3, 4),), {"dim": (0, 2)}, smooth=False),
        Sample((booleans(4, 3).T,), {"dim": (1,)}, note="strided"),
        Sample((randn(),), note="0-d"),
        Sample((randn(0, 3),), {"dim": (0,)}, note="of nothing"),
        Sample((np.array([nan, 0.0, -0.0, inf]),), smooth=False, note="special"),
    ],
)  # fmt: skip


def share_of(chosen: Any, npdtype: Any, dim: Any) -> Any:
    """1 / (how many are chosen over dim) where chosen, else 0."""
    chosen = cast(chosen, dtype=npdtype)
    return div(chosen, sum(chosen, dim=dim, keepdim=True))


# -- products ----------------------------------------------------------------------------------------------------------


def _pull_prod(g: Any, x: Any, x_shape: Shape, dim: int | None, keepdim: bool) -> Any:
    """d prod / dx_i is the product of the others: those before times those after. Nothing is divided by a zero."""
    line = reshape(x, shape=(math.prod(x_shape),)) if dim is None else x
    along = dim or 0
    others = mul(prefix_products(line, along), around(prefix_products, line, along))
    return mul(keep(g, x_shape, dim, keepdim), reshape(others, shape=x_shape))


prod = op(
    "prod", "product over dim of x", inputs="x", torch="torch.prod(x) if dim is None else torch.prod(x, dim, keepdim)",
    numpy=lambda x, dim=None, keepdim=False: multiply_reduce(x, dim, None, None, keepdim),
    infer=reduced, dtypes=summing, flops=per_input_element(1),
    vjp={"x": _pull_prod},
    samples=lambda: [
        Sample((randn(3, 4),)),
        Sample((randn(2, 3, 4),), {"dim": 1}),
        Sample((randn(4, 3).T[::-1],), {"dim": 1, "keepdim": True}, note="strided"),
        Sample((randn(3, 1) * np.array([1.0, 0.0, 2.0]),), {"dim": 1}, note="a zero"),
        Sample((np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]),), {"dim": 1}, note="zeros"),
        Sample((randn(),), note="0-d"),
        Sample((randn(0, 3),), {"dim": 0}, note="of nothing"),
        Sample((np.array([[nan, 0.0, 2.0], [inf, 0.0, 2.0]]),), {"dim": 1}, smooth=False, note="special"),
        Sample((integers(-5, 5, 3, 4, dtype=np.int32),), {"dim": 1}, smooth=False, note="integers"),
        Sample((booleans(3, 4),), smooth=False, note="booleans"),
    ],
)  # fmt: skip

# -- spread ------------------------------------------------------------------------------------------------------------


def _var(x: Any, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    d = x - _mean(x, dim, True)
    d *= d
    return add_up(d, dim, keepdim) / max(count(x.shape, dim) - correction, 0)


def _spread_out(x: Any, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    """The variance from simpler ops."""
    d = sub(x, mean(x, dim=dim, keepdim=True))
    return div(sum(mul(d, d), dim=dim, keepdim=keepdim), max(count(x.shape, dim) - correction, 0))


def _spreads() -> list[Sample]:
    return [
        s._replace(smooth=s.smooth and s.note != "0-d")
        for s in reductions(special=(nan, 1.0, 0.0, -0.0, 2.0), empty=False)()
    ]


def _pull_var(g: Any, x: Any, x_shape: Shape, dim: Any, correction: float, keepdim: bool) -> Any:
    """d var = 2 / (n - correction) sum (x - mean) dx"""
    g = div(mul(keep(g, x_shape, dim, keepdim), 2.0), count(x_shape, dim) - correction)
    return mul(g, sub(x, mean(x, dim=dim, keepdim=True)))


var = op(
    "var", "sum over dim of (x - mean)^2 / (n - correction)", inputs="x",
    torch="torch.var(x, dim=dim, correction=correction, keepdim=keepdim)",
    numpy=_var, infer=reduced, dtypes=fractional, flops=per_input_element(4),
    vjp={"x": _pull_var}, decompose=_spread_out,
    samples=lambda: [
        *_spreads(),
        Sample((randn(3, 4),), {"correction": 0}),
        Sample((randn(3, 4),), {"correction": 1.5, "dim": (0,)}),
        Sample((randn(1, 4),), {"dim": (0,)}, smooth=False, note="of one"),
    ],
)  # fmt: skip


def _pull_std(g: Any, x: Any, out: Any, x_shape: Shape, dim: Any, correction: float, keepdim: bool) -> Any:
    """d sqrt(var) = d var / (2 sqrt(var)), and 0 where the variance is 0"""
    g = where(eq(out, 0.0), 0.0, div(g, mul(out, 2.0)))
    return _pull_var(g, x, x_shape, dim, correction, keepdim)


def _root_of_var(x: Any, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    v = _spread_out(x, dim, correction, keepdim)
    zero = eq(v, 0.0)
    return where(zero, 0.0, sqrt(where(zero, 1.0, v)))


std = op(
    "std", "sqrt(sum over dim of (x - mean)^2 / (n - correction))", inputs="x",
    torch="torch.std(x, dim=dim, correction=correction, keepdim=keepdim)",
    numpy=lambda x, dim=None, correction=1, keepdim=False: np.sqrt(_var(x, dim, correction, keepdim)),
    infer=reduced, dtypes=fractional, flops=per_input_element(4),
    vjp={"x": _pull_std}, decompose=_root_of_var,
    samples=lambda: [
        *_spreads(),
        Sample((randn(3, 4),), {"correction": 0}),
        Sample((randn(3, 4),), {"correction": 1.5, "dim": (0,)}),
        Sample((np.ones((3, 4)),), {"dim": (0,)}, smooth=False, note="all equal"),
    ],
)  # fmt: skip

# -- logic -------------------------------------------------------------------------------------------------------------


def _truth(ufunc: Any) -> Callable[..., Any]:
    def reduce(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        out = ufunc.reduce(x, dim, None, None, keepdim)
        return out.astype(np.uint8) if x.dtype == np.uint8 else out  # as PyTorch

    return reduce


def _truth_spec(x: Any, dim: Any = None, keepdim: bool = False) -> Spec:
    return Spec(reduced(x, dim, keepdim).shape, x.dtype if x.dtype == np.uint8 else BOOL)


def _truths() -> list[Sample]:
    return [s._replace(smooth=False) for s in [*reductions(lambda *shape: booleans(*shape).astype(F64))(), *whole()]]


any = op(
    "any", "is one x over dim not 0?", inputs="x", torch="torch.any(x, dim=dim, keepdim=keepdim)",
    numpy=_truth(np.logical_or), infer=_truth_spec, dtypes=arithmetic, flops=per_input_element(1), samples=_truths,
)  # fmt: skip
all = op(
    "all", "are all x over dim not 0?", inputs="x", torch="torch.all(x, dim=dim, keepdim=keepdim)",
    numpy=_truth(np.logical_and), infer=_truth_spec, dtypes=arithmetic, flops=per_input_element(1), samples=_truths,
)  # fmt: skip
