"""Backward as a sequence of steps to look at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..cotangents import conform
from ..gradients import seed
from ..modes import no_grad
from ..ops.arithmetic import add
from ..ops.record import Op
from ..tape import Edge, Node, Pick, edge, reachable, send
from ..tensor import Tensor


class Step(NamedTuple):
    """One node, or leaf, on the way back."""

    at: Edge
    incoming: Any  # the complete cotangent; a list for a node with several results
    outgoing: list[tuple[Edge | None, Any]]  # what its inputs get


def steps(y: Tensor, gradient: Tensor | None = None) -> Iterator[Step]:
    """Go back from y as backward() does, but free nothing, run no hook and change no `.grad`."""
    for at, g, arrived in arrivals([seed(y, gradient, "explain", False)]):
        yield Step(at, g, [] if isinstance(at, Tensor) else passed_on(arrived, at, g))


def arrivals(seeds: list[tuple[Edge, Any]]) -> Iterator[tuple[Edge, Any, dict[Edge, Any]]]:
    """Each node and leaf with its complete cotangent, and what has arrived elsewhere; who asks sends on from nodes."""
    arrived: dict[Edge, Any] = {}
    for top, g in seeds:
        arrived[top] = add(arrived[top], g) if top in arrived else g
    for at in reachable([top for top, _ in seeds], None):
        g = arrived.pop(at, None)
        if isinstance(at, Pick):
            if g is not None:
                parts = arrived.setdefault(at.of, [None] * at.of.outputs)
                parts[at.index] = g if parts[at.index] is None else add(parts[at.index], g)
        elif g is not None:
            yield at, g, arrived


def passed_on(arrived: dict[Edge, Any], node: Node, g: Any) -> list[tuple[Edge | None, Any]]:
    """Send what a node's rules give, and tell."""
    seen: list[tuple[Edge | None, Any]] = []
    with no_grad():
        send(arrived, node, g, False, None, lambda at, cotangent, pulled: seen.extend(pulled))
    return [(e, fitted(e, c, node)) for e, c in seen]


def fitted(e: Edge | None, cotangent: Any, node: Node) -> Any:
    """The cotangent with broadcasting undone, as it travels on."""
    if e is None or cotangent is None:
        return None
    return conform(cotangent, e, node)


def known_values(y: Tensor) -> dict[Any, Any]:
    """The values that can be had: of an edge, or of input i of a node as (node, i)."""
    top = edge(y)
    assert top is not None
    values: dict[Any, Any] = {top: y._array}
    order = reachable([top], None)
    for e in order:
        if isinstance(e, Tensor):
            values[e] = e._array
        elif isinstance(e.op, Op) and not isinstance(e, Pick) and hasattr(e, "plan"):
            for which, value in zip(e.plan.held, e.values(), strict=False):
                if which < len(e.edges):
                    values[place(e, which)] = value
                elif e.outputs == 1:
                    values[e] = value
    for e in reversed(order):  # what was not saved can be computed where nothing but the inputs is needed
        if isinstance(e, Node) and e not in values and isinstance(e.op, Op) and e.outputs == 1 and not e.op.defaults:
            inputs = [values.get(place(e, i)) for i in range(len(e.edges))]
            if all(x is not None for x in inputs):
                values[e] = e.op(*inputs)
    return values


def place(node: Node, i: int) -> Any:
    """Under which key the value of a node's i-th input is known."""
    below = node.edges[i]
    return (node, i) if below is None else below


def brief(value: Any) -> str:
    """`[1, 2, 3]`, or the first and last of many with the shape."""
    if value is None:
        return "?"
    if isinstance(value, list):
        return ", ".join(brief(v) for v in value)
    if not hasattr(value, "shape"):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if value.size > 6:
        first = ", ".join(number(v) for v in itertools.islice(value.flat, 3))
        return f"{list(value.shape)} of {first}, ..., {number(value.flat[value.size - 1])}"
    texts = ", ".join(number(v) for v in value.flat)
    if value.ndim == 0:
        return texts
    return f"[{texts}]" if value.ndim == 1 else f"{list(value.shape)} of {texts}"


def number(v: Any) -> str:
    return f"{float(v):.4g}"
