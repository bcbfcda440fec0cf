"""The way of a call that is like the last one: two functions, written for one captured step.

Checking dozens of conditions and fetching hundreds of arrays one by one, through general code, would take longer than a
small step itself. So their checks are written out as Python source, one line each, and compiled.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import CellType
from typing import Any

import numpy as np

from ... import trees
from ...errors import here
from ...modes import CHANGES, Watched
from ...tensor import Storage, Tensor, tick, wrap
from ..capture.captured import Captured, Constant, Fresh, Nest
from ..capture.places import Place, structure
from ..capture.regions import Source, overlapping, owner, span
from ..capture.symbol import Number
from .conditions import Lines, conditions, expression, layout, looks, regions_of

ARRAY = operator.attrgetter("_array")


class Quick:
    """Of one captured step: its conditions, what was there at the last call, and the two functions."""

    def __init__(self, captured: Captured, args: Any, kwargs: Any, pinned: dict[int, Tensor]) -> None:
        self.changes = -1
        self.base: list[Any] = []  # the inputs, as far as they stay the same
        self.tensors: list[Tensor] = []  # of the state, whose arrays must be the same ones: those of several elements
        self.arrays: list[Any] = []
        self.single: list[Tensor] = []  # ... and of one or none
        self.singles: list[Any] = []
        self.storages: set[int] = set()  # where they lie
        self.owners: set[int] = set()  # and whose memory that is
        self.foreign = self.wary = False  # is some of it not NumPy's own? or may what is fetched lie in one place?
        self.spans: Any = None
        self.targets: list[Storage] = []  # memory that gets new content
        self.inputs = len(captured.sources)
        self.contents = [content.source for content in captured.contents]
        self.views = [x for x, *_ in looks([r for r in regions_of(captured) if r.kind == "state"])]
        out, n = Lines(), len(captured.session.arguments)
        if kwargs or len(args) != n or any(isinstance(a, (tuple, list, dict)) for a in args):
            out.refuse(f"{out.name(structure)}((args, kwargs)) != {out.name(structure((args, kwargs)))}")
            out.add(f"args = list({out.name(trees.leaves)}((args, kwargs)))")
        else:
            out.refuse(f"kwargs or len(args) != {n}")
        if n:
            out.add(f"{''.join(f'a{i}, ' for i in range(n))} = args")
        out.refuse(f"{out.name(CHANGES)}.count != {out.name(self)}.changes")
        self.conditions = list(conditions(out, captured, pinned))
        self.fixed = [*fetching(out, captured, pinned, self)]  # inputs and targets whose tensors stay the same ones
        self.loose = not {id(s) for s in self.contents} <= {id(s) for _, s in self.fixed}  # are others written?
        self.again = out.again
        self.gather: Callable[[Any, Any], list[Any] | None] = out.function("gather(args, kwargs)")
        self.commit = None if self.loose else commit(captured, self)

    def refresh(self) -> None:
        """Right after a call that took the long way: what is there now is what the next call expects."""
        self.changes = CHANGES.count
        fixed = [source.find(()) for _, source in self.fixed]
        state = [*fixed, *self.views]
        self.tensors, self.single = [t for t in state if t._array.size > 1], [t for t in state if t._array.size <= 1]
        self.arrays, self.singles = list(map(ARRAY, self.tensors)), list(map(ARRAY, self.single))
        self.storages = {id(t._storage) for t in fixed}
        self.base, self.spans = [None] * self.inputs, None
        for (i, _), t in zip(self.fixed, fixed, strict=True):
            if i is not None:
                self.base[i] = t._storage.array
        owners = [owner(array) for array in self.memory()]
        self.owners, self.foreign = set(map(id, owners)), any(array.base is not None for array in owners)
        self.wary = self.loose or self.foreign
        for action in self.again:
            action()
        if self.commit is not None:
            self.targets = [source.find(())._storage for source in self.contents]

    def memory(self) -> list[Any]:
        """NumPy's arrays that the fixed tensors lie in."""
        arrays = [source.find(())._storage.array for _, source in self.fixed]
        return [array for array in arrays if type(array) is np.ndarray]

    def apart(self, *arrays: Any) -> bool:
        """Is it certain that none of these lies where state does, nor, if such are written, where another does?"""
        mine = [array for array in arrays if type(array) is np.ndarray]  # on devices, other storages are other memory
        owners = [owner(array) for array in mine]
        if not self.foreign and all(array.base is None for array in owners):
            found = set(map(id, owners))
            return found.isdisjoint(self.owners) and not (self.loose and len(found) < len(mine))
        if self.spans is None:
            self.spans = np.array([span(array) for array in self.memory()], np.int64).reshape(-1, 2)
        spans = [span(array) for array in mine]
        if self.loose and overlapping(spans, set(range(len(spans)))):
            return False
        return not any(((self.spans[:, 0] < stop) & (first < self.spans[:, 1])).any() for first, stop in spans)


def fetching(out: Lines, captured: Captured, pinned: dict[int, Tensor], quick: Quick) -> Any:
    """Arrays of tensors that stay the same are known; the others are fetched."""
    session, me = captured.session, out.name(quick)
    regions = {id(r.source): r for r in session.regions}
    changing = {(id(c.place.holder), c.place.key) for c in captured.changes}
    given = [i for i, x in enumerate(session.arguments) if isinstance(x, Tensor)]
    arrays, storages = [f"x{i}" for i in given], [f"a{i}._storage" for i in given]
    out.add(f"inputs = {me}.base.copy()")
    read = {id(source) for source in captured.sources}
    written = [content.source for content in captured.contents if id(content.source) not in read]
    for i, source in [*enumerate(captured.sources), *[(None, source) for source in written]]:
        if isinstance(source, Number):
            out.add(f"n = {expression(out, source)}")
            out.refuse(f"type(n) is not {out.name(type(source.now))}")
            out.add(f"inputs[{i}] = n")
            continue
        if source.kind == "argument":
            if i is not None:
                out.add(f"inputs[{i}] = x{source.argument}")
            continue
        place, x = source.place, regions[id(source)].tensor
        if place is None or (
            (isinstance(place.holder, Watched) or type(place.get()) is Watched or id(x) in pinned)
            and (id(place.holder), place.key) not in changing
        ):
            yield i, source
            continue
        array = f"y{len(arrays)}"
        out.add(f"t = {tensor_at(out, source)}")
        out.add(f"{array} = t._array")
        layout(out, array, x)
        out.refuse(f"t.requires_grad is not {x.requires_grad} or t._storage.array is not {array}")
        out.add(f"s{array} = t._storage")
        if i is not None:
            out.add(f"inputs[{i}] = {array}")
        arrays.append(array)
        storages.append(f"s{array}")
    # Lists compare their items by identity first; arrays of several elements refuse to say whether they are equal.
    out.refuse(f"[t._array for t in {me}.tensors] != {me}.arrays")
    single = f"map({out.name(operator.is_)}, map({out.name(ARRAY)}, {me}.single), {me}.singles)"
    out.refuse(f"{me}.single and not all({single})")
    if len(storages) == 1:  # nothing of this may be where other state is
        out.refuse(f"id({storages[0]}) in {me}.storages")
    elif storages:
        out.add(f"apart = {{{', '.join(f'id({s})' for s in storages)}}}")
        out.refuse(f"len(apart) != {len(storages)} or not apart.isdisjoint({me}.storages)")
    if captured.contents and arrays:
        own = [f"{array}.base is not None or id({array}) in {me}.owners" for array in arrays]
        out.refuse(f"({me}.wary or {' or '.join(own)}) and not {me}.apart({', '.join(arrays)})")
    out.add("return inputs")


def tensor_at(out: Lines, source: Source) -> str:
    """The source that gives a tensor of the state."""
    place = source.place
    assert place is not None
    if place.key == "_grad" and source.argument is None:
        return f"{out.name(place.owner)}._grad"
    if source.leaf is None and source.argument is None and not isinstance(place.holder, CellType):
        return f"{out.name(place.holder)}[{out.name(place.key)}]"
    return f"{out.name(source)}.find(args)"


# -- after the run ---------------------------------------------------------------------------------------------------


def commit(captured: Captured, quick: Quick) -> Callable[[Sequence[Any]], Any] | None:
    """The function that writes the results where they belong; None if that takes general code."""
    if captured.deferred or captured.rebindings or captured.graph is not None:
        return None
    grads: list[tuple[dict[str, Any], int]] = []
    cleared: list[dict[str, Any]] = []
    made: list[tuple[Place, int]] = []
    constant: list[tuple[Place, Any]] = []
    for change in captured.changes:
        place, template = change.place, change.template
        if change.argument is not None or place.key is None:
            return None
        gradient = place.key == "_grad" and isinstance(place.owner, Tensor)
        if isinstance(template, Fresh) and template.plain and template.spent is None:
            if gradient:
                grads.append((vars(place.owner), template.index))
            else:
                made.append((place, template.index))
        elif gradient and isinstance(template, Constant) and template.value is None:
            cleared.append(vars(place.owner))
        elif not gradient and isinstance(template, Constant):
            constant.append((place, template.value))
        else:
            return None
    make, lending = maker(captured.result), Lending(grads)
    indices = [i for _, i in (*grads, *made)]
    if make is None or len(indices) > len(set(indices) - returned(captured.result)):
        return None
    first = captured.contents[0].index if captured.contents else 0  # they come last in the results

    def write(results: Sequence[Any]) -> Any:
        now, line = tick(), here(1)
        for i, storage in enumerate(quick.targets, first):
            target, result = storage.array, results[i]
            if result is not target:  # an engine may have written in place
                if type(target) is np.ndarray:
                    np.copyto(target, result)
                else:
                    memory = target.memory
                    memory.array = result.memory.array
                    memory.version += 1
            storage.version += 1
            storage.written = now
            storage.writer = line
        if lending.seen:
            lending.lend(results)
        else:  # nobody has looked at the last gradients: the same Tensors serve again
            for fields, i, g, storage in lending.lent:
                g._array = storage.array = results[i]
                fields["_grad"] = g
        for fields in cleared:
            fields["_grad"] = None
        for place, i in made:
            place.set(wrap(results[i]))
        for place, value in constant:
            place.set(value)
        return make(results)

    return write


class Lending:
    """Gradients in Tensors that are used again as long as nobody has asked for one: that saves making new ones."""

    def __init__(self, places: Sequence[tuple[dict[str, Any], int]]) -> None:
        self.places, self.seen = places, True
        self.lent: list[tuple[dict[str, Any], int, Tensor, Storage]] = []

    def lend(self, results: Sequence[Any]) -> None:
        """New Tensors."""
        self.seen, self.lent = False, []
        for fields, i in self.places:
            fields["_lent"], fields["_grad"] = self, (g := wrap(results[i]))
            self.lent.append((fields, i, g, g._storage))


def maker(template: Any) -> Callable[[Sequence[Any]], Any] | None:
    """What a call returns, from the results alone."""
    if isinstance(template, Fresh) and template.plain:
        index, spent = template.index, template.spent

        def one(results: Sequence[Any]) -> Tensor:
            made = wrap(results[index])
            if spent is not None:
                made._node = spent
            return made

        return one
    if isinstance(template, Constant):
        value = template.value
        return lambda results: value
    if isinstance(template, Nest) and template.kind in (tuple, list):
        indices = [part.index for part in template.parts if isinstance(part, Fresh)]
        makers = [make for part in template.parts if (make := maker(part)) is not None]
        if len(indices) == len(set(indices)) and len(makers) == len(template.parts):
            kind: Any = template.kind
            return lambda results: kind([make(results) for make in makers])
    return None


def returned(template: Any) -> set[int]:
    if isinstance(template, Fresh):
        return {template.index}
    return set().union(*map(returned, template.parts)) if isinstance(template, Nest) else set()
