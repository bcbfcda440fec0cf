"""The state of a step: kept while the step is tried out, put back afterwards."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...tensor import Tensor
from ..capture.places import PLAIN_TYPES, Walk
from ..capture.snapshot import Held, Snapshot

CONTAINERS = (list, dict, set, deque)


class State:
    """All that a function and its arguments can reach, as it is now: what holds what, and what lies in memory."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.given = function, args, kwargs
        walk = self.walk = Walk(*self.given)
        self.snapshot = Snapshot(walk)
        self.names = {id(x._storage.array): name for x, name in walk.tensors.values()}
        tensors = {id(x._storage.array): x._storage.array for x, _ in walk.tensors.values()}
        self.memory = [(array, array.copy()) for array in tensors.values()]
        self.other = [Held(*found) for found in walk.arrays.values()]
        self.containers: dict[int, tuple[Any, Any]] = {}
        for thing in (args, kwargs, *walk.schedulers, *[x for x in walk._seen.values() if type(x) in (set, deque)]):
            self.keep(thing)

    def keep(self, thing: Any) -> None:
        """Containers and learning rate schedules, which the walk only passes through."""
        if hasattr(thing, "last_epoch") and hasattr(thing, "optimizer"):
            thing = vars(thing)
        if isinstance(thing, (*CONTAINERS, tuple)) and id(thing) not in self.containers:
            if not isinstance(thing, tuple):
                self.containers[id(thing)] = thing, copy.copy(thing)
            for part in list(thing.values() if isinstance(thing, dict) else thing):
                self.keep(part)

    def restore(self) -> None:
        """Put everything back."""
        self.snapshot.restore()
        for thing, content in self.containers.values():
            if isinstance(thing, list):
                thing[:] = content
            elif isinstance(thing, deque):
                thing.clear()
                thing.extend(content)
            else:
                thing.clear()
                thing.update(content)
        for array, content in self.memory:
            if type(array) is not np.ndarray:  # on a device, where a step may have given the old memory away
                array.put(content.copy().read())
            elif array.flags.writeable:
                np.copyto(array, content)
        for held in self.other:
            held.restore()

    def written(self, known: set[int]) -> list[str]:
        """The names of memory that holds something else now, other than the arrays of these ids."""
        return [
            self.names[id(array)]
            for array, content in self.memory
            if id(array) not in known and not same(np.asarray(array), np.asarray(content))
        ] + [held.name for held in self.other if id(held.memory) not in known and held.changed()]

    def python(self) -> dict[str, list[str]]:
        """What Python's places hold now, by name: plain values as they are, of tensors dtype and shape."""
        walk = Walk(*self.given)
        found: dict[str, list[str]] = {}
        for place, _ in walk.places.values():
            name = walk.tensors[id(place.key)][1] if isinstance(place.key, Tensor) else place.name
            if "tensor(" not in name:  # which would show its elements
                found.setdefault(name, []).append(outline(place.get()))
        for scheduler in walk.schedulers:
            for name, value in vars(scheduler).items():
                found.setdefault(f"{type(scheduler).__name__}.{name}", []).append(outline(value))
        return {name: sorted(values) for name, values in found.items()}


def outline(x: Any) -> str:
    """A value, as far as it is not in a tensor's memory."""
    if isinstance(x, Tensor):
        return f"{x.dtype}{list(x.shape)}" + (", requires grad" if x.requires_grad else "")
    if type(x) in PLAIN_TYPES:
        return repr(x)
    if isinstance(x, dict):
        return "{" + ", ".join(f"{outline(k)}: {outline(v)}" for k, v in x.items()) + "}"
    if isinstance(x, (list, tuple)):
        return "[" + ", ".join(map(outline, x)) + "]"
    return type(x).__name__


def unlike(now: dict[str, list[str]], then: dict[str, list[str]], ignore: Callable[[str], bool]) -> Iterator[str]:
    """What differs between two readings of Python's places."""
    for name in sorted({*now, *then}):
        a, b = now.get(name, ["nothing"]), then.get(name, ["nothing"])
        if a != b and not ignore(name):
            yield f"{name}: {', '.join(a)} instead of {', '.join(b)}"


def same(x: Any, y: Any) -> bool:
    """Equal elements, NaN equal to NaN."""
    return x.shape == y.shape and x.dtype == y.dtype and bool(((x == y) | ((x != x) & (y != y))).all())
