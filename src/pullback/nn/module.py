"""Module: a function with parameters. It finds parameters, buffers and submodules among its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, Self

from ..dtypes import dtype
from ..errors import ArgumentError, DTypeError, PullbackError, fail
from ..functions.conversion import target
from ..functions.creation import empty, empty_like
from ..hooks import Handle
from ..modes import CHANGES, Watched, no_grad
from ..moves import move
from ..tensor import Tensor
from .hooks import EVERY_MODULE, ModuleHooks
from .parameter import Buffer, Parameter, Uninitialized
from .state import Stateful

__all__ = [
    "Buffer", "Module", "Parameter", "register_module_forward_hook", "register_module_forward_pre_hook",
    "register_module_full_backward_hook", "register_module_full_backward_pre_hook",
]  # fmt: skip


class Module(Stateful):
    """The base of all layers and models: define `__init__` and `forward`."""

    training: bool = True
    call_super_init = False  # does __init__ pass its arguments on, to a class that comes after Module?
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _hooks: ModuleHooks | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name in _WHAT:
            object.__setattr__(self, name, Watched())
        object.__setattr__(self, "_non_persistent_buffers_set", set())
        self.training = True
        if self.call_super_init:
            super().__init__(*args, **kwargs)
        elif args or kwargs:
            fail(DTypeError, f"Module.__init__() takes no arguments, but {type(self).__name__} passed some to it")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function: define forward(self, ...)'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs) if self._hooks is None else self._hooks.call(self, args, kwargs)

    # -- hooks -----------------------------------------------------------------------------------------------------

    def _hook(self, kind: str, hook: Any, prepend: bool = False) -> Handle:
        if "_hooks" not in vars(self):
            self._hooks = ModuleHooks()
        assert self._hooks is not None
        return self._hooks.add(kind, hook, prepend)

    def register_forward_pre_hook(self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False) -> Handle:
        """Before each forward, `hook(module, args)` may return other args."""
        return self._hook("before", (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> Handle:
        """After each forward, `hook(module, args, output)` may return another output."""
        return self._hook("after", (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Any, prepend: bool = False) -> Handle:
        """When gradients have reached the outputs, `hook(module, grad_output)` may return another grad_output."""
        return self._hook("backward_before", hook, prepend)

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> Handle:
        """When gradients have passed, `hook(module, grad_input, grad_output)` may return another grad_input."""
        return self._hook("backward", hook, prepend)

    def register_backward_hook(self, hook: Any) -> Handle:
        """The older name; grad_input is that of the module's inputs here, not of its last op's."""
        return self.register_full_backward_hook(hook)

    # -- attributes ------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        old = vars(self).get(name, self)
        counter = type(value) in (int, float) and type(old) is type(value) and name not in CHANGES.names
        if old is not value and not counter:  # a number that no captured step reads may change as it likes
            CHANGES.count += 1
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
            if table != "_modules" and hasattr(type(self), name):  # which would hide it
                raise KeyError(f"attribute {name!r} already exists: the class {type(self).__name__} has it")
            self._forget(name)
        self._non_persistent_buffers_set.discard(name)
        vars(self)[table][name] = value
        if isinstance(value, Buffer) and not value.persistent:
            self._non_persistent_buffers_set.add(name)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for table in _WHAT:
            if table in own and name in own[table]:
                return own[table][name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        CHANGES.count += 1
        if self._holder(name) is None:
            object.__delattr__(self, name)
        else:
            self._forget(name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[0].isdigit())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _holder(self, name: str) -> dict[str, Any] | None:
        """The table that has an attribute of this name."""
        own = vars(self)
        for table in _WHAT:
            if name in own.get(table, ()):
                return own[table]
        return None

    def _forget(self, name: str) -> None:
        vars(self).pop(name, None)
        self._non_persistent_buffers_set.discard(name)
        for table in (self._parameters, self._buffers, self._modules):
            table.pop(name, None)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or a place for one."""
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but no parameter; only persistent ones are in state_dict."""
        self._register("_buffers", name, tensor)
        if not persistent:
            self._non_persistent_buffers_set.add(name)

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
        self._non_persistent_buffers_set.discard(name)
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

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path."""
        module: Any = self
        for name in target.split(".") if target else []:
            if not isinstance(module, Module) or name not in module._modules:
                raise AttributeError(f"{type(self).__name__} has no module {target!r}: there is no {name!r} on the way")
            module = module._modules[name]
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at a dotted path; `strict`: only in place of another."""
        path, _, name = target.rpartition(".")
        if not isinstance(module, Module) or not name:
            fail(ArgumentError, f"set_submodule needs a path and a Module, got {target!r} and {type(module).__name__}")
        parent = self.get_submodule(path)
        if (strict or hasattr(parent, name)) and not isinstance(getattr(parent, name, None), Module):
            raise AttributeError(f"{type(self).__name__} has no module {target!r} to be replaced")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        return self._at("_parameters", "parameter", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        return self._at("_buffers", "buffer", target)

    def _at(self, table: str, what: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), table).get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no {what} {target!r}")
        return found

    # -- changing all of it ----------------------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """fn(module) for every module below, then for this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode, for this and all below."""
        if not isinstance(mode, bool):
            fail(ArgumentError, f"training mode is expected to be boolean, not {type(mode).__name__}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Evaluation mode, for this and all below."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether all parameters want gradients."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with 0."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.detach_().zero_()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """From now on this module's forward runs compiled; the arguments are those of compile()."""
        from ..program import compile

        vars(self)["forward"] = compile(MethodType(type(self).forward, self), *args, **kwargs)
        CHANGES.count += 1

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Every parameter, its gradient, and every buffer becomes fn of it, and stays the same object."""
        for child in self.children() if recurse else ():
            child._apply(fn)
        with no_grad():
            for t in (*self._parameters.values(), *self._buffers.values()):
                for each in (t, None if t is None else t._grad):
                    if isinstance(each, Uninitialized):
                        like = fn(empty(0, dtype=each.pending, device=each.where))
                        each.pending, each.where = like.dtype, like._array.device
                    elif each is not None and (new := fn(each)) is not each:
                        setattr(each, "data", new)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """`to(dtype)`, `to(device)`, `to(device, dtype)`, `to(tensor)`: what is floating point changes dtype.

        Parameters stay the same objects, so that it does not matter whether an optimizer has been made before.
        """
        where, want = target(args, kwargs)
        if where is not None:
            self._apply(lambda t: move(t, where))
        return self if want is None else self._convert(want)

    def _convert(self, target: dtype) -> Self:
        if not target.is_floating_point:
            fail(DTypeError, f"a module's parameters are floating point numbers and cannot become {target}")
        return self._apply(lambda t: t.to(target) if t.dtype.is_floating_point else t)

    def type(self, dst_type: Any) -> Self:
        """All parameters and buffers, whatever they are, as this type."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Self:
        """To float32."""
        return self._convert(dtype.by_name["float32"])

    def double(self) -> Self:
        """To float64."""
        return self._convert(dtype.by_name["float64"])

    def half(self) -> Self:
        """To float16."""
        return self._convert(dtype.by_name["float16"])

    def bfloat16(self) -> Self:
        """To bfloat16."""
        return self._convert(dtype.by_name["bfloat16"])

    def cpu(self) -> Self:
        """All parameters and buffers to the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Self:
        """All parameters and buffers to a CUDA device."""
        return self.to("cuda" if device is None else device)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Parameters and buffers as they are, with arbitrary values."""
        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def share_memory(self) -> Self:
        """Processes do not share tensors here."""
        what = "a module's memory cannot be shared between processes"
        fail(PullbackError, what, "give each process the state_dict, by a file or a queue")

    # -- looks -----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of repr()."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = [line for line in self.extra_repr().split("\n") if line]
        children = [f"({name}): {child!r}" for name, child in self._modules.items()]
        return f"{self._get_name()}({indented([*lines, *children]) if children or len(lines) > 1 else ''.join(lines)})"


def indented(lines: list[str]) -> str:
    """The lines, each on its own and two spaces further in; nothing for none."""
    return "".join("\n  " + line.replace("\n", "\n  ") for line in lines) + ("\n" if lines else "")


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


# -- hooks on all modules ----------------------------------------------------------------------------------------------


def _everywhere(kind: str, hook: Any) -> Handle:
    Module._hooks = EVERY_MODULE
    return EVERY_MODULE.add(kind, hook)


def register_module_forward_pre_hook(hook: Any) -> Handle:
    """Before each forward of any module: `hook(module, args)`."""
    return _everywhere("before", (hook, False))


def register_module_forward_hook(hook: Any, *, with_kwargs: bool = False, always_call: bool = False) -> Handle:
    """After each forward of any module: `hook(module, args, output)`."""
    return _everywhere("after", (hook, with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Any) -> Handle:
    """When gradients have reached the outputs of any module: `hook(module, grad_output)`."""
    return _everywhere("backward_before", hook)


def register_module_full_backward_hook(hook: Any) -> Handle:
    """When gradients have passed any module: `hook(module, grad_input, grad_output)`."""
    return _everywhere("backward", hook)
