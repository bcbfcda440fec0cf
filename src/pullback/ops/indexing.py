"""Elements chosen by tensors of indices: taken out, put in, added up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import BOOL, FLOATS, I64
from .arithmetic import div, mul
from .compare import eq, where
from .create import cast, full_like
from .record import Shape, Spec, arithmetic, op, per_input
from .samples import Sample, booleans, integers, randn
from .shape import laid, reshape, slice_, unslice

# In PyTorch's expressions: x at `index`.
KEY = (
    "[tuple((index if len(dims) == 1 else index[dims.index(d)]) if d in dims else slice(None)"
    " for d in range(dims[-1] + 1))]"
)

# An `index` over one dimension is an array of places along it. Over k dimensions `dims` (in rising order) it has shape
# (k, *s): an array of places of shape s for each. As in NumPy, s stands in the result where the dims stood if these are
# neighbours, else in front.


def each(index: Any, dims: Shape) -> Any:
    """The array of places along each of dims."""
    return (index,) if len(dims) == 1 else index


minimum, maximum = np.minimum.reduce, np.maximum.reduce


def region(shape: Shape, index_shape: Shape, dims: Shape) -> Shape:
    """The shape of x[..., index, ...]."""
    front = dims[0] if dims[-1] - dims[0] + 1 == len(dims) else 0
    rest = tuple([n for d, n in enumerate(shape) if d not in dims])
    return rest[:front] + tuple(index_shape if len(dims) == 1 else index_shape[1:]) + rest[front:]


def at(index: Any, dims: Shape) -> tuple[Any, ...]:
    """NumPy's key for `index`."""
    key: list[Any] = [slice(None)] * (dims[-1] + 1)
    for d, i in zip(dims, each(index, dims), strict=True):
        key[d] = i
    return tuple(key)


def check(index: Any, size: int, dim: int, wrap: bool = False) -> Any:
    """`index`, all of it between 0 (with `wrap`: -size) and size; with `wrap`, negative ones counted from the end."""
    if index.size:
        low, high = minimum(index, axis=None), maximum(index, axis=None)
        if high >= size or low < (-size if wrap else 0):
            wrong = high if high >= size else low
            raise IndexError(f"index {wrong} is out of bounds for dimension {dim} with size {size}")
        if low < 0:
            return np.where(index < 0, index + size, index)
    return index


def not_negative(index: Any, size: int, dim: int) -> None:
    """The lower end of `check`, where NumPy itself looks at the upper one before it does anything."""
    if index.size and (low := minimum(index, axis=None)) < 0:
        raise IndexError(f"index {low} is out of bounds for dimension {dim} with size {size}")


def _add_at(out: Any, index: Any, values: Any, dims: Shape, wrap: bool) -> None:
    """out[index] += values, every one of them. On flat memory np.add.at is 5 times as fast as on rows."""
    front = dims[0] if dims[-1] - dims[0] + 1 == len(dims) else 0
    rest = [d for d in range(out.ndim) if d not in dims]
    places: Any = 0
    steps = [math.prod(out.shape[d + 1 :]) for d in range(out.ndim)]
    for i, d in zip(each(index, dims), dims, strict=True):
        places = places + check(i, out.shape[d], d, wrap) * steps[d]
    inner = places.ndim
    places = places.reshape((1,) * front + places.shape + (1,) * (len(rest) - front))
    for k, d in enumerate(rest):
        after = len(rest) - 1 - k + (inner if k < front else 0)
        places = places + (np.arange(out.shape[d]) * steps[d]).reshape((-1,) + (1,) * after)
    if values.shape != places.shape:
        values = np.broadcast_to(values, places.shape)
    flat = out.reshape(-1)
    np.add.at(flat, places.reshape(-1), values.reshape(-1))
    if not np.may_share_memory(flat, out):
        out[...] = flat.reshape(out.shape)


# -- advanced indexing -------------------------------------------------------------------------------------------------


def _take_at(x: Any, index: Any, dims: Shape, wrap: bool = True) -> Any:
    if not wrap:
        for i, d in zip(each(index, dims), dims, strict=True):
            not_negative(i, x.shape[d], d)
    if len(dims) == 1 and (x.flags.c_contiguous or not index.ndim):  # twice as fast; but it would copy x to make it so
        return x.take(index, axis=dims[0])
    return x[at(index, dims)]


def _lay_at(g: Any, index: Any, shape: Shape, dims: Shape) -> Any:
    out = np.zeros(shape, g.dtype)
    _add_at(out, index, g, dims, True)
    return out


def _put_at(x: Any, index: Any, values: Any, dims: Shape, accumulate: bool = False, wrap: bool = True) -> Any:
    out = x.copy()
    put_into(out, index, values, dims, accumulate, wrap)
    return out


def put_into(out: Any, index: Any, values: Any, dims: Shape, accumulate: bool = False, wrap: bool = True) -> None:
    """put_at, in place."""
    if accumulate:
        _add_at(out, index, values, dims, wrap)
        return
    if not wrap:
        for i, d in zip(each(index, dims), dims, strict=True):
            not_negative(i, out.shape[d], d)
    out[at(index, dims)] = values


def _adds(arrays: Any, params: dict[str, Any], out: Any) -> int:
    """One addition for each element added."""
    return math.prod(arrays[0].shape)


take_at = op(
    "take_at", "x[..., index, ...]", inputs="x index", torch=f"x{KEY}",
    numpy=_take_at, infer=lambda x, index, dims, wrap=True: Spec(region(x.shape, index.shape, dims), x.dtype),
    dtypes=per_input,
    vjp={"x": lambda g, index, x_shape, dims: lay_at(g, index, shape=x_shape, dims=dims)},
    samples=lambda: [
        Sample((randn(4, 3), integers(-4, 4, 5)), {"dims": (0,)}),
        Sample((randn(3, 5, 2), integers(0, 5, 2, 3)), {"dims": (1,), "wrap": False}, note="in the middle"),
        Sample((randn(3, 4, 2), integers(-3, 3, 2, 5)), {"dims": (0, 1)}, note="two neighbours"),
        Sample((randn(3, 4, 2).T, integers(0, 2, 2, 2, 2)), {"dims": (0, 2)}, note="two apart"),
        Sample((randn(6)[::-2], integers(0, 3, 4)), {"dims": (0,)}, note="negative step"),
        Sample((randn(4, 3), integers(0, 1, 0)), {"dims": (1,)}, note="nothing"),
        Sample((randn(0, 3), integers(0, 3, 2)), {"dims": (1,)}, note="empty"),
    ],
)  # fmt: skip

lay_at = op(
    "lay_at", "zeros of `shape`, out[..., index, ...] += g", inputs="g index",
    torch=laid(KEY),
    numpy=_lay_at, infer=lambda g, index, shape, dims: Spec(shape, g.dtype), dtypes=arithmetic, flops=_adds,
    vjp={"g": lambda g, index, dims: take_at(g, index, dims=dims)},
    samples=lambda: [
        Sample((randn(5, 3), integers(-4, 4, 5)), {"shape": (4, 3), "dims": (0,)}),
        Sample((randn(3, 2, 3, 2), integers(0, 5, 2, 3)), {"shape": (3, 5, 2), "dims": (1,)}, note="in the middle"),
        Sample((randn(5, 2), integers(-3, 3, 2, 5)), {"shape": (3, 4, 2), "dims": (0, 1)}, note="two neighbours"),
        Sample((randn(4, 2, 2).T, integers(0, 2, 2, 2, 2)), {"shape": (2, 4, 3), "dims": (0, 2)}, note="two apart"),
        Sample((randn(4, 0), integers(0, 1, 0)), {"shape": (4, 3), "dims": (1,)}, note="nothing"),
        Sample((randn(0, 2), integers(0, 3, 2)), {"shape": (0, 3), "dims": (1,)}, note="empty"),
    ],
)  # fmt: skip

put_at = op(
    "put_at", "x, but out[..., index, ...] = values (accumulate: += values)", inputs="x index values",
    torch=f"x.flatten().index_put((torch.arange(x.numel()).view(x.shape){KEY},), values, accumulate).view(x.shape)",
    numpy=_put_at, infer=lambda x, index, values, dims, accumulate=False, wrap=True: Spec(x.shape, x.dtype),
    dtypes=arithmetic, ordered=True,
    flops=lambda arrays, params, out:
        math.prod(region(arrays[0].shape, arrays[1].shape, params["dims"])) if params.get("accumulate") else 0,
    broadcasts=True,
    # what was written over does not count; what was written counts where it went
    vjp={"x": lambda g, index, dims, accumulate, wrap:
         g if accumulate else put_at(g, index, full_like(g, value=0.0, shape=()), dims=dims, wrap=wrap),
         "values": lambda g, index, dims, wrap: take_at(g, index, dims=dims, wrap=wrap)},
    samples=lambda: [
        Sample((randn(4, 3), np.array([2, -4]), randn(2, 3)), {"dims": (0,)}),
        Sample((randn(4, 3), integers(0, 4, 5), randn(5, 1)), {"dims": (0,), "accumulate": True}, note="broadcast"),
        Sample((randn(4, 3).T, np.array([[0, 2], [1, 1]]), randn()), {"dims": (0, 1)}, note="0-d value"),
        Sample((randn(3, 4, 2), integers(0, 3, 2, 5), randn(5, 2)), {"dims": (0, 1), "accumulate": True}, note="two"),
        Sample((randn(6)[::-2], integers(0, 3, 4), randn(4)), {"dims": (0,), "accumulate": True}, note="negative step"),
        Sample((randn(4), integers(0, 1, 0), randn(0)), {"dims": (0,)}, note="nothing"),
    ],
)  # fmt: skip


# -- along one dimension: gather and scatter -------------------------------------------------------------------------


def _grid(index: Any, dim: int) -> tuple[Any, ...]:
    """A key that walks `index` along dim and everything else in step."""
    n = index.ndim
    key = [index] * n
    for d, size in enumerate(index.shape):
        if d != dim:
            key[d] = np.arange(size).reshape((1,) * d + (-1,) + (1,) * (n - d - 1))
    return tuple(key)


def _check_along(x: Any, index: Any, dim: int, src: Any = None) -> None:
    """`index` fits into x (other than along dim) and into src, and points into x."""
    if index.ndim != max(x.ndim, 1) and index.size:
        raise ValueError(f"index has {index.ndim} dimensions, but the tensor has {x.ndim}")
    if any(m > n for d, (m, n) in enumerate(zip(index.shape, x.shape, strict=False)) if d != dim):
        raise ValueError(
            f"index of shape {list(index.shape)} reaches outside the tensor's {list(x.shape)} beside dimension {dim}"
        )
    if src is not None and (src.ndim != index.ndim or any(m > n for m, n in zip(index.shape, src.shape, strict=True))):
        raise ValueError(f"index of shape {list(index.shape)} reaches outside the source's {list(src.shape)}")
    not_negative(index, x.shape[dim], dim)


def corner(shape: Shape) -> tuple[slice, ...]:
    """The key of the part of this shape at the origin."""
    return tuple([slice(n) for n in shape])


def _gather(x: Any, index: Any, dim: int) -> Any:
    _check_along(x, index, dim)
    return x[_grid(index, dim)]


def _scatter(x: Any, index: Any, src: Any, dim: int) -> Any:
    out = x.copy()
    scatter_into(out, index, src, dim)
    return out


def scatter_into(out: Any, index: Any, src: Any, dim: int) -> None:
    """scatter, in place."""
    whole = isinstance(src, np.ndarray)
    _check_along(out, index, dim, src if whole else None)
    out[_grid(index, dim)] = src[corner(index.shape)] if whole else src


def _combine(ufunc: np.ufunc, x: Any, index: Any, src: Any, dim: int) -> Any:
    """x with ufunc(x[...], src) at the places of `index`, one after the other. Flat memory is the fast case."""
    _check_along(x, index, dim, src)
    check(index, x.shape[dim], dim)
    out = x.copy()
    grid: Any = 0
    for d, i in enumerate(_grid(index, dim)):
        grid = grid + i * math.prod(x.shape[d + 1 :])
    ufunc.at(out.reshape(-1), grid.reshape(-1), src[corner(index.shape)].reshape(-1))
    return out


REACHED = "src[tuple(map(slice, index.shape))]"  # PyTorch's gradients ask for it; its values do not


def _back_to_source(picked: Any, index_shape: Shape, src_shape: Shape) -> Any:
    """What the source gets: zero where the index did not reach."""
    return picked if index_shape == src_shape else unslice(picked, shape=src_shape, key=corner(index_shape))


def _gather_to_source(g: Any, index: Any, index_shape: Shape, src_shape: Shape, dim: int) -> Any:
    return _back_to_source(gather(g, index, dim=dim), index_shape, src_shape)


def _scatter_samples(**params: Any) -> Any:
    return lambda: [
        Sample((randn(3, 4), np.array([[0, 1, 2, 0], [2, 0, 1, 1]]), randn(2, 4)), {"dim": 0, **params}),
        Sample(
            (randn(4, 3).T, np.array([[3, 0], [1, 2]]), randn(3, 5)[:, ::2]),
            {"dim": 1, **params},
            note="strided, larger source",
        ),
        Sample((randn(4), np.array([3, 1]), randn(2)), {"dim": 0, **params}, note="1-D"),
        Sample((randn(2, 3, 4), np.array([[[2, 1], [0, 0]]]), randn(1, 2, 2)), {"dim": 1, **params}, note="3-D"),
        Sample((randn(3, 4), np.zeros((0, 4), np.int64), randn(0, 4)), {"dim": 0, **params}, note="nothing"),
    ]


gather = op(
    "gather", "out[i, j] = x[index[i, j], j] for dim 0, and so on", inputs="x index",
    torch="torch.gather(x, dim, index)",
    numpy=_gather, infer=lambda x, index, dim: Spec(index.shape, x.dtype), dtypes=per_input,
    vjp={"x": lambda g, index, x_shape, dim: scatter_add(full_like(g, value=0.0, shape=x_shape), index, g, dim=dim)},
    samples=lambda: [
        Sample((randn(3, 4), integers(0, 3, 2, 4)), {"dim": 0}),
        Sample((randn(4, 3).T, integers(0, 4, 3, 1)), {"dim": 1}, note="strided"),
        Sample((randn(2, 3, 4), integers(0, 3, 1, 5, 2)), {"dim": 1}, note="smaller and larger"),
        Sample((randn(4)[::-1], integers(0, 4, 6)), {"dim": 0}, note="1-D"),
        Sample((randn(3, 4), np.zeros((0, 4), np.int64)), {"dim": 0}, note="nothing"),
    ],
)  # fmt: skip

scatter = op(
    "scatter", "x, but out[index[i, j], j] = src[i, j] for dim 0, and so on", inputs="x index src",
    torch=f"torch.scatter(x, dim, index, src if isinstance(src, float) else {REACHED})",
    numpy=_scatter, infer=lambda x, index, src, dim: Spec(x.shape, x.dtype), dtypes=per_input,
    vjp={"x": lambda g, index, dim: scatter(g, index, 0.0, dim=dim),
         "src": _gather_to_source},
    samples=lambda: [
        *_scatter_samples()(),
        Sample((randn(3, 4), integers(0, 3, 2, 4), 1.5), {"dim": 0}, note="number"),
    ],
)  # fmt: skip

scatter_add = op(
    "scatter_add", "x, but out[index[i, j], j] += src[i, j] for dim 0, and so on", inputs="x index src",
    torch=f"torch.scatter_add(x, dim, index, {REACHED})",
    numpy=lambda x, index, src, dim: _combine(np.add, x, index, src, dim),
    infer=lambda x, index, src, dim: Spec(x.shape, x.dtype), dtypes=arithmetic,
    flops=lambda arrays, params, out: math.prod(arrays[1].shape),
    vjp={"x": lambda g: g,
         "src": _gather_to_source},
    samples=_scatter_samples(),
)  # fmt: skip

_UFUNCS = {"sum": np.add, "mean": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


def _identity(reduce: str, dtype: np.dtype[Any]) -> Any:
    """What changes nothing when it is combined."""
    if reduce in ("amax", "amin"):
        low, high = (
            (-np.inf, np.inf)
            if dtype in FLOATS
            else (False, True)
            if dtype == BOOL
            else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        )
        return low if reduce == "amax" else high
    return 1 if reduce == "prod" else 0


def _scatter_reduce(x: Any, index: Any, src: Any, dim: int, reduce: str, include_self: bool = True) -> Any:
    start = x if include_self else _scatter(x, index, _identity(reduce, x.dtype), dim)
    out = _combine(_UFUNCS[reduce], start, index, src, dim)
    if reduce == "mean":
        count = _combine(
            np.add,
            np.ones(x.shape, np.int64) if include_self else _scatter(np.ones(x.shape, np.int64), index, 0, dim),
            index,
            np.ones(src.shape, np.int64),
            dim,
        )
        out = np.divide(out, count, dtype=x.dtype) if x.dtype in FLOATS else (out // count).astype(x.dtype)
    return out


def _unscatter_reduce(
    g: Any,
    x: Any,
    index: Any,
    src: Any,
    out: Any,
    x_dtype: Any,
    index_shape: Shape,
    src_shape: Shape,
    dim: int,
    reduce: str,
    include_self: bool,
) -> Any:
    part = src if index_shape == src_shape else slice_(src, key=corner(index_shape))

    def count(mine: Any, theirs: Any) -> Any:
        """For each element of x: itself and those that went to it."""
        return scatter_add(mine if include_self else scatter(mine, index, 0.0, dim=dim), index, theirs, dim=dim)

    if reduce == "sum":
        to_x, to_src = g, gather(g, index, dim=dim)
    elif reduce == "mean":
        to_x = div(g, count(full_like(x, value=1.0), full_like(part, value=1.0)))
        to_src = gather(to_x, index, dim=dim)
    elif reduce == "prod":  # times the product of all the others: zero if there is a zero among them
        zero_x, zero_src = cast(eq(x, 0.0), dtype=x_dtype), cast(eq(part, 0.0), dtype=x_dtype)
        rest_x, rest_src = where(eq(x, 0.0), 1.0, x), where(eq(part, 0.0), 1.0, part)
        product = scatter_reduce(rest_x, index, rest_src, dim=dim, reduce=reduce, include_self=include_self)
        zeros, whole = count(zero_x, zero_src), mul(g, product)
        to_x = where(eq(zeros, zero_x), div(whole, rest_x), 0.0)
        to_src = where(eq(gather(zeros, index, dim=dim), zero_src), div(gather(whole, index, dim=dim), rest_src), 0.0)
    else:  # the winner takes all, ties share alike
        won_x, won_src = cast(eq(x, out), dtype=x_dtype), cast(eq(part, gather(out, index, dim=dim)), dtype=x_dtype)
        share = div(g, scatter_add(won_x, index, won_src, dim=dim))
        to_x, to_src = mul(share, won_x), mul(gather(share, index, dim=dim), won_src)
    return (
        to_x if include_self else scatter(to_x, index, 0.0, dim=dim),
        None,
        _back_to_source(to_src, index_shape, src_shape),
    )


scatter_reduce = op(
    "scatter_reduce",
    "x, with sum, mean, prod, amax or amin of the src[i, j] that go to out[index[i, j], j] for dim 0, and so on",
    inputs="x index src",
    torch=f"torch.scatter_reduce(x, dim, index, {REACHED}, reduce, include_self=include_self)",
    numpy=_scatter_reduce, infer=lambda x, index, src, dim, reduce, include_self=True: Spec(x.shape, x.dtype),
    dtypes=arithmetic,
    flops=lambda arrays, params, out: math.prod(arrays[1].shape),
    vjp_all=_unscatter_reduce,
    samples=lambda: [
        *[s for r in _UFUNCS for s in _scatter_samples(reduce=r)()],
        *[s for r in _UFUNCS for s in _scatter_samples(reduce=r, include_self=False)()[:2]],
        *[Sample((np.array([2.0, 0.0, 3.0]), np.array([0, 0, 1, 2, 2]), np.array([2.0, 0.0, 4.0, 3.0, 1.0])),
                 {"dim": 0, "reduce": r}, smooth=False, note="ties and zeros")
          for r in _UFUNCS],
        Sample((integers(-9, 9, 3), np.array([0, 0]), integers(-9, 9, 2)),
               {"dim": 0, "reduce": "mean", "include_self": False}, smooth=False, note="integers"),
    ],
)  # fmt: skip


# -- embedding ---------------------------------------------------------------------------------------------------------


def _embedding(weight: Any, index: Any, padding_idx: int | None = None, scale_grad_by_freq: bool = False) -> Any:
    not_negative(index, weight.shape[0], 0)
    return weight.take(index, axis=0)


def _unembed(g: Any, index: Any, rows: int, padding_idx: int | None = None) -> Any:
    out = np.zeros((rows, *g.shape[index.ndim :]), g.dtype)
    _add_at(out, index, g, (0,), False)
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


def _each_row(x: Any, index: Any, shape: Shape) -> Any:
    """x, one number for each index, beside the rows of a result of this shape."""
    return reshape(x, shape=tuple(index.shape) + (1,) * (len(shape) - len(index.shape)))


def _embedding_rule(g: Any, index: Any, weight_shape: Shape, padding_idx: int | None, scale_grad_by_freq: bool) -> Any:
    if scale_grad_by_freq:
        ones = full_like(g, value=1.0, shape=tuple(index.shape))
        times = embedding(unembed(ones, index, rows=weight_shape[0]), index)
        g = div(g, _each_row(times, index, g.shape))
    return unembed(g, index, rows=weight_shape[0], padding_idx=padding_idx)


def _unembed_rule(g: Any, index: Any, padding_idx: int | None) -> Any:
    out = embedding(g, index)
    return out if padding_idx is None else where(_each_row(eq(index, padding_idx), index, out.shape), 0.0, out)


embedding = op(
    "embedding", "weight[index]", inputs="weight index",
    torch="F.embedding(index, weight, padding_idx, scale_grad_by_freq=scale_grad_by_freq)",
    numpy=_embedding,
    infer=lambda weight, index, padding_idx=None, scale_grad_by_freq=False:
        Spec((*index.shape, *weight.shape[1:]), weight.dtype),
    dtypes=per_input,
    vjp={"weight": _embedding_rule},
    samples=lambda: [
        Sample((randn(5, 3), integers(0, 5, 2, 4))),
        Sample((randn(5, 3), np.array([1, 3, 1, 1])), {"padding_idx": 3}, smooth=False, note="padding"),
        Sample((randn(3, 5).T, np.array([[4, 0], [4, 4]])), {"scale_grad_by_freq": True}, smooth=False, note="strided"),
        Sample((randn(5, 3), np.array(2)), note="0-d"),
        Sample((randn(5, 3), np.zeros((0, 2), np.int64)), note="nothing"),
        Sample((randn(5, 3), np.array([4, 1], np.int32)), note="int32"),
    ],
)  # fmt: skip

unembed = op(
    "unembed", "zeros, out[index] += g; row padding_idx stays zero", inputs="g index",
    torch="torch.zeros(rows, *g.shape[index.ndim:], dtype=g.dtype).index_put((index,), g, accumulate=True)"
    " * (torch.arange(rows) != (rows if padding_idx is None else padding_idx)).reshape(-1, *[1] * (g.ndim - "
    "index.ndim))",
    numpy=_unembed, infer=lambda g, index, rows, padding_idx=None: Spec((rows, *g.shape[len(index.shape) :]), g.dtype),
    dtypes=arithmetic,
    flops=lambda arrays, params, out: math.prod(arrays[0].shape),
    vjp={"g": _unembed_rule},
    samples=lambda: [
        Sample((randn(2, 4, 3), integers(0, 5, 2, 4)), {"rows": 5}),
        Sample((randn(3, 4).T, np.array([1, 3, 1, 1])), {"rows": 5, "padding_idx": 3}, note="strided, padding"),
        Sample((randn(4), np.array([1, 3, 1, 1])), {"rows": 5}, note="numbers"),
        Sample((randn(3), np.array(2)), {"rows": 4}, note="0-d"),
        Sample((randn(0, 2, 3), np.zeros((0, 2), np.int64)), {"rows": 5}, note="nothing"),
    ],
)  # fmt: skip


# -- masks and classes -------------------------------------------------------------------------------------------------


UNKNOWN: Any = None  # a size that depends on values


def _nonzero(x: Any) -> Any:
    if not x.ndim:
        return np.zeros((int(bool(x)), 0), np.int64)
    found = x.nonzero()
    return found[0].reshape(-1, 1) if x.ndim == 1 else np.concatenate([i.reshape(1, -1) for i in found]).T


def _one_hot(index: Any, classes: int) -> Any:
    check(index, classes, index.ndim)
    return (index[..., None] == np.arange(classes)).astype(np.int64)


nonzero = op(
    "nonzero", "the indices of the elements that are not zero, one row each", inputs="x", torch="torch.nonzero(x)",
    numpy=_nonzero, infer=lambda x: Spec((UNKNOWN, len(x.shape)), I64), dtypes=per_input,
    samples=lambda: [
        Sample((booleans(3, 4),), smooth=False),
        Sample((integers(-1, 2, 4, 3).T,), smooth=False, note="strided"),
        Sample((np.array([0.0, np.nan, -0.0, np.inf]),), smooth=False, note="special values"),
        Sample((np.array(True),), smooth=False, note="0-d"),
        Sample((booleans(0, 3),), smooth=False, note="empty"),
    ],
)  # fmt: skip

spread = op(
    "spread", "i, repeats[i] times in a row", inputs="repeats", torch="torch.repeat_interleave(repeats)",
    numpy=lambda repeats: np.arange(repeats.size, dtype=repeats.dtype).repeat(repeats),
    infer=lambda repeats: Spec((UNKNOWN,), repeats.dtype), dtypes=per_input,
    samples=lambda: [
        Sample((integers(0, 4, 5),), smooth=False),
        Sample((integers(0, 4, 6)[::-2],), smooth=False, note="negative step"),
        Sample((np.array([2, 0], np.int32),), smooth=False, note="int32"),
        Sample((np.zeros(3, np.int64),), smooth=False, note="to empty"),
        Sample((np.zeros(0, np.int64),), smooth=False, note="empty"),
    ],
)  # fmt: skip

one_hot = op(
    "one_hot", "out[..., c] = 1 where index is c, else 0", inputs="index", torch="F.one_hot(index, classes)",
    numpy=_one_hot, infer=lambda index, classes: Spec((*index.shape, classes), I64), dtypes=per_input,
    samples=lambda: [
        Sample((integers(0, 4, 2, 3),), {"classes": 4}, smooth=False),
        Sample((integers(0, 4, 3, 2).T,), {"classes": 6}, smooth=False, note="strided"),
        Sample((integers(0, 4, 6)[::-2],), {"classes": 4}, smooth=False, note="negative step"),
        Sample((np.array(1),), {"classes": 2}, smooth=False, note="0-d"),
        Sample((np.zeros((0, 2), np.int64),), {"classes": 3}, smooth=False, note="empty"),
    ],
)  # fmt: skip
