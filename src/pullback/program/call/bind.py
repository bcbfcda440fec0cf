"""Between calls and a Program: is this call one it was captured for? What goes in, and where does what comes out go?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import trees
from ...modes import MODES
from ...tape import edge
from ...tensor import Storage, Tensor, tick, wrote
from ..capture.captured import Captured, evaluate
from ..capture.gradient import ProgramNode, Ways
from ..capture.places import structure
from ..capture.symbol import Number
from .conditions import first_that_fails, memory_of
from .quick import Quick


class Call:
    """One call: its arguments, the Program's results, and the tensors made of them so far."""

    __slots__ = ("arguments", "inputs", "made", "results")

    def __init__(self, arguments: Sequence[Any], results: Sequence[Any], inputs: Any = None) -> None:
        self.arguments, self.results, self.inputs = arguments, results, inputs
        self.made: dict[Any, Any] = {}


class Entry:
    """A captured Program and its conditions."""

    run: Callable[[Sequence[Any]], Sequence[Any]]
    ways: Ways  # back, if there is a graph

    def __init__(self, captured: Captured, args: Any, kwargs: Any) -> None:
        self.captured = captured
        self.structure = structure((args, kwargs))
        self.quick = Quick(captured, args, kwargs, self.tensors_that_stay())
        del captured.session  # which holds this call's arguments

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
        if self.structure != (now := structure((args, kwargs))):
            return f"arguments: {self.structure} -> {now}"
        return first_that_fails(self.quick.conditions, list(trees.leaves((args, kwargs))))

    def inputs(self, args: Any, kwargs: Any) -> list[Any] | None:
        """What the Program is to be run on, if it is the right one for this call."""
        if (found := self.quick.gather(args, kwargs)) is not None:
            return found
        if self.why(args, kwargs):
            return None
        arguments = list(trees.leaves((args, kwargs)))
        self.quick.refresh()
        return [
            evaluate(source) if isinstance(source, Number) else memory_of(source.find(arguments), source)
            for source in self.captured.sources
        ]

    def finish(self, args: Any, kwargs: Any, results: Sequence[Any], kept: Sequence[Any]) -> Any:
        """Write the new state, which cannot fail, and make what the call returns."""
        if self.captured.graph is not None and MODES.grad:
            return self.finish_graph(args, kwargs, results, kept)
        if self.quick.commit is not None:
            return self.quick.commit(results)
        return self.write(Call(list(trees.leaves((args, kwargs))), results))

    def finish_graph(self, args: Any, kwargs: Any, results: Sequence[Any], kept: Sequence[Any]) -> Any:
        """As `finish`; and results that want gradients get their place on the tape."""
        graph = self.captured.graph
        assert graph is not None
        call = Call(list(trees.leaves((args, kwargs))), results)
        tensors: list[Any] = [None if isinstance(s, Number) else s.find(call.arguments) for s in self.captured.sources]
        edges = [edge(tensors[i]) for i in graph.wanted]
        storages = {
            i: tensors[i]._storage
            for kind, i in graph.pair.sources
            if kind == "input" and tensors[i] is not None and i not in graph.copied
        }
        returned = self.write(call)
        node = ProgramNode(
            graph.program,
            self.ways,
            graph.wanted,
            edges,
            kept,
            [results[i] for i in graph.residuals],
            storages,
        )
        node.hang([call.made[i] for i in graph.results])
        for i in graph.retained:
            call.made[i].retain_grad()
        return returned

    def keep(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """What the way back needs of the inputs, as they are before the run."""
        graph = self.captured.graph
        return () if graph is None else [x.copy() if i in graph.copied else x for i, x in enumerate(inputs)]

    def write(self, call: Call) -> Any:
        """The new state, and what the call returns."""
        arguments, results, captured = call.arguments, call.results, self.captured
        returned = captured.result.make(call)
        made = [(change, change.template.make(call)) for change in captured.changes]
        written: list[Storage] = []
        for content in captured.contents:
            tensor = content.source.find(arguments)
            store(memory_of(tensor, content.source), results[content.index])
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
