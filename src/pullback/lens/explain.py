"""`loss.explain()`: the chain rule at work, op by op, from the loss back to the leaves."""

from __future__ import annotations

import itertools
from typing import Any

from ..errors import show
from ..functions.expose import public
from ..modes import no_grad
from ..ops.create import full_like
from ..ops.record import Op, elementwise
from ..tape import Edge, Node, Pick
from ..tensor import Tensor
from .steps import Step, brief, known_values, place, steps

Row = tuple[str, str, str, str]


@public(function=False)
def explain(self: Tensor, gradient: Tensor | None = None, limit: int | None = 50) -> None:
    """Print how backward() carries the gradient from here to the leaves: values, local derivatives and cotangents.

    The graph is kept, and no `.grad` changes.
    """
    print(explanation(self, gradient, limit))


def explanation(y: Tensor, gradient: Tensor | None = None, limit: int | None = 50) -> str:
    """What `y.explain()` prints."""
    values = known_values(y)
    blocks: list[tuple[str, list[Row]]] = []
    walk = list(steps(y, gradient))
    leaves = itertools.count(1)
    names = {s.at: f"leaf {next(leaves)}" if isinstance(s.at, Tensor) else f"step {k}" for k, s in enumerate(walk, 1)}
    shown = walk if limit is None else walk[:limit]
    for k, step in enumerate(shown, 1):
        blocks.append(leaf(names[step.at], step) if isinstance(step.at, Tensor) else operation(k, step, values, names))
    widths = [max([0] + [len(row[i]) for _, rows in blocks for row in rows]) for i in range(4)]
    lines = []
    for title, rows in blocks:
        lines.append(title)
        lines += [
            "    " + "   ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    if len(walk) > len(shown):
        lines.append(f"... and {len(walk) - len(shown)} more steps: explain(limit=None) shows them")
    return "\n".join(lines)


def leaf(name: str, step: Step) -> tuple[str, list[Row]]:
    assert isinstance(step.at, Tensor)
    return f"{name}: its gradient is complete", [
        (f"value {brief(step.at._array)}", "", f"gradient {brief(step.incoming)}", "")
    ]


def operation(k: int, step: Step, values: dict[Any, Any], names: dict[Edge, str]) -> tuple[str, list[Row]]:
    node = step.at
    assert isinstance(node, Node)
    formula = f"{node.op.name}: {node.op.formula}" if isinstance(node.op, Op) else node.name()
    hooked = "   (its hooks are not run here)" if node._hooks else ""
    rows = [(f"out = {brief(values.get(node))}", "", f"gradient {brief(step.incoming)}", "")]
    local = local_derivatives(node, step)
    for i, e in enumerate(node.edges):
        value = values.get(place(node, i))
        if e is None:
            if value is not None:
                rows.append((f"{name_of(node, i)} = {brief(value)}", "", "constant", ""))
            continue
        sent = [c for below, c in step.outgoing[i : i + 1] if below is e] or [
            c for below, c in step.outgoing if below is e
        ]
        derivative = f"d out/d {name_of(node, i)} = {brief(local[i])}" if i in local else ""
        source: Any = e.edges[0] if isinstance(e, Pick) else e
        to = names.get(source)  # none: all that it got was None
        rows.append(
            (
                f"{name_of(node, i)} = {brief(value)}",
                derivative,
                f"gradient {brief(sent[0] if sent else None)}",
                f"-> {to}" if to else "",
            )
        )
    return f"{k}. {formula}   [{show(node.position)}]{hooked}", rows


def name_of(node: Node, i: int) -> str:
    """What the op's formula calls its i-th input."""
    names = node.op.inputs if isinstance(node.op, Op) else ()
    if isinstance(node.op, Op) and node.op.variadic:
        return f"{names[0]}[{i}]"
    return names[i] if i < len(names) else f"input {i}"


def local_derivatives(node: Node, step: Step) -> dict[int, Any]:
    """For an elementwise op: what it multiplies the incoming cotangent with, for each input."""
    if not isinstance(node.op, Op) or node.op.infer is not elementwise or node.outputs != 1:
        return {}
    with no_grad():
        pulled = list(node.pull(full_like(step.incoming, value=1.0), False))
    inputs = [i for i, e in enumerate(node.edges) if e is not None]
    if len(pulled) == len(node.edges):
        return {i: pulled[i][1] for i in inputs}
    return {i: c for i, (_, c) in zip(inputs, pulled, strict=False)}
