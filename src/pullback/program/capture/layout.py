"""Where a view's elements lie: the strides NumPy would give it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.record import Op
from ..program import Shape, Value


def view_strides(op: Op, x: Any, params: dict[str, Any], shape: Shape) -> Shape | None:
    """The strides of a view of x; None if it has to be a copy."""
    if op.name == "reshape":
        return reshaped(x.shape, x.strides, shape, x.dtype.itemsize)
    if op.name == "permute":
        return tuple([x.strides[d] for d in params["dims"]])
    # NumPy lays out the view of an array that has the right strides, and of whose memory nothing is read.
    outline = np.lib.stride_tricks.as_strided(np.empty(1, x.dtype), x.shape, x.strides)
    return op.numpy(outline, **params).strides


def reshaped(shape: Shape, strides: Shape, new: Shape, itemsize: int) -> Shape | None:
    """Strides under which the same memory has shape `new`; None if the elements do not lie so.

    Both shapes are cut into groups of dimensions with equally many elements; within a group the old dimensions must
    follow one another in memory.
    """
    if 0 in shape:
        return tuple(np.empty(new, np.dtype(f"V{itemsize}")).strides)
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    out: list[int] = []
    i = j = 0
    step = old[-1][1] if old else itemsize
    while j < len(new):
        if new[j] == 1 and (i >= len(old) or j + 1 == len(new)):
            out.append(step if i >= len(old) else old[i][0] * old[i][1])
            j += 1
            continue
        first, many, want, start = i, 1, new[j], j
        j += 1
        while many != want:
            if many < want:
                many *= old[i][0]
                i += 1
            else:
                want *= new[j]
                j += 1
        for k in range(first, i - 1):
            if old[k][1] != old[k + 1][0] * old[k + 1][1]:
                return None
        if first == i:  # a 1 between others
            out.append(old[i][0] * old[i][1])
            continue
        step, group = old[i - 1][1], []
        for n in reversed(new[start:j]):
            group.append(step)
            step *= n
        out.extend(reversed(group))
        step = old[i - 1][1]
    return tuple(out)


def kept_strides(operands: Any, shape: Shape, dtype: Any) -> Shape | None:
    """An elementwise result lies in memory as its operands do; where these disagree, in order. None is in order.

    As NumPy has it: the dimensions are sorted by the operands' strides, and change places only if no operand objects.
    """
    looks = [aligned(x, shape) for x in operands if type(x) is Value]
    order: list[int] = []  # from the dimension whose elements are nearest
    for d in reversed(range(len(shape))):
        at = len(order)
        for i in reversed(range(len(order))):
            pairs = [(s[order[i]], s[d]) for s in looks if s[order[i]] and s[d]]
            if any(near <= far for near, far in pairs):
                break
            if pairs:
                at = i
        order.insert(at, d)
    if order == list(reversed(range(len(shape)))):
        return None
    strides, step = [0] * len(shape), dtype.itemsize
    for d in order:
        strides[d] = step
        step *= shape[d]
    return tuple(strides)


def aligned(x: Value, shape: Shape) -> Shape:
    """How far apart in memory a value's elements are along each dimension of `shape`; 0 where it is broadcast."""
    own = [0 if n == 1 else abs(step) for n, step in zip(x.shape, x.strides, strict=True)]
    return (0,) * (len(shape) - len(own)) + tuple(own)
