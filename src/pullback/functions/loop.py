"""Loops as one step of a program: the body is given once, the steps are data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import trees
from ..errors import PullbackError, ShapeError, fail
from ..ops import loop
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
    kind, carry = _shapes(init), init
    ys: list[Any] = []

    def flat(state: Any, x: Any) -> Any:  # the loop knows tuples of arrays only
        nonlocal carry
        given = body(_filled(carry, state), _filled(xs, x))
        if not isinstance(given, tuple) or len(given) != 2:
            fail(
                PullbackError,
                "scan: the body must return (carry, y)",
                "return None for y if there is nothing to collect",
            )
        carry, y = given
        if _shapes(carry) != kind:
            step = steps - 1 - len(ys) if reverse else len(ys)
            fail(
                ShapeError,
                f"scan: the carry must keep its shapes and dtypes; step {step} turned {kind} into {_shapes(carry)}",
                "start with an init of the final shape and dtype",
            )
        ys.append(y)
        return tuple(trees.tensors(carry)), tuple(trees.tensors(y))

    _, stacked = loop.scan(flat, tuple(trees.tensors(init)), inputs, steps, reverse)
    return carry, _filled(ys[0], stacked) if ys else None


def _shapes(tree: Any) -> list[Any]:
    return [(str(x.dtype), list(x.shape)) for x in trees.tensors(tree)]


def _filled(tree: Any, tensors: Any) -> Any:
    """The same nest, its tensors replaced by these."""
    following = iter(tensors)
    return trees.map_tensors(lambda _: next(following), tree)
