"""Capture: run a function once on symbols, and note all that it does.

The function runs as it always does, on the same tensors, whose arrays are symbols meanwhile. Afterwards everything is
put back as it was, and what had changed is known: that is what a call of the Program has to write.
"""

from __future__ import annotations

import copy
import gc
import math
import random
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, MappingView, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from .. import trees
from ..errors import LIBRARY, PullbackError, fail
from ..modes import MODES, no_grad
from ..ops.record import WATCHERS, Plan
from ..ops.strided import as_strided
from ..tape import Label, Node, edge
from ..tensor import Storage, Tensor, wrap
from .passes import optimize, prune
from .places import (
    HOOKS,
    MISSING,
    PLAIN_TYPES,
    Place,
    Slots,
    Walk,
    equal,
    is_library,
    is_nest,
    name_of,
    slots_of,
)
from .program import Input, Program, Value, Write
from .recorder import Recorder
from .symbol import Number, Symbol, look

IMPURE = {time.time, time.time_ns, time.perf_counter, time.perf_counter_ns, time.monotonic, time.monotonic_ns}
GRADIENTS = ("backward", "step", "unscale_", "update")  # methods that look at gradients
DRAWS = (random.Random, np.random.RandomState, np.random.Generator)


class Region:
    """A piece of memory that the step may read and write: an input, and where to find it again."""

    def __init__(self, tensor: Tensor, symbol: Symbol, source: Source, name: str, memory: Any) -> None:
        self.tensor, self.symbol, self.source, self.name, self.span = tensor, symbol, source, name, span(memory)
        self.input, self.dtype = symbol.buffer.value, symbol.dtype
        self.group: list[tuple[Tensor, str]] = [(tensor, name)]  # all that lie there
        self.kind = source.kind


class Source:
    """How to find a tensor at the time of a call."""

    def __init__(self, tensor: Tensor | None = None, place: Place | None = None, leaf: int | None = None,
                 argument: int | None = None) -> None:  # fmt: skip
        self.tensor, self.place, self.leaf, self.argument = tensor, place, leaf, argument
        self.kind = "argument" if argument is not None and place is None else "state"

    def find(self, arguments: Sequence[Any]) -> Any:
        """The tensor, or MISSING."""
        if self.place is not None:
            holder = self.place.holder if self.argument is None else vars(arguments[self.argument])
            held = self.place._replace(holder=holder).get() if self.argument is not None else self.place.get()
            if self.leaf is None:
                return held
            leaves = list(trees.leaves(held)) if is_nest(held) else []
            return leaves[self.leaf] if self.leaf < len(leaves) else MISSING
        return arguments[self.argument] if self.argument is not None else self.tensor


class Session:
    """One capture: what was found, what it looked like before, and what was recorded."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, phantoms: bool) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.recorder = Recorder()
        self.recorder.begin = self.begin
        self.begun: list[tuple[Any, Any, Any]] = []  # state that the first step made
        self.walk = Walk(function, args, kwargs)
        self.recorder.name_of = lambda module: self.walk.modules.get(id(module), type(module).__name__)
        self.arguments = list(trees.leaves((args, kwargs)))
        self.regions: list[Region] = []
        self.outer: list[tuple[Tensor, Any]] = []  # tensors with a history from before, and where it leads
        self.phantoms: dict[int, tuple[Tensor, Value]] = {}
        self.grads = any("grad" in name or name in GRADIENTS for name in self.walk.names)  # may it look at gradients?
        self.use_phantoms = phantoms and self.grads
        self.snapshot = Snapshot(self.walk)
        self.arrays = [(array, array.copy(), name) for array, name in self.walk.arrays.values()]
        self.generators = {
            x.gi_frame: name for x, name in self.walk.iterators if isinstance(x, types.GeneratorType) and x.gi_frame
        }
        self.lifted: dict[int, tuple[Storage, Any]] = {}  # where each tensor lies meanwhile
        self.numbers: dict[tuple[int, Any], Any] = {}  # what the options of optimizers are meanwhile
        self.known: dict[int, Any] = {}  # arrays of tensors that were there before and were not found

    def run(self) -> Any:
        """The function's result, on symbols. The state it leaves stays until `restore`."""
        for iterator, name in self.walk.iterators:
            if not isinstance(iterator, types.GeneratorType):
                refuse_iterator(name)
        before = MODES.capture
        MODES.capture = self.recorder
        try:
            self.forget_results()
            self.lift()
            self.free_numbers()
            drawn = [repr(state_of(g)) for g in self.walk.drawing]
            with self.watching():
                result = trace(self.function, self.args, self.kwargs)
            if drawn != [repr(state_of(g)) for g in self.walk.drawing]:
                refuse_call("NumPy's random numbers")
            for array, content, name in self.arrays:
                if not same_elements(array, content):
                    fail(PullbackError, f"the step writes into the NumPy array {name}, which cannot be captured",
                         "make it a tensor")  # fmt: skip
            return result
        finally:
            self.forget_results()
            MODES.capture = before

    def forget_results(self) -> None:
        """What functools.lru_cache has kept: tensors of before, which a capture must not use, or of the capture."""
        for cache in self.walk.caches:
            cache.cache_clear()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice tensors that were not found, and calls whose results differ each time."""
        mine = {id(t._array) for t, _ in self.walk.tensors.values()}
        for x in gc.get_objects():
            if not issubclass(type(x), Tensor) or "_array" not in vars(x):  # a lazy parameter has no memory yet
                continue
            if type(x._array) is np.ndarray and id(x._array) not in mine:
                self.known[id(x._array)] = x
        here = MODES.capture

        def check(op: Any, arrays: Any, params: Any, out: Any) -> None:
            if MODES.capture is here:
                for a in arrays:
                    if id(a) in self.known:
                        self.refuse_unknown(self.known[id(a)])

        self.recorder.check = lambda a: self.refuse_unknown(self.known[id(a)]) if id(a) in self.known else None

        def notice_all(frame: Any, event: str, called: Any) -> None:
            if event == "c_call":
                notice(frame, called)
            elif event == "call" and frame in self.generators:
                sys.setprofile(None)
                refuse_iterator(self.generators[frame])

        before = sys.getprofile()
        WATCHERS.append(check)
        sys.setprofile(notice_all if self.generators else notice_calls)
        try:
            yield
        finally:
            sys.setprofile(before)
            WATCHERS.remove(check)

    def refuse_unknown(self, x: Tensor) -> None:
        fail(
            PullbackError,
            f"the step uses a tensor ({x.dtype} of shape {list(x.shape)}) that is neither an argument nor found in "
            "what its code names: a later call could not notice that another one had taken its place",
            "pass it as an argument, or keep it in an attribute, a list or a dict that the step's code reaches",
        )

    def begin(self, holder: Any, key: Any, make: Callable[[], Any]) -> Any:
        """holder[key] = make(), on real arrays, as if it had been so before the step."""
        if id(holder) not in self.walk.holders or (isinstance(key, Tensor) and id(key) not in self.walk.tensors):
            made = make()  # for an object that each call makes anew
            if not isinstance(made, dict) or made:
                holder[key] = made
            return made
        real = self.snapshot.tensors if not isinstance(key, Tensor) else [(key, self.snapshot.fields[id(key)])]
        storages = [fields["_storage"] for _, fields in real]
        real = [*real, *[(s, self.snapshot.fields[id(s)]) for s in storages], *self.snapshot.tables]
        symbolic = [(thing, dict(fields_in(thing))) for thing, _ in real]
        before, MODES.capture = MODES.capture, None
        profile = sys.getprofile()
        sys.setprofile(None)
        try:
            for thing, fields in real:
                fields_in(thing).update(fields)
            with no_grad():
                made = make()
        finally:
            for thing, fields in symbolic:
                fields_in(thing).update(fields)
            MODES.capture = before
            sys.setprofile(profile)
        if isinstance(made, dict) and not made:
            return made
        self.begun.append((holder, key, holder.get(key, MISSING)))
        name = self.walk.holders[id(holder)][1]
        label = self.walk.tensors[id(key)][1] if id(key) in self.walk.tensors else key
        known = len(self.walk.tensors)
        holder[key] = made
        self.snapshot.note(holder, key, made)
        self.walk.hold(holder, key, f"{name}[{label!r}]", holder, made)
        self.walk.run()
        for x, label in [*islice(self.walk.tensors.values(), known, None)]:
            self.snapshot.add(x)
            self.lift_state([(x, label)])
            self.lifted[id(x)] = x._storage, x._array
        return made

    # -- making everything symbolic ----------------------------------------------------------------------------------

    def lift(self) -> None:
        """All tensors that were found get symbols for arrays."""
        groups: dict[int, list[tuple[Tensor, str]]] = {}
        arguments = {id(x): i for i, x in reversed(list(enumerate(self.arguments))) if isinstance(x, Tensor)}
        for key, (x, name) in self.walk.tensors.items():
            if x._node is not None:
                self.outer.append((x, x._node))
            if key in arguments and key not in self.walk.arrivals:
                self.lift_argument(x, arguments[key])
            else:
                groups.setdefault(id(x._storage), []).append((x, name))
        for group in groups.values():
            self.lift_state(group)
        for x, _ in self.walk.tensors.values():
            self.lifted[id(x)] = x._storage, x._array
        self.recorder.check_targets = self.check_targets
        for x, _ in self.outer:
            x._node, x._requires_grad = None, True
        if self.use_phantoms:
            for x, _ in list(self.walk.tensors.values()):
                if x._requires_grad and x._grad is None and id(x) not in arguments:
                    symbol = self.recorder.symbol(x._array.shape, x._array.dtype, device=x._array.device)
                    x._grad = wrap(symbol)
                    self.phantoms[id(x)] = x._grad, symbol.value()

    def check_targets(self, xs: list[Tensor]) -> None:
        """The way from a tensor of the step to what was computed from `xs` before it cannot be seen from inside."""
        above = {e for _, node in self.outer for n in nodes_below(node) for e in n.edges if e is not None}
        for x in xs:
            if x in above:
                refuse_outside("autograd.grad()")

    def lift_argument(self, x: Tensor, i: int) -> None:
        array = x._array
        symbol = self.recorder.symbol(array.shape, array.dtype, array.strides, array.device)
        self.regions.append(Region(x, symbol, Source(argument=i), self.argument_name(i), array))
        x._array, x._storage, x._base, x._path = symbol, Storage(symbol), None, ()

    def argument_name(self, i: int) -> str:
        """`x`, as the function calls it."""
        code = getattr(getattr(self.function, "__func__", self.function), "__code__", None)
        names = code.co_varnames[: code.co_argcount] if code is not None else ()
        names = names[1:] if names[:1] == ("self",) else names
        flat = [(n, 1) for n in names]
        at = 0
        for k, arg in enumerate(self.args):
            size = len(list(trees.leaves(arg)))
            if i < at + size:
                name = flat[k][0] if k < len(flat) else f"args[{k}]"
                return name if size == 1 else f"{name}[{i - at}]"
            at += size
        keys = [key for key, value in self.kwargs.items() for _ in trees.leaves(value)]
        return keys[i - at]

    def source(self, x: Tensor) -> Source:
        """How to find a tensor of the state again."""
        if id(x) in self.walk.access:
            place, leaf = self.walk.access[id(x)]
            owner = next((i for i, a in enumerate(self.arguments) if a is place.owner), None)
            return Source(place=place, leaf=leaf, argument=owner if isinstance(place.owner, Tensor) else None)
        return Source(tensor=x)

    def lift_state(self, group: list[tuple[Tensor, str]]) -> None:
        """Tensors over one storage: one input, and views of it."""
        storage = group[0][0]._storage
        array = storage.array
        whole = next(((x, name) for x, name in group if same_place(x._array, array)), None)
        if whole is None and len(group) > 1 and not array.flags.c_contiguous:
            fail(PullbackError, f"{group[0][1]} and {group[1][1]} share memory in a way that cannot be captured",
                 "clone() one of them")  # fmt: skip
        x, name = whole or group[0]
        base = self.recorder.symbol(array.shape, array.dtype, array.strides, array.device)
        storage.array = base
        self.regions.append(region := Region(x, base, self.source(x), name, array))
        region.group = group
        for t, _ in group:
            if same_place(t._array, array):
                t._array = base
            elif hasattr(array, "looks"):  # on a device
                t._array = self.view_of(base, t._array.looks[len(array.looks) :])
            elif t._path:
                t._array = self.view_of(base, t._path)
            else:
                offset = t._array.__array_interface__["data"][0] - array.__array_interface__["data"][0]
                size = array.itemsize
                params = {"size": t._array.shape, "stride": tuple(s // size for s in t._array.strides),
                          "offset": offset // size}  # fmt: skip
                t._array = self.view_of(base, ((as_strided, params),))
            t._seen = storage.version

    def view_of(self, base: Symbol, path: Any) -> Symbol:
        value = base.value()
        for op, params in path:
            value = look(op, value, params)
        return Symbol(base.buffer, value, tuple(path))

    def free_numbers(self) -> None:
        """The numbers in optimizers' groups are read anew before each call."""
        for optimizer, name in self.walk.optimizers:
            for i, group in enumerate(optimizer.param_groups):
                for key, value in list(group.items()):
                    self.numbers[id(group), key] = group[key] = self.freed(
                        f"{name}.param_groups[{i}][{key!r}]", value, (group, key, None)
                    )

    def freed(self, source: str, value: Any, place: tuple[Any, Any, int | None]) -> Any:
        if type(value) in (float, int):
            leaf = f"n{len(self.recorder.keep)}"
            self.recorder.keep.append(place)
            return Number(leaf, value, {leaf: (source, *place)})
        if type(value) is tuple and value and all(type(v) in (float, int) for v in value):
            group, key, _ = place
            return tuple([self.freed(f"{source}[{k}]", v, (group, key, k)) for k, v in enumerate(value)])
        return value


def trace(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run it; the stack above this frame is not the user's."""
    return function(*args, **kwargs)


def notice_calls(frame: Any, event: str, called: Any) -> None:
    if event == "c_call":
        notice(frame, called)


def notice(frame: Any, called: Any) -> None:
    """Refuse what gives another result each time it is called."""
    draws = isinstance(getattr(called, "__self__", None), DRAWS)
    if not draws and called not in IMPURE:
        return
    file = frame.f_code.co_filename
    if not is_library(file) or (draws and file == random.__file__):
        sys.setprofile(None)
        refuse_call(f"{called.__qualname__}()")


def refuse_call(what: str) -> None:
    fail(
        PullbackError,
        f"the step calls {what}: a captured step would use the result of its first call for ever",
        "pass the value as an argument; for random numbers, use pullback's",
    )


def refuse_iterator(name: str) -> None:
    fail(
        PullbackError,
        f"the step takes items from an iterator, {name}: a captured step would use the same ones for ever",
        "take them outside of the step and pass them as arguments",
    )


def refuse_outside(what: str) -> None:
    fail(
        PullbackError,
        f"{what} inside of a captured step reaches a tensor that was computed outside of it",
        "detach() it before passing it to the step, or compute it inside",
    )


def state_of(generator: Any) -> Any:
    """Where a generator of NumPy's is in its stream."""
    if hasattr(generator, "get_state"):
        _, keys, place, *_ = generator.get_state()
        return keys.tobytes(), place
    return generator.bit_generator.state


def same_place(a: Any, b: Any) -> bool:
    """Do two arrays look at the same memory in the same way?"""
    return a is b or (
        isinstance(a, np.ndarray)
        and isinstance(b, np.ndarray)
        and a.shape == b.shape
        and a.strides == b.strides
        and a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    )


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
        self.storages = [(s, dict(vars(s))) for s in storages.values()]
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
        self.storages.append((x._storage, dict(vars(x._storage))))
        self.fields |= {id(x): self.tensors[-1][1], id(x._storage): self.storages[-1][1]}

    def restore(self) -> None:
        """Put it back."""
        for storage, fields in self.storages:
            vars(storage).clear()
            vars(storage).update(fields)
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


# -- from what was recorded to a Program ---------------------------------------------------------------------------


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
        self.like, self.parts = like, parts
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
        if isinstance(self.like, tuple) and hasattr(self.like, "_fields"):
            return type(self.like)(*parts)
        return type(self.like)(parts)


class Copy:
    """A NumPy array that the step makes."""

    def __init__(self, array: Any) -> None:
        self.array = array.copy()

    def make(self, call: Any) -> Any:
        return self.array.copy()


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


def capture(function: Callable[..., Any], args: Any, kwargs: Any, keep_grads: bool = True) -> Captured:
    """Run `function` on symbols; what it did, as a Program."""
    captured = _capture(function, args, kwargs, keep_grads, phantoms=True)
    if captured is None:  # it reads gradients that are not there yet
        captured = _capture(function, args, kwargs, keep_grads, phantoms=False)
    assert captured is not None
    return captured


def _capture(function: Any, args: Any, kwargs: Any, keep_grads: bool, phantoms: bool) -> Captured | None:
    session = Session(function, args, kwargs, phantoms)
    try:
        result = session.run()
        return Assembly(session, keep_grads).captured(result)
    except BaseException:
        for holder, key, before in reversed(session.begun):
            session.snapshot.note(holder, key, before)
        raise
    finally:
        session.snapshot.restore()
        session.known.clear()
        for array, content, _ in session.arrays:
            if not same_elements(array, content):
                np.copyto(array, content)


class Assembly:
    """Reads off what the step left behind."""

    def __init__(self, session: Session, keep_grads: bool) -> None:
        self.session, self.recorder, self.keep_grads = session, session.recorder, keep_grads
        self.outputs: list[Value] = []
        self.places: list[str] = []  # the devices that the user sees them on
        self.names: list[str] = []
        self.of_symbol: dict[int, Fresh] = {}  # of tensors made by the step
        self.records: dict[int, Record] = {}  # of objects made by it
        self.made: list[tuple[Tensor, Fresh]] = []
        self.regions = {id(r.tensor): r for r in session.regions}

    def captured(self, result: Any) -> Captured | None:
        before, MODES.capture = MODES.capture, self.recorder
        try:
            return self.assemble(result)
        finally:
            MODES.capture = before

    def assemble(self, result: Any) -> Captured | None:
        session = self.session
        for x, _ in session.outer:
            if x._grad is not None and id(x) not in session.phantoms and x._grad is not self.before(x, "_grad"):
                refuse_outside("backward()")
        template = self.template(result, "result")
        changes, rebindings = self.changes(), self.rebindings()
        deferred = [(action, self.template(given, "a deferred call")) for action, *given in self.recorder.deferred]
        if self.phantoms_matter():
            return None
        live = self.alive()
        pair = self.pair(live) if live else None
        writes: list[Write] = []
        contents: list[Content] = []
        for region in session.regions:
            value = region.symbol.buffer.value
            if value is not region.input:
                contents.append(Content(region, len(self.outputs) + len(writes)))
                writes.append(Write(region.name, value, None))
        used = {v for i in self.recorder.instructions for v in i.values} | {*self.outputs, *(w.value for w in writes)}
        read = [r for r in session.regions if r.input in used or r.symbol.buffer.value is not r.input]
        written = {i for i, r in enumerate(read) if r.symbol.buffer.value is not r.input}
        if (both := overlapping([r.span for r in read], written)) is not None:
            refuse_overlap(*[read[i].name for i in both])
        captured = Captured()
        captured.session = session
        captured.places = self.places
        captured.result, captured.changes, captured.contents = template, changes, contents
        captured.deferred, captured.rebindings = deferred, rebindings
        inputs: list[Input] = []
        captured.sources = []
        for region in session.regions:
            if region.input in used:
                inputs.append(Input(region.input, region.kind, region.name))
                captured.sources.append(region.source)
        for number, value in self.recorder.numbers.values():
            inputs.append(Input(value, "number", named(number)))
            captured.sources.append(number)
        place_of = {given.name: i for i, given in enumerate(inputs)}
        writes = [Write(w.name, w.value, place_of.get(w.name)) for w in writes]
        captured.graph = pair and self.graph(pair, live, captured, inputs)
        captured.program = Program(
            name_of(session.function),
            inputs,
            self.recorder.constants,
            self.recorder.instructions,
            self.outputs,
            writes,
            self.names + [f"kept {i}" for i in range(len(self.outputs) - len(self.names))],
        )
        if captured.graph is not None:  # the way back was noted in the same line of instructions
            captured.program = prune(captured.program)
        return captured

    def alive(self) -> list[tuple[Tensor, Fresh]]:
        """Tensors made by the step through whose graph one may still go back."""
        found = []
        for x, fresh in self.made:
            node = edge(x)
            if node is None or isinstance(node, Tensor):
                continue
            if any(n.saved is None for n in nodes_below(node)):
                fresh.spent = Node(Label(node.op.name), (), node.shape, node.dtype)
                fresh.spent.plan, fresh.spent.saved = Plan((), (), ()), None
                fresh.spent.position = node.position
            else:
                found.append((x, fresh))
        return found

    def pair(self, live: list[tuple[Tensor, Fresh]]) -> Any:
        """The gradient of the live results, by all tensors that were there before and want one."""
        from .gradient import pullback_of_graph

        inner = [x for x, _ in self.made if x._requires_grad and x._node is None]
        if inner:
            fail(
                PullbackError,
                "the step returns a leaf that it made, and something computed from it, both with a graph",
                "detach() one of them",
            )
        self.leaves = [(k, r) for k, r in enumerate(self.session.regions) if edge(r.tensor) is not None]
        inputs = [Input(r.input, r.kind, r.name) for r in self.session.regions]
        inputs += [Input(value, "number", named(number)) for number, value in self.recorder.numbers.values()]
        edges = [edge(r.tensor) for _, r in self.leaves]
        pair = pullback_of_graph(name_of(self.session.function), self.recorder, inputs, [x for x, _ in live], edges)
        self.residuals = list(range(len(self.outputs), len(self.outputs) + len(pair.forward.outputs) - len(live)))
        self.outputs.extend(pair.forward.outputs[len(live) :])
        return pair

    def graph(self, pair: Any, live: list[tuple[Tensor, Fresh]], captured: Captured, inputs: list[Input]) -> Graph:
        """The same, in terms of the Program's own inputs and results."""
        kept = {given.value: i for i, given in enumerate(inputs)}
        old = [r.input for r in self.session.regions] + [value for _, value in self.recorder.numbers.values()]
        sources = tuple((kind, kept[old[which]] if kind == "input" else which) for kind, which in pair.sources)
        wanted, gives = [], []
        for (k, _), given in zip(self.leaves, pair.gives, strict=True):
            if old[k] in kept:
                wanted.append(kept[old[k]])
                gives.append(given)
        pair = pair._replace(sources=sources, gives=tuple(gives))
        outs = [self.outputs[fresh.index] for _, fresh in live]
        program = Program(
            name_of(self.session.function), inputs, self.recorder.constants, self.recorder.instructions, outs
        )
        graph = Graph(optimize(program), pair, wanted, [fresh.index for _, fresh in live], self.residuals)
        graph.retained = [fresh.index for _, fresh in live if fresh.retains]
        written = {c.name for c in captured.contents}
        graph.copied = [i for kind, i in sources if kind == "input" and inputs[i].name in written]
        return graph

    def phantoms_matter(self) -> bool:
        """Was a gradient read that was not there? Then the step has to be captured as it is."""
        phantoms = {value for _, value in self.session.phantoms.values()}
        if not phantoms:
            return False
        if any(v in phantoms for i in self.recorder.instructions for v in i.values) or phantoms & set(self.outputs):
            return True
        tensors = self.session.walk.tensors
        return any(tensors[key][0]._grad is grad for key, (grad, _) in self.session.phantoms.items() if key in tensors)

    def before(self, x: Tensor, key: str) -> Any:
        found = self.session.walk.places.get((id(vars(x)), key))
        return None if found is None else found[1]

    # -- what is left behind -----------------------------------------------------------------------------------------

    def template(self, x: Any, name: str) -> Any:
        """How to make x anew at each call."""
        if isinstance(x, Tensor):
            return self.tensor(x, name)
        if type(x) is Number:
            return Computed(x)
        if isinstance(x, (dict, list, tuple, deque, set, frozenset)):
            if id(x) in self.session.snapshot.nests or id(x) in self.session.walk.holders:
                return Constant(x)  # the same as before; what changes in it is a change of its own
            return self.nest(x, name)
        if type(x) in PLAIN_TYPES or id(x) in self.session.walk._seen:
            return Constant(x)
        if isinstance(x, np.ndarray):
            return Copy(x)
        if id(x) in self.records:
            return self.records[id(x)]
        if type(x) is Symbol:
            fail(
                PullbackError,
                f"{name} keeps the array of a tensor, which is a symbol during capture",
                "keep the tensor",
            )
        if isinstance(x, (Iterator, MappingView, Coroutine)):
            what = f"{name} is a {type(x).__name__}, whose items are made or read later"
            fail(PullbackError, what, "make a list of it")
        if isinstance(x, types.FunctionType):
            for variable, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True):
                held = Place(cell, None, variable, cell).get()
                if any(isinstance(v, Tensor) and id(v) not in self.session.walk.tensors for v in trees.leaves(held)):
                    fail(PullbackError, f"{name} is a function that keeps a tensor of the step, {variable}",
                         "return the tensor, and make the function outside")  # fmt: skip
        elif not isinstance(x, type) and (fields := fields_of(x)) and (users(type(x)) or holds(x, set())):
            record = self.records[id(x)] = Record(x)
            record.parts = {k: self.template(v, f"{name}.{k}") for k, v in fields.items()}
            return record
        return Constant(x)

    def nest(self, x: Any, name: str) -> Nest:
        """How to make a container of what is in x."""
        parts = x.items() if isinstance(x, dict) else enumerate(x)
        return Nest(x, [self.template(v, f"{name}[{k!r}]") for k, v in parts])

    def tensor(self, x: Tensor, name: str) -> Any:
        if id(x) in self.session.walk.tensors:
            i = next((i for i, a in enumerate(self.session.arguments) if a is x), None)
            if i is not None and id(x) not in self.session.walk.arrivals:
                return Same(Source(argument=i))
            return Same(self.session.source(x))
        fresh = self.of_symbol.get(id(x))
        if fresh is None:
            fresh = self.of_symbol[id(x)] = Fresh(len(self.outputs), x)
            array = x._array
            self.outputs.append(array.value() if type(array) is Symbol else self.recorder.constant(np.asarray(array)))
            self.names.append(name)
            self.places.append(array.device)
            self.made.append((x, fresh))
            fresh.fields = {
                k: self.template(v, f"{name}.{k.strip('_')}")
                for k, v in vars(x).items()
                if not k.startswith("_") or (k == "_grad" and v is not None)
            }
        return fresh

    def changes(self) -> list[Change]:
        """Places that hold something else now."""
        found: list[Change] = []
        walk = self.session.walk
        skip = {id(g) for optimizer, _ in walk.optimizers for g in optimizer.param_groups}
        arguments = {id(a): i for i, a in enumerate(self.session.arguments) if isinstance(a, Tensor)}
        for holder, before in self.session.snapshot.holders:
            _, name, owner = walk.holders[id(holder)]
            if id(holder) in skip:
                for key, now in holder.items():
                    if now is not self.session.numbers.get((id(holder), key)) and changed(
                        now, before.get(key, MISSING)
                    ):
                        found.append(
                            Change(Place(holder, key, f"{name}[{key!r}]", owner), self.template(now, name), None)
                        )
                continue
            if isinstance(owner, Tensor):
                self.tensor_changes(found, owner, before, name, arguments.get(id(owner)))
            elif isinstance(holder, (list, deque)):
                if len(holder) != len(before) or any(a is not b for a, b in zip(holder, before, strict=True)):
                    found.append(Change(Place(holder, None, name, owner), self.template(list(holder), name), None))
            else:
                for key in [*holder, *(k for k in before if k not in holder)]:
                    now, then = holder.get(key, MISSING), before.get(key, MISSING)
                    if changed(now, then):
                        label = name if isinstance(key, Tensor) else f"{name}.{key}"
                        found.append(Change(Place(holder, key, label, owner), self.template(now, label), None))
        for place, then in (*self.session.snapshot.cells, *self.session.snapshot.globals):
            now = place.get()
            if changed(now, then):
                found.append(Change(place, self.template(now, place.name), None))
        for nest, before, name in self.session.snapshot.nests.values():
            if id(nest) not in walk.holders and differ(nest, before):
                found.append(Change(Place(nest, None, name, nest), self.nest(nest, name), None))
        for kept, before, name in walk.sets:
            if kept != before:
                kept.clear()
                kept.update(before)
                fail(
                    PullbackError, f"the step changes the set {name}, which cannot be captured", "use a dict or a list"
                )
        return found

    def rebindings(self) -> list[Rebinding]:
        """Tensors that were given other memory."""
        found = []
        for x, name in list(self.session.walk.tensors.values()):
            storage, array = self.session.lifted[id(x)]
            if x._storage is storage and x._array.buffer is array.buffer and x._array.shape == array.shape:
                continue
            owner = next(
                (r for r in self.session.regions if r.tensor._storage is x._storage and r.tensor is not x), None
            )
            if x._storage is storage or x._array is not x._storage.array or owner is not None:
                fail(
                    PullbackError,
                    f"{name} is given the shape or the memory of another tensor in place, which cannot be captured",
                    "make a new tensor instead",
                )
            twin = wrap(x._array)
            i = next(
                (i for i, a in enumerate(self.session.arguments) if a is x and id(x) not in self.session.walk.arrivals),
                None,
            )
            source = self.session.source(x) if i is None else Source(argument=i)
            found.append(Rebinding(source, self.tensor(twin, name), name))
            self.session.recorder.keep.append(twin)
        return found

    def tensor_changes(self, found: list[Change], x: Tensor, before: Any, name: str, argument: int | None) -> None:
        """A tensor's gradient, flag and attributes; what its memory holds is written as content."""
        now = vars(x)
        for key in ("_grad", *(k for k in {**now, **before} if not k.startswith("_") or k in HOOKS)):
            a, b = now.get(key), before.get(key)
            if key == "_grad" and id(x) in self.session.phantoms and a is None:
                found.append(Change(Place(now, key, f"{name}.grad", x), Constant(None), argument))
            elif changed(a, b):
                if key == "_grad" and not self.keep_grads and a is not None and b is None:
                    continue
                found.append(
                    Change(
                        Place(now, key, f"{name}.{key.strip('_')}", x),
                        self.template(a, f"{name}.{key.strip('_')}"),
                        argument,
                    )
                )
        if now.get("_requires_grad", False) != before.get("_requires_grad", False) and not any(
            x is t for t, _ in self.session.outer
        ):
            found.append(Change(Place(now, "_requires_grad", name, x), Constant(x._requires_grad), argument))


def nodes_below(root: Any) -> Iterator[Any]:
    """A node and all that it leads to."""
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        yield node
        for below in node.edges:
            if below is not None and not isinstance(below, Tensor) and below not in seen:
                seen.add(below)
                stack.append(below)


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


def users(cls: type) -> bool:
    """Is it a class of the user's?"""
    return not is_library(getattr(sys.modules.get(cls.__module__), "__file__", None) or LIBRARY)


def fields_in(thing: Any) -> Any:
    """A dict, or the dict of an object's attributes."""
    return thing if isinstance(thing, dict) else vars(thing)


def fields_of(x: Any) -> dict[str, Any]:
    """An object's attributes."""
    slots = Slots(x)
    found = {**getattr(x, "__dict__", {}), **{key: slots.get(key) for key in slots_of(type(x))}}
    return {key: value for key, value in found.items() if value is not MISSING}


def holds(x: Any, seen: set[int]) -> bool:
    """Is a tensor, or a number that may differ from call to call, to be found in x?"""
    if isinstance(x, (Tensor, Number)) or id(x) in seen:
        return id(x) not in seen
    seen.add(id(x))
    if isinstance(x, (dict, list, tuple, deque, set, frozenset)):
        return any(holds(part, seen) for part in (x.values() if isinstance(x, dict) else x))
    return not isinstance(x, (type, types.ModuleType)) and any(holds(v, seen) for v in fields_of(x).values())


def span(array: Any) -> tuple[int, int]:
    """Where memory begins and ends; on a device, a number that stands for it."""
    if type(array) is np.ndarray:
        if array.flags.c_contiguous:
            first = array.__array_interface__["data"][0]
            return first, first + array.nbytes
        return np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
    if (memory := getattr(array, "memory", None)) is None:  # a symbol
        return 0, 0
    return -id(memory), 1 - id(memory)


def overlapping(spans: Sequence[tuple[int, int]], written: set[int]) -> tuple[int, int] | None:
    """Two pieces of memory that overlap, one of which is written."""
    last = last_written = -1
    end = end_written = -math.inf
    for i in sorted(range(len(spans)), key=spans.__getitem__):
        first, stop = spans[i]
        if first == stop:
            continue
        if first < end_written:
            return last_written, i
        if i in written:
            if first < end:
                return last, i
            last_written, end_written = i, stop
        if stop > end:
            last, end = i, stop
    return None


def same_elements(x: Any, y: Any) -> bool:
    """Do two NumPy arrays hold the same?"""
    return np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")


def refuse_overlap(one: str, other: str) -> None:
    fail(
        PullbackError,
        f"{one} and {other} share memory, and the step writes there: what is in the one changes with the other, which "
        "cannot be captured",
        "clone() one of them, or let the step reach the one through the other",
    )


def named(number: Number) -> str:
    """The expression, with the places it reads."""
    text = number.source
    for leaf, (source, *_) in sorted(number.leaves.items(), reverse=True):
        text = text.replace(leaf, source)
    return text
