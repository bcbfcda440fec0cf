"""Cotangents on their way: they take their primal's shape, add up, and end in a leaf's `.grad`."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from .errors import GradientError, ShapeError, fail
from .ops.arithmetic import add
from .ops.create import cast, clone
from .ops.record import broadcasts_to
from .ops.reduction import sum as sum_
from .ops.shape import reshape
from .tensor import Tensor, check_writable, tick, wrap


def total(before: Any, g: Any) -> Any:
    """Fan-out: the cotangents that reach an edge add up; in place, if the sum so far is nobody else's."""
    if sys.getrefcount(before) > ALONE or type(before) is not np.ndarray or before.base is not None:
        return add(before, g)
    if not before.flags.c_contiguous and before.strides != g.strides:  # the sum may have to lie in memory otherwise
        return add(before, g)
    add.into(before, before, g)
    return before


def conform(g: Any, e: Any, node: Any) -> Any:
    """What `node` sends to e has its primal's shape and dtype. Broadcasting is undone here, for all ops at once."""
    like = e._array if isinstance(e, Tensor) else e
    shape = tuple(like.shape)
    if g.shape != shape:
        if isinstance(e, Tensor) and e._moved > node._id:
            fail(
                GradientError,
                f"a leaf that {node.op.name} used has been given another shape since, {list(shape)}",
                "call backward() before x.data = y, or compute the loss again afterwards",
                op_ran_at=node.position,
            )
        if not node.op.broadcasts or not broadcasts_to(shape, g.shape):
            fail(
                ShapeError,
                f"the pullback of {node.op.name} returned a gradient of shape {list(g.shape)} "
                f"for an input of shape {list(shape)}",
                "a gradient must have the shape of what it is the gradient of",
                op_ran_at=node.position,
            )
        extra = len(g.shape) - len(shape)
        dims = tuple([i for i, n in enumerate(g.shape) if i < extra or shape[i - extra] != n])
        g = reshape(sum_(g, dim=dims, keepdim=True), shape=shape)
    npdtype = g.npdtype if isinstance(g, Tensor) else g.dtype
    return g if npdtype == like.dtype else cast(g, dtype=like.dtype)


# What getrefcount says of an array that only one local variable holds.
ALONE = (lambda g: sys.getrefcount(g))(np.empty(0))


def own(references: int, g: Any) -> Any:
    """g itself if nothing else holds its memory, else a copy: a gradient never aliases another array."""
    if type(g) is np.ndarray:
        return g if references <= ALONE and g.base is None else clone(g)
    if not hasattr(g, "looks") or (references <= ALONE and not g.looks and sys.getrefcount(g.base) <= 2):
        return g
    return g.copy()  # a symbol, or on a device: a place in memory that others may look at


ACCUMULATING = threading.RLock()  # several threads may reach one leaf


def accumulate(leaf: Tensor, g: Any) -> None:
    """leaf.grad += g"""
    if not leaf._requires_grad and leaf._node is None:
        return  # it was turned off since
    with ACCUMULATING:
        old = leaf._grad
        if old is None:
            leaf._grad = clone(g) if isinstance(g, Tensor) else wrap(g)
        elif isinstance(g, Tensor):
            leaf._grad = add(old, g)
        elif type(old._array) is np.ndarray:
            check_writable(old._array)
            add.into(old._array, old._array, g)
            old._storage.version += 1
            old._storage.written, old._storage.writer = tick(), None
        else:
            old._storage.write(old, add(old._array, g))
    if leaf._after_hooks:
        for hook in list(leaf._after_hooks.values()):
            hook(leaf)
