"""Tensors from device to device, with their gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .devices import moved, place_of
from .modes import MODES
from .tape import Edge, Label, Node, edge
from .tensor import Tensor, wrap


def move(x: Any, where: str) -> Any:
    """A copy of a tensor or an array on a device: x itself if it lies there. Gradients flow back to where x lies."""
    if not isinstance(x, Tensor):
        return x if place_of(x) == where else moved(x, where)
    array = x._array
    if place_of(array) == where:
        return x
    y = wrap(moved(array, where))
    if MODES.grad and (e := edge(x)) is not None:
        y._node = Move(e, array)
    return y


class Move(Node):
    """A tensor's copy on another device."""

    def __init__(self, e: Edge, array: Any) -> None:
        super().__init__(Label("to_device"), (e,), array.shape, array.dtype)
        self.back = place_of(array)

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        return ((self.edges[0], move(g, self.back)),)
