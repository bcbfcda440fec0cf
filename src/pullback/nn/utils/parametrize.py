"""Parametrizations: a parameter that is computed, by a module, from one that is trained.

register_parametrization(layer, "weight", Symmetric()) moves the parameter to layer.parametrizations.weight.original and
makes layer.weight a property that computes Symmetric()(original) whenever it is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import ArgumentError, DTypeError, PullbackError, ShapeError, fail
from ...modes import no_grad
from ...tensor import Tensor
from ..containers import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Buffer, Parameter

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "type_before_parametrizations",
]  # fmt: skip

_cached: dict[tuple[int, str], Tensor] | None = None  # what was computed inside cached(): None outside


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Inside, each parametrized tensor is computed only once: for a weight that one step uses many times."""
    global _cached
    before = _cached
    _cached = {} if before is None else before
    try:
        yield
    finally:
        _cached = before


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and what they start from: `original`, or `original0`, `original1` ..."""

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            fail(ArgumentError, "a ParametrizationList needs one parametrization or more")
        super().__init__(modules)
        self.unsafe = unsafe
        start = self._invert(original)
        self.is_tensor = isinstance(start, Tensor)
        if not self.is_tensor and not (isinstance(start, Sequence) and all(isinstance(t, Tensor) for t in start)):
            fail(DTypeError, f"right_inverse must return a Tensor or a sequence of them, not {type(start).__name__}")
        self.ntensors = 1 if self.is_tensor else len(start)
        if self.is_tensor:
            self._hold("original", original)  # the same object, as an optimizer may have it
            self._store("original", start)
        else:
            for i, t in enumerate(start):
                like = Parameter(t, original.requires_grad) if isinstance(original, Parameter) else t
                self._hold(f"original{i}", like)
        if not unsafe:
            check_same("a parametrization", self(), original)

    def _hold(self, name: str, t: Tensor) -> None:
        self.register_parameter(name, t) if isinstance(t, Parameter) else self.register_buffer(name, t)

    def _store(self, name: str, new: Tensor) -> None:
        """Give an original other values, and another shape if it must be."""
        t = getattr(self, name)
        if new.dtype != t.dtype:
            fail(DTypeError, f"right_inverse returned {new.dtype} for a tensor of {t.dtype}", "return the same dtype")
        with no_grad():
            if new.shape != t.shape:
                t.data = new.clone()
            elif new is not t:
                t.copy_(new)

    def _originals(self) -> list[Tensor]:
        names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
        return [getattr(self, name) for name in names]

    def _invert(self, value: Any, needed: bool = False) -> Any:
        """What the parametrizations would make `value` of, as far as they know; if `needed`, they must."""
        with no_grad():
            for module in reversed(list(self)):
                inverse = getattr(module, "right_inverse", None)
                if inverse is None and needed:
                    what = f"{type(module).__name__} has no right_inverse, which assigning a value needs"
                    fail(PullbackError, what, "define right_inverse(self, value), or write to the original")
                if inverse is not None:
                    try:
                        value = inverse(value)
                    except NotImplementedError:
                        if needed:
                            raise
        return value

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals such that the parametrized tensor becomes `value`."""
        start = self._invert(value, needed=True)
        given = [start] if self.is_tensor else list(start)
        if len(given) != self.ntensors:
            fail(ArgumentError, f"right_inverse returned {len(given)} tensors, where there are {self.ntensors}")
        for i, t in enumerate(given):
            self._store("original" if self.is_tensor else f"original{i}", t)

    def forward(self) -> Tensor:
        first, *rest = self
        value: Tensor = first(*self._originals())
        for module in rest:
            value = module(value)
        return value


def check_same(what: str, new: Any, t: Tensor) -> None:
    """A parametrized tensor must look as the one in whose place it stands."""
    if not isinstance(new, Tensor):
        fail(DTypeError, f"{what} must return a Tensor, not {type(new).__name__}")
    todo = "return the same shape and dtype, or register it with unsafe=True"
    if new.dtype != t.dtype:
        fail(ArgumentError, f"{what} returned {new.dtype} for a tensor of {t.dtype}", todo)
    if new.shape != t.shape:
        fail(ShapeError, f"{what} returned shape {list(new.shape)} for a tensor of shape {list(t.shape)}", todo)


# -- the class of a module that has some -------------------------------------------------------------------------------


def _property(name: str) -> property:
    def read(self: Any) -> Tensor:
        key = id(self), name
        if _cached is not None and key in _cached:
            return _cached[key]
        value: Tensor = self.parametrizations[name]()
        if _cached is not None:
            _cached[key] = value
        return value

    def write(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def _parametrized(cls: type[Module], names: Any) -> type[Module]:
    """A class of its own for one module: `cls` with a property for each of the names."""
    own = {name: _property(name) for name in names}
    return type(f"Parametrized{cls.__name__}", (cls,), {**own, "__reduce_ex__": _reduce, "__module__": cls.__module__})


def _reduce(self: Any, protocol: Any) -> Any:
    """For pickle and deepcopy: the class is made anew."""
    return _blank, (type_before_parametrizations(self), list(self.parametrizations)), self.__getstate__()


def _blank(cls: type[Module], names: list[str]) -> Module:
    new: type[Module] = _parametrized(cls, names)
    return new.__new__(new)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Has the module parametrizations, or has this tensor of it?"""
    table = getattr(module, "parametrizations", None)
    if not isinstance(table, ModuleDict):
        return False
    return len(table) > 0 if tensor_name is None else tensor_name in table


def type_before_parametrizations(module: Module) -> type:
    """The class that the module had before."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """From here on, `module.tensor_name` is what `parametrization` makes of it; `unsafe`: of any shape and dtype.

    A parametrization with a right_inverse starts from right_inverse(value), and the tensor can be assigned to.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        entries: Any = module.parametrizations[tensor_name]
        if not unsafe:
            now = getattr(module, tensor_name)
            check_same("a parametrization", parametrization(now), now)
        entries.append(parametrization)
        entries.unsafe |= unsafe
        return module
    table = module._parameters if tensor_name in module._parameters else module._buffers
    original = table.get(tensor_name)
    if original is None:
        what = f"{type(module).__name__} has no parameter or buffer {tensor_name!r} to be parametrized"
        fail(ArgumentError, what, f"it has {[*module._parameters, *module._buffers]}")
    new = ParametrizationList([parametrization], original, unsafe)
    delattr(module, tensor_name)
    if is_parametrized(module):
        setattr(type(module), tensor_name, _property(tensor_name))
    else:
        module.__class__ = _parametrized(type(module), [tensor_name])
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = new
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make `module.tensor_name` a plain parameter or buffer again: with its value now, or else with the original's."""
    if not is_parametrized(module, tensor_name):
        fail(ArgumentError, f"{type(module).__name__} has no parametrization of {tensor_name!r}")
    entries: Any = module.parametrizations[tensor_name]
    first = entries._originals()[0]
    if not leave_parametrized and not entries.is_tensor:
        what = f"{tensor_name!r} has {entries.ntensors} originals, and none of them is its value before"
        fail(ArgumentError, what, "use leave_parametrized=True")
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name)
        if entries.is_tensor:
            first.data = value  # the same object, as an optimizer may have it
        else:
            first = Parameter(value, first.requires_grad) if isinstance(first, Parameter) else Buffer(value)
    if len(module.parametrizations) == 1:
        module.__class__ = type_before_parametrizations(module)
        del module.parametrizations
    else:
        delattr(type(module), tensor_name)
        del module.parametrizations[tensor_name]
    setattr(module, tensor_name, first) if isinstance(first, Parameter) else module.register_buffer(tensor_name, first)
    return module
