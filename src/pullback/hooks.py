"""Hooks: functions of the user's that see, and may replace, a cotangent when it is complete."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from .errors import ShapeError, fail
from .modes import CHANGES
from .ops.arithmetic import add
from .ops.create import clone
from .tensor import Tensor, wrap

Hook = Callable[[Tensor], Any]
SHARED: list[tuple[Any, str]] = []  # hooks that are nobody's own: those of all modules, those of all optimizers

next_key = itertools.count(1).__next__


class Handle:
    """Takes a hook away again."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self.hooks, self.key = hooks, next_key()
        hooks[self.key] = hook
        CHANGES.count += 1

    def remove(self) -> None:
        CHANGES.count += 1
        self.hooks.pop(self.key, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def run_hooks(hooks: dict[int, Hook], g: Any) -> Any:
    """Let hooks see, or replace, a complete cotangent (or the list of them that a node with several results has)."""
    if type(g) is list:
        return [None if part is None else run_hooks(hooks, part) for part in g]
    for hook in list(hooks.values()):
        seen = clone(g) if isinstance(g, Tensor) else wrap(clone(g))  # a hook may write to it; others may hold g
        new = hook(seen)
        if new is None:
            new = seen
        if new.shape != seen.shape:
            fail(
                ShapeError,
                f"a hook returned a gradient of shape {list(new.shape)} for one of shape {list(seen.shape)}",
                "return a tensor of the same shape, or None",
            )
        g = new if isinstance(g, Tensor) else new._array
    return g


# -- gradients of tensors that are not leaves --------------------------------------------------------------------------


def retain(x: Tensor, node: Any) -> None:
    """From now on, the cotangent that arrives at `node`, which made x, is added to x.grad."""
    known = weakref.ref(x)

    def keep(g: Tensor) -> None:
        if (x := known()) is not None:
            x._grad = clone(g) if x._grad is None else add(x._grad, g)

    x._retained = node.register_hook(keep)


def follow(x: Tensor) -> None:
    """x was written and has another node: its gradient is retained there, while its hooks stay where they were."""
    if x._retained is not None and x._node is not None:
        x._retained.remove()
        retain(x, x._node)


def add_last(retained: Handle | None) -> None:
    """A gradient is retained as the tensor's hooks leave it, whenever they came."""
    if retained is not None:
        retained.hooks[retained.key] = retained.hooks.pop(retained.key)
