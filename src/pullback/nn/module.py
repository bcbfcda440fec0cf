"""Module: a function with parameters. It finds parameters, buffers and submodules among its attributes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..dtypes import as_dtype, dtype
from ..errors import DTypeError, PullbackError, ShapeError, fail
from ..functions.files import PARAMETER
from ..hooks import Handle
from ..modes import no_grad
from ..tensor import Tensor, check_device, device
from ..views import write
from .hooks import ModuleHooks


class Parameter(Tensor):
    """A tensor that, as an attribute of a Module, is one of its parameters."""

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        self: Any = super().__new__(cls) if data is None else super().__new__(cls, data)
        self.requires_grad = requires_grad
        return self

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


PARAMETER.append(Parameter)


class Buffer(Tensor):
    """A tensor that, as an attribute of a Module, is state that no gradient changes (running means, say)."""

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        self: Any = super().__new__(cls) if data is None else super().__new__(cls, data)
        self.persistent = persistent
        return self


class Module:
    """The base of all layers and models: define `__init__` and `forward`."""

    training: bool = True
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _passing: set[str]  # buffers that are not part of state_dict
    _hooks: ModuleHooks | None = None

    def __init__(self) -> None:
        for name in _WHAT:
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_passing", set())
        self.training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function: define forward(self, ...)'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs) if self._hooks is None else self._hooks.call(self, args, kwargs)

    # -- hooks -----------------------------------------------------------------------------------------------------

    def _hook(self, kind: str, hook: Any, prepend: bool) -> Handle:
        if self._hooks is None:
            self._hooks = ModuleHooks()
        return self._hooks.add(kind, hook, prepend)

    def register_forward_pre_hook(self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False) -> Handle:
        """Before each forward, `hook(module, args)` may return other args."""
        return self._hook("before", (hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False) -> Handle:
        """After each forward, `hook(module, args, output)` may return another output."""
        return self._hook("after", (hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> Handle:
        """When gradients have passed, `hook(module, grad_input, grad_output)` may return another grad_input."""
        return self._hook("backward", hook, prepend)

    # -- attributes ------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        table = _kind(value)
        if table is None:
            held = self._holder(name)
            if held is None:
                object.__setattr__(self, name, value)
                return
            if value is not None and not (held is self._buffers and isinstance(value, Tensor)):
                kind = _name_of(self, held)
                fail(
                    DTypeError,
                    f"cannot assign {type(value).__name__} as {name!r}, which is {_WHAT[kind]}",
                    _ASSIGN[kind],
                )
            held[name] = value
            return
        if table not in vars(self):
            raise AttributeError(f"cannot assign {name!r} before Module.__init__() call: call super().__init__() first")
        if name not in vars(self)[table]:
            self._forget(name)
        self._passing.discard(name)
        vars(self)[table][name] = value
        if isinstance(value, Buffer) and not value.persistent:
            self._passing.add(name)

    def __getattr__(self, name: str) -> Any:
        held = self._holder(name)
        if held is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return held[name]

    def __delattr__(self, name: str) -> None:
        if self._holder(name) is None:
            object.__delattr__(self, name)
        else:
            self._forget(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def _holder(self, name: str) -> dict[str, Any] | None:
        """The table that has an attribute of this name."""
        own = vars(self)
        for table in _WHAT:
            if name in own.get(table, ()):
                return own[table]
        return None

    def _forget(self, name: str) -> None:
        vars(self).pop(name, None)
        self._passing.discard(name)
        for table in (self._parameters, self._buffers, self._modules):
            table.pop(name, None)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or a place for one."""
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but no parameter; only persistent ones are in state_dict."""
        self._register("_buffers", name, tensor)
        if not persistent:
            self._passing.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule."""
        self._register("_modules", name, module)

    register_module = add_module

    def _register(self, table: str, name: str, value: Any) -> None:
        if table not in vars(self):
            raise AttributeError(
                f"cannot register {name!r} before Module.__init__() call: call super().__init__() first"
            )
        if not name or "." in name:
            raise KeyError(f"a name cannot be empty or contain a dot, got {name!r}")
        if hasattr(self, name) and name not in vars(self)[table]:
            raise KeyError(f"attribute {name!r} already exists")
        kind = {"_parameters": Parameter, "_modules": Module, "_buffers": Tensor}[table]
        if value is not None and not isinstance(value, kind):
            fail(DTypeError, f"cannot register {type(value).__name__} as {name!r}, {_WHAT[table]}", _ASSIGN[table])
        self._passing.discard(name)
        vars(self)[table][name] = value

    # -- what it is made of ----------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, parents first."""
        memo = set() if memo is None else memo
        if remove_duplicate and self in memo:
            return
        memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, _join(prefix, name), remove_duplicate)

    def _named(self, table: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, tensor in vars(module)[table].items():
                if tensor is None or (remove_duplicate and id(tensor) in seen):
                    continue
                seen.add(id(tensor))
                yield _join(path, name), tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Names, as `block.weight`, and parameters; one that is shared comes once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Names and buffers."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Names and modules directly below this one."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """What an optimizer is given."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """State that is not trained."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def children(self) -> Iterator[Module]:
        """The modules directly below this one."""
        return (child for _, child in self.named_children())

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path."""
        module: Any = self
        for name in target.split(".") if target else []:
            if not isinstance(module, Module) or name not in module._modules:
                raise AttributeError(f"{type(self).__name__} has no module {target!r}: there is no {name!r} on the way")
            module = module._modules[name]
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        return self._at("_parameters", "parameter", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        return self._at("_buffers", "buffer", target)

    def _at(self, table: str, what: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        found = vars(self.get_submodule(path))[table].get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no {what} {target!r}")
        return found

    # -- changing all of it ----------------------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """fn(module) for every module below, then for this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Training mode, for this and all below."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Evaluation mode, for this and all below."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Whether all parameters want gradients."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            if p.grad is not None:
                p.grad = None if set_to_none else p.grad.detach().zero_()

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Floating parameters and buffers to a dtype; they stay the same objects."""
        target: Any = kwargs.get("dtype")
        for a in args:
            if isinstance(a, Tensor):
                target = a.dtype
            elif isinstance(a, (str, device)):
                check_device(a)
            elif a is not None and not isinstance(a, bool):
                target = as_dtype(a)
        if "device" in kwargs:
            check_device(kwargs["device"])
        return self if target is None else self._convert(as_dtype(target))

    def _convert(self, target: dtype) -> Module:
        if not target.is_floating_point:
            fail(PullbackError, f"a module's parameters are floating point numbers and cannot become {target}")
        return self._apply(lambda t: t.to(target) if t.dtype.is_floating_point else t)

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Module:
        """Every parameter, its gradient, and every buffer becomes fn of it, in place."""
        with no_grad():
            for t in [*self.parameters(), *self.buffers()]:
                _become(t, fn(t))
                if t._grad is not None:
                    _become(t._grad, fn(t._grad))
        return self

    def float(self) -> Module:
        """To float32."""
        return self._convert(dtype.by_name["float32"])

    def double(self) -> Module:
        """To float64."""
        return self._convert(dtype.by_name["float64"])

    def half(self) -> Module:
        """To float16."""
        return self._convert(dtype.by_name["float16"])

    def bfloat16(self) -> Module:
        """To bfloat16."""
        return self._convert(dtype.by_name["bfloat16"])

    def cpu(self) -> Module:
        """Already there."""
        return self

    # -- state -----------------------------------------------------------------------------------------------------

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters and persistent buffers by name, as they stand: in the order of the tree."""
        for path, module in self.named_modules(prefix=prefix, remove_duplicate=False):
            for name, t in [*module._parameters.items(), *module._buffers.items()]:
                if t is not None and name not in module._passing:
                    yield _join(path, name), t

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Name to tensor, for saving. The tensors share memory with the module's."""
        return OrderedDict((prefix + name, t if keep_vars else t.detach()) for name, t in self._state())

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Missing:
        """Copy a state_dict into this module; `strict`: with exactly its names."""
        own = dict(self._state())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        wrong = [
            f"size mismatch for {name}: copying {list(state_dict[name].shape)}, the module has {list(t.shape)}"
            for name, t in own.items()
            if name in state_dict and state_dict[name].shape != t.shape
        ]
        if strict and missing:
            wrong.append("Missing key(s) in state_dict: " + ", ".join(map(repr, missing)))
        if strict and unexpected:
            wrong.append("Unexpected key(s) in state_dict: " + ", ".join(map(repr, unexpected)))
        if wrong:
            fail(
                ShapeError,
                f"Error(s) in loading state_dict for {type(self).__name__}:\n    " + "\n    ".join(wrong),
                "compare print(model) of both sides",
            )
        with no_grad():
            for name, t in own.items():
                if name in state_dict:
                    write(t, state_dict[name])
        return Missing(missing, unexpected)

    # -- looks -----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of repr()."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = [line for line in self.extra_repr().split("\n") if line]
        children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({''.join(lines)})"
        return f"{self._get_name()}(\n  " + "\n  ".join([*lines, *children]) + "\n)"


class Missing(tuple[list[str], list[str]]):
    """The names that load_state_dict did not find, and those it had no place for."""

    def __new__(cls, missing: list[str], unexpected: list[str]) -> Missing:
        return super().__new__(cls, (missing, unexpected))

    missing_keys = property(lambda self: self[0])
    unexpected_keys = property(lambda self: self[1])

    def __repr__(self) -> str:
        return (
            "<All keys matched successfully>"
            if not any(self)
            else f"_IncompatibleKeys(missing_keys={self[0]}, unexpected_keys={self[1]})"
        )


def _kind(value: Any) -> str | None:
    """The table an attribute belongs to."""
    if isinstance(value, Parameter):
        return "_parameters"
    if isinstance(value, Module):
        return "_modules"
    return "_buffers" if isinstance(value, Buffer) else None


_WHAT = {"_parameters": "a parameter", "_modules": "a child module", "_buffers": "a buffer"}
_ASSIGN = {
    "_parameters": "assign a Parameter, Parameter(tensor), or None; to change its values, use copy_() inside no_grad()",
    "_modules": "assign a Module, or None",
    "_buffers": "assign a tensor, or None",
}


def _name_of(module: Module, table: dict[str, Any]) -> str:
    return next(name for name in _WHAT if vars(module)[name] is table)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _become(t: Tensor, value: Tensor) -> None:
    """t's content is value's, in memory of its own; t stays the same object."""
    if value is not t:
        t._array, t._storage = value._array, value._storage
