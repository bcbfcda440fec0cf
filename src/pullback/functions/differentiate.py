"""backward() and what belongs to a tensor's place on the tape: hooks, detach, retained gradients."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import gradients
from ..dtypes import FLOATS
from ..errors import DTypeError, GradientError, Position, fail, here
from ..hooks import Handle, Hook, add_last, retain
from ..modes import CHANGES
from ..tape import Node, Pick, edge
from ..tensor import Tensor, alias, tick
from .expose import public


class Cut(NamedTuple):
    """A place where the user's program took a value off the graph."""

    what: str
    position: Position
    time: int  # by the tape's counter
    source: Callable[[], Any]  # a weak reference to the node or leaf whose value it was


CUTS: deque[Cut] = deque(maxlen=100)  # the latest ones, for why_grad(); they keep nothing alive


def cut(y: Tensor, x: Tensor, what: str) -> Tensor:
    """Note that y holds x's value without its history."""
    if x.requires_grad:
        y._cut = Cut(what, here(), tick(), weakref.ref(x if x._node is None else x._node))
        CUTS.append(y._cut)
    return y


@public(function=False)
def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of this tensor to the `.grad` of the leaves it was computed from."""
    gradients.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


# -- off the graph -----------------------------------------------------------------------------------------------------


@public()
def detach(input: Tensor) -> Tensor:
    """The same memory as a tensor that no gradient flows through."""
    return cut(alias(input, input._array), input, "detach()")


@public()
def detach_(input: Tensor) -> Tensor:
    """Cut this tensor itself off the graph: it becomes a leaf that wants no gradient."""
    if input._base is not None:
        fail(GradientError, "can't detach views in-place", "use detach() instead")
    cut(input, input, "detach_()")
    input._node, input._requires_grad = None, False
    CHANGES.count += 1
    return input


@public(function=False)
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Turn wanting a gradient on or off."""
    self.requires_grad = requires_grad
    return self


def _data(self: Tensor) -> Tensor:
    """The tensor's memory, off the graph; assigning puts other memory in its place."""
    return cut(alias(self, self._array), self, ".data")


def _set_data(self: Tensor, new: Any) -> None:
    if not isinstance(new, Tensor):
        fail(DTypeError, f"data must be a Tensor, not {type(new).__name__}", "wrap it: pullback.tensor(value)")
    if self.requires_grad and new.npdtype not in FLOATS:
        fail(
            DTypeError,
            f"a tensor that requires grad cannot hold data of type {new.dtype}",
            "call requires_grad_(False) first",
        )
    # What nodes have saved is the old memory, which stays as it is: their gradients remain right.
    self._array, self._storage = new._array, new._storage
    self._base, self._path = None, ()
    self._moved = tick()


Tensor.data = property(_data, _set_data)  # type: ignore[attr-defined]


@public(function=False)
def set_(self: Tensor, source: Tensor) -> Tensor:
    """Share the memory of `source`."""
    _set_data(self, source)
    return self


# -- the graph ---------------------------------------------------------------------------------------------------------


def _grad_fn(self: Tensor) -> Node | None:
    """The node of the op that made this tensor; None for a leaf."""
    e = edge(self)
    return e if isinstance(e, Node) else None


def _output_nr(self: Tensor) -> int:
    """Which of its op's results this is."""
    node = _grad_fn(self)
    return node.index if isinstance(node, Pick) else 0


Tensor.grad_fn = property(_grad_fn)  # type: ignore[attr-defined]
Tensor.output_nr = property(_output_nr)  # type: ignore[attr-defined]


# -- hooks -------------------------------------------------------------------------------------------------------------


@public(function=False)
def register_hook(self: Tensor, hook: Hook) -> Handle:
    """`hook(gradient)` runs when this tensor's gradient is complete; what it returns, unless None, takes its place."""
    if not self.requires_grad:
        fail(
            GradientError,
            "cannot register a hook on a tensor that doesn't require gradient",
            "call requires_grad_() first",
        )
    if (node := _grad_fn(self)) is not None:
        handle = node.register_hook(hook)
        add_last(self._retained)
        return handle
    if self._hooks is None:
        self._hooks = {}
    return Handle(self._hooks, hook)


@public(function=False)
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> Handle:
    """`hook(tensor)` runs each time this leaf's `.grad` has been added to."""
    if not self.requires_grad:
        fail(
            GradientError,
            "cannot register a hook on a tensor that doesn't require gradient",
            "call requires_grad_() first",
        )
    if _grad_fn(self) is not None:
        fail(
            GradientError, "post accumulate grad hooks cannot be registered on non-leaf tensors", "use register_hook()"
        )
    if self._after_hooks is None:
        self._after_hooks = {}
    return Handle(self._after_hooks, hook)


@public(function=False)
def retain_grad(self: Tensor) -> None:
    """Let backward() fill the `.grad` of this tensor although it is not a leaf."""
    if not self.requires_grad:
        fail(GradientError, "can't retain_grad on Tensor that has requires_grad=False", "call requires_grad_() first")
    if self._retained is None and (node := _grad_fn(self)) is not None:
        retain(self, node)


def _retains_grad(self: Tensor) -> bool:
    """Does backward() fill the `.grad` of this tensor, though it is not a leaf?"""
    return self._retained is not None


Tensor.retains_grad = property(_retains_grad)  # type: ignore[attr-defined]
