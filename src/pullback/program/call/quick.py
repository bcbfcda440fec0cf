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

from ... import dtypes, trees
from ...errors import here
from ...modes import CHANGES, MODES, Watched
from ...tensor import Storage, Tensor, tick, wrap
from ..capture.captured import Constant, Fresh, Nest
from ..capture.places import HOOKS, MISSING, PLAIN_TYPES, ClassItems, structure
from ..capture.symbol import Number

ARRAY = operator.attrgetter("_array")


class Lines:
    """Source in the making, and the objects that it names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self._known: dict[int, str] = {}

    def name(self, x: Any) -> str:
        """A name for an object."""
        if id(x) not in self._known:
            self._known[id(x)] = name = f"o{len(self.names)}"
            self.names[name] = x
        return self._known[id(x)]

    def add(self, line: str) -> None:
        self.lines.append(line)

    def refuse(self, condition: str) -> None:
        """Not this way if the condition holds."""
        self.add(f"if {condition}: return None")

    def function(self, head: str) -> Any:
        body = "\n".join(f"        {line}" for line in self.lines)
        errors = "(KeyError, AttributeError, IndexError, ValueError)"
        text = f"def {head}:\n    try:\n{body}\n    except {errors}:\n        return None\n"
        scope = dict(self.names)
        exec(text, scope)
        return scope[head.partition("(")[0]]


def gather(entry: Any) -> Callable[[Any, Any], list[Any] | None] | None:
    """The function that gives a call's inputs if nothing has changed since the last call; None if there is none."""
    out, n = Lines(), len(entry.arguments)
    args, kwargs = entry.given
    if kwargs or len(args) != n or any(isinstance(a, (tuple, list, dict)) for a in args):
        out.refuse(f"{out.name(structure)}((args, kwargs)) != {out.name(entry.structure)}")
        out.add(f"args = list({out.name(trees.leaves)}((args, kwargs)))")
    else:
        out.refuse(f"kwargs or len(args) != {n}")
    if n:
        out.add(f"{''.join(f'a{i}, ' for i in range(n))} = args")
    modes(out, entry)
    arguments(out, entry)
    conditions(out, entry)
    state(out, entry)
    return out.function("gather(args, kwargs)")


def modes(out: Lines, entry: Any) -> None:
    grad, inference, cast, default, device = entry.modes
    m, d = out.name(MODES), out.name(dtypes)
    out.refuse(f"{out.name(CHANGES)}.count != {out.name(entry)}.changes")
    out.refuse(f"{m}.grad is not {grad} or {m}.inference is not {inference} or {d}._default is not {out.name(default)}")
    out.refuse(f"{m}.device != {device!r}")
    if cast is None:
        out.refuse(f"{m}.autocast is not None")
    else:
        out.refuse(f"{m}.autocast is None or {m}.autocast.key != {out.name(cast)}")


def arguments(out: Lines, entry: Any) -> None:
    tensors = [i for i, x in enumerate(entry.arguments) if isinstance(x, Tensor)]
    for i, x in entry.plain:
        if type(x) in PLAIN_TYPES:
            kind = out.name(type(x))
            out.refuse(f"a{i} is not {out.name(x)} and (type(a{i}) is not {kind} or a{i} != {out.name(x)} or not a{i})")
        else:
            out.refuse(f"a{i} is not {out.name(x)}")
    for i in tensors:
        x = entry.arguments[i]
        out.add(f"x{i} = a{i}._array")
        spec(out, f"x{i}", x._array)
        wants = x.requires_grad
        out.refuse(f"a{i}._requires_grad is not {x._requires_grad} or a{i}._node is not None" if not wants else
                   f"not a{i}.requires_grad")  # fmt: skip
        if not wants:
            out.refuse(f"a{i}._base is not None and a{i}.requires_grad")
        if wants and entry.captured.session.grads:
            out.refuse(f"a{i}._hooks or a{i}._after_hooks")
    for i, key, then in entry.fields:
        out.refuse(f"a{i}.__dict__.get({key!r}{', MISSING' * (then is MISSING)}) is not {out.name(then)}")
    if len(set(entry.sharing)) != len(tensors) or entry.same:
        out.refuse("True")  # the long way
    written = [source for source, _ in entry.regions if source.kind == "argument" and id(source) in entry.written]
    if written and len(tensors) > 1:
        out.refuse("True")  # do they overlap?


def spec(out: Lines, name: str, array: Any) -> None:
    out.refuse(f"{name}.shape != {tuple(array.shape)!r} or {name}.dtype is not {out.name(array.dtype)}")
    out.refuse(f"{name}.strides != {tuple(array.strides)!r} or {name}.device != {array.device!r}")


def conditions(out: Lines, entry: Any) -> None:
    """Plain values and objects in places that nothing watches."""
    for place, value in entry.conditions:
        holder = place.holder
        if isinstance(holder, Watched) or watched(place) or (place.key in HOOKS and isinstance(place.owner, Tensor)):
            continue  # changes of these are counted
        out.refuse(f"{expression_of(out, place, value)} is not {out.name(value)}")
    for holder, size, _ in entry.sizes:
        if not isinstance(holder, Watched):
            out.refuse(f"len({out.name(holder)}) != {size}")
    for i, (own, *_) in enumerate(entry.keys):
        if "_modules" not in own:  # changes of modules are counted
            out.refuse(f"{out.name(own)}.keys() != {out.name(entry.keys)}[{i}][1]")
    for place, then, value in entry.nests:
        if isinstance(place.holder, Watched) or type(place.get()) is Watched:
            continue
        if all(type(x) in PLAIN_TYPES or id(x) in entry.pinned for x in trees.leaves(value)):
            container(out, expression_of(out, place, value), value)
        else:
            out.refuse(f"{out.name(nest_differs)}({out.name(place)}, {out.name(then)}, {out.name(entry.pinned)})")
    for kept, then, _ in entry.sets:
        out.refuse(f"{out.name(kept)} != {out.name(then)}")
    if entry.contents_of:
        out.refuse("True")
    for number, value in entry.assumptions:
        text = expression(out, number)
        out.refuse(f"{text} != {out.name(value)}" if value == value else "True")


def watched(place: Any) -> bool:
    """Is it an attribute of a module, whose changes are counted?"""
    return hasattr(place.owner, "_modules") and place.holder is vars(place.owner)


def container(out: Lines, found: str, value: Any) -> None:
    """Whether there are the same objects in a container, and in the containers there."""
    parts = list(value.values() if isinstance(value, dict) else value)
    out.add(f"v = {found}")
    out.refuse(f"type(v) is not {out.name(type(value))} or len(v) != {len(parts)}")
    if parts and isinstance(value, dict):
        out.refuse(f"list(v) != {out.name(list(value))}")
        out.add("v = v.values()")
    if parts:
        out.refuse(f"not all(map({out.name(operator.is_)}, v, {out.name(parts)}))")
    for part in parts:
        if isinstance(part, (dict, list, tuple)):
            container(out, out.name(part), part)


def expression_of(out: Lines, place: Any, value: Any) -> str:
    """The source that gives what a place holds."""
    holder = place.holder
    if isinstance(holder, CellType):
        return f"{out.name(holder)}.cell_contents" if value is not MISSING else f"{out.name(place)}.get()"
    if value is MISSING:
        return f"{out.name(place)}.get()"
    if isinstance(holder, ClassItems):
        return f"{out.name(vars(holder.cls))}[{place.key!r}]"
    if isinstance(holder, (dict, list)):
        return f"{out.name(holder)}[{out.name(place.key)}]"
    return f"{out.name(place)}.get()"


def nest_differs(place: Any, then: Any, pinned: dict[int, Tensor]) -> bool:
    from .bind import nest_spec

    return nest_spec(place.get(), pinned) != then


def expression(out: Lines, number: Number) -> str:
    """The source of a number, with the objects it reads by name."""
    text = number.source
    for leaf, (_, group, key, index) in sorted(number.leaves.items(), key=lambda item: -len(item[0])):
        text = text.replace(leaf, f"{out.name(group)}[{key!r}]" + ("" if index is None else f"[{index}]"))
    return text


def state(out: Lines, entry: Any) -> None:
    """Arrays of tensors that stay the same are known; the others are fetched."""
    captured, session = entry.captured, entry.captured.session
    regions = {id(r.source): r for r in session.regions}
    fixed: list[tuple[int, Tensor]] = []
    moving: list[str] = []  # storages of the others
    out.add(f"inputs = {out.name(entry)}.base.copy()")
    changing = {(id(c.place.holder), c.place.key) for c in captured.changes}
    for i, source in enumerate(captured.sources):
        if isinstance(source, Number):
            kind = type(source.now)
            out.add(f"n = {expression(out, source)}")
            out.refuse(f"type(n) is not {out.name(kind)}")
            out.add(f"inputs[{i}] = n")
        elif source.kind == "argument":
            out.add(f"inputs[{i}] = x{source.argument}")
        else:
            place, region = source.place, regions[id(source)]
            still = place is None or (
                (isinstance(place.holder, Watched) or type(place.get()) is Watched or id(region.tensor) in entry.pinned)
                and (id(place.holder), place.key) not in changing
            )
            if still:
                fixed.append((i, region.tensor))
                continue
            if place.key == "_grad" and source.argument is None:
                out.add(f"t = {out.name(place.owner)}._grad")
            elif source.leaf is None and source.argument is None and not isinstance(place.holder, CellType):
                out.add(f"t = {out.name(place.holder)}[{out.name(place.key)}]")
            else:
                out.add(f"t = {out.name(source)}.find(args)")
            out.add("x = t._array")
            spec(out, "x", region.tensor._array)
            out.refuse(f"t.requires_grad is not {region.tensor.requires_grad}")
            out.refuse("t._storage.array is not x")
            out.add(f"inputs[{i}] = x")
            out.add(f"s{i} = t._storage")
            moving.append(f"s{i}")
    entry.fixed = [(i, captured.sources[i]) for i, _ in fixed]
    entry.fixed_tensors = [t for _, t in fixed]
    entry.views = [x for x, *_ in entry.members]
    for tensors, arrays in (("fixed_tensors", "arrays"), ("views", "looks")):
        if getattr(entry, tensors):
            now = f"map({out.name(ARRAY)}, {out.name(getattr(entry, tensors))})"
            out.refuse(f"not all(map({out.name(operator.is_)}, {now}, {out.name(entry)}.{arrays}))")
    given = [f"a{i}._storage" for i, x in enumerate(entry.arguments) if isinstance(x, Tensor)]
    apart = [f"id({storage})" for storage in (*moving, *given)]  # nothing of this may be where other state is
    if apart:
        out.add(f"apart = {{{', '.join(apart)}}}")
        out.refuse(f"len(apart) != {len(apart)} or not apart.isdisjoint({out.name(entry)}.storages)")
    out.add("return inputs")


def refresh(entry: Any) -> None:
    """Right after a call that took the long way: what is there now is what the next call expects."""
    entry.changes = CHANGES.count
    entry.fixed_tensors[:] = [source.find(()) for _, source in entry.fixed]
    entry.arrays = [t._array for t in entry.fixed_tensors]
    entry.looks = [t._array for t in entry.views]
    entry.storages = {id(t._storage) for t in entry.fixed_tensors}
    for one in entry.keys:
        one[1] = frozenset(one[0])
    entry.base = [None] * len(entry.captured.sources)
    for (i, _), t in zip(entry.fixed, entry.fixed_tensors, strict=True):
        entry.base[i] = t._storage.array
    entry.targets = (
        [(content.source.find(())._storage, content.index) for content in entry.captured.contents]
        if entry.commit
        else []
    )


# -- after the run ---------------------------------------------------------------------------------------------------


def commit(entry: Any) -> Callable[[Sequence[Any]], Any] | None:
    """The function that writes the results where they belong; None if that takes general code."""
    captured = entry.captured
    if captured.deferred or captured.rebindings or captured.graph is not None:
        return None
    grads: list[tuple[dict[str, Any], int]] = []
    cleared: list[dict[str, Any]] = []
    constant: list[tuple[Any, Any]] = []
    for change in captured.changes:
        if (
            isinstance(change.template, Constant)
            and change.argument is None
            and change.place.key not in (None, "_grad")
        ):
            constant.append((change.place, change.template.value))
            continue
        if change.argument is not None or change.place.key != "_grad" or not isinstance(change.place.owner, Tensor):
            return None
        if isinstance(change.template, Fresh) and change.template.plain:
            grads.append((vars(change.place.owner), change.template.index))
        elif isinstance(change.template, Constant) and change.template.value is None:
            cleared.append(vars(change.place.owner))
        else:
            return None
    if not {id(c.source) for c in captured.contents} <= {id(source) for _, source in entry.fixed}:
        return None
    make, lending = maker(captured.result), Lending(grads)
    if make is None or {i for _, i in grads} & returned(captured.result):
        return None

    def write(results: Sequence[Any]) -> Any:
        now, line = tick(), here(1)
        for storage, i in entry.targets:
            target, result = storage.array, results[i]
            if result is not target:  # an engine may have written in place
                if type(target) is np.ndarray:
                    np.copyto(target, result)
                else:
                    memory = target.memory
                    memory.array = result.memory.array
                    memory.version += 1
            storage.version += 1
            storage.written, storage.writer = now, line
        if lending.seen:
            lending.lend(results)
        else:  # nobody has looked at the last gradients: the same Tensors serve again
            for fields, i, g, storage in lending.lent:
                g._array = storage.array = results[i]
                fields["_grad"] = g
        for fields in cleared:
            fields["_grad"] = None
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
    if isinstance(template, Nest) and type(template.like) in (tuple, list):
        indices = [part.index for part in template.parts if isinstance(part, Fresh)]
        makers = [make for part in template.parts if (make := maker(part)) is not None]
        if len(indices) == len(set(indices)) and len(makers) == len(template.parts):
            kind: Any = type(template.like)
            return lambda results: kind([make(results) for make in makers])
    return None


def returned(template: Any) -> set[int]:
    if isinstance(template, Fresh):
        return {template.index}
    return set().union(*map(returned, template.parts)) if isinstance(template, Nest) else set()
