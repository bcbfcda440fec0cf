"""Asking for gradients: backward(), grad(), and the pullback of a function of ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .cotangents import accumulate
from .dtypes import dtype
from .errors import GradientError, ShapeError, fail
from .modes import MODES, Switch, enable_grad
from .ops.create import cast, clone, full_like
from .ops.joining import stack
from .ops.record import PLAIN, REPLAY
from .tape import Alias, Edge, attach, edge, walk
from .tensor import Tensor, wrap

ONE = {d.numpy: np.ones((), d.numpy) for d in dtype.by_name.values()}  # what a scalar loss starts with
for one in ONE.values():
    one.flags.writeable = False


def seed(y: Tensor, g: Tensor | None, name: str, record: bool) -> tuple[Edge, Any]:
    """(edge, cotangent) to start a walk with: 1 for a scalar."""
    e = edge(y)
    if e is None:
        fail(
            GradientError,
            "element 0 of tensors does not require grad and does not have a grad_fn",
            "make a leaf it was computed from require grad; y.why_grad() tells what cut the graph",
        )
    if g is None:
        if y._array.size != 1:
            fail(
                GradientError,
                f"grad can be implicitly created only for scalar outputs; this one has shape {list(y.shape)}",
                f"reduce it first, y.sum().{name}(), or pass the cotangent: y.{name}(gradient=torch.ones_like(y))",
            )
        one = (
            ONE.get(y._array.dtype)
            if y._array.shape == () and type(y._array) in PLAIN
            else full_like(y._array, value=1.0)
        )
        return e, wrap(one) if record else one
    if g.shape != y.shape:
        fail(
            ShapeError,
            f"the cotangent has shape {list(g.shape)}, but the tensor it belongs to has shape {list(y.shape)}",
            "they must be equal",
        )
    if g.npdtype != y.npdtype:
        g = cast(g, dtype=y.npdtype)
    return e, g if record else g._array


def seeds_of(ys: list[Tensor], gs: Any, record: bool) -> list[tuple[Edge, Any]]:
    """A seed for each of several tensors."""
    cotangents = [gs] * len(ys) if gs is None or isinstance(gs, Tensor) else list(gs)
    if len(cotangents) != len(ys):
        fail(
            GradientError,
            f"got {len(ys)} tensors and {len(cotangents)} gradients",
            "give one cotangent for each tensor",
        )
    return [seed(y, g, "backward", record) for y, g in zip(ys, cotangents, strict=True)]


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves they were computed from (or just of `inputs`)."""
    keep = create_graph if retain_graph is None else retain_graph
    if isinstance(tensors, Tensor) and (grad_tensors is None or isinstance(grad_tensors, Tensor)):
        seeds = [seed(tensors, grad_tensors, "backward", create_graph)]
    else:
        ys = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        seeds = seeds_of(ys, grad_tensors, create_graph)
    if inputs is None:
        walk(seeds, keep=keep, record=create_graph)
        return
    leaves = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not leaves:
        fail(GradientError, "'inputs' argument to backward() cannot be empty", "leave it out to reach every leaf")
    targets = targets_of(leaves)
    found = walk(seeds, keep=keep, record=create_graph, targets=targets)
    with Switch(grad=create_graph):
        for x, e in zip(leaves, targets, strict=True):
            if e in found:
                accumulate(x, found[e] if create_graph else clone(found[e]))


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`, returned; no `.grad` changes."""
    ys = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    gs = [grad_outputs] * len(ys) if grad_outputs is None or isinstance(grad_outputs, Tensor) else list(grad_outputs)
    if is_grads_batched:
        batch = range(len(next(g for g in gs if g is not None)))
        each = [[None if g is None else g[k] for g in gs] for k in batch]
        rows = [grad(ys, xs, row, True, create_graph, True, allow_unused, False, materialize_grads) for row in each]
        return tuple(None if column[0] is None else stack(*column, dim=0) for column in zip(*rows, strict=True))
    seeds = seeds_of(ys, gs, create_graph)
    targets = targets_of(xs)
    if MODES.capture is not None:
        MODES.capture.check_targets(xs)
    found = walk(
        seeds, keep=create_graph if retain_graph is None else retain_graph, record=create_graph, targets=targets
    )
    results: list[Tensor | None] = []
    for i, (x, e) in enumerate(zip(xs, targets, strict=True)):
        g = found.get(e)
        if g is None and not (allow_unused or materialize_grads):
            fail(
                GradientError,
                "one of the differentiated tensors appears to not have been used in the graph: "
                f"inputs[{i}], of shape {list(x.shape)}",
                "set allow_unused=True if that is desired: its gradient is then None",
            )
        if g is None:
            results.append(wrap(full_like(x._array, value=0.0)) if materialize_grads else None)
        else:
            results.append(g if isinstance(g, Tensor) else wrap(clone(g)))
    return tuple(results)


def targets_of(xs: Sequence[Tensor]) -> list[Edge]:
    """The edges of tensors whose gradient is asked for."""
    targets = []
    for x in xs:
        e = edge(x)
        if e is None:
            fail(
                GradientError,
                "one of the differentiated tensors does not require grad",
                "call requires_grad_() on it before the forward pass",
            )
        targets.append(e)
    return targets


def replay(
    function: Callable[..., Any], inputs: Sequence[Any], params: dict[str, Any], needed: Sequence[bool], g: Any
) -> list[Any]:
    """The pullback of a function of ops: run it on the tape, then walk back. Serves fused ops' decompositions."""
    recorded = any(isinstance(x, Tensor) for x in inputs) or isinstance(g, Tensor)
    with enable_grad():
        fresh = []
        for x, want in zip(inputs, needed, strict=False):
            if want:  # its own name on the tape, so that an input given twice gets each share apart
                t = wrap(x._array if isinstance(x, Tensor) else x)
                e = edge(x) if isinstance(x, Tensor) else None
                t._requires_grad = True
                x = t if e is None else attach(t, Alias(e))
            elif hasattr(x, "dtype") and not isinstance(x, Tensor):
                x = wrap(x)
            fresh.append(x)
        out = function(*fresh, **params)
    outs = out if isinstance(out, tuple) else (out,)
    gs = g if isinstance(g, list) else [g]
    seeds = [(e, h) for y, h in zip(outs, gs, strict=True) if (e := edge(y)) is not None]
    targets = [edge(x) if want else None for x, want in zip(fresh, needed, strict=False)]
    found = walk(seeds, keep=recorded, record=recorded, targets=[e for e in targets if e is not None])
    return [None if e is None else found.get(e) for e in targets]


REPLAY.append(replay)
