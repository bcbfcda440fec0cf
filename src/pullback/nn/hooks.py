"""Hooks on modules: functions of the user's that run before or after forward, or once gradients have passed through."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from ..errors import ArgumentError, fail
from ..function import Function
from ..hooks import Handle
from ..tensor import Tensor

KINDS = (
    "before",  # (hook, does it take keyword arguments?)
    "after",  # (hook, does it take keyword arguments?, does it run even if forward raises?)
    "backward",
    "backward_before",
    "saving",  # the rest is about state_dict
    "saved",
    "loading",
    "loaded",
)


class ModuleHooks:
    """The hooks of one module, by kind, and how a call of the module runs them."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[int, Any]] = {kind: {} for kind in KINDS}

    def add(self, kind: str, hook: Any, prepend: bool = False) -> Handle:
        """Enter a hook as the last, or the first, of its kind."""
        table = self.tables[kind]
        others = dict(table) if prepend else {}
        handle = Handle(table, hook)
        for key in others:
            table[key] = table.pop(key)
        return handle

    def of(self, kind: str) -> list[Any]:
        """The hooks of a kind, those of all modules first."""
        own = self.tables[kind].values()
        return [*own] if self is EVERY_MODULE else [*EVERY_MODULE.tables[kind].values(), *own]

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """module(*args, **kwargs)"""
        after, out = iter(self.of("after")), None
        try:
            args, kwargs = self.prepare(module, args, kwargs)
            backward, first = self.of("backward"), self.of("backward_before")
            passing = Passing(module, backward, first) if backward or first else None
            if passing is not None:
                args = passing.inputs(args)
            out = module.forward(*args, **kwargs)
            for hook, with_kwargs, _ in after:
                changed = hook(module, args, kwargs, out) if with_kwargs else hook(module, args, out)
                out = out if changed is None else changed
            return out if passing is None else passing.outputs(out)
        except Exception:
            run_always(after, module, args, kwargs, out)
            raise

    def prepare(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The arguments as the hooks before forward leave them."""
        for hook, with_kwargs in self.of("before"):
            changed = hook(module, args, kwargs) if with_kwargs else hook(module, args)
            if changed is None:
                continue
            if not with_kwargs:
                args = changed if isinstance(changed, tuple) else (changed,)
            elif isinstance(changed, tuple) and len(changed) == 2:
                args, kwargs = changed
            else:
                fail(ArgumentError, f"a forward pre-hook with keywords must return (args, kwargs) or None: {changed!r}")
        return args, kwargs


EVERY_MODULE = ModuleHooks()


def run_always(after: Iterator[Any], module: Any, args: Any, kwargs: dict[str, Any], out: Any) -> None:
    """After an error: run those of the remaining hooks that asked for it. Their own errors become warnings."""
    for hook, with_kwargs, always in after:
        if not always:
            continue
        try:
            changed = hook(module, args, kwargs, out) if with_kwargs else hook(module, args, out)
            out = out if changed is None else changed
        except Exception as error:
            text = f"a forward hook raised {error!r} after forward itself had failed"
            warnings.warn(text, stacklevel=2)


class Through(Function):
    """Tensors as they are; what arrives for them going back is shown to `see`, which may replace it."""

    @staticmethod
    def forward(ctx: Any, see: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.see = see
        ctx.set_materialize_grads(False)
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, *ctx.see(grads)


class Passing:
    """One call of a module with backward hooks: they run when the gradients of its inputs are complete."""

    def __init__(self, module: Any, hooks: list[Any], first: list[Any]) -> None:
        self.module, self.hooks, self.first = module, hooks, first
        self.grad_output: tuple[Any, ...] = ()
        self.places = 0  # how many inputs there are
        self.tensors: list[int] = []  # which of them are tensors
        self.reached = False  # does a gradient come to the inputs?

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The module's arguments, watched."""
        self.places, self.tensors = len(args), [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        self.reached = any(args[i].requires_grad for i in self.tensors)
        seen = iter(Through.apply(self.leave, *(args[i] for i in self.tensors)) if self.tensors else ())
        return tuple(next(seen) if i in self.tensors else a for i, a in enumerate(args))

    def outputs(self, out: Any) -> Any:
        """The module's results, watched: a tensor, or a tuple or list with tensors."""
        parts = list(out) if isinstance(out, (tuple, list)) else [out]
        tensors = [i for i, part in enumerate(parts) if isinstance(part, Tensor)]
        if not tensors:
            text = f"backward hooks need a module that returns tensors, not {type(out).__name__}"
            warnings.warn(text, stacklevel=2)
            return out
        for i, t in zip(tensors, Through.apply(self.enter, *(parts[i] for i in tensors)), strict=True):
            parts[i] = t
        if not isinstance(out, (tuple, list)):
            return parts[0]
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)

    def enter(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.first:
            changed = hook(self.module, grads)
            if changed is not None:
                grads = changed if isinstance(changed, tuple) else (changed,)
        self.grad_output = grads
        if not self.reached:
            self.run((None,) * self.places)
        return grads

    def leave(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        found = dict(zip(self.tensors, grads, strict=True))
        grad_input = self.run(tuple(found.get(i) for i in range(self.places)))
        return tuple(grad_input[i] for i in self.tensors)

    def run(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.hooks:
            changed = hook(self.module, grad_input, self.grad_output)
            if changed is not None:
                grad_input = changed if isinstance(changed, tuple) else (changed,)
        return grad_input
