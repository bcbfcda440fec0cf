"""NaN and Inf: runs a batch again, watching every op, to find the first that made one out of finite numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import PullbackError, show, users_line
from ..modes import MODES, Switch
from ..nn.module import Module
from ..nn.utils.clip_grad import get_total_norm
from ..ops.compare import isfinite, isnan
from ..ops.extremes import amax, amin
from ..ops.record import WATCHERS
from ..ops.reduction import all as all_
from ..ops.reduction import any as any_
from ..tape import Node
from ..tensor import Tensor, tick
from ..trees import tensors

FINITE = ""  # < "inf" < "nan"
AGAIN = "the same batch, run again, gave finite numbers: "
OUTSIDE = "something outside of the batch and the weights differs"
COMPILED = (
    "the compiled step computes something else; pullback.verify(trainer.run.whole, batch) finds what differs first"
)


class NonFiniteError(PullbackError):
    """A loss or a gradient is NaN or Inf."""


def diagnose(
    model: Module, batches: Sequence[Any], backward: Callable[[Any], Any], compiled: bool = False
) -> list[str]:
    """What to blame, as lines; `backward(batch)` is the loss and its backward pass, run op by op."""
    given = [*_bad_inputs(batches), *_bad_parameters(model)]
    if given:
        return given
    watcher = Watcher()
    with watcher.watching(model):
        for batch in batches:
            backward(batch)
            if watcher.found:
                return watcher.found
    return _bad_gradients(model) or [AGAIN + (COMPILED if compiled else OUTSIDE)]


class Watcher:
    """Told of every op that runs, of the layers they run in, and of each node's turn in the backward pass."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.open: list[tuple[str, int]] = []  # layers that are running, and the time they started
        self.spans: list[tuple[int, int, str]] = []  # (start, end, layer): inner layers come first
        self.unplaced = FINITE  # found in a node's rules, whose node is not known yet ...
        self.rule: list[str] = []  # ... and what made it
        self.looking = False

    @contextmanager
    def watching(self, model: Module) -> Iterator[None]:
        handles = []
        for name, module in model.named_modules():
            label = f"layer {name!r} ({type(module).__name__})" if name else f"the model ({type(module).__name__})"
            handles.append(module.register_forward_pre_hook(lambda m, args, label=label: self.enter(label)))
            handles.append(module.register_forward_hook(lambda m, args, out: self.leave()))
        WATCHERS.append(self.op)
        try:
            with Switch(watch=self.node):
                yield
        finally:
            WATCHERS.remove(self.op)
            for handle in handles:
                handle.remove()

    def enter(self, label: str) -> None:
        self.open.append((label, tick()))

    def leave(self) -> None:
        label, start = self.open.pop()
        self.spans.append((start, tick(), label))

    def op(self, op: Any, inputs: Sequence[Any], params: dict[str, Any], out: Any) -> None:
        if self.looking or self.found or self.unplaced:
            return
        self.looking = True  # what follows are ops, too
        try:
            word = max(map(_kind, out if isinstance(out, tuple) else (out,)))
            if word <= max(map(_kind, [*inputs, *params.values()]), default=FINITE):
                return  # a mask of -inf, say, is no fault; NaN made from it is
            operands = [f"  from {_describe(x)}" for x in inputs if hasattr(x, "shape")]
            if MODES.backward:
                self.unplaced, self.rule = word, [f"  its rule's {op.name} made it", *operands]
            else:
                where = self.open[-1][0] if self.open else "the loss"
                self.found = [f"the first: {op.name} made {word} in {where}", f"  at {show(users_line())}", *operands]
        finally:
            self.looking = False

    def node(self, node: Node, g: Any, pulled: list[tuple[Any, Any]]) -> None:
        if self.unplaced and not self.found:
            where = next((label for start, end, label in self.spans if start < node._id < end), "the loss")
            self.found = [
                f"the forward pass is finite; the first: the gradient of {node.op.name} is {self.unplaced} in {where}",
                f"  forward ran at {show(node.position)}",
                *self.rule,
            ]


def _bad_inputs(batches: Sequence[Any]) -> Iterator[str]:
    for i, batch in enumerate(batches):
        for k, t in enumerate(tensors(batch)):
            if word := _kind(t._array):
                of = f" of micro-batch {i}" if len(batches) > 1 else ""
                yield f"the data: tensor {k}{of}, of shape {list(t.shape)}, has {word} at index {_first(t)}"


def _bad_parameters(model: Module) -> Iterator[str]:
    for name, t in model.named_parameters():
        if word := _kind(t._array):
            yield f"the weights: parameter {name!r} of shape {list(t.shape)} has {word} at index {_first(t)}"


def _bad_gradients(model: Module) -> list[str]:
    """What is no op's fault: a hook's or a backward()'s of the user's own, or a norm's that overflows."""
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    bad = [(name, g) for name, g in grads.items() if _kind(g._array)]
    if bad:
        name, g = bad[-1]  # the backward pass came to the last layers first
        what = f"the gradient of parameter {name!r} of shape {list(g.shape)} has {_kind(g._array)} at index {_first(g)}"
        return [what, "  no op made it from finite numbers: look at hooks and at backward() of a Function of your own"]
    if grads and not get_total_norm(grads.values()).isfinite():
        name = max(grads, key=lambda name: float(grads[name].abs().max()))
        return [f"every gradient is finite, but so large that their norm is not; the largest is that of {name!r}"]
    return []


def _first(t: Tensor) -> list[int]:
    return (~t.isfinite()).nonzero()[0].tolist()


def _kind(value: Any) -> str:
    """What is in it, in an order of severity."""
    if isinstance(value, float):
        return FINITE if math.isfinite(value) else "nan" if math.isnan(value) else "inf"
    if not hasattr(value, "__array__") or value.dtype.kind in "iub" or all_(isfinite(array := value.__array__())):
        return FINITE
    return "nan" if any_(isnan(array)) else "inf"


def _describe(value: Any) -> str:
    array = value.__array__()  # an engine's own are elsewhere
    limits = f", from {float(amin(array)):.4g} to {float(amax(array)):.4g}" if math.prod(array.shape) else ""
    return f"{array.dtype.name} {list(array.shape)}{limits}"
