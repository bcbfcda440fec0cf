"""`w.why_grad(loss)`: why this tensor's gradient is None, or zero, or what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..dtypes import FLOATS
from ..errors import GradientError, show
from ..functions.differentiate import CUTS, Cut
from ..functions.expose import public
from ..ops.compare import ne
from ..ops.create import full_like
from ..ops.reduction import any as any_
from ..tape import Edge, Node, edge, reachable
from ..tensor import Tensor, wrap
from .steps import Step, brief, steps

# What makes an op's cotangent vanish.
REASONS = {
    "relu": "its input is positive nowhere: the units are dead",
    "clamp": "its input lies outside the limits everywhere",
    "where": "the condition takes the other side everywhere",
    "mul": "the other factor is 0 everywhere",
    "matmul": "the other matrix is 0",
    "linear": "the other matrix is 0",
    "sign": "a step function is flat",
    "round": "a step function is flat",
    "floor": "a step function is flat",
    "ceil": "a step function is flat",
    "sigmoid": "it is saturated: its slope has rounded to 0",
    "tanh": "it is saturated: its slope has rounded to 0",
    "softmax": "it is saturated: one value has all the weight",
}
UNUSED = "No recorded op has used it. Ops inside no_grad() are not recorded; is it part of the model at all?"


@public(function=False)
def why_grad(self: Tensor, loss: Tensor | None = None) -> None:
    """Say why `.grad` is what it is; with `loss`, the graph between the two is searched. Nothing is changed."""
    print(diagnosis(self, loss))


def diagnosis(w: Tensor, loss: Tensor | None = None) -> str:
    """What `w.why_grad(loss)` says."""
    return "\n".join(reasons(w, loss))


def reasons(w: Tensor, loss: Tensor | None) -> Iterator[str]:
    if not w.requires_grad:
        yield from not_wanted(w)
        return
    grad = w._grad
    if w._node is None and w._id == 0 and grad is None:
        off = {show(cut.position): cut for cut in CUTS if cut.source() is w}
        yield ".grad is None. " + ("No recorded op has used it, only:" if off else UNUSED)
        yield from (f"    {describe(cut)}" for cut in off.values())
        return
    e = edge(w)
    assert e is not None
    if grad is not None:
        yield f".grad is {brief(grad._array)}" + ("" if nonzero(grad._array) else ": all zero")
    elif isinstance(e, Node) and not w.retains_grad:
        yield f".grad is None: this is not a leaf, it was computed by {e.name()} at {show(e.position)}."
        yield "  backward() keeps gradients of leaves only: call retain_grad() on it before backward()."
    else:
        yield ".grad is None."
    if loss is not None:
        yield from between(w, e, loss)
    elif grad is None:
        yield "  Either backward() has not been called since .grad was cleared, or what was computed from this does not"
        yield "  lead to the loss. why_grad(loss) searches the graph between the two."
        yield from cuts(e)


def not_wanted(w: Tensor) -> Iterator[str]:
    """It does not require grad: because of what?"""
    if w.npdtype not in FLOATS:
        yield f"It cannot have a gradient: {w.dtype} is not a floating point type, and casting to it cuts the graph."
    elif w._cut is not None:
        yield f"It does not require grad: {describe(w._cut)}."
    else:
        yield "It does not require grad: it was made without requires_grad=True, computed inside no_grad(), or computed"
        yield "from tensors none of which requires grad. Call requires_grad_() on it before it is used."


def between(w: Tensor, e: Edge, loss: Tensor) -> Iterator[str]:
    """What happens on the way from the loss to w."""
    top = edge(loss)
    if top is None:
        yield "  The loss itself does not require grad:"
        yield from ("  " + line for line in not_wanted(loss))
        yield from cuts(e)
        return
    leads = set(reachable([top], {e}))
    if top not in leads:
        yield "  No path of the graph leads from the loss to it."
        yield from cuts(e)
        return
    yield f"  The loss depends on it, through {len(leads) - 1} ops and leaves."
    try:
        walk = [
            step
            for step in steps(loss, None if loss._array.size == 1 else wrap(full_like(loss._array, value=1.0)))
            if step.at in leads
        ]
    except GradientError as error:
        yield f"  Its gradient cannot be followed any more: {str(error).splitlines()[0]}."
        yield "  Ask before backward(), or call backward(retain_graph=True)."
        return
    arrived = [step.incoming for step in walk if step.at is e]
    if arrived and nonzero(arrived[0]):
        yield f"  The gradient that backward() brings is {brief(arrived[0])}."
        return
    yield "  The gradient that backward() brings is zero."
    yield from vanishing(walk, leads)


def vanishing(walk: list[Step], leads: set[Edge]) -> Iterator[str]:
    """Where a gradient that was not zero became zero."""
    found = False
    for step in walk:
        sent = [c for below, c in step.outgoing if below in leads]
        if isinstance(step.at, Node) and nonzero(step.incoming) and sent and not any(nonzero(c) for c in sent):
            found = True
            reason = REASONS.get(step.at.op.name, "its rule gives zero here")
            yield f"  {step.at.op.name} at {show(step.at.position)} turned {brief(step.incoming)} into zero: {reason}."
    if not found:
        yield "  Contributions that are not zero cancel each other."


def cuts(e: Edge) -> Iterator[str]:
    """Places where the graph was cut: those that are known to have cut this tensor off, else those that may have."""
    certain, possible = {}, {}
    for cut in reversed(CUTS):
        source = cut.source()
        if cut.time < e._id:
            break
        if source is None:
            possible[show(cut.position)] = cut
        elif source is e or (isinstance(source, Node) and e in set(reachable([source], None))):
            certain[show(cut.position)] = cut
    if certain:
        yield "  What was computed from it was cut off:"
    elif possible:
        yield "  The graph was cut at these places, latest first:"
    for cut in list((certain or possible).values())[:5]:
        yield f"    {describe(cut)}"


def describe(cut: Cut) -> str:
    source = cut.source()
    of = f", of what {source.name()} computed at {show(source.position)}" if isinstance(source, Node) else ""
    return f"{cut.what} at {show(cut.position)}{of}"


def nonzero(g: Any) -> bool:
    """Is any element of a cotangent (or of one of several) not 0?"""
    if isinstance(g, list):
        return any(nonzero(part) for part in g)
    return g is not None and bool(any_(ne(g, 0.0)))
