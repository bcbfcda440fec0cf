"""Writing into tensors, as events on the tape.

A write gives the tensor that owns the memory a new history. Written as a whole, it simply takes over the new value's
node. Written through a view, the owner's new node is a Put: the region's gradient goes to the value written there, the
rest to the owner as it was before. Other views find their way through the owner's new node when they are next used
(`tape.refresh`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .devices import place_of
from .dtypes import rank
from .errors import DTypeError, GradientError, ShapeError, fail
from .hooks import follow
from .modes import MODES
from .moves import move
from .ops.compare import ne, where
from .ops.create import cast, clone, full_like
from .ops.record import broadcasts_to
from .ops.shape import expand, reshape
from .tape import Edge, Label, Node, attach, edge
from .tensor import MOVED, Storage, Tensor


def update(x: Tensor, value: Tensor) -> Tensor:
    """x becomes `value`, which was computed from it: what `x.mul_(y)` does with `x * y`."""
    if value.shape != x.shape:
        fail(
            ShapeError,
            f"the result has shape {list(value.shape)}, which does not fit into the tensor's {list(x.shape)}",
            "write x = x + y where the shape may grow",
        )
    if value.npdtype != x.npdtype and rank(value.npdtype) > rank(x.npdtype):
        fail(
            DTypeError,
            f"result type {value.dtype} can't be cast to the desired output type {x.dtype}",
            "convert the tensor first, or write x = x + y",
        )
    if MODES.grad and value._node is not None:
        keep(x, value._node)
    return write(x, value, derived=True)


def keep(x: Tensor, node: Node) -> None:
    """x is about to be written over: what the op that made the new value needs of the old one, it keeps as a copy."""
    if type(node.saved) is not list or x._storage.written > node._id:
        return
    arrays = [i for i, saved in enumerate(node.saved) if hasattr(saved, "shape")]
    for k, i in enumerate(arrays[: len(node.guards)]):
        if node.saved[i] is x._array:
            node.saved[i] = copy = clone(x._array)
            node.guards[k] = Storage(copy)


def write(x: Tensor, value: Any, derived: bool = False) -> Tensor:
    """x[...] = value, recorded; `derived` says that the value's history already includes x's."""
    array = value._array if isinstance(value, Tensor) else value
    if type(array) is not type(x._array) and isinstance(value, Tensor):  # of another device, perhaps
        value = move(value, place_of(x._array))
        array = value._array
    if not broadcasts_to(getattr(array, "shape", ()), x._array.shape):
        fail(
            ShapeError,
            f"a value of shape {list(array.shape)} cannot be broadcast to the tensor's shape {list(x.shape)}",
            "the sizes must be equal, or 1 in the value",
        )
    if not MODES.grad:
        x._storage.write(x, array)
        return x
    owner = x if x._base is None else x._base
    old, new = edge(owner), None
    if isinstance(value, Tensor) and edge(value) is not None:
        if value.npdtype != x.npdtype:
            value = cast(value, dtype=x.npdtype)
        if value._array.shape != x._array.shape:
            value = expand(value, shape=x._array.shape)
        new = edge(value)
    check_allowed(x, owner, new if old is None else old)
    x._storage.write(x, array)
    if new is not None and derived and owner is x:
        attach(x, new)
    elif old is not None or new is not None:
        owner._node = Put(old, new, owner, x._path or ())
    follow(owner)
    return x


def check_allowed(x: Tensor, owner: Tensor, history: Edge | None) -> None:
    """Leaves that want gradients are not written to, nor through views of them, while recording."""
    if (owner._requires_grad and owner._node is None) or (x._requires_grad and x._node is None):
        fail(
            GradientError,
            f"a {'leaf' if owner is x else 'view of a leaf'} Variable that requires grad is being used in an in-place "
            "operation",
            "update parameters inside `with pullback.no_grad():`, or work on a copy: x.clone()",
        )
    if x._path is None and history is not None:
        fail(
            GradientError,
            "a view was created in no_grad mode and is being modified inplace with grad mode enabled",
            "make the view where gradients are recorded, or write to it inside no_grad",
        )
    if x._moved != owner._moved and history is not None:
        fail(GradientError, *MOVED)
    if history is not None and overlaps(x._array):
        fail(
            GradientError,
            "some elements of the written-to view lie in the same memory, so that no gradient can tell them apart",
            "write to a clone(), or to views that do not overlap",
        )


def overlaps(array: Any) -> bool:
    """May two elements be one memory cell (as in a sliding window)?"""
    if type(array) is not np.ndarray or array.flags.c_contiguous:
        return False
    reach = 0
    for stride, n in sorted(zip(map(abs, array.strides), array.shape, strict=True)):
        if n > 1 and stride <= reach:
            return True
        reach += stride * (n - 1)
    return False


class Put(Node):
    """`owner` after a write: itself outside, the value inside the region that the view ops `path` look at."""

    def __init__(self, old: Edge | None, new: Edge | None, owner: Tensor, path: tuple[Any, ...]) -> None:
        super().__init__(Label("put"), (old, new), owner._array.shape, owner._array.dtype)
        self.path = path

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        seen = [g]  # g through each view op in turn
        for op, params in self.path:
            seen.append(op(seen[-1], **params))
        if self.edges[1] is not None:
            yield self.edges[1], clone(seen[-1])
        if self.edges[0] is not None:
            inside = full_like(seen[-1], value=1.0)
            for (op, params), before in zip(reversed(self.path), reversed(seen[:-1]), strict=True):
                inside = reshape(
                    op.pull_view(inside, before.shape, params), shape=before.shape
                )  # expand by 1 leaves its 1
            yield self.edges[0], where(ne(inside, 0), full_like(g, value=0.0), g)
