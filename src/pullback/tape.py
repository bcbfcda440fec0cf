"""The tape: all of backpropagation, to be read from top to bottom.

1. `apply` runs an op. If an input wants a gradient, it leaves a Node: the op, the edges to the nodes (or leaf tensors)
   its inputs came from, and what the op's pullback rules will need.
2. A node's id comes from one counter when it is made. Whatever a node depends on existed before it, so **ids are a
   topological order** of every graph. A leaf has its turn as soon as all that used it had theirs.
3. `walk` goes from the outputs down the ids. When it reaches a node, all that used the node's result has been walked,
   so the sum of what they sent is complete: it is the node's cotangent. The op's rules turn it into cotangents of the
   inputs, which travel on along the edges. At a leaf the cotangent is the gradient.

That is the chain rule: the pullback of a composition is the composition of the pullbacks, in reverse.
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Union

from . import errors
from .cotangents import accumulate, conform, own, total
from .dtypes import F32, F64, FLOATS
from .errors import GradientError, fail
from .hooks import Handle, Hook, follow, run_hooks
from .modes import MODES, enable_grad
from .ops.arithmetic import add
from .ops.create import full_like
from .ops.record import IMPLEMENTATIONS, Op, Plan
from .tensor import MOVED, Storage, Tensor, look_through, shares, tick, wrap

# Where a gradient goes next: to the op that made an input, or to the input itself if it is a leaf.
Edge = Union["Node", Tensor]
NOTHING: list[Any] = []


class Node:
    """One op that ran, and how to go back through it."""

    outputs = 1
    zeros = True  # do the rules want zero cotangents for results that nothing was made of?
    plan: Plan  # which rules to run, and on what
    saved: Any = NOTHING  # the arrays and facts the rules need ...
    guards: list[Storage] = NOTHING  # ... and where the arrays lie
    picks: dict[int, weakref.ref[Pick]]  # the results, if there are several
    _hooks: dict[int, Hook] | None = None

    def __init__(self, op: Any, edges: Sequence[Edge | None], shape: Any, dtype: Any) -> None:
        self._id = tick()
        self.op = op
        self.edges = edges
        self.shape = shape  # of the result, and so of its cotangent
        self.dtype = dtype
        self.position = errors.here(3)

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        """(edge, cotangent) pairs for the inputs, given the cotangent of the result."""
        if self.outputs > 1 and self.zeros:
            some = next(part for part in g if part is not None)
            parts = zip(g, self.shape, self.dtype, strict=True)
            g = [full_like(some, value=0.0, shape=s, dtype=d) if part is None else part for part, s, d in parts]
        saved = self.rebuild() if record else self.values()
        pulled = []
        for i, rule, picks in self.plan.calls:
            if len(picks) == 1:  # most rules; spares them a list
                cotangent = rule(g, saved[picks[0]])
            else:
                cotangent = rule(g, *[saved[p] for p in picks])
            if i < 0:  # one rule for all inputs
                return zip(self.edges, cotangent, strict=False)
            pulled.append((self.edges[i], cotangent))
        return pulled

    def values(self) -> Sequence[Any]:
        """What the op saved, refused if it is gone or has been written over."""
        if self.saved is None:
            fail(
                GradientError,
                f"trying to backward through the graph a second time: what {self.name()} saved has been freed",
                "pass retain_graph=True to the first backward() if you need a second, or detach() the shared part",
                shared_node_built_at=self.position,
            )
        for storage in self.guards:
            if storage.written > self._id:
                fail(
                    GradientError,
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"{self.name()} saved it, and it was written after that",
                    "clone() the tensor before writing to it, or write x = x + y instead of x += y",
                    saved_at=self.position,
                    written_at=storage.writer,
                )
        return self.saved if type(self.saved) is list else self.saved()

    def rebuild(self) -> Sequence[Any]:
        """What the op saved as Tensors that stand on the tape, so that the rules' own ops are recorded."""
        full, storages = list(self.values()), self.storages()
        for place, which in enumerate(self.plan.held):
            value, n = full[place], which - len(self.edges)
            if hasattr(value, "shape"):
                e = self.edges[which] if n < 0 else self.result(n, value) if value.dtype in FLOATS else None
                full[place] = stand(value, storages, e)
        return full

    def storages(self) -> Iterator[Storage]:
        """Where the arrays lie that the op saved."""
        return iter(self.guards if type(self.saved) is list else ())

    def result(self, n: int, array: Any) -> Node:
        """Where the cotangent of the n-th result comes in: one place for each, so that all that is sent there meets."""
        if self.outputs == 1:
            return self
        known = self.picks.get(n)
        return (known and known()) or Pick(self, n, array)

    def release(self) -> None:
        """Forget what was saved; only a graph that saved no array can be walked again."""
        if self.guards:
            self.saved, self.guards = None, NOTHING

    # -- what PyTorch users know it as -----------------------------------------------------------------------------

    def name(self) -> str:
        return "".join(part.capitalize() for part in self.op.name.split("_")) + "Backward0"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        return tuple((e, e.index if isinstance(e, Pick) else 0) for e in self.edges)

    def register_hook(self, hook: Hook) -> Handle:
        """`hook(cotangent)` runs when the cotangent of this node's result is complete; what it returns replaces it."""
        if self._hooks is None:
            self._hooks = {}
        return Handle(self._hooks, hook)

    def __repr__(self) -> str:
        return f"<{self.name()} of {errors.show(self.position)}>"


class Pick(Node):
    """One result of an op that has several."""

    def __init__(self, node: Node, index: int, array: Any) -> None:
        super().__init__(node.op, (node,), array.shape, array.dtype)
        self.of, self.index = node, index
        self.position = node.position
        node.picks[index] = weakref.ref(self)


# -- forward: running ops and leaving nodes ----------------------------------------------------------------------------


def edge(x: Tensor) -> Edge | None:
    """Where x's gradient goes; None if it wants none."""
    if x._base is not None and x._seen != x._storage.version:
        refresh(x)
    if x._node is not None or not x._requires_grad:
        return x._node
    if x._id == 0:
        x._id = tick()
    return x


def apply(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """Run an op on Tensors, and record it if one of them wants a gradient."""
    if MODES.autocast is not None:
        inputs = MODES.autocast(op, inputs)
    arrays: list[Any] = []
    edges: list[Edge | None] = []
    needed, wanted = 1, False  # 1 and then a bit for each input; is any set?
    recording = op.differentiable and MODES.grad
    for x in inputs:
        e: Edge | None = None
        if isinstance(x, Tensor):
            if recording:
                e = x._node
                if e is None or x._base is not None:
                    e = edge(x)
            x = x._array
        arrays.append(x)
        edges.append(e)
        needed += needed
        if e is not None:
            needed += 1
            wanted = True
    out = op(*arrays, **params)
    if type(out) is tuple:
        outs = tuple([wrap(array) for array in out])
        if op.views is not None:
            for view, look in zip(outs, op.views(arrays[0], **params), strict=True):
                look_through(inputs[0], view, *look)
        if wanted:
            leave_node(op, inputs, arrays, edges, needed, outs, params)
        return outs
    tensor = wrap(out)
    if op.view and shares(out, inputs[0]):
        look_through(inputs[0], tensor, op, params)
    if wanted:
        leave_node(op, inputs, arrays, edges, needed, (tensor,), params)
    return tensor


IMPLEMENTATIONS[Tensor] = apply


def leave_node(
    op: Op, inputs: Any, arrays: Any, edges: list[Edge | None], needed: int, outs: tuple[Tensor, ...], params: Any
) -> None:
    """Leave the node of an op that has just run."""
    if len(outs) == 1:
        array = outs[0]._array
        if (d := array.dtype) is not F32 and d is not F64 and d not in FLOATS:
            return  # cast to integers
        outs[0]._node = node = Node(op, edges, array.shape, array.dtype)
    else:  # each result has a Pick, through which its cotangent comes
        node = Node(op, edges, [t._array.shape for t in outs], [t._array.dtype for t in outs])
        node.outputs, node.picks, node.zeros = len(outs), {}, op.zeros
        for i, tensor in enumerate(outs):
            if tensor._array.dtype in FLOATS:
                tensor._node = Pick(node, i, tensor._array)
    node.plan = plan = op.plans.get(needed) or op.plan(needed)
    if plan.held or plan.facts:
        saved: list[Any] = []
        guards: list[Any] = []
        n = len(inputs)
        for i in plan.held:
            x = inputs[i] if i < n else outs[i - n]
            if isinstance(x, Tensor):
                saved.append(x._array)
                guards.append(x._storage)
            else:
                saved.append(x)
                if hasattr(x, "shape"):
                    guards.append(Storage(x))
        for fact in plan.facts:
            saved.append(fact(arrays, params))
        node.saved, node.guards = saved, guards
        if guards and MODES.pack is not None:
            MODES.pack(node)


def refresh(x: Tensor) -> None:
    """A view's base was written in place: lead the view's gradient through the base as it is now."""
    assert x._base is not None
    e = edge(x._base)
    if e is None and (x._path is not None or x._node is None):  # what was written has no history
        x._node, x._seen = None, x._storage.version
        return
    if x._moved != x._base._moved:
        fail(GradientError, *MOVED, written_at=x._storage.writer)
    if x._path is None or e is None:
        fail(
            GradientError,
            "a view was created in no_grad mode and its base, or another view of it, has been modified in place since",
            "make the view where gradients are recorded, or detach() it",
            written_at=x._storage.writer,
        )
    y = attach(wrap(x._base._array), e)
    with enable_grad():
        for op, params in x._path:
            y = op(y, **params)
    x._node, x._seen = y._node, x._storage.version
    follow(x)


class Label:
    """Stands where a node that no op made has its op."""

    broadcasts = False

    def __init__(self, name: str) -> None:
        self.name = name


class Alias(Node):
    """Another name for an edge: the cotangent passes unchanged."""

    def __init__(self, e: Edge) -> None:
        like = e._array if isinstance(e, Tensor) else e
        super().__init__(Label("alias"), (e,), like.shape, like.dtype)

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        return ((self.edges[0], g),)


def attach(x: Tensor, e: Edge) -> Tensor:
    """Make x's gradient flow into edge e."""
    x._node = e if isinstance(e, Node) else Alias(e)
    return x


def stand(array: Any, storages: Iterator[Storage], e: Edge | None) -> Tensor:
    """A saved array as a Tensor that lies in the next of `storages` and whose gradient flows into e."""
    x = wrap(array)
    x._storage = next(storages, x._storage)
    return x if e is None else attach(x, e)


# -- backward: walking down the ids ------------------------------------------------------------------------------------


def walk(
    seeds: Sequence[tuple[Edge, Any]], *, keep: bool, record: bool, targets: Sequence[Edge] | None = None
) -> dict[Edge, Any]:
    """Carry the seeds' cotangents down the graph.

    At leaves they are added to `.grad`; with `targets`, nothing is, and the targets' cotangents are returned.
    `record` runs the rules on Tensors, so that the gradient can be differentiated again; `keep` keeps what nodes saved.
    """
    arrived: dict[Edge, Any] = {}  # cotangents on their way: their sum so far
    found: dict[Edge, Any] = {}
    wanted = set(targets or ())
    order = reachable([e for e, _ in seeds], None if targets is None else wanted)
    visited = None if targets is None else set(order)
    before = MODES.grad, MODES.backward, MODES.autocast
    MODES.grad, MODES.backward, MODES.autocast, watch = record, True, None, MODES.watch
    try:
        for e, g in seeds:
            arrived[e] = add(arrived[e], g) if e in arrived else g
        for node in order:
            g = arrived.pop(node, None)
            if g is None:  # no op above sent anything: a zero
                continue
            if node._hooks:
                g = run_hooks(node._hooks, g)
            if visited is not None and node in wanted:
                found[node] = g
                if isinstance(node, Tensor) or not any(below in visited for below in node.edges):
                    continue
            if isinstance(node, Tensor):
                accumulate(node, g if record else own(sys.getrefcount(g), g))
            elif isinstance(node, Pick):
                parts = arrived.setdefault(node.of, [None] * node.of.outputs)
                parts[node.index] = g if parts[node.index] is None else add(parts[node.index], g)
            else:
                send(arrived, node, g, record, visited, watch)
                if not keep:
                    node.release()
    finally:
        MODES.grad, MODES.backward, MODES.autocast = before
    return found


def reachable(roots: Iterable[Edge], wanted: set[Edge] | None) -> list[Edge]:
    """All nodes below the roots, highest id first; with `wanted`, just those on a way to one of them.

    A leaf comes as soon as all that used it have come, so that its gradient need not wait.
    """
    seen = set(roots)
    stack = list(seen)
    nodes: list[Node] = []
    leaves: set[Tensor] = set()
    while stack:
        e = stack.pop()
        if isinstance(e, Tensor):
            leaves.add(e)
            continue
        nodes.append(e)
        for below in e.edges:
            if below is not None and below not in seen:
                seen.add(below)
                stack.append(below)
    nodes.sort(key=_order)
    order: list[Edge] = []
    for node in nodes:
        if leaves:
            for below in node.edges:
                if below in leaves:
                    leaves.remove(below)
                    order.append(below)
        order.append(node)
    order = [*leaves, *order][::-1]
    if wanted is None:
        return order
    leads = set(wanted)
    for e in reversed(order):
        if not isinstance(e, Tensor) and any(below in leads for below in e.edges):
            leads.add(e)
    return [e for e in order if e in leads]


_order = operator.attrgetter("_id")


def send(arrived: dict[Edge, Any], node: Node, g: Any, record: bool, visited: set[Edge] | None, watch: Any) -> None:
    """Run a node's rules and send what they give to the inputs."""
    pulled = node.pull(g, record)
    if watch is not None:
        watch(node, g, pulled := list(pulled))
    for e, cotangent in pulled:
        if e is None or cotangent is None or (visited is not None and e not in visited):
            continue
        like = e._array if isinstance(e, Tensor) else e  # what has the input's shape and dtype
        if cotangent.dtype is not like.dtype or cotangent.shape != like.shape:
            cotangent = conform(cotangent, e, node)
        if e in arrived:
            cotangent = total(arrived.pop(e), cotangent)
        arrived[e] = cotangent
