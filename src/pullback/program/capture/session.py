"""Capture: run a function once on symbols, and note all that it does.

The function runs as it always does, on the same tensors, whose arrays are symbols meanwhile. Afterwards everything is
put back as it was, and what had changed is known: that is what a call of the Program has to write.
"""

from __future__ import annotations

import gc
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from ... import trees
from ...errors import PullbackError, fail
from ...modes import MODES, no_grad
from ...ops.record import WATCHERS
from ...ops.strided import as_strided
from ...tensor import Storage, Tensor, wrap
from ..program import Value
from .assembly import Assembly, nodes_below
from .captured import Captured
from .places import MISSING, Walk
from .recorder import Recorder
from .refusals import notice, notice_calls, refuse_call, refuse_iterator, refuse_outside, state_of
from .regions import Region, Source, same_place
from .snapshot import Held, Snapshot, fields_of, put_fields
from .symbol import Number, Symbol, look

GRADIENTS = ("backward", "step", "unscale_", "update")  # methods that look at gradients
SETTINGS = {"no_grad", "enable_grad", "set_grad_enabled", "is_grad_enabled", "requires_grad", "requires_grad_"}


class Session:
    """One capture: what was found, what it looked like before, and what was recorded."""

    def __init__(
        self, function: Callable[..., Any], args: Any, kwargs: Any, phantoms: bool, absent: set[int] | None = None
    ) -> None:
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
        names = self.walk.names - SETTINGS
        asks = any("grad" in name or name in GRADIENTS for name in names)
        self.grads = asks or hasattr(function, "_gradients")  # may it look at gradients? (the Trainer's step says so)
        self.use_phantoms = phantoms and self.grads
        self.absent = set() if absent is None else absent  # tensors whose gradient must not be made up
        self.snapshot = Snapshot(self.walk)
        self.memory = [Held(*found) for found in self.walk.arrays.values()]
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
            for held in self.memory:
                if held.changed():
                    fail(PullbackError, f"the step writes into the {held.kind} {held.name}, which cannot be captured",
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
        symbolic = [(thing, fields_of(thing)) for thing, _ in real]
        before, MODES.capture = MODES.capture, None
        profile = sys.getprofile()
        sys.setprofile(None)
        try:
            for thing, fields in real:
                put_fields(thing, fields)
            with no_grad():
                made = make()
        finally:
            for thing, fields in symbolic:
                put_fields(thing, fields)
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
                if x._requires_grad and x._grad is None and id(x) not in arguments and id(x) not in self.absent:
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
        symbol = self.symbol_for(array)
        self.regions.append(Region(x, symbol, Source(argument=i), self.argument_name(i), array))
        x._array, x._storage, x._base, x._path = symbol, Storage(symbol), None, ()

    def symbol_for(self, array: Any) -> Symbol:
        return self.recorder.symbol(array.shape, array.dtype, array.strides, array.device, array.flags.writeable)

    def argument_name(self, i: int) -> str:
        """`x`, as the function calls it."""
        called = self.function
        if not hasattr(called, "__code__"):  # a module
            called = getattr(called, "forward", called)
        code = getattr(inspect.unwrap(called), "__code__", None)
        names = code.co_varnames[: code.co_argcount] if code is not None else ()
        names = names[1:] if isinstance(called, types.MethodType) else names
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
        base = self.symbol_for(array)
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


def capture(function: Callable[..., Any], args: Any, kwargs: Any, keep_grads: bool = True) -> Captured:
    """Run `function` on symbols; what it did, as a Program."""
    absent: set[int] = set()
    for phantoms in (True, True, False):  # it may read gradients that are not there yet, or leave some as they are
        captured = _capture(function, args, kwargs, keep_grads, phantoms, absent)
        if captured is not None:
            break
    assert captured is not None
    return captured


def _capture(
    function: Any, args: Any, kwargs: Any, keep_grads: bool, phantoms: bool, absent: set[int]
) -> Captured | None:
    session = Session(function, args, kwargs, phantoms, absent)
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
        for held in session.memory:
            held.restore()
