"""Ops that pick elements: the largest, the smallest, the middle one, the most frequent, and where they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import BOOL, F32, I64
from ..errors import DTypeError, RangeError, fail
from .along import lay_along, take
from .arithmetic import mul
from .compare import eq, isnan, where
from .record import Sample, Shape, Spec, arithmetic, op, per_input_element, reduced
from .reduction import add_reduce, count, dims_of, keep, maximum_reduce, minimum_reduce, reductions, share_of
from .samples import booleans, inf, integers, nan, randn


def nonempty(name: str, x: Any, dim: Any) -> None:
    """Refuse to pick from nothing."""
    if x.size == 0 and count(x.shape, dim) == 0:
        if dim is None:
            fail(
                RangeError,
                f"{name}(): the tensor has no elements (shape {list(x.shape)})",
                "pass a dim that has elements, or check numel() first",
            )
        at = next(d for d in dims_of(dim, x.ndim) if x.shape[d] == 0)
        fail(
            RangeError,
            f"{name}(): expected dim {at} to have non-zero size, but the shape is {list(x.shape)}",
            "pick along a dim that has elements",
        )


# -- extremes without indices ------------------------------------------------------------------------------------------


def _extreme(name: str, extreme: Any) -> Callable[..., Any]:
    def reduce(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        nonempty(name, x, dim)
        return extreme(x, dim, None, None, keepdim)

    return reduce


def _pull_extreme(g: Any, x: Any, out: Any, x_shape: Shape, x_dtype: Any, dim: Any, keepdim: bool) -> Any:
    """Ties share evenly."""
    return mul(keep(g, x_shape, dim, keepdim), share_of(eq(x, keep(out, x_shape, dim, keepdim)), x_dtype, dim))


def _extremes() -> list[Sample]:
    return [
        *reductions(empty=False)(),
        Sample((np.array([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]),), {"dim": (1,)}, smooth=False, note="ties"),
        Sample((integers(-5, 5, 3, 4, dtype=np.int32),), {"dim": (1,)}, smooth=False, note="integers"),
        Sample((booleans(3, 4),), smooth=False, note="booleans"),
    ]


amax = op(
    "amax", "max over dim of x", inputs="x", torch="torch.amax(x, () if dim is None else dim, keepdim)",
    numpy=_extreme("amax", maximum_reduce), infer=reduced, dtypes=arithmetic, flops=per_input_element(1),
    vjp={"x": _pull_extreme}, samples=_extremes,
)  # fmt: skip

amin = op(
    "amin", "min over dim of x", inputs="x", torch="torch.amin(x, () if dim is None else dim, keepdim)",
    numpy=_extreme("amin", minimum_reduce), infer=reduced, dtypes=arithmetic, flops=per_input_element(1),
    vjp={"x": _pull_extreme}, samples=_extremes,
)  # fmt: skip

# -- one element of all ------------------------------------------------------------------------------------------------


def _pull_choice(g: Any, x: Any, out: Any, x_dtype: Any) -> Any:
    """All elements equal to the one chosen share evenly; here a NaN equals a NaN."""
    return mul(g, share_of(where(isnan(out), isnan(x), eq(x, out)), x_dtype, None))


def _choices(*, empty: bool = False) -> Callable[[], list[Sample]]:
    return lambda: [
        Sample((randn(3, 4),)),
        Sample((randn(4, 3).T[::-1],), note="strided"),
        Sample((randn(),), note="0-d"),
        Sample((randn(2, 5).astype(F32),), note="float32"),
        Sample((np.array([3.0, 1.0, 3.0, 3.0, 1.0, 1.0]),), smooth=False, note="ties"),
        Sample((np.array([3.0, nan, inf, nan, -inf]),), smooth=False, note="special"),
        Sample((integers(-5, 5, 3, 4, dtype=np.int32),), smooth=False, note="integers"),
        *([Sample((randn(0, 3),), smooth=False, note="of nothing")] if empty else []),
    ]


def _scalar(x: Any) -> Spec:
    return Spec((), x.dtype)


def _largest(x: Any) -> Any:
    nonempty("max", x, None)
    return maximum_reduce(x, None)


def _smallest(x: Any) -> Any:
    nonempty("min", x, None)
    return minimum_reduce(x, None)


def _median(x: Any) -> Any:
    """The lower median of a flat array; a NaN is the median."""
    if x.size == 0:
        return np.asarray(nan if x.dtype.kind == "f" else np.iinfo(x.dtype).min, x.dtype)
    middle = (x.size - 1) // 2
    return x[np.argmax(x != x)] if (x != x).any() else np.partition(x, middle)[middle]


def _nanmedian(x: Any) -> Any:
    return _median(x[x == x] if (x == x).any() else x)


max = op(
    "max", "max of all x", inputs="x", torch="torch.max(x)", numpy=_largest,
    infer=_scalar, dtypes=arithmetic, flops=per_input_element(1), vjp={"x": _pull_choice}, samples=_choices(),
)  # fmt: skip

min = op(
    "min", "min of all x", inputs="x", torch="torch.min(x)", numpy=_smallest,
    infer=_scalar, dtypes=arithmetic, flops=per_input_element(1), vjp={"x": _pull_choice}, samples=_choices(),
)  # fmt: skip

median = op(
    "median", "the middle of all x in order; of two, the lower", inputs="x", torch="torch.median(x)",
    numpy=lambda x: _median(x.reshape(-1)), infer=_scalar, dtypes=arithmetic, flops=per_input_element(1),
    vjp={"x": _pull_choice}, samples=_choices(empty=True),
)  # fmt: skip

nanmedian = op(
    "nanmedian", "the middle of all x that are not NaN, in order", inputs="x", torch="torch.nanmedian(x)",
    numpy=lambda x: _nanmedian(x.reshape(-1)), infer=_scalar, dtypes=arithmetic, flops=per_input_element(1),
    vjp={"x": _pull_choice}, samples=_choices(empty=True),
)  # fmt: skip

# -- one element along a dim, and its index ----------------------------------------------------------------------------


def _pull_picked(g: Any, out1: Any, x_shape: Shape, dim: int) -> Any:
    return lay_along(g[0], out1, shape=x_shape, dim=dim)


def _picked(x: Any, dim: int, keepdim: bool = False, **params: Any) -> tuple[Spec, Spec]:
    shape = reduced(x, dim, keepdim).shape
    return Spec(shape, x.dtype), Spec(shape, I64)


def picking(name: str, pick: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy implementation from `pick`: (x, dim) -> index."""
    return lambda x, dim, keepdim=False: _pick(name, pick, x, dim, keepdim)


def _pick(name: str, pick: Callable[..., Any], x: Any, dim: int, keepdim: bool, *more: Any) -> Any:
    if x.ndim == 0:
        pick(x.reshape(1), 0, *more)  # for its checks
        return x.copy(), np.zeros((), I64)
    nonempty(name, x, dim)
    index = np.asarray(pick(x, dim, *more))
    if keepdim:
        index = index.reshape([1 if d == dim % x.ndim else n for d, n in enumerate(x.shape)])
    return take(x, index, dim), index


def _picks(**params: Any) -> Callable[[], list[Sample]]:
    return lambda: [
        Sample((randn(3, 4),), {"dim": 1, **params}),
        Sample((randn(5, 3),), {"dim": 0, **params}),
        Sample((randn(2, 3, 4),), {"dim": -2, "keepdim": True, **params}),
        Sample((randn(4, 3).T[::-1],), {"dim": 0, **params}, note="strided"),
        Sample((randn(3, 0),), {"dim": 0, **params}, note="to empty"),
        Sample((randn(2, 5).astype(F32),), {"dim": 1, **params}, note="float32"),
        Sample(
            (np.array([[1.0, nan, 2.0, nan], [inf, -inf, inf, 0.0]]),),
            {"dim": 1, **params},
            smooth=False,
            note="special",
        ),
        Sample((integers(-50, 50, 3, 4, dtype=np.int32),), {"dim": 1, **params}, smooth=False, note="integers"),
    ]


def _zero_d(**params: Any) -> Sample:
    return Sample((randn(),), {"dim": 0, **params}, note="0-d")


def _ties(**params: Any) -> Sample:
    return Sample(
        (np.array([[3.0, 1.0, 3.0, 1.0], [2.0, 2.0, 2.0, 2.0]]),), {"dim": 1, **params}, smooth=False, note="ties"
    )


def _picked_one() -> list[Sample]:
    return [*_picks()(), _zero_d(), _ties()]


max_along = op(
    "max_along", "max over dim of x, and its first index", inputs="x", torch="torch.max(x, dim, keepdim)",
    numpy=picking("max", np.argmax),
    infer=_picked, dtypes=arithmetic, flops=per_input_element(1), vjp={"x": _pull_picked},
    samples=_picked_one,
)  # fmt: skip

min_along = op(
    "min_along", "min over dim of x, and its first index", inputs="x", torch="torch.min(x, dim, keepdim)",
    numpy=picking("min", np.argmin),
    infer=_picked, dtypes=arithmetic, flops=per_input_element(1), vjp={"x": _pull_picked},
    samples=_picked_one,
)  # fmt: skip


def _middle(x: Any, dim: int, skip: bool = False) -> Any:
    """Where the lower median stands. A NaN is the median, or with `skip`, does not count."""
    order = np.argsort(x, dim, kind="stable")  # NaN comes last
    missing = add_reduce(x != x, dim, I64)
    n = x.shape[dim]
    place = np.maximum(n - missing - 1, 0) // 2 if skip else np.where(missing > 0, n - missing, (n - 1) // 2)
    return take(order, place, dim)


median_along = op(
    "median_along", "the middle over dim of x in order (of two, the lower), and its index", inputs="x",
    torch="torch.median(x, dim, keepdim)",
    numpy=picking("median", _middle),
    infer=_picked, dtypes=arithmetic, flops=per_input_element(1), vjp={"x": _pull_picked},
    samples=_picked_one,
)  # fmt: skip

nanmedian_along = op(
    "nanmedian_along", "the middle over dim of the x that are not NaN, and its index", inputs="x",
    torch="torch.nanmedian(x, dim, keepdim)",
    numpy=picking("nanmedian", lambda x, dim: _middle(x, dim, skip=True)),
    infer=_picked, dtypes=arithmetic, flops=per_input_element(1), vjp={"x": _pull_picked},
    samples=_picked_one,
)  # fmt: skip


def _most_frequent(x: Any, dim: int) -> Any:
    """In order, equal elements are neighbours: the first of the longest runs, and the last place of it."""
    order = np.argsort(x, dim, kind="stable")
    line = np.moveaxis(take(x, order, dim), dim, -1)
    place = np.arange(line.shape[-1])
    starts = np.ones(line.shape, bool)
    starts[..., 1:] = line[..., 1:] != line[..., :-1]
    run = place - np.maximum.accumulate(np.where(starts, place, 0), -1)
    return take(order, np.argmax(run, -1), dim)


mode = op(
    "mode", "the most frequent over dim of x (of several, the smallest), and its last index", inputs="x",
    torch="torch.mode(x, dim, keepdim)",
    numpy=picking("mode", _most_frequent),
    infer=_picked, dtypes=arithmetic, flops=per_input_element(1), vjp={"x": _pull_picked},
    samples=lambda: [*_picked_one(), Sample((integers(0, 3, 5, 12),), {"dim": 1}, smooth=False, note="few values")],
)  # fmt: skip


def _kth(x: Any, dim: int, k: int) -> Any:
    if not 1 <= k <= x.shape[dim]:
        fail(RangeError, f"kthvalue(): k = {k} is out of range for dim {dim} of size {x.shape[dim]}", "k counts from 1")
    return np.take(np.argsort(x, dim, kind="stable"), k - 1, dim)


kthvalue = op(
    "kthvalue", "the k-th smallest over dim of x, and its index", inputs="x",
    torch="torch.kthvalue(x, k, dim, keepdim)",
    numpy=lambda x, k, dim, keepdim=False: _pick("kthvalue", _kth, x, dim, keepdim, k),
    infer=_picked, dtypes=arithmetic, flops=per_input_element(1), vjp={"x": _pull_picked},
    samples=lambda: [*[s for s in _picks(k=2)() if s.note not in ("special", "to empty")], _zero_d(k=1)],
)  # fmt: skip

# -- indices alone -----------------------------------------------------------------------------------------------------


def _argument(name: str, find: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        if x.dtype == BOOL:
            fail(DTypeError, f"{name}() does not take booleans", "convert them first: x.int()")
        nonempty(name, x, dim)
        return find(x, dim, keepdims=keepdim)

    return run


def _arguments() -> list[Sample]:
    return [
        Sample((randn(3, 4),)),
        Sample((randn(3, 4),), {"keepdim": True}),
        *[s._replace(smooth=False) for s in _picked_one()],
        Sample((np.array([1.0, nan, inf, nan]),), smooth=False, note="special"),
    ]


def _place(x: Any, dim: int | None = None, keepdim: bool = False) -> Spec:
    return Spec(reduced(x, dim, keepdim).shape, I64)


argmax = op(
    "argmax", "the first index of max over dim of x", inputs="x", torch="torch.argmax(x, dim, keepdim)",
    numpy=_argument("argmax", np.argmax), infer=_place, dtypes=arithmetic, flops=per_input_element(1),
    samples=_arguments,
)  # fmt: skip
argmin = op(
    "argmin", "the first index of min over dim of x", inputs="x", torch="torch.argmin(x, dim, keepdim)",
    numpy=_argument("argmin", np.argmin), infer=_place, dtypes=arithmetic, flops=per_input_element(1),
    samples=_arguments,
)  # fmt: skip
