"""View ops on their hot path. They compute nothing, so they need neither dtype rules nor NumPy's error state."""

from __future__ import annotations

from typing import Any

from ..modes import MODES
from ..ops.record import PLAIN, WATCHERS, Op
from ..tape import Edge, apply, edge, leave_node
from ..tensor import Tensor, look_through, shares, wrap


def see(op: Op, x: Tensor, params: dict[str, Any]) -> Tensor:
    """`op(x, **params)` of a view op."""
    source = x._array
    if type(source) not in PLAIN or WATCHERS:
        return apply(op, (x,), params)
    try:
        array = op.numpy(source, **params)
    except (ValueError, IndexError, TypeError, OverflowError):
        return apply(op, (x,), params)  # says what is wrong
    view = wrap(array)
    if shares(array, x):
        look_through(x, view, op, params)
    if MODES.grad:
        e: Edge | None = x._node
        if e is None or x._base is not None:
            e = edge(x)
        if e is not None:
            leave_node(op, (x,), (source,), [e], 0b11, (view,), params)
    return view
