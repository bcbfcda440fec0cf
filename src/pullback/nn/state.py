"""state_dict and load_state_dict: a module's parameters and buffers by name, out and in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DTypeError, PullbackError, fail
from ..hooks import Handle
from ..modes import no_grad
from ..tensor import Tensor
from .hooks import ModuleHooks
from .parameter import Parameter, is_lazy

if TYPE_CHECKING:
    from .module import Module

EXTRA = "_extra_state"  # under this name stands what get_extra_state() returns


class _IncompatibleKeys(NamedTuple):
    """The names that load_state_dict did not find, and those it had no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Stateful:
    """The part of Module that is about state dictionaries."""

    _version = 1  # goes into state_dict()._metadata; a module whose state changes its layout raises it
    _hooks: ModuleHooks | None
    if TYPE_CHECKING:
        _parameters: dict[str, Parameter | None]
        _buffers: dict[str, Tensor | None]
        _modules: dict[str, Module | None]
        _non_persistent_buffers_set: set[str]

        def _hook(self, kind: str, hook: Any, prepend: bool = False) -> Handle: ...

    # -- out -------------------------------------------------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Name to tensor, for saving. The tensors share memory with the module's."""
        given = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))  # the older way to pass them
        if given:
            return self.state_dict(**{"destination": destination, "prefix": prefix, "keep_vars": keep_vars, **given})
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_hooks("saving"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_hooks("saved"):
            changed = hook(self, destination, prefix, metadata)
            destination = destination if changed is None else changed
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Enter what this module itself holds, without its children; to be overridden where that is not all."""
        for name, t in self._own_state():
            destination[prefix + name] = t if keep_vars or is_lazy(t) else t.detach()
        if _defines(self, "get_extra_state"):
            destination[prefix + EXTRA] = self.get_extra_state()

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and persistent buffers of this module itself."""
        for name, t in (*self._parameters.items(), *self._buffers.items()):
            if t is not None and name not in self._non_persistent_buffers_set:
                yield name, t

    def get_extra_state(self) -> Any:
        """What else belongs into state_dict; to be defined together with set_extra_state."""
        fail(PullbackError, f"{type(self).__name__} has no extra state", "define get_extra_state and set_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Take back what get_extra_state returned."""
        fail(PullbackError, f"{type(self).__name__} has no extra state", "define get_extra_state and set_extra_state")

    # -- in --------------------------------------------------------------------------------------------------------

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy a state_dict, with exactly this module's names if `strict`; `assign`: take its tensors themselves."""
        if not isinstance(state_dict, Mapping):
            what = f"state_dict must be a mapping of names to tensors, not {type(state_dict).__name__}"
            fail(DTypeError, what, "pass what model.state_dict() or pullback.load(file) returned")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None) or {}

        def load(module: Any, state: dict[str, Any], prefix: str) -> None:
            local = dict(metadata.get(prefix[:-1], {}), **({"assign_to_params_buffers": True} if assign else {}))
            module._load_from_state_dict(state, prefix, local, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = f"{prefix}{name}."
                    load(child, {key: t for key, t in state.items() if key.startswith(below)}, below)
            for hook in module._state_hooks("loaded"):
                if hook(module, _IncompatibleKeys(missing, unexpected)) is not None:
                    fail(PullbackError, "a load_state_dict post-hook must return None", "change the lists in place")

        load(self, OrderedDict(state_dict), "")
        if strict and unexpected:
            errors.append("Unexpected key(s) in state_dict: " + ", ".join(map(repr, unexpected)))
        if strict and missing:
            errors.append("Missing key(s) in state_dict: " + ", ".join(map(repr, missing)))
        if errors:
            what = f"Error(s) in loading state_dict for {type(self).__name__}:\n    " + "\n    ".join(errors)
            fail(PullbackError, what, "compare print(model) of both sides; strict=False leaves out what has no partner")
        return _IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take over what this module itself holds, without its children, and note what does not fit."""
        for hook, with_module in self._state_hooks("loading"):
            rest = (state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
            hook(self, *rest) if with_module else hook(*rest)
        own = dict(self._own_state())
        for name, t in own.items():
            if prefix + name in state_dict:
                assign = local_metadata.get("assign_to_params_buffers", False)
                error_msgs += self._take(name, t, state_dict[prefix + name], prefix + name, assign)
            elif strict:
                missing_keys.append(prefix + name)
        if _defines(self, "set_extra_state"):
            if prefix + EXTRA in state_dict:
                self.set_extra_state(state_dict[prefix + EXTRA])
            elif strict:
                missing_keys.append(prefix + EXTRA)
            own[EXTRA] = None  # type: ignore[assignment]
        if strict:
            known = {*own, *(f"{name}." for name in self._modules)}
            for key in state_dict:
                head, dot, _ = key.removeprefix(prefix).partition(".")
                if key.startswith(prefix) and head + dot not in known:
                    unexpected_keys.append(key)

    def _take(self, name: str, t: Tensor, new: Any, key: str, assign: bool) -> list[str]:
        """Let the attribute `name`, now t, have the values of `new`, or be it; what is wrong if that cannot be."""
        if not isinstance(new, Tensor):
            return [f"expected a Tensor for {key}, the state_dict has {type(new).__name__}"]
        if is_lazy(new) and is_lazy(t):
            return []
        if is_lazy(new):
            return [
                f"{key} is not initialized in the state_dict, but in the module: run the lazy model once, then save"
            ]
        if is_lazy(t):
            t.materialize(new.shape)
        elif t.ndim == 0 and new.shape == (1,):  # as very old files have numbers
            new = new[0]
        if new.shape != t.shape:
            return [f"size mismatch for {key}: copying {list(new.shape)}, the module has {list(t.shape)}"]
        if not assign:
            with no_grad():
                t.copy_(new)
        elif name in self._parameters:
            if isinstance(new, Parameter):
                new.requires_grad = t.requires_grad
            self._parameters[name] = new if isinstance(new, Parameter) else Parameter(new, t.requires_grad)
        else:
            self._buffers[name] = new
        return []

    # -- hooks -----------------------------------------------------------------------------------------------------

    def _state_hooks(self, kind: str) -> list[Any]:
        return [] if self._hooks is None else self._hooks.of(kind)

    def register_state_dict_pre_hook(self, hook: Any) -> Handle:
        """Before this module's state is collected: `hook(module, prefix, keep_vars)`."""
        return self._hook("saving", hook)

    def _register_state_dict_hook(self, hook: Any) -> Handle:
        """After it was: `hook(module, state_dict, prefix, local_metadata)` may change it, or return another."""
        return self._hook("saved", hook)

    def register_state_dict_post_hook(self, hook: Any) -> Handle:
        """As _register_state_dict_hook, but the state is changed in place only."""

        def changing(*args: Any) -> None:
            if hook(*args) is not None:
                fail(PullbackError, "a state_dict post-hook must return None", "change the state_dict in place")

        return self._hook("saved", changing)

    def register_load_state_dict_pre_hook(self, hook: Any) -> Handle:
        """Before this module's state is loaded: `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)` may change the state_dict, for example rename its keys."""
        return self._register_load_state_dict_pre_hook(hook, True)

    def _register_load_state_dict_pre_hook(self, hook: Any, with_module: bool = False) -> Handle:
        return self._hook("loading", (hook, with_module))

    def register_load_state_dict_post_hook(self, hook: Any) -> Handle:
        """After it was: `hook(module, incompatible_keys)` may change the two lists."""
        return self._hook("loaded", hook)


def _defines(module: Stateful, method: str) -> bool:
    """Has the user's class a method of its own of this name?"""
    return getattr(type(module), method) is not getattr(Stateful, method)
