"""Between calls and a Program: is this call one it was captured for? What goes in, and where does what comes out go?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import dtypes, trees
from ...modes import MODES
from ...tape import edge
from ...tensor import Storage, Tensor, tick, wrote
from ..capture.captured import Captured, evaluate
from ..capture.gradient import ProgramNode
from ..capture.places import MISSING, PLAIN_TYPES, Place, equal, is_nest, keys_of, structure
from ..capture.regions import Source, overlapping, same_elements, span
from ..capture.symbol import Number
from . import quick


class Call:
    """One call: its arguments, the Program's results, and the tensors made of them so far."""

    __slots__ = ("arguments", "inputs", "made", "results")

    def __init__(self, arguments: Sequence[Any], results: Sequence[Any], inputs: Any = None) -> None:
        self.arguments, self.results, self.inputs = arguments, results, inputs
        self.made: dict[Any, Any] = {}


def modes() -> tuple[Any, ...]:
    """What is set for this thread that a capture depends on."""
    cast = MODES.autocast
    return MODES.grad, MODES.inference, cast and cast.key, dtypes.get_default_dtype(), MODES.device


class Spec:
    """What a capture assumes of a tensor that it reads."""

    __slots__ = ("device", "dtype", "name", "shape", "source", "strides", "wants", "whole")

    def __init__(self, source: Source, name: str, x: Tensor) -> None:
        self.source, self.name = source, name
        self.whole = source.kind == "argument" or x._array is x._storage.array
        self.shape, self.strides, self.dtype = x._array.shape, x._array.strides, x._array.dtype
        self.wants, self.device = x.requires_grad, x._array.device

    def why(self, arguments: Sequence[Any]) -> str | None:
        """What is different now."""
        x = self.source.find(arguments)
        if not isinstance(x, Tensor):
            return f"{self.name}: a tensor -> {x!r}"
        array = x._array
        for what, then, now in (
            ("shape", self.shape, array.shape),
            ("dtype", self.dtype, array.dtype),
            ("strides", self.strides, array.strides),
            ("requires_grad", self.wants, x.requires_grad),
            ("device", self.device, array.device),
            ("the whole of its memory", self.whole, self.source.kind == "argument" or array is x._storage.array),
        ):
            if then != now:
                return f"{self.name}: {what} {show(then)} -> {show(now)}"
        return None


def place_in(x: Tensor) -> Any:
    """Where a tensor looks in its memory."""
    array, memory = x._array, x._storage.array
    if type(array) is not np.ndarray:
        return array.shape, str(array.looks[len(memory.looks) :])
    return array.shape, array.strides, array.__array_interface__["data"][0] - memory.__array_interface__["data"][0]


class Entry:
    """A captured Program and its conditions."""

    run: Callable[[Sequence[Any]], Sequence[Any]]
    run_back: Callable[[Sequence[Any]], Sequence[Any]]
    kept: Sequence[Any] = ()

    def __init__(self, captured: Captured, args: Any, kwargs: Any) -> None:
        self.captured, self.given = captured, (args, kwargs)
        self.changes = -1
        self.arrays: list[Any] = []
        self.base: list[Any] = []
        self.looks: list[Any] = []
        self.storages: set[int] = set()  # where the tensors lie that stay the same ones
        self.views: list[Tensor] = []
        self.fixed: list[tuple[int, Source]] = []  # inputs whose tensors stay the same ones
        self.targets: list[tuple[Storage, int]] = []  # memory that gets new content, and the result that is
        self.fixed_tensors: list[Tensor] = []
        session = captured.session
        self.argument_names = [session.argument_name(i) for i in range(len(session.arguments))]
        self.modes = modes()
        self.structure = structure((args, kwargs))
        self.arguments = list(trees.leaves((args, kwargs)))
        self.plain = [
            (i, x) for i, x in enumerate(self.arguments) if not isinstance(x, Tensor)
        ]  # numbers, modules, functions
        self.sharing = sharing(self.arguments)
        walk = session.walk
        self.same = {
            i: session.source(x)
            for i, x in enumerate(self.arguments)
            if isinstance(x, Tensor) and id(x) in walk.arrivals
        }
        self.specs = [
            Spec(Source(argument=i), self.argument_names[i], x)
            for i, x in enumerate(self.arguments)
            if isinstance(x, Tensor)
        ]
        read = {id(s) for s in captured.sources}
        self.written = {id(content.source) for content in captured.contents}
        used = read | self.written
        regions = [r for r in session.regions if id(r.source) in used]
        self.regions = [(r.source, r.name) for r in regions]
        self.specs += [Spec(r.source, r.name, r.tensor) for r in regions if r.kind == "state"]
        self.pinned = self.tensors_that_stay()
        self.members = [
            (x, r.tensor, place_in(x), name)
            for r in regions
            if r.kind == "state"
            for x, name in r.group
            if len(r.group) > 1 or x._array is not x._storage.array
        ]
        self.conditions: list[tuple[Place, Any]] = []
        self.nests: list[tuple[Place, Any, Any]] = []
        self.fields: list[tuple[int, str, Any]] = []  # what arguments have for attributes
        for place, value in walk.places.values():
            if place.key == "_grad" and (id(place.owner) in session.phantoms or not session.grads):
                continue
            given = next((i for i, x in enumerate(self.arguments) if x is place.owner and isinstance(x, Tensor)), None)
            if given is not None:
                if not isinstance(value, Tensor):
                    self.fields.append((given, place.key, value))
            elif isinstance(value, Tensor):
                if id(value) in self.pinned:
                    self.conditions.append((place, value))
            elif is_nest(value):
                if session.numbers.get((id(place.holder), place.key), value) is value:
                    self.nests.append((place, nest_spec(value, self.pinned), value))
            elif session.numbers.get((id(place.holder), place.key), value) is value:
                self.conditions.append((place, value))
        self.names = walk.names
        self.keys = [  # attributes: all of them when last looked at, and those that matter
            [own, frozenset(own), keys_of(own, ours, walk.names), ours, name]
            for own, name, ours in walk.owners.values()
        ]
        self.sets = [(x, then, name) for x, then, name in walk.sets]
        self.sizes = [
            (holder, len(holder), name)
            for holder, name, owner in walk.holders.values()
            if not isinstance(owner, Tensor) and id(holder) not in walk.owners
        ]
        self.contents_of = [(array, array.copy(), name) for array, name in walk.arrays.values()]
        assumptions = {number.source: (number, value) for number, value in session.recorder.assumptions}
        self.assumptions = list(assumptions.values())  # each once, though it was made for each parameter
        self.gather = quick.gather(self)
        self.commit = quick.commit(self)
        del self.arguments, self.given, captured.session  # which hold this call's arguments

    def tensors_that_stay(self) -> dict[int, Tensor]:
        """State that is known by more than its place: of these another tensor in the place is another step.

        Parameters have gradients and optimizer state, some tensors are in several places, some share their memory.
        The others, a hidden state say, may be others in each call.
        """
        walk = self.captured.session.walk
        groups: dict[int, int] = {}
        for x, _ in walk.tensors.values():
            groups[id(x._storage)] = groups.get(id(x._storage), 0) + 1
        return {
            k: x
            for k, (x, _) in walk.tensors.items()
            if k in walk.arrivals
            and (
                walk.arrivals[k] > 1
                or x._requires_grad
                or x._grad is not None
                or groups[id(x._storage)] > 1
                or x._array is not x._storage.array
                or not all(name.startswith("_") for name in vars(x))
            )
        }

    def why(self, args: Any, kwargs: Any) -> str:
        """Which condition does not hold; empty if all do."""
        if self.modes != modes():
            return f"modes (grad, inference, autocast, default dtype, default device): {self.modes} -> {modes()}"
        if self.structure != (now := structure((args, kwargs))):
            return f"arguments: {self.structure} -> {now}"
        arguments = list(trees.leaves((args, kwargs)))
        for i, then in self.plain:
            if different(arguments[i], then):
                return f"{self.argument_names[i]}: {show(then)} -> {show(arguments[i])}"
        for spec in self.specs:
            if (reason := spec.why(arguments)) is not None:
                return reason
        if self.sharing != sharing(arguments):
            return "which arguments are the same tensor"
        for i, x in enumerate(arguments):
            held = i in self.same and self.same[i].find(arguments) is x
            if held != (i in self.same) or (not held and id(x) in self.pinned):
                return f"{self.argument_names[i]}: is it the same tensor as a part of the state?"
        for i, key, then in self.fields:
            if different(now := vars(arguments[i]).get(key, MISSING if then is MISSING else None), then):
                return f"{self.argument_names[i]}.{key.strip('_')}: {show(then)} -> {show(now)}"
        for place, then in self.conditions:
            if different(now := place.get(), then):
                both = isinstance(now, Tensor) and isinstance(then, Tensor)
                return f"{place.name}: " + ("another tensor" if both else f"{show(then)} -> {show(now)}")
        for place, then, _ in self.nests:
            if nest_spec(place.get(), self.pinned) != then:
                return f"{place.name}: the structure, a plain value in it, or which tensors are in it"
        for own, _, then, ours, name in self.keys:
            if then != (now := keys_of(own, ours, self.names)):
                return f"{name}: attributes {', '.join(sorted(now ^ then))} have come or gone"
        for x, owner, then, name in self.members:
            if x._storage is not owner._storage or place_in(x) != then:
                return f"{name}: where it looks in its memory"
        for holder, size, name in self.sizes:
            if len(holder) != size:
                return f"{name}: {size} items -> {len(holder)}"
        for kept, then, name in self.sets:
            if kept != then:
                return f"{name}: {show(then)} -> {show(kept)}"
        for array, then, name in self.contents_of:
            if not same_elements(array, then):
                return f"{name}: the NumPy array's values have changed"
        if self.written:
            spans = [span(storage_of(source.find(arguments), source)) for source, _ in self.regions]
            pair = overlapping(spans, {i for i, (source, _) in enumerate(self.regions) if id(source) in self.written})
            if pair is not None:
                return " and ".join(self.regions[i][1] for i in pair) + ": they share memory"
        for number, value in self.assumptions:
            if different(evaluate(number), value):
                return f"{number.source}: {value} -> {evaluate(number)}"
        return ""

    def inputs(self, args: Any, kwargs: Any) -> list[Any] | None:
        """What the Program is to be run on, if it is the right one for this call."""
        if self.gather is not None and (found := self.gather(args, kwargs)) is not None:
            return found
        if self.why(args, kwargs):
            return None
        arguments = list(trees.leaves((args, kwargs)))
        if self.gather is not None:
            quick.refresh(self)
        return [
            evaluate(source) if isinstance(source, Number) else storage_of(source.find(arguments), source)
            for source in self.captured.sources
        ]

    def finish(self, args: Any, kwargs: Any, results: Sequence[Any]) -> Any:
        """Write the new state, which cannot fail, and make what the call returns."""
        if self.captured.graph is not None and MODES.grad:
            return self.finish_graph(args, kwargs, results)
        if self.commit is not None:
            return self.commit(results)
        return self.write(Call(list(trees.leaves((args, kwargs))), results))

    def finish_graph(self, args: Any, kwargs: Any, results: Sequence[Any]) -> Any:
        """As `finish`; and results that want gradients get their place on the tape."""
        graph = self.captured.graph
        assert graph is not None
        call = Call(list(trees.leaves((args, kwargs))), results)
        tensors: list[Any] = [None if isinstance(s, Number) else s.find(call.arguments) for s in self.captured.sources]
        arrays = list(self.kept)
        edges = [edge(tensors[i]) for i in graph.wanted]
        storages = [
            tensors[i]._storage
            for kind, i in graph.pair.sources
            if kind == "input" and tensors[i] is not None and i not in graph.copied
        ]
        returned = self.write(call)
        node = ProgramNode(
            graph.program,
            graph.pair,
            graph.wanted,
            edges,
            arrays,
            [results[i] for i in graph.residuals],
            self.run_back,
            storages,
        )
        node.hang([call.made[i] for i in graph.results])
        for i in graph.retained:
            call.made[i].retain_grad()
        return returned

    def keep(self, inputs: Sequence[Any]) -> None:
        """What the way back needs of the inputs, as they are before the run."""
        graph = self.captured.graph
        assert graph is not None
        self.kept = [x.copy() if i in graph.copied else x for i, x in enumerate(inputs)]

    def write(self, call: Call) -> Any:
        """The new state, and what the call returns."""
        arguments, results, captured = call.arguments, call.results, self.captured
        returned = captured.result.make(call)
        made = [(change, change.template.make(call)) for change in captured.changes]
        written: list[Storage] = []
        for content in captured.contents:
            tensor = content.source.find(arguments)
            store(storage_of(tensor, content.source), results[content.index])
            written.append(tensor._storage)
        wrote(written)
        for moved in captured.rebindings:
            tensor, memory = moved.source.find(arguments), moved.template.make(call)
            tensor._array, tensor._storage = memory._array, memory._storage
            tensor._base, tensor._path, tensor._moved = None, (), tick()
        for change, value in made:
            put(change, value, arguments)
        for action, given in captured.deferred:
            args, kwargs = given.make(call)
            action(*args, **kwargs)
        return returned


def put(change: Any, value: Any, arguments: Sequence[Any]) -> None:
    """A place gets its new content."""
    place = change.place
    holder = place.holder if change.argument is None else vars(arguments[change.argument])
    if place.key is None and isinstance(holder, (list, deque)):
        holder.clear()
        holder.extend(value)
    elif place.key is None and isinstance(holder, dict):
        holder.clear()
        holder.update(value)
    else:
        place._replace(holder=holder).set(value)


def store(target: Any, result: Any) -> None:
    """New content for memory."""
    if type(target) is not np.ndarray:
        target.put(result.read())
    elif result is not target:
        np.copyto(target, result)


def nest_spec(x: Any, pinned: dict[int, Tensor]) -> Any:
    """What a step may take for granted of a nest: its structure, its plain values, and which tensors stay."""
    if isinstance(x, Tensor):
        return id(x) if id(x) in pinned else Tensor
    if isinstance(x, dict):
        return [type(x).__name__, *((k, nest_spec(v, pinned)) for k, v in x.items())]
    if isinstance(x, (list, tuple)):
        return [type(x).__name__, *[nest_spec(v, pinned) for v in x]]
    return type(x), x if x else repr(x)


def storage_of(x: Tensor, source: Source) -> Any:
    """The array that stands for a tensor's region: its own for an argument, the whole storage's for state."""
    return x._array if source.kind == "argument" else x._storage.array


def sharing(arguments: Sequence[Any]) -> tuple[int, ...]:
    """For each tensor, the first argument that is the same one."""
    first: dict[int, int] = {}
    return tuple([first.setdefault(id(x), i) for i, x in enumerate(arguments) if isinstance(x, Tensor)])


def different(now: Any, then: Any) -> bool:
    """Is it another object, other than an equal plain value?"""
    if now is then:
        return False
    if type(now) is not type(then) or type(now) not in PLAIN_TYPES:
        return True
    return not equal(now, then)


def show(x: Any) -> str:
    if isinstance(x, Tensor):
        return f"a tensor of shape {list(x.shape)}"
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."
