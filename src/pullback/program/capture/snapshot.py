"""What everything looked like before a capture, and putting it back."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...tensor import Storage, Tensor
from .places import MISSING, PLAIN_TYPES, Walk, equal, is_nest


class Held:
    """What was in a NumPy array, or in other memory that is not a tensor's."""

    def __init__(self, memory: Any, name: str) -> None:
        self.memory, self.then, self.name = memory, copy.copy(memory), name

    @property
    def kind(self) -> str:
        return "NumPy array" if isinstance(self.memory, np.ndarray) else type(self.memory).__name__

    def changed(self) -> bool:
        return bits(self.memory) != bits(self.then)

    def restore(self) -> None:
        """Put it back."""
        if isinstance(self.memory, np.ndarray):
            if self.changed():  # it may be read-only
                np.copyto(self.memory, self.then)
        else:
            self.memory[:] = self.then[:]  # also its size


def bits(memory: Any) -> bytes:
    return memory.tobytes() if isinstance(memory, np.ndarray) else memoryview(memory).tobytes()


class Snapshot:
    """What everything that was found looked like."""

    def __init__(self, walk: Walk) -> None:
        self.holders = [(holder, copy.copy(holder)) for holder, _, _ in walk.holders.values()]
        self.cells = [
            (place, value)
            for place, value in walk.places.values()
            if type(place.holder) is not dict and id(place.holder) not in walk.holders
        ]
        self.tensors = [(x, dict(vars(x))) for x, _ in walk.tensors.values()]
        storages = {id(x._storage): x._storage for x, _ in walk.tensors.values()}
        self.storages = [(s, fields_of(s)) for s in storages.values()]
        self.fields = {id(thing): fields for thing, fields in (*self.tensors, *self.storages)}
        self.nests: dict[int, tuple[Any, Any, str]] = {}  # lists and dicts, what was in them, and what they are called
        for place, value in walk.places.values():
            self.keep(value, place.name)
        self.tables = [(g, dict(g)) for optimizer, _ in walk.optimizers for g in optimizer.param_groups]
        self.globals = [
            p for p in walk.places.values() if type(p[0].holder) is dict and id(p[0].holder) not in walk.holders
        ]

    def note(self, holder: Any, key: Any, value: Any) -> None:
        """This was there before as well."""
        for known, content in self.holders:
            if known is holder:
                content[key] = value
        self.keep(value, "")

    def keep(self, nest: Any, name: str) -> None:
        """What is in the lists and dicts of a nest."""
        if is_nest(nest):
            self.nests.update((id(c), (c, copy.copy(c), name)) for c in containers(nest))

    def add(self, x: Tensor) -> None:
        """A tensor that was there before as well."""
        self.tensors.append((x, dict(vars(x))))
        self.storages.append((x._storage, fields_of(x._storage)))
        self.fields |= {id(x): self.tensors[-1][1], id(x._storage): self.storages[-1][1]}

    def restore(self) -> None:
        """Put it back."""
        for storage, fields in self.storages:
            put_fields(storage, fields)
        for x, fields in self.tensors:
            vars(x).clear()
            vars(x).update(fields)
        for holder, content, *_ in (*self.holders, *self.nests.values()):
            if isinstance(holder, (list, deque)):
                holder.clear()
                holder.extend(content)
            else:
                holder.clear()
                holder.update((k, v) for k, v in content.items() if v is not MISSING)
        for group, content in self.tables:
            group.clear()
            group.update(content)
        for place, value in (*self.cells, *self.globals):
            if place.get() is not value:
                place.set(value)


def containers(nest: Any) -> Iterator[Any]:
    """The lists and dicts of a nest, itself among them."""
    if not isinstance(nest, tuple):
        yield nest
    for part in nest.values() if isinstance(nest, dict) else nest:
        if isinstance(part, (list, tuple, dict)):
            yield from containers(part)


def differ(now: Any, then: Any) -> bool:
    """Is something else in a list or a dict?"""
    if isinstance(now, dict):
        return list(now) != list(then) or any(changed(now[k], then[k]) for k in now)
    return len(now) != len(then) or any(changed(a, b) for a, b in zip(now, then, strict=True))


def changed(now: Any, then: Any) -> bool:
    """Is it another object, other than an equal plain value?"""
    if now is then:
        return False
    return not (type(now) is type(then) and type(now) in PLAIN_TYPES and equal(now, then))


def fields_of(thing: Any) -> dict[str, Any]:
    """A copy of a dict, or of an object's attributes."""
    if isinstance(thing, Storage):  # after vars(), Python would take three times as long to set one of its attributes
        return {name: getattr(thing, name) for name in ("array", "version", "written", "writer")}
    return dict(thing if isinstance(thing, dict) else vars(thing))


def put_fields(thing: Any, fields: dict[str, Any]) -> None:
    """Put them back."""
    if isinstance(thing, Storage):
        for name, value in fields.items():
            setattr(thing, name, value)
    else:
        (thing if isinstance(thing, dict) else vars(thing)).update(fields)
