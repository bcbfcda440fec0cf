"""Hooks on modules: functions of the user's that run before or after forward, or once gradients have passed through."""

from __future__ import annotations

from typing import Any

from ..function import Function
from ..hooks import Handle
from ..tensor import Tensor


class ModuleHooks:
    """The hooks of one module, and how a call of it runs them."""

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}  # key -> (hook, does it take keyword arguments?)
        self.after: dict[int, Any] = {}
        self.backward: dict[int, Any] = {}

    def add(self, kind: str, hook: Any, prepend: bool = False) -> Handle:
        """Enter a hook as the last, or the first, of its kind."""
        table = getattr(self, kind)
        others = dict(table) if prepend else {}
        handle = Handle(table, hook)
        for key in others:
            table[key] = table.pop(key)
        return handle

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """module(*args, **kwargs)"""
        for hook, with_kwargs in list(self.before.values()):
            changed = hook(module, args, kwargs) if with_kwargs else hook(module, args)
            if changed is not None and with_kwargs:
                args, kwargs = changed
            elif changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        passing = Passing(module, list(self.backward.values())) if self.backward else None
        if passing is not None:
            args = passing.inputs(args)
        out = module.forward(*args, **kwargs)
        for hook, with_kwargs in list(self.after.values()):
            changed = hook(module, args, kwargs, out) if with_kwargs else hook(module, args, out)
            out = out if changed is None else changed
        return out if passing is None else passing.outputs(out)


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

    def __init__(self, module: Any, hooks: list[Any]) -> None:
        self.module, self.hooks = module, hooks
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
        for i, t in zip(tensors, Through.apply(self.enter, *(parts[i] for i in tensors)), strict=True):
            parts[i] = t
        return type(out)(parts) if isinstance(out, (tuple, list)) else parts[0]

    def enter(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
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
