"""x[key] while a step is captured, where a tensor in the key says which elements: a single index, or a mask.

A single index gives a view, as a number does: what is written there is written into x, and the other way round. A mask
names nobody knows how many elements, so through it one can only write.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import BOOL
from ..errors import PullbackError, RangeError, fail
from ..modes import MODES
from ..ops import indexing as ops
from ..ops.compare import where
from ..ops.create import cast, full_like
from ..ops.record import normal_dim
from ..ops.shape import expand, reshape
from ..tensor import Tensor, look_through
from ..views import update

ALL = slice(None)


def unknown(k: Any) -> bool:
    """Is it a single index, or a mask, whose values are not known?"""
    if MODES.capture is None or not isinstance(k, Tensor) or not hasattr(k._array, "known"):
        return False
    return (k._array.ndim == 0 or is_mask(k)) and k._array.known() is None


def is_mask(k: Any) -> bool:
    return isinstance(k, Tensor) and k._array.dtype.name in ("bool", "uint8")


class At:
    """The view op of x[:, index]."""

    name = "select_at"

    def __init__(self, x: Tensor, dim: int, index: Tensor) -> None:
        self.shape, self.dim = x._array.shape, dim
        self.index: Any = reshape(index._array, shape=(1,)).copy()  # as it is now

    def __call__(self, x: Any) -> Any:
        taken = ops.take_at(x, self.index, dims=(self.dim,))
        return reshape(taken, shape=(*self.shape[: self.dim], *self.shape[self.dim + 1 :]))

    def put(self, x: Any, new: Any) -> Any:
        """x with `new` in that place."""
        line = reshape(new, shape=(*self.shape[: self.dim], 1, *self.shape[self.dim + 1 :]))
        return ops.put_at(x, self.index, line, dims=(self.dim,))

    def pull_view(self, g: Any, shape: Any, params: Any) -> Any:
        """g in that place, 0 elsewhere."""
        return self.put(full_like(g, value=0.0, shape=shape), g)


def select_at(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """x[:, index] as a view."""
    at = At(x, normal_dim(dim, x._array.ndim), index)
    y: Tensor = at(x)
    y._array = x._array.part(at, at.put)
    look_through(x, y, at, {})
    return y


def get(x: Tensor, parts: list[Any]) -> Tensor | None:
    """x[parts]; None if all that is in the key is known."""
    found = [i for i, k in enumerate(parts) if unknown(k)]
    if not found:
        return None
    if any(is_mask(parts[i]) for i in found):
        fail(
            PullbackError,
            "x[mask] has as many elements as the mask has true ones, which is not known while a step is being captured",
            "keep the shape: where(mask, x, other), x * mask, x.masked_fill(~mask, 0); or move this out of the step",
        )
    parts = spelled(x, parts)
    found = [i for i, k in enumerate(parts) if unknown(k)]
    for i in reversed(found):
        x = select_at(x, sum(map(taken, parts[:i])), parts[i])
    rest = tuple([k for i, k in enumerate(parts) if i not in found])
    return x[rest] if any(type(k) is not slice or k != ALL for k in rest) else x


def put(x: Tensor, parts: list[Any], value: Any, fitted: Any) -> bool:
    """x[parts] = value, and True; False if all that is in the key is known."""
    found = [k for k in parts if unknown(k)]
    if not found:
        return False
    parts = spelled(x, parts)
    tensors = [i for i, k in enumerate(parts) if isinstance(k, Tensor)]
    if len(tensors) == 1:
        _put_one(x, parts, tensors[0], value, fitted)
        return True
    if any(is_mask(k) for k in found):
        fail(
            PullbackError,
            "x[mask, index] = value depends on how many elements the mask names, which is not known while a step is "
            "being captured",
            "write x = where(mask, value, x), or move this out of the step",
        )
    single = [k if isinstance(k, Tensor) and unknown(k) else ALL for k in parts if k is not None]
    view = get(x, single)
    assert view is not None
    view[tuple([k for k in parts if not unknown(k)])] = value
    return True


def _put_one(x: Tensor, parts: list[Any], i: int, value: Any, fitted: Any) -> None:
    """The key's only tensor stands at i; the others look at a part of x."""
    k = parts[i]
    width = taken(k)
    view = x[(*parts[:i], *[ALL] * width, *parts[i + 1 :])]
    d = sum(p is None or isinstance(p, slice) for p in parts[:i])
    shape = view._array.shape
    head, own, tail = shape[:d], shape[d : d + width], shape[d + width :]
    if not is_mask(k):
        new = expand(fitted(value, x, (*head, *tail)), shape=(*head, *tail))
        at, new = reshape(k, shape=(1,)), reshape(new, shape=(*head, 1, *tail))
        update(view, ops.put_at(view, at, new, dims=(d,)))
        return
    if own != k._array.shape:
        fail(RangeError, f"the mask {list(k.shape)} does not match the shape of what it is to choose from: {list(own)}")
    if isinstance(value, Tensor) and value._array.ndim > len(tail) and value._array.shape[-len(tail) - 1] != 1:
        fail(
            PullbackError,
            "x[mask] = values needs one value for each true element of the mask, and how many there are is not known "
            "while a step is being captured",
            "write x = where(mask, other, x) with an `other` of x's shape, or move this out of the step",
        )
    new = expand(fitted(value, x, (*head, 1, *tail)), shape=(*head, 1, *tail))
    new = reshape(new, shape=(*head, *[1] * width, *tail))
    mask = reshape(k, shape=(*[1] * d, *own, *[1] * len(tail)))
    update(view, where(mask if mask.npdtype == BOOL else cast(mask, dtype=BOOL), new, view))


def taken(k: Any) -> int:
    """How many dimensions of the tensor a part of a key stands for."""
    if k is None or isinstance(k, bool):
        return 0
    return k._array.ndim if is_mask(k) else 1


def spelled(x: Tensor, parts: list[Any]) -> list[Any]:
    """The parts with `...` written out."""
    dots = [i for i, k in enumerate(parts) if k is Ellipsis] or [len(parts)]
    i = dots[0]
    known = [*parts[:i], *[k for k in parts[i + 1 :] if k is not Ellipsis]]
    rest = x._array.ndim - sum(map(taken, known))
    if rest < 0:
        fail(RangeError, f"too many indices for tensor of dimension {x.ndim}: {len(known)} given")
    return [*known[:i], *[ALL] * rest, *known[i:]]
