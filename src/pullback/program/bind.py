"""Between calls and a Program: is this call one it was captured for? What goes in, and where does what comes out go?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes, trees
from ..modes import MODES
from ..tape import edge
from ..tensor import Storage, Tensor, tick, wrote
from . import quick
from .capture import Captured, Constant, Fresh, Source, evaluate
from .gradient import ProgramNode
from .places import MISSING, PLAIN_TYPES, Place, is_nest, structure
from .symbol import Number


class Call:
    """One call: its arguments, the Program's results, and the tensors made of them so far."""

    __slots__ = ("arguments", "inputs", "made", "results")

    def __init__(self, arguments: Sequence[Any], results: Sequence[Any], inputs: Any = None) -> None:
        self.arguments, self.results, self.inputs = arguments, results, inputs
        self.made: dict[int, Tensor] = {}


def modes() -> tuple[Any, ...]:
    """What is set for this thread that a capture depends on."""
    cast = MODES.autocast
    return MODES.grad, MODES.inference, cast and cast.key, dtypes.get_default_dtype(), MODES.device


class Spec:
    """What a capture assumes of a tensor that it reads."""

    __slots__ = ("device", "dtype", "name", "shape", "source", "strides", "wants")

    def __init__(self, source: Source, name: str, x: Tensor) -> None:
        self.source, self.name = source, name
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
        ):
            if then != now:
                return f"{self.name}: {what} {show(then)} -> {show(now)}"
        return None


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
        self.fixed: list[tuple[int, Source]] = []  # inputs whose tensors stay the same ones
        self.targets: list[tuple[Storage, int]] = []  # memory that gets new content, and the result that is
        self.fixed_tensors: list[Tensor] = []
        session = captured.session
        self.modes = modes()
        self.structure = structure((args, kwargs))
        self.arguments = list(trees.leaves((args, kwargs)))
        self.plain = [
            (i, x) for i, x in enumerate(self.arguments) if not isinstance(x, Tensor)
        ]  # numbers, modules, functions
        self.sharing = sharing(self.arguments)
        self.same = [
            (i, session.source(x))
            for i, x in enumerate(self.arguments)
            if isinstance(x, Tensor) and id(x) in session.walk.access
        ]
        walk = session.walk
        self.specs = [
            Spec(Source(argument=i), session.argument_name(i), x)
            for i, x in enumerate(self.arguments)
            if isinstance(x, Tensor)
        ]
        read = {id(s) for s in captured.sources}
        for region in session.regions:
            if id(region.source) in read or any(c.source is region.source for c in captured.contents):
                if region.source.argument is None or region.source.place is not None:
                    self.specs.append(Spec(region.source, region.name, region.tensor))
        self.conditions: list[tuple[Place, Any]] = []
        self.nests: list[tuple[Place, Any, Any]] = []
        for place, value in walk.places.values():
            if isinstance(place.owner, Tensor) and (id(place.owner) in session.phantoms or not session.grads):
                continue
            if isinstance(value, Tensor):
                continue
            if is_nest(value):
                if (id(place.holder), place.key) not in session.numbers:
                    self.nests.append((place, nest_spec(value), value))
                continue
            if (
                type(place.holder) is dict
                and (id(place.holder), place.key) in session.numbers
                and isinstance(session.numbers[id(place.holder), place.key], (Number, tuple))
            ):
                continue
            if isinstance(place.owner, Tensor) and any(place.owner is a for a in self.arguments):
                continue
            self.conditions.append((place, value))
        self.sizes = [
            (holder, len(holder), name)
            for holder, name, owner in walk.holders.values()
            if not isinstance(owner, Tensor) and not hasattr(owner, "__dict__")
        ]
        self.contents_of = [(array, array.copy(), name) for array, name in walk.arrays.values()]
        self.assumptions = session.recorder.assumptions
        self.gather = quick.gather(self)
        self.commit = quick.commit(self)

    def state_storages(self) -> set[int]:
        """Where the state lies."""
        regions = self.captured.session.regions
        return {id(r.tensor._storage) for r in regions if r.source.argument is None or r.source.place is not None}

    def why(self, args: Any, kwargs: Any) -> str:
        """Which condition does not hold; empty if all do."""
        if self.modes != modes():
            return f"modes (grad, inference, autocast, default dtype, default device): {self.modes} -> {modes()}"
        if self.structure != (now := structure((args, kwargs))):
            return f"arguments: {self.structure} -> {now}"
        arguments = list(trees.leaves((args, kwargs)))
        for i, then in self.plain:
            if different(arguments[i], then):
                return f"{self.captured.session.argument_name(i)}: {show(then)} -> {show(arguments[i])}"
        for spec in self.specs:
            if (reason := spec.why(arguments)) is not None:
                return reason
        if self.sharing != sharing(arguments):
            return "which arguments share memory"
        for i, source in self.same:
            if source.find(arguments) is not arguments[i]:
                return f"{self.captured.session.argument_name(i)}: is it the same tensor as a part of the state?"
        for place, then in self.conditions:
            if different(now := place.get(), then):
                return f"{place.name}: {show(then)} -> {show(now)}"
        for place, then, _ in self.nests:
            if nest_spec(place.get()) != then:
                return f"{place.name}: the structure, or a plain value in it"
        storages = self.state_storages()
        for i, x in enumerate(arguments):
            if isinstance(x, Tensor) and id(x._storage) in storages and i not in [k for k, _ in self.same]:
                return f"{self.captured.session.argument_name(i)}: shares memory with the state"
        for holder, size, name in self.sizes:
            if len(holder) != size:
                return f"{name}: {size} items -> {len(holder)}"
        for array, then, name in self.contents_of:
            if not np.array_equal(array, then, equal_nan=array.dtype.kind == "f"):
                return f"{name}: the NumPy array's values have changed"
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
        tensors = [None if isinstance(s, Number) else s.find(call.arguments) for s in self.captured.sources]
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


def nest_spec(x: Any) -> Any:
    """What a step may take for granted of a nest: its structure, and its plain values."""
    if isinstance(x, Tensor):
        return Tensor
    if isinstance(x, dict):
        return [type(x).__name__, *((k, nest_spec(v)) for k, v in x.items())]
    if isinstance(x, (list, tuple)):
        return [type(x).__name__, *map(nest_spec, x)]
    return type(x), x


def storage_of(x: Tensor, source: Source) -> Any:
    """The array that stands for a tensor's region: its own for an argument, the whole storage's for state."""
    return x._array if source.argument is not None and source.place is None else x._storage.array


def sharing(arguments: Sequence[Any]) -> tuple[int, ...]:
    """For each tensor, the first argument that lies in the same storage."""
    first: dict[int, int] = {}
    return tuple([first.setdefault(id(x._storage), i) for i, x in enumerate(arguments) if isinstance(x, Tensor)])


def different(now: Any, then: Any) -> bool:
    """Is it another object, other than an equal plain value?"""
    if now is then:
        return False
    if type(now) is not type(then) or type(now) not in PLAIN_TYPES:
        return True
    return not (now == then or (now != now and then != then))


def show(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."


__all__ = ["MISSING", "Constant", "Entry", "Fresh"]
