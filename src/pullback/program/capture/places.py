"""Where a step keeps its state: found by looking, not declared.

From the function and its arguments we go wherever its code can go: closure cells, globals it names, attributes of
objects, modules, optimizers, generators, items of lists and dicts. Each place that holds a tensor is a slot: the tensor
is an input of the Program, and what the place holds after the step is written back. Each place that holds a plain value
is a condition: another value captures anew.
"""

from __future__ import annotations

import array
import builtins
import ctypes
import dis
import functools
import sys
import types
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ... import trees
from ...errors import LIBRARY, PACKAGE
from ...hooks import SHARED
from ...modes import CHANGES, Aside, Watched
from ...ops.record import Op
from ...random import default_generator
from ...tensor import Tensor

PLAIN_TYPES = (int, float, bool, str, bytes, complex, type(None), type(...), range, slice)
OPAQUE = (Op, Aside, types.BuiltinFunctionType, types.CodeType, types.FrameType)
MEMORY = (np.ndarray, bytearray, array.array, ctypes.Array)
HOOKS = ("_hooks", "_after_hooks")  # attributes of a tensor
BOOKKEEPING = ("_opt_called", "_stepping")  # that steps note for warnings, and nothing depends on
TABLES = ("_parameters", "_buffers", "_modules")  # of a module
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "nothing"})()


class Place(NamedTuple):
    """Something that can hold a value: an attribute, an item, a closure cell."""

    holder: Any  # a dict, a list, or a cell
    key: Any
    name: str
    owner: Any  # the object whose attributes `holder` are, or the holder itself

    def get(self) -> Any:
        if type(self.holder) is types.CellType:
            try:
                return self.holder.cell_contents
            except ValueError:
                return MISSING
        try:
            return self.holder[self.key]
        except (KeyError, IndexError):
            return None if self.key == "_grad" else MISSING

    def set(self, value: Any) -> None:
        if type(self.holder) is types.CellType:
            self.holder.cell_contents = value
        elif value is MISSING:
            self.holder.pop(self.key, None)
        elif isinstance(self.holder, dict):
            if self.key != "_grad" and not alike(self.holder.get(self.key), value):
                CHANGES.count += 1  # it may be a condition that is looked at only after a change; a gradient is not
            dict.__setitem__(self.holder, self.key, value)  # not counted as a change otherwise: we made it
        else:
            self.holder[self.key] = value


class Walk:
    """All that a function can reach."""

    def __init__(self, function: Any, args: Any = (), kwargs: Any = None) -> None:
        self.places: dict[tuple[int, Any], tuple[Place, Any]] = {}  # and what each holds
        self.holders: dict[int, tuple[Any, str, Any]] = {}  # dicts and lists: (itself, name, owner)
        self.modules: dict[int, str] = {}
        self.optimizers: list[tuple[Any, str]] = []
        self.schedulers: list[Any] = []
        self.tensors: dict[int, tuple[Tensor, str]] = {}
        self.access: dict[int, tuple[Place, int | None]] = {}  # where a tensor is found: in a place, as the n-th leaf
        self.named: dict[int, bool] = {}  # parameters that have their module's name
        self.sets: list[tuple[set[Any], set[Any], str]] = []  # and what is in them
        self.arrays: dict[int, tuple[Any, str]] = {}  # NumPy's, and other memory that is not a tensor's
        self.owners: dict[int, tuple[Any, str, bool]] = {}  # attributes: (itself, name, of a class of ours)
        self.caches: list[Any] = []  # functools.lru_cache
        self.iterators: list[tuple[Any, str]] = []
        self.arrivals: Counter[int] = Counter()  # in how many ways each tensor is reached
        self.drawing: list[Any] = [np.random]  # NumPy's random generators
        self.names: set[str] = {"_hooks", "forward"}  # that the user's code uses
        self._seen: dict[int, Any] = {}
        self._members: list[Place] = []  # not yet known to be used: of users' classes, and the state of LBFGS
        self._modules: list[tuple[types.ModuleType, str]] = []  # of users
        self._plain: list[tuple[Any, Any, str, Any]] = []  # plain values, which matter if the code names them
        self._queue: deque[tuple[Any, str]] = deque()
        self._late: list[tuple[Any, str]] = []  # dicts by tensors, which have their names when all else has been seen
        self.visit(default_generator, "default_generator")
        for hooks, name in SHARED:
            self.visit(hooks, name)
        self.visit(function, name_of(function))
        for leaf in trees.leaves((args, kwargs or {})):
            if isinstance(leaf, Tensor):
                self._seen[id(leaf)] = leaf  # arguments are inputs of their own
                self.tensor(leaf, "")
            else:
                self.visit(leaf, type(leaf).__name__.lower())
        self.run()

    def run(self) -> None:
        """Go on until nothing new is found."""
        while True:
            while self._queue or self._late:
                if self._queue:
                    self.look(*self._queue.popleft())
                else:
                    self.items(*self._late.pop(0))
            members, self._members = self._members, []
            for place in members:
                names = (place.key, "state_dict") if place.key == "state" else (place.key,)
                if not self.names.isdisjoint(names) or place.key.startswith("__"):
                    self.hold(*place, place.get())
                else:
                    self._members.append(place)
            for module, name in self._modules:
                own = vars(module)
                for key in self.names & own.keys():
                    if (id(own), key) not in self.places:
                        self.hold(own, key, joined(name, key), module, own[key])
            if not self._queue:
                break
        for holder, key, name, owner in self._plain:
            if key in self.names:
                place = Place(holder, key, name, owner)
                self.places[id(holder), key] = place, (value := place.get())
                CHANGES.names.add(key)
                if is_iterator(value):
                    self.iterators.append((value, name))
        self._plain = []

    def visit(self, x: Any, name: str) -> None:
        """Come to an object, once."""
        if isinstance(x, Tensor):
            self.arrivals[id(x)] += 1
        if type(x) in PLAIN_TYPES or x is MISSING or id(x) in self._seen or isinstance(x, OPAQUE):
            return
        self._seen[id(x)] = x
        self._queue.append((x, name))

    def hold(self, holder: Any, key: Any, name: str, owner: Any, value: Any) -> None:
        """A place, and on to what it holds; once, though several functions may name it."""
        if (id(holder), key) in self.places and self.places[id(holder), key][1] is value:
            return
        place = Place(holder, key, name, owner)
        self.places[id(holder), key] = place, value
        if type(key) is str:
            CHANGES.names.add(key)
        if isinstance(value, Tensor):
            self.access.setdefault(id(value), (place, None))
        elif is_nest(value):
            for i, (leaf, label) in enumerate(zip(trees.leaves(value), labels(value, name), strict=True)):
                if isinstance(leaf, Tensor):
                    self.access.setdefault(id(leaf), (place, i))
                    self.visit(leaf, label)
            return
        self.visit(value, name)

    def look(self, x: Any, name: str) -> None:
        """Find the places of one object."""
        if isinstance(x, Tensor):
            self.tensor(x, name)
        elif isinstance(x, (np.random.Generator, np.random.RandomState)):
            self.drawing.append(x)
        elif isinstance(x, MEMORY):
            self.arrays[id(x)] = x, name
        elif isinstance(x, memoryview):
            self.visit(x.obj, name)
        elif isinstance(x, types.FunctionType):
            self.function(x)
        elif isinstance(x, types.MethodType):
            self.visit(x.__self__, type(x.__self__).__name__.lower())
            self.visit(x.__func__, name)
        elif isinstance(x, functools.partial):
            for part in (x.func, *x.args, *x.keywords.values()):
                self.visit(part, name)
        elif isinstance(x, (property, staticmethod, classmethod)):
            for part in (x.fget, x.fset) if isinstance(x, property) else (x.__func__,):
                self.visit(part, name)
        elif isinstance(x, functools._lru_cache_wrapper):
            self.caches.append(x)
            self.visit(x.__wrapped__, name)
        elif isinstance(x, weakref.ref):
            self.visit(x(), name)
        elif isinstance(x, type):
            self.methods(x)
        elif isinstance(x, dict):
            if isinstance(next(iter(x), None), Tensor):
                self._late.append((x, name))
            else:
                self.items(x, name)
        elif isinstance(x, (list, tuple, set, frozenset, deque)):
            self.sequence(x, name)
        elif isinstance(x, types.ModuleType):
            if not is_library(getattr(x, "__file__", None) or LIBRARY):
                self._modules.append((x, name))
        elif is_iterator(x):
            self.iterators.append((x, name))
        elif hasattr(type(x), "_is_compiled"):
            self.visit(x._function, name)
        elif hasattr(type(x), "get_last_lr"):
            self.schedulers.append(x)
            self.visit(x.optimizer, f"{name}.optimizer")
        elif hasattr(x, "__dict__") or slots_of(type(x)):
            own = getattr(x, "__dict__", {})
            if hasattr(x, "param_groups"):
                self.optimizers.append((x, name))
            elif "_modules" in own and "_parameters" in own:
                self.modules[id(x)] = name
            if not is_ours(type(x)):
                self.methods(type(x))
            self.attributes(x, name)

    def tensor(self, x: Tensor, name: str) -> None:
        """A tensor, its gradient, and the tensor it is a view of."""
        if id(x) in self.named:
            name = self.access[id(x)][0].name
        self.tensors[id(x)] = x, name
        self.holders[id(vars(x))] = vars(x), name, x
        if x._requires_grad or x._grad is not None:
            vars(x).setdefault("_grad", None)  # so that checks may look it up there
            self.hold(vars(x), "_grad", f"{name}.grad", x, x._grad)
        for key, value in list(vars(x).items()):
            if not key.startswith("_"):
                self.attribute(vars(x), key, joined(name, key), x, value, False)
        if not name:  # an argument: its own piece of memory, and other hooks each time
            for key in HOOKS:
                self.visit(getattr(x, key), key)
            return
        if x._requires_grad:
            for key in HOOKS:
                self.hold(vars(x), key, f"{name}.{key.strip('_')}", x, vars(x).get(key, MISSING))
        if x._base is not None:
            self.visit(x._base, f"{name}._base")

    def function(self, f: types.FunctionType) -> None:
        """Closure cells, and the globals that its code names."""
        code = f.__code__
        for freevar, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            try:
                self.hold(cell, None, freevar, cell, cell.cell_contents)
            except ValueError:  # empty
                self.hold(cell, None, freevar, cell, MISSING)
        for default in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self.visit(default, f.__name__)
        if (wrapped := getattr(f, "__wrapped__", None)) is not None:
            self.visit(wrapped, f.__name__)
        if is_library(code.co_filename):
            return
        self.attributes(f, f.__name__)
        self.names.update(names_in(code))
        for name in globals_in(code):
            value = f.__globals__.get(name, MISSING)
            if value is not MISSING or not hasattr(builtins, name):
                self.hold(f.__globals__, name, name, f.__globals__, value)

    def methods(self, cls: type) -> None:
        """Methods of a user's class are looked into once their name is used; its attributes as well."""
        for base in cls.__mro__:
            if (base is not cls and id(base) in self._seen) or is_ours(base):
                continue
            self._seen[id(base)] = base
            if is_library(getattr(sys.modules.get(base.__module__), "__file__", None) or LIBRARY):
                continue
            self.owners[id(base)] = vars(base), base.__name__, False
            members = ClassItems(base)
            for name, member in vars(base).items():
                if not name.startswith("__") or isinstance(member, (types.FunctionType, staticmethod, classmethod)):
                    self._members.append(Place(members, name, f"{base.__name__}.{name}", base))
                    if any(is_ours(c) and name in vars(c) for c in cls.__mro__):  # it is called from here
                        self.names.add(name)

    def attributes(self, x: Any, name: str) -> None:
        """What an object's attributes hold; of a user's object, plain values matter if the code names them."""
        own, ours = getattr(x, "__dict__", None), is_ours(type(x))
        if own is not None:
            self.holders[id(own)] = own, name, x
            self.owners[id(own)] = own, name, ours
        for key, value in list((own or {}).items()):
            if key in BOOKKEEPING and ours:
                continue
            if key == "state" and not getattr(x, "_captured", True):
                self._members.append(Place(own, key, joined(name, key), x))
                continue
            if key in TABLES:
                self.places[id(own), key] = Place(own, key, joined(name, key), x), value
                self.holders[id(value)] = value, joined(name, key), x
                for child, part in value.items():
                    self.hold(value, child, joined(name, child), x, part)
                    self.best_name(part, value, child, joined(name, child), x)
            else:
                self.attribute(own, key, joined(name, key), x, value, ours)
        slots = Slots(x)
        for key in slots_of(type(x)):
            self.attribute(slots, key, joined(name, key), x, slots.get(key), ours)

    def attribute(self, holder: Any, key: str, name: str, owner: Any, value: Any, ours: bool) -> None:
        """One of them."""
        if not ours and (type(value) in PLAIN_TYPES or value is MISSING or is_iterator(value)):
            self._plain.append((holder, key, name, owner))
        else:
            self.hold(holder, key, name, owner, value)

    def best_name(self, x: Any, table: Any, key: str, name: str, owner: Any) -> None:
        """A parameter is best known by its module, also if an optimizer was seen before."""
        if isinstance(x, Tensor) and not self.named.get(id(x)):
            self.named[id(x)] = True
            self.access[id(x)] = Place(table, key, name, owner), None
            if id(x) in self.tensors:
                self.tensors[id(x)] = x, name
                if (held := self.places.get((id(vars(x)), "_grad"))) is not None:
                    self.places[id(vars(x)), "_grad"] = held[0]._replace(name=f"{name}.grad"), held[1]

    def items(self, x: dict[Any, Any], name: str) -> None:
        """The items of a dict."""
        self.holders[id(x)] = x, name, x
        for key, value in list(x.items()):
            label = self.tensors[id(key)][1] if id(key) in self.tensors else key
            text = f"a tensor of shape {list(key.shape)}" if isinstance(label, Tensor) else repr(label)
            self.hold(x, key, f"{name}[{text}]", x, value)
            if isinstance(key, Tensor):
                self.visit(key, text if label is key else label)

    def sequence(self, x: Iterable[Any], name: str) -> None:
        """The items of a list, a tuple or a set."""
        if isinstance(x, (list, deque)):
            self.holders[id(x)] = x, name, x
        if isinstance(x, set):
            self.sets.append((x, set(x), name))
        for i, value in enumerate(x):
            if isinstance(x, (list, deque)):
                self.hold(x, i, f"{name}[{i}]", x, value)
            else:
                self.visit(value, f"{name}[{i}]")


def is_iterator(x: Any) -> bool:
    """Does it give its items once, and not show how far it is: a generator, zip(), itertools.cycle()?"""
    return isinstance(x, Iterator) and not hasattr(x, "__dict__")


def alike(x: Any, y: Any) -> bool:
    """Would a condition that holds for x hold for y? Of tensors, all that matters is checked before each call."""
    if x is y or (isinstance(x, Tensor) and isinstance(y, Tensor)):
        return True
    if type(x) is not type(y):
        return False
    if isinstance(x, dict):
        return list(map(id, x)) == list(map(id, y)) and all(map(alike, x.values(), y.values()))
    if isinstance(x, (list, tuple)):
        return len(x) == len(y) and all(map(alike, x, y))
    return type(x) in PLAIN_TYPES and equal(x, y)


def equal(x: Any, y: Any) -> bool:
    """Are two plain values of one type the same? NaN is, and 0.0 is not -0.0."""
    return bool(x == y and x) or repr(x) == repr(y)


def is_nest(x: Any) -> bool:
    """A tuple, list or dict with nothing but tensors, plain values and such nests in it.

    An optimizer's group is none: its numbers are inputs.
    """
    if (
        not (type(x) in (tuple, list, dict, Watched) or (isinstance(x, tuple) and hasattr(x, "_fields")))
        or (not isinstance(x, tuple) and len(x) > 1000)
        or (type(x) is dict and "params" in x)
    ):
        return False
    parts = x.values() if isinstance(x, dict) else x
    return all(type(v) in PLAIN_TYPES or isinstance(v, Tensor) or is_nest(v) for v in parts)


def structure(tree: Any) -> Any:
    """The shape of a nest: its containers and the classes of its leaves."""
    if isinstance(tree, dict):
        return [type(tree).__name__, *((key, structure(part)) for key, part in tree.items())]
    if isinstance(tree, (list, tuple)):
        return [type(tree).__name__, *map(structure, tree)]
    return type(tree)


def keys_of(own: Any, ours: bool, names: set[str]) -> frozenset[str]:
    """The attributes that an object or a class has, as far as it matters."""
    return frozenset(own.keys() - set(BOOKKEEPING) if ours else own.keys() & names)


class ClassItems:
    """A class's attributes as items."""

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def __getitem__(self, key: str) -> Any:
        return vars(self.cls)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.cls, key, value)

    def pop(self, key: str, default: Any = None) -> None:
        if key in vars(self.cls):
            delattr(self.cls, key)


class Slots:
    """An object's attributes in slots, as items."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def get(self, key: str) -> Any:
        try:
            return object.__getattribute__(self.owner, key)
        except AttributeError:
            return MISSING

    def __getitem__(self, key: str) -> Any:
        if (value := self.get(key)) is MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        object.__setattr__(self.owner, key, value)

    def pop(self, key: str, default: Any = None) -> None:
        if self.get(key) is not MISSING:
            object.__delattr__(self.owner, key)


def slots_of(cls: type) -> tuple[str, ...]:
    """The attributes that a class keeps in slots."""
    fields = [field for base in cls.__mro__ if "__slots__" in vars(base) for field in vars(base).items()]
    return tuple([name for name, field in fields if type(field) is types.MemberDescriptorType])


def labels(nest: Any, name: str) -> Iterator[str]:
    """What to call each leaf of a nest."""
    if isinstance(nest, (dict, list, tuple)):
        for key, part in nest.items() if isinstance(nest, dict) else enumerate(nest):
            yield from labels(part, f"{name}[{key!r}]")
    else:
        yield name


def joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__.lower())


def names_in(code: types.CodeType) -> Iterator[str]:
    """All names that a function's code uses, and strings that might be names."""
    yield from (name for name in code.co_names if name not in only_begun(code))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)
        elif isinstance(constant, str) and constant.isidentifier():
            yield constant


@functools.cache
def only_begun(code: types.CodeType) -> frozenset[str]:
    """Attributes that an __init__ gives to its new object and never looks at: other objects' may be as they like."""
    if code.co_name != "__init__" or not code.co_varnames:
        return frozenset()
    begun, used = set[str](), set[str]()
    loaded: Any = None  # by the instruction before: several, as a tuple
    for i in dis.get_instructions(code):
        if i.opcode in dis.hasname:
            last = loaded[-1] if isinstance(loaded, tuple) else loaded
            (begun if i.opname == "STORE_ATTR" and last == code.co_varnames[0] else used).add(i.argval)
        loaded = i.argval if i.opname.startswith("LOAD_FAST") or i.opname == "LOAD_DEREF" else None
    return frozenset(begun - used)


@functools.cache
def globals_in(code: types.CodeType) -> frozenset[str]:
    """The globals that a function's code reads or writes."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL")}
    nested = [globals_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return frozenset(found.union(*nested))


def is_library(file: str) -> bool:
    """Python's own, installed packages, and pullback."""
    return file.startswith((PACKAGE, LIBRARY, "<frozen")) or "site-packages" in file


def is_ours(cls: type) -> bool:
    """Is the class pullback's own?"""
    return cls.__module__.partition(".")[0] == "pullback"
