"""Loops as one step of a program: the body is given once, the steps are data."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from .. import trees
from ..errors import PullbackError, ShapeError, fail
from ..ops.joining import stack
from .expose import public


@public(method=False)
def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Run `carry, y = body(carry, x)` over the first dimension of `xs`; returns the last carry and all ys, stacked.

    Carry, xs and ys are tensors or nests of them; without xs, `length` says how many steps, and x is None. `reverse`
    runs from the last x to the first; ys keep the order of xs.
    """
    inputs = trees.tensors(xs)
    lengths = {len(x) for x in inputs} | ({length} if length is not None else set())
    if len(lengths) != 1:
        what = f"scan: the first dimensions of xs{' and length' if length is not None else ''} must be one number"
        fail(
            ShapeError, f"{what}, but they are {sorted(lengths)}", "give all xs one length, or pass length= without xs"
        )
    (steps,) = lengths
    kind, carry, ys = _shapes(init), init, []
    for t in builtins.reversed(range(steps)) if reverse else range(steps):
        given = body(carry, trees.map_tensors(lambda x, t=t: x[t], xs))  # type: ignore[misc]
        if not isinstance(given, tuple) or len(given) != 2:
            fail(
                PullbackError,
                "scan: the body must return (carry, y)",
                "return None for y if there is nothing to collect",
            )
        carry, y = given
        if _shapes(carry) != kind:
            fail(
                ShapeError,
                f"scan: the carry must keep its shapes and dtypes; step {t} turned {kind} into {_shapes(carry)}",
                "start with an init of the final shape and dtype",
            )
        ys.append(y)
    if reverse:
        ys.reverse()
    if not ys:
        return carry, None
    columns = zip(*map(trees.tensors, ys), strict=True)
    return carry, trees.rebuild(ys[0], _filled(ys[0], iter([stack(*column, dim=0) for column in columns])))


def _shapes(tree: Any) -> list[Any]:
    return [(str(x.dtype), list(x.shape)) for x in trees.tensors(tree)]


def _filled(tree: Any, stacked: Any) -> list[Any]:
    """The leaves of a nest, tensors replaced by the next of `stacked`."""
    return [next(stacked) if hasattr(leaf, "_storage") else leaf for leaf in trees.leaves(tree)]
