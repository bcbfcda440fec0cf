"""What a captured step takes for granted of a call.

Each condition is read in two ways, which stand side by side here: in words, which say what is different now, and as a
line of source, by which a function written for this one step gives up if anything is. Changes of modules, of
`requires_grad` and of hooks are counted where they happen (`modes.CHANGES`); there the count stands for the source.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from types import CellType
from typing import Any, NamedTuple

from ... import dtypes, trees
from ...modes import MODES, Watched
from ...tensor import Tensor
from ..capture.assembly import named
from ..capture.captured import Captured, evaluate
from ..capture.places import HOOKS, MISSING, PLAIN_TYPES, ClassItems, Place, Walk, equal, is_nest, keys_of
from ..capture.regions import Region, Source, overlapping, span
from ..capture.snapshot import Held
from ..capture.symbol import Number


def different(now: Any, then: Any) -> bool:
    """Is it another object, other than an equal plain value?"""
    if now is then:
        return False
    return type(now) is not type(then) or type(now) not in PLAIN_TYPES or not equal(now, then)


def change(then: Any, now: Any) -> str:
    return f"{show(then)} -> {show(now)}"


def show(x: Any) -> str:
    text = f"a tensor of shape {list(x.shape)}" if isinstance(x, Tensor) else repr(x)
    return text if len(text) <= 60 else text[:57] + "..."


class Condition(NamedTuple):
    """Something that was `then`; `now(arguments)` is what it is for a call."""

    name: str
    then: Any
    now: Callable[[Sequence[Any]], Any]
    differs: Callable[[Any, Any], Any] = different
    say: Callable[[Any, Any], str] = change


def first_that_fails(conditions: Sequence[Condition], arguments: Sequence[Any]) -> str:
    """In words; empty if all hold."""
    for name, then, now, differs, say in conditions:
        if (found := now(arguments)) is not then and differs(found, then):
            return f"{name}: {say(then, found)}"
    return ""


def reading(get: Callable[..., Any], *known: Any) -> Callable[[Sequence[Any]], Any]:
    """A `now` that does not ask for the arguments."""
    return lambda arguments: get(*known)


def saying(text: str) -> Callable[[Any, Any], str]:
    return lambda then, now: text


class Lines:
    """Source in the making, and the objects that it names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self.empty: list[Any] = []  # containers in which there must be nothing
        self.again: list[Callable[[], None]] = []  # to be done when a call has shown that all conditions hold
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


def conditions(out: Lines, captured: Captured, pinned: dict[int, Tensor]) -> Iterator[Condition]:
    """All of them; in the source, arguments are a0, a1, ... and the arrays of tensors among them x0, x1, ..."""
    session = captured.session
    regions = regions_of(captured)
    state = [r for r in regions if r.kind == "state"]
    yield modes(out)
    yield from arguments(out, captured, pinned)
    yield from [tensor(r.source, r.name, r.tensor) for r in state]
    yield from objects(out, captured, pinned)
    yield from attributes(out, session.walk)
    yield from sizes(out, session.walk)
    yield from views(state)
    yield from memory(out, session.walk)
    if captured.contents:
        yield writing(out, regions, {id(content.source) for content in captured.contents})
    yield from numbers(out, captured)


def regions_of(captured: Captured) -> list[Region]:
    """Memory that the step reads or writes."""
    used = {id(source) for source in (*captured.sources, *[content.source for content in captured.contents])}
    return [r for r in captured.session.regions if id(r.source) in used]


# -- modes and arguments -----------------------------------------------------------------------------------------------


def modes_now(given: Any = ()) -> tuple[Any, ...]:
    """What is set for this thread that a capture depends on."""
    cast = MODES.autocast
    return MODES.grad, MODES.inference, cast and cast.key, dtypes.get_default_dtype(), MODES.device


def modes(out: Lines) -> Condition:
    grad, inference, cast, default, device = then = modes_now()
    m, d = out.name(MODES), out.name(dtypes)
    out.refuse(f"{m}.grad is not {grad} or {m}.inference is not {inference} or {d}._default is not {out.name(default)}")
    out.refuse(f"{m}.device != {device!r} or {m}.autocast is {'not ' * (cast is None)}None")
    if cast is not None:
        out.refuse(f"{m}.autocast.key != {out.name(cast)}")
    return Condition("modes (grad, inference, autocast, default dtype, default device)", then, modes_now, operator.ne)


def arguments(out: Lines, captured: Captured, pinned: dict[int, Tensor]) -> Iterator[Condition]:
    session = captured.session
    names = [session.argument_name(i) for i in range(len(session.arguments))]
    state: dict[int, Source] = {}  # arguments that are a part of it
    for i, x in enumerate(session.arguments):
        a = f"a{i}"
        if not isinstance(x, Tensor):
            known = out.name(x)
            same = f" and (type({a}) is not {out.name(type(x))} or {a} != {known} or not {a})"
            out.refuse(f"{a} is not {known}" + same * (type(x) in PLAIN_TYPES))
            yield Condition(names[i], x, operator.itemgetter(i))
            continue
        out.add(f"x{i} = {a}._array")
        layout(out, f"x{i}", x)
        if x.requires_grad:
            out.refuse(f"not {a}.requires_grad" + f" or {a}._hooks or {a}._after_hooks" * session.grads)
        else:
            out.refuse(f"{a}._requires_grad or {a}._node is not None or {a}._base is not None and {a}.requires_grad")
        if id(x) in session.walk.arrivals:
            state[i] = session.source(x)
        yield tensor(Source(argument=i), names[i], x)

    def identity(given: Sequence[Any]) -> list[tuple[int, bool]]:
        """For each tensor, the first argument that is the same one; and is it a part of the state?"""
        first: dict[int, int] = {}
        return [
            (first.setdefault(id(x), i), state[i].find(given) is x if i in state else id(x) in pinned)
            for i, x in enumerate(given)
            if isinstance(x, Tensor)
        ]

    then = identity(session.arguments)
    if state or len({first for first, _ in then}) < len(then):
        out.refuse("True")  # else the source asks that no storage is that of another: see `Quick`
    what = "arguments that are the same tensor, or a part of the state"
    yield Condition(what, then, identity, operator.ne)


def layout(out: Lines, array: str, x: Tensor) -> None:
    """The source for a tensor's array."""
    then = x._array
    out.refuse(f"{array}.shape != {tuple(then.shape)!r} or {array}.dtype is not {out.name(then.dtype)}")
    out.refuse(f"{array}.strides != {tuple(then.strides)!r} or {array}.device != {then.device!r}")


FACTS = ("shape", "dtype", "strides", "requires_grad", "device", "the whole of its memory")


def tensor(source: Source, name: str, x: Tensor) -> Condition:
    """What is assumed of a tensor that is read."""

    def facts(given: Sequence[Any], x: Any = None) -> Any:
        x = source.find(given) if x is None else x
        if not isinstance(x, Tensor):
            return x
        array = x._array
        whole = source.kind == "argument" or array is x._storage.array
        return array.shape, array.dtype, array.strides, x.requires_grad, array.device, whole

    def say(then: Any, now: Any) -> str:
        if type(now) is not tuple:
            return f"a tensor -> {now!r}"
        return next(f"{what} {change(a, b)}" for what, a, b in zip(FACTS, then, now, strict=True) if a != b)

    return Condition(name, facts((), x), facts, operator.ne, say)


# -- what is in places -------------------------------------------------------------------------------------------------


def objects(out: Lines, captured: Captured, pinned: dict[int, Tensor]) -> Iterator[Condition]:
    """What is in places: plain values, objects, nests of both, and tensors that stay."""
    session = captured.session
    arguments = {id(x): i for i, x in reversed(list(enumerate(session.arguments))) if isinstance(x, Tensor)}
    for place, value in session.walk.places.values():
        if place.key == "_grad" and (id(place.owner) in session.phantoms or not session.grads):
            continue
        if id(place.owner) in arguments:
            if not isinstance(value, Tensor):
                i = arguments[id(place.owner)]
                yield field(out, i, f"{session.argument_name(i)}.{place.key.strip('_')}", place.key, value)
        elif isinstance(value, Tensor):
            if id(value) in pinned:
                yield held(out, place, value)
        elif session.numbers.get((id(place.holder), place.key), value) is value:  # else it is read before each call
            yield nest(out, place, value, pinned) if is_nest(value) else held(out, place, value)


def field(out: Lines, i: int, name: str, key: str, value: Any) -> Condition:
    """An attribute of an argument."""
    default = MISSING if value is MISSING else None
    out.refuse(f"a{i}.__dict__.get({key!r}, {out.name(default)}) is not {out.name(value)}")
    return Condition(name, value, lambda given: vars(given[i]).get(key, default))


def held(out: Lines, place: Place, value: Any) -> Condition:
    if not counted(place):
        out.refuse(f"{expression_of(out, place, value)} is not {out.name(value)}")
    return Condition(place.name, value, reading(place.get))


def counted(place: Place) -> bool:
    """Are changes of this place counted?"""
    holder, owner = place.holder, place.owner
    if isinstance(owner, Tensor) and place.key in HOOKS:
        return True
    return isinstance(holder, Watched) or (hasattr(owner, "_modules") and holder is vars(owner))


def expression_of(out: Lines, place: Place, value: Any) -> str:
    """The source that gives what a place holds."""
    holder = place.holder
    if value is not MISSING and isinstance(holder, CellType):
        return f"{out.name(holder)}.cell_contents"
    if value is not MISSING and isinstance(holder, ClassItems):
        return f"{out.name(vars(holder.cls))}[{place.key!r}]"
    if value is not MISSING and isinstance(holder, (dict, list)):
        return f"{out.name(holder)}[{out.name(place.key)}]"
    return f"{out.name(place)}.get()"


def nest(out: Lines, place: Place, value: Any, pinned: dict[int, Tensor]) -> Condition:
    """A container: its structure, the plain values in it, and which tensors are."""
    then = nest_spec(value, pinned)
    if not isinstance(place.holder, Watched) and type(value) is not Watched:
        if all(type(x) in PLAIN_TYPES or id(x) in pinned for x in trees.leaves(value)):
            out.add(f"v = {expression_of(out, place, value)}")
            contents(out, value, f"type(v) is not {out.name(type(value))} or ")
        else:
            out.refuse(f"{out.name(nest_spec)}({out.name(place)}.get(), {out.name(pinned)}) != {out.name(then)}")
    what = saying("the structure, a plain value in it, or which tensors are in it")
    return Condition(place.name, then, lambda given: nest_spec(place.get(), pinned), operator.ne, what)


def contents(out: Lines, value: Any, first: str = "") -> None:
    """Are the same objects in the container v, and in the containers there?"""
    parts = list(value.values() if isinstance(value, dict) else value)
    out.refuse(f"{first}len(v) != {len(parts)}")
    if isinstance(value, dict):
        out.refuse(f"list(v) != {out.name(list(value))}")
        out.add("v = v.values()")
    out.refuse(f"not all(map({out.name(operator.is_)}, v, {out.name(parts)}))")
    for part in parts:
        if isinstance(part, (dict, list, tuple)) and part:
            out.add(f"v = {out.name(part)}")
            contents(out, part)
        elif isinstance(part, (dict, list)):
            out.empty.append(part)


def nest_spec(x: Any, pinned: dict[int, Tensor]) -> Any:
    """What a step may take for granted of a nest: its structure, its plain values, and which tensors stay."""
    if isinstance(x, Tensor):
        return id(x) if id(x) in pinned else Tensor
    if isinstance(x, dict):
        return [type(x).__name__, *((k, nest_spec(v, pinned)) for k, v in x.items())]
    if isinstance(x, (list, tuple)):
        return [type(x).__name__, *[nest_spec(v, pinned) for v in x]]
    return type(x), x if x else repr(x)


def attributes(out: Lines, walk: Walk) -> Iterator[Condition]:
    """Which there are, as far as they matter; in the source, all that there were at the last call."""
    owners = [own for own, *_ in walk.owners.values() if "_modules" not in own]  # changes of modules are counted
    last = [frozenset(own) for own in owners]
    for i, own in enumerate(owners):
        out.refuse(f"{out.name(own)}.keys() != {out.name(last)}[{i}]")
    out.again.append(lambda: last.__setitem__(slice(None), map(frozenset, owners)))

    def say(then: Any, now: Any) -> str:
        return f"attributes {', '.join(sorted(now ^ then))} have come or gone"

    names = walk.names
    for own, name, ours in walk.owners.values():
        yield Condition(name, keys_of(own, ours, names), reading(keys_of, own, ours, names), operator.ne, say)


def sizes(out: Lines, walk: Walk) -> Iterator[Condition]:
    """How many items there are in lists and dicts, and which in sets."""
    for holder, name, owner in walk.holders.values():
        if isinstance(owner, Tensor) or id(holder) in walk.owners:
            continue
        if not holder:
            out.empty.append(holder)
        elif not isinstance(holder, Watched):
            out.refuse(f"len({out.name(holder)}) != {len(holder)}")
        yield Condition(f"{name}: items", len(holder), reading(len, holder))
    for kept, then, name in walk.sets:
        if not then:
            out.empty.append(kept)
        else:
            out.refuse(f"{out.name(kept)} != {out.name(then)}")
        yield Condition(name, then, reading(set, kept), operator.ne)
    out.refuse(f"any({out.name(out.empty)})")


# -- memory ------------------------------------------------------------------------------------------------------------


def memory(out: Lines, walk: Walk) -> Iterator[Condition]:
    """Memory that is not a tensor's is constant."""
    for found in walk.arrays.values():
        held = Held(*found)
        out.refuse(f"{out.name(held)}.changed()")
        what = saying(f"what is in the {held.kind} has changed")
        yield Condition(held.name, False, reading(held.changed), say=what)


def views(state: Sequence[Region]) -> Iterator[Condition]:
    """Where tensors look that share memory; in the source, all arrays of the state must be the same ones."""
    for x, owner, name in looks(state):
        yield Condition(f"{name}: where it looks in its memory", place_in(x, owner), reading(place_in, x, owner))


def looks(state: Sequence[Region]) -> list[tuple[Tensor, Tensor, str]]:
    """Tensors that share memory or are views: (itself, the one that stands for the memory, name)."""
    return [
        (x, r.tensor, name)
        for r in state
        for x, name in r.group
        if len(r.group) > 1 or x._array is not x._storage.array
    ]


def place_in(x: Tensor, owner: Tensor) -> str:
    """Where a tensor looks in the memory of another."""
    array, memory = x._array, x._storage.array
    if x._storage is not owner._storage:
        return "in other memory"
    if hasattr(array, "looks"):  # on a device
        return f"{array.shape}, {array.looks[len(memory.looks) :]}"
    place = array.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    return f"{array.shape}, {array.strides}, {place}"


def writing(out: Lines, regions: Sequence[Region], written: set[int]) -> Condition:
    """What is written may be, and nothing else lies there; for the source of the latter see `Quick.apart`."""
    sources = [(r.source, r.name, id(r.source) in written) for r in regions]
    for source, _, writes in sources:
        if writes and source.kind == "argument":
            out.refuse(f"not x{source.argument}.flags.writeable")

    def wrong(given: Sequence[Any]) -> str | None:
        arrays = [memory_of(source.find(given), source) for source, *_ in sources]
        for array, (_, name, writes) in zip(arrays, sources, strict=True):
            if writes and not array.flags.writeable:
                return f"{name} is read-only"
        pair = overlapping([span(x) for x in arrays], {i for i, (*_, writes) in enumerate(sources) if writes})
        return pair and " and ".join(sources[i][1] for i in pair) + " share it"

    return Condition("memory that is written", None, wrong, say=lambda then, now: now)


def memory_of(x: Tensor, source: Source) -> Any:
    """The array that stands for a tensor's region: its own for an argument, the whole storage's for state."""
    return x._array if source.kind == "argument" else x._storage.array


# -- numbers -----------------------------------------------------------------------------------------------------------


def numbers(out: Lines, captured: Captured) -> Iterator[Condition]:
    """What was asked of numbers that are read before each call; each once, though it was asked for each parameter."""
    for number in captured.sources:
        if isinstance(number, Number):  # for the source see where it is fetched
            yield Condition(f"type of {named(number)}", kind_of(number), reading(kind_of, number))
    assumptions = {number.source: (number, value) for number, value in captured.session.recorder.assumptions}
    for number, value in assumptions.values():
        out.refuse(f"{expression(out, number)} != {out.name(value)}" if value == value else "True")
        yield Condition(named(number), value, reading(evaluate, number))


def kind_of(number: Number) -> str:
    return type(evaluate(number)).__name__


def expression(out: Lines, number: Number) -> str:
    """The source of a number, with the objects it reads by name."""
    text = number.source
    for leaf, (_, group, key, index) in sorted(number.leaves.items(), key=lambda item: -len(item[0])):
        text = text.replace(leaf, f"{out.name(group)}[{key!r}]" + ("" if index is None else f"[{index}]"))
    return text
