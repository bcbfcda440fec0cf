"""Arrays put together, taken apart, and repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import result_dtype
from .create import full_like
from .record import Op, Shape, Spec, op, per_input
from .reduction import sum as sum_
from .samples import Sample, integers, randn
from .shape import reshape, slice_

Look = tuple[Op, dict[str, Any]]  # a view op and its parameters


def alike(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """All arrays in their common type; nothing is computed, so half types stay what they are."""
    common = result_dtype(list(arrays))
    return [a if a.dtype == common else a.astype(common) for a in arrays], None


def part(dim: int, start: int, stop: int) -> tuple[slice, ...]:
    """The key of start:stop along one dimension."""
    return (*(slice(None),) * dim, slice(start, stop))


# -- cat and split -----------------------------------------------------------------------------------------------------


def _solid(xs: Sequence[Any]) -> list[Any]:
    """Without the empty 1-D arrays, which PyTorch lets join anything."""
    return [x for x in xs if x.shape != (0,)] or list(xs)


def _cat(*xs: Any, dim: int = 0) -> Any:
    return np.concatenate(_solid(xs), axis=dim)


def _cat_shape(*xs: Any, dim: int = 0) -> Spec:
    solid = _solid(xs)
    shape = solid[0].shape
    return Spec((*shape[:dim], sum(x.shape[dim] for x in solid), *shape[dim + 1 :]), xs[0].dtype)


def _uncat(g: Any, xs_shapes: tuple[Shape, ...], dim: int, needed: tuple[bool, ...]) -> list[Any]:
    """Each input gets its stretch of g."""
    pulled, start = [], 0
    for shape, want in zip(xs_shapes, needed, strict=True):
        if shape == (0,):
            pulled.append(full_like(g, value=0.0, shape=shape) if want else None)
            continue
        stop = start + shape[dim]
        pulled.append(slice_(g, key=part(dim, start, stop)) if want else None)
        start = stop
    return pulled


cat = op(
    "cat", "the inputs one after the other along dim", inputs="*xs", torch="torch.cat(xs, dim)",
    numpy=_cat, infer=_cat_shape, dtypes=alike,
    vjp_all=_uncat,
    samples=lambda: [
        Sample((randn(2, 3), randn(4, 3)), {"dim": 0}),
        Sample((randn(2, 1), randn(3, 2).T, randn(2, 4)[:, ::-2]), {"dim": 1}, note="strided"),
        Sample((randn(2, 3),), {"dim": 1}, note="one"),
        Sample((randn(0, 3), randn(2, 3)), {"dim": 0}, note="empty"),
        Sample((randn(0), randn(2, 3), randn(0)), {"dim": 1}, note="empty and 1-D"),
        Sample((randn(2, dtype=np.float32), randn(3)), {"dim": 0}, note="float32 with float64"),
        Sample((integers(0, 9, 2), randn(3)), {"dim": 0}, note="integers with floats"),
    ],
)  # fmt: skip


def spans(sizes: Shape) -> Iterator[tuple[int, int]]:
    """(start, stop) of pieces that follow each other."""
    start = 0
    for size in sizes:
        yield start, start + size
        start += size


def split_views(sizes: Shape, dim: int) -> list[Look]:
    """How each piece looks at the whole."""
    return [(slice_, {"key": part(dim, start, stop)}) for start, stop in spans(sizes)]


def _split_shapes(x: Any, sizes: Shape, dim: int) -> tuple[Spec, ...]:
    return tuple(Spec((*x.shape[:dim], n, *x.shape[dim + 1 :]), x.dtype) for n in sizes)


split = op(
    "split", "consecutive pieces of x, of the given sizes along dim", inputs="x", torch="torch.split(x, sizes, dim)",
    numpy=lambda x, sizes, dim: tuple([x[part(dim, start, stop)] for start, stop in spans(sizes)]),
    infer=_split_shapes, dtypes=per_input,
    views=lambda x, sizes, dim: split_views(sizes, dim),
    vjp={"x": lambda g, dim: cat(*g, dim=dim) if type(g) is list else g},
    samples=lambda: [
        Sample((randn(5, 2),), {"sizes": (2, 3), "dim": 0}),
        Sample((randn(3, 4).T,), {"sizes": (1, 0, 3), "dim": 0}, note="strided"),
        Sample((randn(2, 3),), {"sizes": (3,), "dim": 1}, note="one piece"),
        Sample((randn(2, 6)[:, ::-1],), {"sizes": (2, 2, 2), "dim": 1}, note="negative step"),
        Sample((randn(0, 3),), {"sizes": (1, 2), "dim": 1}, note="empty"),
    ],
)  # fmt: skip


# -- stack and unbind --------------------------------------------------------------------------------------------------


def _stack(*xs: Any, dim: int = 0) -> Any:
    shape = xs[0].shape
    if any(x.shape != shape for x in xs):
        raise ValueError(f"stack expects tensors of equal size, but got {', '.join(str(list(x.shape)) for x in xs)}")
    if dim == 0:
        return np.array(xs)  # the same, in a third of the time
    return np.concatenate([x.reshape(*shape[:dim], 1, *shape[dim:]) for x in xs], axis=dim)


def _unstack(g: Any, dim: int, needed: tuple[bool, ...]) -> list[Any]:
    return [slice_(g, key=(*(slice(None),) * dim, i)) if want else None for i, want in enumerate(needed)]


stack = op(
    "stack", "the inputs one after the other along a new dimension", inputs="*xs", torch="torch.stack(xs, dim)",
    numpy=_stack, infer=lambda *xs, dim=0: Spec((*xs[0].shape[:dim], len(xs), *xs[0].shape[dim:]), xs[0].dtype),
    dtypes=alike,
    vjp_all=_unstack,
    samples=lambda: [
        Sample((randn(2, 3), randn(2, 3, seed=1)), {"dim": 0}),
        Sample((randn(2, 3), randn(3, 2).T, randn(2, 6)[:, ::-2]), {"dim": 2}, note="strided"),
        Sample((randn(), randn(seed=1)), {"dim": 0}, note="0-d"),
        Sample((randn(0, 3), randn(0, 3)), {"dim": 1}, note="empty"),
        Sample((randn(2, dtype=np.float32), randn(2)), {"dim": 0}, note="float32 with float64"),
    ],
)  # fmt: skip


def _unbind(x: Any, dim: int) -> tuple[Any, ...]:
    start = (slice(None),) * dim
    return tuple([x[(*start, i, ...)] for i in range(x.shape[dim])])


def _unbind_views(x: Any, dim: int) -> list[Look]:
    return [(slice_, {"key": (*(slice(None),) * dim, i)}) for i in range(x.shape[dim])]


unbind = op(
    "unbind", "out_i = x[..., i, ...], dim gone", inputs="x", torch="torch.unbind(x, dim)",
    numpy=_unbind, infer=lambda x, dim: (Spec((*x.shape[:dim], *x.shape[dim + 1 :]), x.dtype),) * x.shape[dim],
    dtypes=per_input,
    views=_unbind_views,
    vjp={"x": lambda g, dim, x_shape: stack(*g, dim=dim) if type(g) is list else reshape(g, shape=x_shape)},
    samples=lambda: [
        Sample((randn(3, 2),), {"dim": 0}),
        Sample((randn(3, 4).T,), {"dim": 1}, note="strided"),
        Sample((randn(2, 1),), {"dim": 1}, note="one"),
        Sample((randn(3),), {"dim": 0}, note="to 0-d"),
        Sample((randn(2, 0),), {"dim": 0}, note="empty"),
    ],
)  # fmt: skip


# -- repetition --------------------------------------------------------------------------------------------------------


def _tile_shape(x: Any, repeats: Shape) -> Spec:
    sizes = (1,) * (len(repeats) - len(x.shape)) + x.shape
    return Spec(tuple(r * n for r, n in zip(repeats, sizes, strict=True)), x.dtype)


def _tile(x: Any, repeats: Shape) -> Any:
    if min(repeats, default=1) < 0 or len(repeats) < x.ndim:
        raise ValueError(f"repeats {list(repeats)} must be at least one number for each dimension, none negative")
    sizes = (1,) * (len(repeats) - x.ndim) + x.shape
    out = np.empty([n for pair in zip(repeats, sizes, strict=True) for n in pair], x.dtype)
    out[...] = x.reshape([m for n in sizes for m in (1, n)])
    return out.reshape([r * n for r, n in zip(repeats, sizes, strict=True)])


def _untile(g: Any, x_shape: Shape, repeats: Shape) -> Any:
    """The cotangents of the copies add up."""
    sizes = (1,) * (len(repeats) - len(x_shape)) + tuple(x_shape)
    g = reshape(g, shape=tuple(n for pair in zip(repeats, sizes, strict=True) for n in pair))
    return reshape(sum_(g, dim=tuple(range(0, 2 * len(repeats), 2))), shape=x_shape) if repeats else g


tile = op(
    "tile", "x, repeats[d] times along each dimension d", inputs="x", torch="x.repeat(repeats)",
    numpy=_tile, infer=_tile_shape, dtypes=per_input,
    vjp={"x": _untile},
    samples=lambda: [
        Sample((randn(2, 3),), {"repeats": (2, 1)}),
        Sample((randn(3, 2).T,), {"repeats": (2, 1, 3)}, note="strided, new dimension"),
        Sample((randn(),), {"repeats": ()}, note="0-d"),
        Sample((randn(2),), {"repeats": (0,)}, note="to empty"),
        Sample((randn(0, 2),), {"repeats": (2, 2)}, note="empty"),
    ],
)  # fmt: skip

repeat_interleave = op(
    "repeat_interleave", "each element of x `repeats` times in a row along dim", inputs="x",
    torch="torch.repeat_interleave(x, repeats, dim)",
    numpy=lambda x, repeats, dim: x.repeat(repeats, axis=dim),
    infer=lambda x, repeats, dim: Spec((*x.shape[:dim], x.shape[dim] * repeats, *x.shape[dim + 1 :]), x.dtype),
    dtypes=per_input,
    vjp={"x": lambda g, x_shape, repeats, dim:
         sum_(reshape(g, shape=(*x_shape[: dim + 1], repeats, *x_shape[dim + 1 :])), dim=(dim + 1,))},
    samples=lambda: [
        Sample((randn(2, 3),), {"repeats": 2, "dim": 0}),
        Sample((randn(3, 2).T,), {"repeats": 3, "dim": 1}, note="strided"),
        Sample((randn(3),), {"repeats": 1, "dim": 0}, note="once"),
        Sample((randn(3),), {"repeats": 0, "dim": 0}, note="to empty"),
        Sample((randn(0, 2),), {"repeats": 2, "dim": 1}, note="empty"),
    ],
)  # fmt: skip
