"""Ops that move elements and compute nothing: reshape, permute, expand, slices ..."""

from __future__ import annotations

from typing import Any

import numpy as np

from .create import full_like
from .record import OPS, Shape, Spec, op, per_input, same
from .samples import Sample, randn

Key = tuple[Any, ...]  # of integers, slices, None and ...


def laid(look: str) -> str:
    """PyTorch's expression for the adjoint of a view: zeros of `shape`, with g added to where `look` looks."""
    return (
        "torch.zeros(torch.Size(shape).numel(), dtype=g.dtype).index_put("
        f"(torch.arange(torch.Size(shape).numel()).reshape(shape){look},), g, accumulate=True).reshape(shape)"
    )


def _reshape(x: Any, shape: Shape) -> Any:
    return x.reshape(shape)


def _expand(x: Any, shape: Shape) -> Any:
    if x.ndim == 0 and x.dtype.isbuiltin == 1:  # np.broadcast_to takes 5 us
        return np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    out = np.broadcast_to(x, shape)
    if x.flags.writeable:
        out.flags.writeable = True  # Storage refuses writes to what stands for several elements
    return out


reshape = op(
    "reshape", "the same elements, in order, under another shape", inputs="x", torch="torch.reshape(x, shape)",
    numpy=_reshape, infer=lambda x, shape: Spec(shape, x.dtype), dtypes=per_input, view=True,
    vjp={"x": lambda g, x_shape: reshape(g, shape=x_shape)},
    samples=lambda: [
        Sample((randn(3, 4),), {"shape": (2, 6)}),
        Sample((randn(3, 4).T,), {"shape": (12,)}, note="must copy"),
        Sample((randn(),), {"shape": (1, 1)}, note="0-d"),
        Sample((randn(0, 3),), {"shape": (3, 0, 2)}, note="empty"),
    ],
)  # fmt: skip

expand = op(
    "expand", "x broadcast to a larger shape", inputs="x", torch="x.expand(shape)",
    numpy=_expand, infer=lambda x, shape: Spec(shape, x.dtype), dtypes=per_input, view=True,
    # each element was used many times: the cotangents of its copies add up (the tape sums what was broadcast)
    vjp={"x": lambda g: g}, broadcasts=True,
    samples=lambda: [
        Sample((randn(3, 1),), {"shape": (2, 3, 4)}),
        Sample((randn(),), {"shape": (2, 2)}, note="0-d"),
        Sample((randn(1, 3),), {"shape": (0, 3)}, note="to empty"),
        Sample((randn(4, 3).T[:, :1],), {"shape": (3, 5)}, note="strided"),
    ],
)  # fmt: skip

permute = op(
    "permute", "out[i_dims[0], ...] = x[i_0, ...]", inputs="x", torch="torch.permute(x, dims)",
    numpy=lambda x, dims: x.transpose(dims), infer=lambda x, dims: Spec(tuple(x.shape[d] for d in dims), x.dtype),
    dtypes=per_input, view=True,
    vjp={"x": lambda g, dims: permute(g, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__)))},
    samples=lambda: [
        Sample((randn(2, 3, 4),), {"dims": (2, 0, 1)}),
        Sample((randn(2, 3),), {"dims": (1, 0)}),
        Sample((randn(),), {"dims": ()}, note="0-d"),
        Sample((randn(0, 3),), {"dims": (1, 0)}, note="empty"),
    ],
)  # fmt: skip


# -- basic indexing ----------------------------------------------------------------------------------------------------


def _slice(x: Any, key: Key) -> Any:
    out = x[key]
    return out if type(out) is np.ndarray else x[(*key, ...)]  # all integers: a 0-d view, not NumPy's scalar


def _unslice(g: Any, shape: Shape, key: Key) -> Any:
    out = np.zeros(shape, g.dtype)
    out[key] = g
    return out


def sliced(shape: Shape, key: Key) -> Shape:
    """The shape of x[key]."""
    return np.broadcast_to(np.int8(0), shape)[(*key, ...) if ... not in key else key].shape


slice_ = op(
    "slice", "x[key], key of integers, slices, None and ...", inputs="x", torch="x[key]",
    numpy=_slice, infer=lambda x, key: Spec(sliced(x.shape, key), x.dtype), dtypes=per_input, view=True,
    vjp={"x": lambda g, x_shape, key: unslice(g, shape=x_shape, key=key)},
    samples=lambda: [
        Sample((randn(4, 5),), {"key": (1,)}),
        Sample((randn(4, 5),), {"key": (slice(1, 3), -2)}),
        Sample((randn(2, 3, 4),), {"key": (..., None, slice(None, None, 2))}),
        Sample((randn(3, 4),), {"key": (2, 3)}, note="one element"),
        Sample((randn(),), {"key": (None, ...)}, note="0-d"),
        Sample((randn(4, 3),), {"key": (slice(3, 1),)}, note="to empty"),
        Sample((randn(5, 4).T[::-1],), {"key": (slice(1, None), slice(0, 10, 3))}, note="strided"),
    ],
)  # fmt: skip

Path = tuple[tuple[str, dict[str, Any]], ...]  # view ops, each with its parameters


def _through(x: Any, path: Path) -> Any:
    for name, params in path:
        x = OPS[name].numpy(x, **params)
    return x


def _put_view(x: Any, value: Any, path: Path) -> Any:
    out = np.array(x)
    seen = _through(out, path)
    if np.may_share_memory(seen, out) or not seen.size:
        seen[...] = value
    else:  # a copy came between, in this layout
        out.reshape(-1)[_through(np.arange(out.size).reshape(out.shape), path)] = value
    return out


def look_through(x: Any, path: Path) -> Any:
    """The view that a path of view ops leads to."""
    for name, params in path:
        x = OPS[name](x, **params)
    return x


put_view = op(
    "put_view", "x, but value where the views of `path` look", inputs="x value",
    torch="x.reshape(-1).index_put((torch.arange(x.numel()).reshape(x.shape)[path[0][1]['key']],), value).reshape(x.shape)",
    numpy=_put_view, infer=lambda x, value, path: Spec(x.shape, x.dtype), dtypes=per_input, broadcasts=True,
    vjp={"x": lambda g, value_shape, path: put_view(g, full_like(g, value=0.0, shape=value_shape), path=path),
         "value": lambda g, path: look_through(g, path)},
    samples=lambda: [
        Sample((randn(4, 5), randn(5, seed=1)), {"path": (("slice", {"key": (1,)}),)}),
        Sample((randn(4, 5), randn(2, 1, seed=1)), {"path": (("slice", {"key": (slice(None, None, 2), slice(1, 4))}),)}, note="broadcast"),
        Sample((randn(4, 3).T, randn(seed=1)), {"path": (("slice", {"key": (2, 3)}),)}, note="strided, one element"),
        Sample((randn(), randn(seed=1)), {"path": (("slice", {"key": (...,)}),)}, note="0-d"),
        Sample((randn(0, 3), randn(0, seed=1)), {"path": (("slice", {"key": (..., 1)}),)}, note="empty"),
    ],
)  # fmt: skip

unslice = op(
    "unslice", "zeros of `shape`, but out[key] = g", inputs="g", torch=laid("[key]"),
    numpy=_unslice, infer=lambda g, shape, key: Spec(shape, g.dtype), dtypes=per_input,
    vjp={"g": lambda g, key: slice_(g, key=key)},
    samples=lambda: [
        Sample((randn(5),), {"shape": (4, 5), "key": (1,)}),
        Sample((randn(2, 3).T,), {"shape": (6, 2), "key": (slice(1, None, 2),)}, note="strided"),
        Sample((randn(),), {"shape": (3, 4), "key": (2, 3)}, note="0-d"),
        Sample((randn(2, 0),), {"shape": (2, 3), "key": (..., slice(3, 1))}, note="empty"),
        Sample((randn(1, 3),), {"shape": (3,), "key": (None, ...)}, note="new dimension"),
    ],
)  # fmt: skip


# -- elements in other places ------------------------------------------------------------------------------------------


def _flip(x: Any, dims: Shape) -> Any:
    return x[tuple(slice(None, None, -1) if d in dims else slice(None) for d in range(x.ndim))].copy()


def _roll(x: Any, shifts: Shape, dims: Shape | None = None) -> Any:
    if dims is None:
        return _roll(x.reshape(-1), shifts, (0,)).reshape(x.shape)
    out = x.copy()
    for shift, d in zip(shifts, dims, strict=True):
        if n := out.shape[d]:
            start = (slice(None),) * d
            out = np.concatenate(
                [out[(*start, slice(n - shift % n, None))], out[(*start, slice(n - shift % n))]], axis=d
            )
    return out


flip = op(
    "flip", "x with the order of elements reversed along dims", inputs="x", torch="torch.flip(x, dims)",
    numpy=_flip, infer=same, dtypes=per_input,
    vjp={"x": lambda g, dims: flip(g, dims=dims)},
    samples=lambda: [
        Sample((randn(3, 4),), {"dims": (0, 1)}),
        Sample((randn(2, 3, 4).T,), {"dims": (1,)}, note="strided"),
        Sample((randn(3),), {"dims": ()}, note="no dims"),
        Sample((randn(),), {"dims": ()}, note="0-d"),
        Sample((randn(0, 3),), {"dims": (0,)}, note="empty"),
    ],
)  # fmt: skip

roll = op(
    "roll", "out[i] = x[(i - shift) mod n] along each of dims, or of all elements in a row", inputs="x",
    torch="torch.roll(x, shifts, dims)",
    numpy=_roll, infer=same, dtypes=per_input,
    vjp={"x": lambda g, shifts, dims: roll(g, shifts=tuple(-s for s in shifts), dims=dims)},
    samples=lambda: [
        Sample((randn(3, 4),), {"shifts": (1, -2), "dims": (0, 1)}),
        Sample((randn(5, 2).T,), {"shifts": (7,), "dims": (1,)}, note="more than once around"),
        Sample((randn(4),), {"shifts": (0,), "dims": (0,)}, note="no shift"),
        Sample((randn(3, 4),), {"shifts": (5,)}, note="all in a row"),
        Sample((randn(4)[::-1],), {"shifts": (1, 2), "dims": (0, 0)}, note="a dim twice"),
        Sample((randn(0, 3),), {"shifts": (1,), "dims": (0,)}, note="empty"),
    ],
)  # fmt: skip


# -- more and fewer elements -------------------------------------------------------------------------------------------

Padding = tuple[tuple[int, int], ...]  # (before, after) of each dimension; negative crops


def _pad(x: Any, padding: Padding, value: float = 0.0) -> Any:
    shape = padded(x.shape, padding)
    out = np.full(shape, value, x.dtype) if value != 0 else np.zeros(shape, x.dtype)
    kept = [(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, padding, strict=True)]
    if all(start < stop for start, stop in kept):
        inner = [
            slice(max(a, 0), max(a, 0) + stop - start) for (a, _), (start, stop) in zip(padding, kept, strict=True)
        ]
        out[tuple(inner)] = x[tuple([slice(*part) for part in kept])]
    return out


def padded(shape: Shape, padding: Padding) -> Shape:
    """The shape with `padding` around it."""
    sizes = tuple(n + a + b for n, (a, b) in zip(shape, padding, strict=True))
    if min(sizes, default=0) < 0:
        raise ValueError(f"padding {padding} takes more off than there is in shape {list(shape)}")
    return sizes


pad = op(
    "pad", "x with `value` around it", inputs="x",
    torch="F.pad(x, [n for pair in reversed(padding) for n in pair], value=value)",
    numpy=_pad, infer=lambda x, padding, value=0.0: Spec(padded(x.shape, padding), x.dtype), dtypes=per_input,
    vjp={"x": lambda g, padding: pad(g, padding=tuple((-a, -b) for a, b in padding))},
    samples=lambda: [
        Sample((randn(3, 4),), {"padding": ((1, 2), (0, 3))}),
        Sample((randn(4, 3).T,), {"padding": ((0, 0), (2, 0)), "value": -1.5}, note="strided"),
        Sample((randn(5, 6),), {"padding": ((-1, 2), (-2, -1))}, note="cropping"),
        Sample((randn(0, 2),), {"padding": ((1, 1), (0, 0))}, note="empty"),
        Sample((randn(4),), {"padding": ((-2, -2),)}, note="to empty"),
        Sample((randn(3),), {"padding": ((0, 0),)}, note="nothing to pad"),
    ],
)  # fmt: skip


def _below(x: Any, diagonal: int) -> Any:
    return np.arange(x.shape[-2])[:, None] + diagonal >= np.arange(x.shape[-1])


def _tril(x: Any, diagonal: int = 0) -> Any:
    return np.where(_below(x, diagonal), x, np.zeros((), x.dtype))


def _triu(x: Any, diagonal: int = 0) -> Any:
    return np.where(_below(x, diagonal - 1), np.zeros((), x.dtype), x)


def _triangles() -> list[Sample]:
    return [
        Sample((randn(4, 4),)),
        Sample((randn(2, 3, 5),), {"diagonal": 1}),
        Sample((randn(5, 3).T,), {"diagonal": -1}, note="strided"),
        Sample((randn(3, 3),), {"diagonal": 9}, note="far off"),
        Sample((randn(0, 3),), note="empty"),
        Sample((np.full((2, 2), np.nan),), smooth=False, note="NaN"),
    ]


tril = op(
    "tril", "x on and below a diagonal, zero above", inputs="x", torch="torch.tril(x, diagonal)",
    numpy=_tril, infer=same, dtypes=per_input,
    vjp={"x": lambda g, diagonal: tril(g, diagonal=diagonal)},
    samples=_triangles,
)  # fmt: skip

triu = op(
    "triu", "x on and above a diagonal, zero below", inputs="x", torch="torch.triu(x, diagonal)",
    numpy=_triu, infer=same, dtypes=per_input,
    vjp={"x": lambda g, diagonal: triu(g, diagonal=diagonal)},
    samples=_triangles,
)  # fmt: skip
