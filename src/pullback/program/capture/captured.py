"""What a capture gives: a Program, and how its inputs and results belong to Python's objects."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...tensor import Tensor, wrap
from ..program import Program
from .places import Place
from .regions import Region, Source
from .symbol import Number

if TYPE_CHECKING:
    from .session import Session


class Fresh:
    """A tensor that is made by a call: the n-th result of the Program."""

    def __init__(self, index: int, tensor: Tensor) -> None:
        self.index, self.cls, self.requires_grad = index, type(tensor), tensor._requires_grad
        self.spent: Any = None  # stands for a graph that the step itself has gone back through
        self.fields: dict[str, Any] = {}  # other attributes
        self.retains = tensor._retained is not None

    @property
    def plain(self) -> bool:
        """Is it a Tensor and nothing more?"""
        return self.cls is Tensor and not self.requires_grad and not self.fields

    def make(self, call: Any) -> Tensor:
        made = call.made.get(self.index)
        if made is None:
            made = call.made[self.index] = wrap(call.results[self.index])
            if self.cls is not Tensor:
                made.__class__ = self.cls
            if self.requires_grad:
                made._requires_grad = True
            if self.spent is not None:
                made._node = self.spent
            for name, part in self.fields.items():
                vars(made)[name] = part.make(call)
        return made


class Same:
    """A tensor that was there before."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def make(self, call: Any) -> Any:
        return self.source.find(call.arguments)


class Constant:
    """A plain value, or an object that the step does not change."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def make(self, call: Any) -> Any:
        return self.value


class Computed:
    """A number that depends on numbers."""

    def __init__(self, number: Number) -> None:
        self.number = number

    def make(self, call: Any) -> Any:
        return evaluate(self.number)


class Nest:
    """A container of such."""

    def __init__(self, like: Any, parts: Sequence[Any]) -> None:
        self.kind, self.parts = type(like), parts
        self.like: Any = None
        if isinstance(like, (dict, deque)):  # what it is now; itself it is about to be put back
            self.like, self.keys = copy.copy(like), tuple(like) if isinstance(like, dict) else ()
            self.like.clear()

    def make(self, call: Any) -> Any:
        parts = [part.make(call) for part in self.parts]
        if isinstance(self.like, dict):
            made = copy.copy(self.like)
            made.update(zip(self.keys, parts, strict=True))
            return made
        if isinstance(self.like, deque):
            return deque(parts, self.like.maxlen)
        return self.kind(*parts) if hasattr(self.kind, "_fields") else self.kind(parts)


class Copy:
    """A NumPy array, or other memory, that the step makes."""

    def __init__(self, memory: Any) -> None:
        self.memory = copy.copy(memory)

    def make(self, call: Any) -> Any:
        return copy.copy(self.memory)


class Record:
    """An object (a dataclass, say) with such in its attributes."""

    def __init__(self, like: Any) -> None:
        self.like, self.parts = like, dict[str, Any]()

    def make(self, call: Any) -> Any:
        made = call.made.get(self)
        if made is None:
            made = call.made[self] = copy.copy(self.like)
            for name, part in self.parts.items():
                object.__setattr__(made, name, part.make(call))
        return made


def evaluate(number: Number) -> Any:
    """Today's value of an expression of numbers."""
    values = {}
    for leaf, (_, group, key, index) in number.leaves.items():
        values[leaf] = group[key] if index is None else group[key][index]
    return eval(number.source, {"abs": abs, "bool": bool}, values)


class Content:
    """New content for memory that was there before."""

    def __init__(self, region: Region, index: int) -> None:
        self.source, self.index, self.name = region.source, index, region.name


class Change:
    """A place that holds something else after the step."""

    def __init__(self, place: Place, template: Any, argument: int | None) -> None:
        self.place, self.template, self.argument = place, template, argument


class Rebinding:
    """A tensor that lies in other memory after the step: x.data = y."""

    def __init__(self, source: Source, template: Any, name: str) -> None:
        self.source, self.template, self.name = source, template, name


class Captured:
    """A Program, and how its inputs and results belong to Python's objects."""

    program: Program  # to be run
    raw: Program  # as recorded
    sources: list[Any]  # Source or Number for each input
    result: Any  # template
    contents: list[Content]
    changes: list[Change]
    rebindings: list[Rebinding]
    places: list[str]  # the devices that the user sees the outputs on
    deferred: list[Any]
    graph: Graph | None  # of results that want gradients
    session: Session


class Graph:
    """The way back from results of a Program to what it read."""

    def __init__(
        self, program: Program, pair: Any, wanted: list[int], results: list[int], residuals: list[int]
    ) -> None:
        self.program, self.pair = program, pair  # the Program that gives just the results; its gradient
        self.wanted, self.results, self.residuals = (
            wanted,
            results,
            residuals,
        )  # inputs, and numbers of the whole's results
        self.retained: list[int] = []  # results that keep their gradient
        self.copied: list[int] = []  # inputs that the way back needs and the step writes over
