"""Between calls and a Program: is this call one it was captured for? What goes in, and where does what comes out go?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes, trees
from ..modes import MODES
from ..tensor import Storage, Tensor, wrote
from .capture import Captured, Constant, Fresh, Source, evaluate
from .places import MISSING, PLAIN_TYPES, Place, is_nest
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
    return MODES.grad, MODES.inference, cast and (cast.device, cast.dtype), dtypes.get_default_dtype()


class Spec:
    """What a capture assumes of a tensor that it reads."""

    __slots__ = ("dtype", "name", "shape", "source", "strides", "wants")

    def __init__(self, source: Source, name: str, x: Tensor) -> None:
        self.source, self.name = source, name
        self.shape, self.strides, self.dtype = x._array.shape, x._array.strides, x._array.dtype
        self.wants = x.requires_grad

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
        ):
            if then != now:
                return f"{self.name}: {what} {show(then)} -> {show(now)}"
        return None


class Entry:
    """A captured Program and its conditions."""

    run: Callable[[Sequence[Any]], Sequence[Any]]

    def __init__(self, captured: Captured, args: Any, kwargs: Any) -> None:
        self.captured = captured
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
            Spec(Source(argument=i), session.argument_name(i), x) for i, x in enumerate(self.arguments) if isinstance(x, Tensor)
        ]
        read = {id(s) for s in captured.sources}
        for region in session.regions:
            if id(region.source) in read or any(c.source is region.source for c in captured.contents):
                if region.source.argument is None or region.source.place is not None:
                    self.specs.append(Spec(region.source, region.name, region.tensor))
        self.conditions: list[tuple[Place, Any]] = []
        for place, value in walk.places.values():
            if isinstance(place.owner, Tensor) and id(place.owner) in session.phantoms:
                continue
            if isinstance(value, Tensor) or is_nest(value):
                continue
            if type(place.holder) is dict and (id(place.holder), place.key) in session.numbers and isinstance(
                session.numbers[id(place.holder), place.key], (Number, tuple)
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
        self.number_sources = [s for s in captured.sources if isinstance(s, Number)]

    def why(self, args: Any, kwargs: Any) -> str:
        """Which condition does not hold; empty if all do."""
        if self.modes != modes():
            return f"modes (grad, inference, autocast, default dtype): {self.modes} -> {modes()}"
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
        if self.why(args, kwargs):
            return None
        arguments = list(trees.leaves((args, kwargs)))
        return [
            evaluate(source) if isinstance(source, Number) else storage_of(source.find(arguments), source)
            for source in self.captured.sources
        ]

    def finish(self, args: Any, kwargs: Any, results: Sequence[Any]) -> Any:
        """Write the new state, which cannot fail, and make what the call returns."""
        arguments = list(trees.leaves((args, kwargs)))
        call = Call(arguments, results)
        captured = self.captured
        returned = captured.result.make(call)
        made = [(change, change.template.make(call)) for change in captured.changes]
        written: list[Storage] = []
        for content in captured.contents:
            tensor = content.source.find(arguments)
            target = storage_of(tensor, content.source)
            np.copyto(target, results[content.index])
            written.append(tensor._storage)
        wrote(written)
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
    if place.key is None and type(holder) is list:
        holder[:] = value
    elif place.key is None and type(holder) is dict:
        holder.clear()
        holder.update(value)
    else:
        place._replace(holder=holder).set(value)


def storage_of(x: Tensor, source: Source) -> Any:
    """The array that stands for a tensor's region: its own for an argument, the whole storage's for state."""
    return x._array if source.argument is not None and source.place is None else x._storage.array


def structure(tree: Any) -> Any:
    """The shape of a nest: its containers and the classes of its leaves."""
    if isinstance(tree, dict):
        return {key: structure(part) for key, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [type(tree).__name__, *map(structure, tree)]
    return type(tree)


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
