"""Modules and parameters in lists and dictionaries; Sequential calls its modules one after the other."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self

from ..errors import ArgumentError, DTypeError, RangeError, fail
from ..modes import Watched
from ..tensor import Tensor
from .module import Module, indented
from .parameter import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


def position(index: Any, size: int) -> int:
    """An index that may count from the end, as one that counts from 0."""
    i = operator.index(index)
    if not -size <= i < size:
        fail(RangeError, f"index {i} is out of range for {size} elements")
    return i % size


def pairs(entries: Any, what: str) -> Iterable[tuple[str, Any]]:
    """Names and values of a mapping, or of an iterable of pairs."""
    if isinstance(entries, (Mapping, ModuleDict, ParameterDict)):
        return entries.items()
    if not isinstance(entries, Iterable) or isinstance(entries, Tensor):
        fail(DTypeError, f"{what} is made from a mapping or from (name, value) pairs, not {type(entries).__name__}")
    return ((name, value) for name, value in entries)


def each(values: Any, what: str) -> Iterable[Any]:
    """The elements of an iterable; a tensor is never meant."""
    if not isinstance(values, Iterable) or isinstance(values, Tensor):
        fail(DTypeError, f"{what} is extended by an iterable, not by {type(values).__name__}")
    return list(values)


class _Numbered(Module):
    """Modules by position: what Sequential and ModuleList have in common."""

    def _name(self, index: Any) -> str:
        return list(self._modules)[position(index, len(self))]

    def _renumber(self, modules: Iterable[Any]) -> None:
        self._modules = Watched((str(i), module) for i, module in enumerate(modules))

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return type(self)(list(self)[idx])
        return self._modules[self._name(idx)]

    def __setitem__(self, idx: Any, module: Module) -> None:
        setattr(self, self._name(idx), module)

    def __delitem__(self, idx: Any) -> None:
        gone = list(self._modules)[idx] if isinstance(idx, slice) else [self._name(idx)]
        self._renumber([module for name, module in self._modules.items() if name not in gone])

    def pop(self, key: Any) -> Any:
        """Take out the module at this position, or the modules of a slice."""
        taken = self[key]
        del self[key]
        return taken

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in each(modules, type(self).__name__):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Put a module before position `index`; those behind it move on by one."""
        n = len(self)
        if not isinstance(module, Module):
            fail(DTypeError, f"{type(module).__name__} is not a Module", "insert a Module")
        if not -n <= index <= n:
            fail(RangeError, f"index {index} is out of range for {n} modules")
        if list(self._modules) != [str(i) for i in range(n)]:
            fail(
                ArgumentError, "the modules have names, which insert() would have to change", "use add_module(name, m)"
            )
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]


class Sequential(_Numbered):
    """f3(f2(f1(x))): modules called one after the other."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = len(args) == 1 and isinstance(args[0], OrderedDict)
        for name, module in args[0].items() if named else enumerate(args):
            self.add_module(str(name), module)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):  # keeps the names
            return type(self)(OrderedDict(list(self._modules.items())[idx]))
        return super().__getitem__(idx)

    def __add__(self, other: Any) -> Sequential:
        return Sequential(*self).__iadd__(other)

    def __iadd__(self, other: Any) -> Self:
        if not isinstance(other, Sequential):
            fail(ArgumentError, f"only a Sequential can be added to a Sequential, not {type(other).__name__}")
        return self.extend(other)

    def __mul__(self, other: int) -> Sequential:
        return Sequential(*self).__imul__(other)

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Self:
        """The same modules, `other` times."""
        if not isinstance(other, int):
            fail(DTypeError, f"a Sequential can be multiplied by a number, not by {type(other).__name__}")
        if other <= 0:
            fail(ArgumentError, f"a Sequential cannot be repeated {other} times")
        return self.extend(list(self) * (other - 1))


class ModuleList(_Numbered):
    """Modules in a list."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(self).extend(other)

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __repr__(self) -> str:
        runs: list[list[Any]] = []  # [first, last, text]: equal neighbours are shown once
        for i, module in enumerate(self):
            if runs and runs[-1][2] == repr(module):
                runs[-1][1] = i
            else:
                runs.append([i, i, repr(module)])
        lines = [
            f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}"
            for first, last, text in runs
        ]
        return f"{self._get_name()}({indented(lines)})"


class ModuleDict(Module):
    """Modules in a dictionary."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def update(self, modules: Any) -> None:
        """Add modules by name: of a mapping, or of (name, module) pairs."""
        for name, module in pairs(modules, "a ModuleDict"):
            self[name] = module

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take out all modules."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take out the module of this name."""
        return self._modules.pop(key)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Any]:
        """The modules."""
        return self._modules.values()

    def items(self) -> ItemsView[str, Any]:
        """Names and modules."""
        return self._modules.items()


def as_parameter(value: Any) -> Any:
    """Tensors become Parameters; everything else stays what it is."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


class ParameterList(Module):
    """Parameters in a list; tensors put into it become Parameters, other things stay what they are."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return type(self)(list(self)[idx])
        return getattr(self, str(position(idx, len(self))))

    def __setitem__(self, idx: int, param: Any) -> None:
        setattr(self, str(position(idx, len(self))), as_parameter(param))

    def append(self, value: Any) -> Self:
        """Add one at the end."""
        self._size += 1
        self[-1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several at the end."""
        for value in each(values, "a ParameterList"):
            self.append(value)
        return self

    def __iadd__(self, parameters: Iterable[Any]) -> Self:
        return self.extend(parameters)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def extra_repr(self) -> str:
        return described(enumerate(self), lambda p: str(p.dtype))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        fail(DTypeError, "a ParameterList holds parameters and cannot be called", "use its elements in forward()")


class ParameterDict(Module):
    """Parameters in a dictionary; tensors put into it become Parameters, other things stay what they are."""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def update(self, parameters: Any) -> None:
        """Add entries; those of a plain dict in the order of their names, as PyTorch does."""
        entries = pairs(parameters, "a ParameterDict")
        plain = isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict)
        for name, value in sorted(entries, key=operator.itemgetter(0)) if plain else entries:
            self[name] = value

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            fail(DTypeError, f"the keys of a ParameterDict are strings, not {type(key).__name__}", "use str(key)")
        if key not in self._keys and hasattr(self, key):
            raise KeyError(f"attribute {key!r} already exists")
        setattr(self, key, as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        """The parameters."""
        return (self[key] for key in self._keys)

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and parameters."""
        return ((key, self[key]) for key in self._keys)

    def copy(self) -> ParameterDict:
        """Another dictionary of the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def get(self, key: str, default: Any = None) -> Any:
        """The entry, or `default`."""
        return self[key] if key in self else default  # noqa: SIM401

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The entry, which becomes `default` if there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Take out the entry of this name."""
        taken = self[key]
        del self[key]
        return taken

    def popitem(self) -> tuple[str, Any]:
        """Take out the last entry."""
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Take out all entries."""
        for key in list(self._keys):
            del self[key]

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dictionary with `default` under each of the names."""
        return ParameterDict([(key, default) for key in keys])

    def __or__(self, other: Any) -> ParameterDict:
        return self.copy().__ior__(other)

    def __ror__(self, other: Any) -> ParameterDict:
        new = ParameterDict(other)
        new.update(self)
        return new

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        return described(self.items(), lambda p: p.type())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        fail(DTypeError, "a ParameterDict holds parameters and cannot be called", "use its entries in forward()")


def described(entries: Iterable[tuple[Any, Any]], kind: Any) -> str:
    """A line for each entry, as the repr of a ParameterList or ParameterDict shows it."""
    lines = []
    for key, value in entries:
        what = f"Object of type: {type(value).__name__}"
        if isinstance(value, Tensor):
            size = "x".join(map(str, value.shape))
            what = "Parameter" if isinstance(value, Parameter) else "Tensor"
            what += f" containing: [{kind(value)} of size {size}]"
        lines.append(f"  ({key}): {what}")
    return "\n".join(lines)
