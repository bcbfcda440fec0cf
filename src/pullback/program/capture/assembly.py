"""Reading off what a captured step left behind: results, changes, writes and the way back."""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Coroutine, Iterator, MappingView
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import trees
from ...errors import LIBRARY, PullbackError, fail
from ...modes import MODES
from ...ops.record import Plan
from ...tape import Label, Node, edge
from ...tensor import Tensor, wrap
from ..passes import fold, optimize, prune, simplify
from ..program import Input, Program, Value, Write
from .captured import Captured, Change, Computed, Constant, Content, Copy, Fresh, Graph, Nest, Rebinding, Record, Same
from .places import HOOKS, MEMORY, MISSING, PLAIN_TYPES, Place, Slots, is_library, name_of, slots_of
from .refusals import refuse_outside
from .regions import Source, overlapping, refuse_overlap
from .snapshot import changed, differ
from .symbol import Number, Symbol

if TYPE_CHECKING:
    from .session import Session


class Assembly:
    """Reads off what the step left behind."""

    def __init__(self, session: Session, keep_grads: bool) -> None:
        self.session, self.recorder, self.keep_grads = session, session.recorder, keep_grads
        self.outputs: list[Value] = []
        self.places: list[str] = []  # the devices that the user sees them on
        self.names: list[str] = []
        self.of_symbol: dict[int, Fresh] = {}  # of tensors made by the step
        self.records: dict[int, Record] = {}  # of objects made by it
        self.made: list[tuple[Tensor, Fresh]] = []
        self.regions = {id(r.tensor): r for r in session.regions}

    def captured(self, result: Any) -> Captured | None:
        before, MODES.capture = MODES.capture, self.recorder
        try:
            return self.assemble(result)
        finally:
            MODES.capture = before

    def assemble(self, result: Any) -> Captured | None:
        session = self.session
        for x, _ in session.outer:
            if x._grad is not None and id(x) not in session.phantoms and x._grad is not self.before(x, "_grad"):
                refuse_outside("backward()")
        template = self.template(result, "result")
        changes, rebindings = self.changes(), self.rebindings()
        deferred = [(action, self.template(given, "a deferred call")) for action, *given in self.recorder.deferred]
        if self.phantoms_matter():
            return None
        live = self.alive()
        pair = self.pair(live) if live else None
        writes: list[Write] = []
        contents: list[Content] = []
        for region in session.regions:
            value = region.symbol.buffer.value
            if value is not region.input:
                contents.append(Content(region, len(self.outputs) + len(writes)))
                writes.append(Write(region.name, value, None))
        used = {v for i in self.recorder.instructions for v in i.values} | {*self.outputs, *(w.value for w in writes)}
        read = [r for r in session.regions if r.input in used or r.symbol.buffer.value is not r.input]
        written = {i for i, r in enumerate(read) if r.symbol.buffer.value is not r.input}
        if (both := overlapping([r.span for r in read], written)) is not None:
            refuse_overlap(*[read[i].name for i in both])
        captured = Captured()
        captured.session = session
        captured.places = self.places
        captured.result, captured.changes, captured.contents = template, changes, contents
        captured.deferred, captured.rebindings = deferred, rebindings
        inputs: list[Input] = []
        captured.sources = []
        for region in session.regions:
            if region.input in used:
                inputs.append(Input(region.input, region.kind, region.name))
                captured.sources.append(region.source)
        for number, value in self.recorder.numbers.values():
            inputs.append(Input(value, "number", named(number)))
            captured.sources.append(number)
        place_of = {given.name: i for i, given in enumerate(inputs)}
        writes = [Write(w.name, w.value, place_of.get(w.name)) for w in writes]
        captured.graph = pair and self.graph(pair, live, captured, inputs)
        captured.program = Program(
            name_of(session.function),
            inputs,
            self.recorder.constants,
            self.recorder.instructions,
            self.outputs,
            writes,
            self.names + [f"kept {i}" for i in range(len(self.outputs) - len(self.names))],
        )
        if captured.graph is not None:  # the way back was noted in the same line of instructions
            captured.program = prune(simplify(fold(captured.program)))  # as what it keeps was simplified
        return captured

    def alive(self) -> list[tuple[Tensor, Fresh]]:
        """Tensors made by the step through whose graph one may still go back."""
        found = []
        for x, fresh in self.made:
            node = edge(x)
            if node is None or isinstance(node, Tensor):
                continue
            if any(n.saved is None or stale(n) for n in nodes_below(node)):
                fresh.spent = Node(Label(node.op.name), (), node.shape, node.dtype)
                fresh.spent.plan, fresh.spent.saved = Plan((), (), ()), None
                fresh.spent.position = node.position
            else:
                found.append((x, fresh))
        return found

    def pair(self, live: list[tuple[Tensor, Fresh]]) -> Any:
        """The gradient of the live results, by all tensors that were there before and want one."""
        from .gradient import pullback_of_graph

        inner = [x for x, _ in self.made if x._requires_grad and x._node is None]
        if inner:
            fail(
                PullbackError,
                "the step returns a leaf that it made, and something computed from it, both with a graph",
                "detach() one of them",
            )
        self.leaves = [(k, r) for k, r in enumerate(self.session.regions) if edge(r.tensor) is not None]
        inputs = [Input(r.input, r.kind, r.name) for r in self.session.regions]
        inputs += [Input(value, "number", named(number)) for number, value in self.recorder.numbers.values()]
        edges = [edge(r.tensor) for _, r in self.leaves]
        pair = pullback_of_graph(name_of(self.session.function), self.recorder, inputs, [x for x, _ in live], edges)
        self.residuals = list(range(len(self.outputs), len(self.outputs) + len(pair.forward.outputs) - len(live)))
        self.outputs.extend(pair.forward.outputs[len(live) :])
        return pair

    def graph(self, pair: Any, live: list[tuple[Tensor, Fresh]], captured: Captured, inputs: list[Input]) -> Graph:
        """The same, in terms of the Program's own inputs and results."""
        kept = {given.value: i for i, given in enumerate(inputs)}
        old = [r.input for r in self.session.regions] + [value for _, value in self.recorder.numbers.values()]
        wanted = {n: kept[old[k]] for n, (k, _) in enumerate(self.leaves) if old[k] in kept}

        def placed(pair: Any) -> Any:
            return pair._replace(
                sources=tuple((kind, kept[old[which]] if kind == "input" else which) for kind, which in pair.sources),
                gives=tuple([pair.gives[n] for n in wanted]),
                fewer=pair.fewer and (lambda given: placed(pair.fewer(given))),
            )

        pair = placed(pair)
        outs = [self.outputs[fresh.index] for _, fresh in live]
        program = Program(
            name_of(self.session.function), inputs, self.recorder.constants, self.recorder.instructions, outs
        )
        places = [fresh.index for _, fresh in live]
        graph = Graph(optimize(program), pair, list(wanted.values()), places, self.residuals)
        graph.retained = [fresh.index for _, fresh in live if fresh.retains]
        written = {c.name for c in captured.contents}
        graph.copied = [i for kind, i in pair.sources if kind == "input" and inputs[i].name in written]
        return graph

    def phantoms_matter(self) -> bool:
        """Was a gradient read that was not there, or left in its place? Then it is captured again without that one."""
        read = {v for i in self.recorder.instructions for v in i.values} | set(self.outputs)
        tensors = self.session.walk.tensors
        absent = {
            key
            for key, (grad, value) in self.session.phantoms.items()
            if value in read or (key in tensors and tensors[key][0]._grad is grad)
        }
        self.session.absent |= absent
        return bool(absent)

    def before(self, x: Tensor, key: str) -> Any:
        found = self.session.walk.places.get((id(vars(x)), key))
        return None if found is None else found[1]

    # -- what is left behind -----------------------------------------------------------------------------------------

    def template(self, x: Any, name: str) -> Any:
        """How to make x anew at each call."""
        if isinstance(x, Tensor):
            return self.tensor(x, name)
        if type(x) is Number:
            return Computed(x)
        if isinstance(x, (dict, list, tuple, deque, set, frozenset)):
            if id(x) in self.session.snapshot.nests or id(x) in self.session.walk.holders:
                return Constant(x)  # the same as before; what changes in it is a change of its own
            return self.nest(x, name)
        if type(x) in PLAIN_TYPES or id(x) in self.session.walk._seen:
            return Constant(x)
        if isinstance(x, MEMORY):
            return Copy(x)
        if id(x) in self.records:
            return self.records[id(x)]
        if type(x) is Symbol:
            fail(
                PullbackError,
                f"{name} keeps the array of a tensor, which is a symbol during capture",
                "keep the tensor",
            )
        if isinstance(x, (Iterator, MappingView, Coroutine)):
            what = f"{name} is a {type(x).__name__}, whose items are made or read later"
            fail(PullbackError, what, "make a list of it")
        if isinstance(x, types.FunctionType):
            for variable, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True):
                held = Place(cell, None, variable, cell).get()
                if any(isinstance(v, Tensor) and id(v) not in self.session.walk.tensors for v in trees.leaves(held)):
                    fail(PullbackError, f"{name} is a function that keeps a tensor of the step, {variable}",
                         "return the tensor, and make the function outside")  # fmt: skip
        elif not isinstance(x, type) and (fields := fields_of(x)) and (users(type(x)) or holds(x, set())):
            record = self.records[id(x)] = Record(x)
            record.parts = {k: self.template(v, f"{name}.{k}") for k, v in fields.items()}
            return record
        return Constant(x)

    def nest(self, x: Any, name: str) -> Nest:
        """How to make a container of what is in x."""
        parts = x.items() if isinstance(x, dict) else enumerate(x)
        return Nest(x, [self.template(v, f"{name}[{k!r}]") for k, v in parts])

    def tensor(self, x: Tensor, name: str) -> Any:
        if id(x) in self.session.walk.tensors:
            i = next((i for i, a in enumerate(self.session.arguments) if a is x), None)
            if i is not None and id(x) not in self.session.walk.arrivals:
                return Same(Source(argument=i))
            return Same(self.session.source(x))
        fresh = self.of_symbol.get(id(x))
        if fresh is None:
            fresh = self.of_symbol[id(x)] = Fresh(len(self.outputs), x)
            array = x._array
            self.outputs.append(array.value() if type(array) is Symbol else self.recorder.constant(np.asarray(array)))
            self.names.append(name)
            self.places.append(array.device)
            self.made.append((x, fresh))
            fresh.fields = {
                k: self.template(v, f"{name}.{k.strip('_')}")
                for k, v in vars(x).items()
                if not k.startswith("_") or (k == "_grad" and v is not None)
            }
        return fresh

    def changes(self) -> list[Change]:
        """Places that hold something else now."""
        found: list[Change] = []
        walk = self.session.walk
        skip = {id(g) for optimizer, _ in walk.optimizers for g in optimizer.param_groups}
        arguments = {id(a): i for i, a in enumerate(self.session.arguments) if isinstance(a, Tensor)}
        for holder, before in self.session.snapshot.holders:
            _, name, owner = walk.holders[id(holder)]
            if id(holder) in skip:
                for key, now in holder.items():
                    if now is not self.session.numbers.get((id(holder), key)) and changed(
                        now, before.get(key, MISSING)
                    ):
                        found.append(
                            Change(Place(holder, key, f"{name}[{key!r}]", owner), self.template(now, name), None)
                        )
                continue
            if isinstance(owner, Tensor):
                self.tensor_changes(found, owner, before, name, arguments.get(id(owner)))
            elif isinstance(holder, (list, deque)):
                if len(holder) != len(before) or any(a is not b for a, b in zip(holder, before, strict=True)):
                    found.append(Change(Place(holder, None, name, owner), self.template(list(holder), name), None))
            else:
                for key in [*holder, *(k for k in before if k not in holder)]:
                    now, then = holder.get(key, MISSING), before.get(key, MISSING)
                    if changed(now, then):
                        label = name if isinstance(key, Tensor) else f"{name}.{key}"
                        found.append(Change(Place(holder, key, label, owner), self.template(now, label), None))
        for place, then in (*self.session.snapshot.cells, *self.session.snapshot.globals):
            now = place.get()
            if changed(now, then):
                found.append(Change(place, self.template(now, place.name), None))
        for nest, before, name in self.session.snapshot.nests.values():
            if id(nest) not in walk.holders and differ(nest, before):
                found.append(Change(Place(nest, None, name, nest), self.nest(nest, name), None))
        for kept, before, name in walk.sets:
            if kept != before:
                kept.clear()
                kept.update(before)
                fail(
                    PullbackError, f"the step changes the set {name}, which cannot be captured", "use a dict or a list"
                )
        return found

    def rebindings(self) -> list[Rebinding]:
        """Tensors that were given other memory."""
        found = []
        for x, name in list(self.session.walk.tensors.values()):
            storage, array = self.session.lifted[id(x)]
            if x._storage is storage and x._array.buffer is array.buffer and x._array.shape == array.shape:
                continue
            owner = next(
                (r for r in self.session.regions if r.tensor._storage is x._storage and r.tensor is not x), None
            )
            if x._storage is storage or x._array is not x._storage.array or owner is not None:
                fail(
                    PullbackError,
                    f"{name} is given the shape or the memory of another tensor in place, which cannot be captured",
                    "make a new tensor instead",
                )
            twin = wrap(x._array)
            i = next(
                (i for i, a in enumerate(self.session.arguments) if a is x and id(x) not in self.session.walk.arrivals),
                None,
            )
            source = self.session.source(x) if i is None else Source(argument=i)
            found.append(Rebinding(source, self.tensor(twin, name), name))
            self.session.recorder.keep.append(twin)
        return found

    def tensor_changes(self, found: list[Change], x: Tensor, before: Any, name: str, argument: int | None) -> None:
        """A tensor's gradient, flag and attributes; what its memory holds is written as content."""
        now = vars(x)
        for key in ("_grad", *(k for k in {**now, **before} if not k.startswith("_") or k in HOOKS)):
            a, b = now.get(key), before.get(key)
            if key == "_grad" and id(x) in self.session.phantoms and a is None:
                found.append(Change(Place(now, key, f"{name}.grad", x), Constant(None), argument))
            elif changed(a, b):
                if key == "_grad" and not self.keep_grads and a is not None and b is None:
                    continue
                found.append(
                    Change(
                        Place(now, key, f"{name}.{key.strip('_')}", x),
                        self.template(a, f"{name}.{key.strip('_')}"),
                        argument,
                    )
                )
        if now.get("_requires_grad", False) != before.get("_requires_grad", False) and not any(
            x is t for t, _ in self.session.outer
        ):
            found.append(Change(Place(now, "_requires_grad", name, x), Constant(x._requires_grad), argument))


def nodes_below(root: Any) -> Iterator[Any]:
    """A node and all that it leads to."""
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        yield node
        for below in node.edges:
            if below is not None and not isinstance(below, Tensor) and below not in seen:
                seen.add(below)
                stack.append(below)


def stale(node: Any) -> bool:
    """Has what it saved been written over?"""
    return any(storage.written > node._id for storage in getattr(node, "guards", ()))


def users(cls: type) -> bool:
    """Is it a class of the user's?"""
    return not is_library(getattr(sys.modules.get(cls.__module__), "__file__", None) or LIBRARY)


def fields_of(x: Any) -> dict[str, Any]:
    """An object's attributes."""
    slots = Slots(x)
    found = {**getattr(x, "__dict__", {}), **{key: slots.get(key) for key in slots_of(type(x))}}
    return {key: value for key, value in found.items() if value is not MISSING}


def holds(x: Any, seen: set[int]) -> bool:
    """Is a tensor, or a number that may differ from call to call, to be found in x?"""
    if isinstance(x, (Tensor, Number)) or id(x) in seen:
        return id(x) not in seen
    seen.add(id(x))
    if isinstance(x, (dict, list, tuple, deque, set, frozenset)):
        return any(holds(part, seen) for part in (x.values() if isinstance(x, dict) else x))
    return not isinstance(x, (type, types.ModuleType)) and any(holds(v, seen) for v in fields_of(x).values())


def named(number: Number) -> str:
    """The expression, with the places it reads."""
    text = number.source
    for leaf, (source, *_) in sorted(number.leaves.items(), reverse=True):
        text = text.replace(leaf, source)
    return text
