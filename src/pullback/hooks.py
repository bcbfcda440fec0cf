"""Hooks: functions of the user's that see, and may replace, a cotangent when it is complete."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .errors import ShapeError, fail
from .tensor import Tensor, wrap

Hook = Callable[[Tensor], Any]

next_key = itertools.count(1).__next__


class Handle:
    """Takes a hook away again."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self.hooks, self.key = hooks, next_key()
        hooks[self.key] = hook

    def remove(self) -> None:
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
        seen = g if isinstance(g, Tensor) else wrap(g)
        new = hook(seen)
        if new is None:
            continue
        if new.shape != seen.shape:
            fail(
                ShapeError,
                f"a hook returned a gradient of shape {list(new.shape)} for one of shape {list(seen.shape)}",
                "return a tensor of the same shape, or None",
            )
        g = new if isinstance(g, Tensor) else new._array
    return g
