"""Hooks on modules: functions of the user's that run before or after forward, or once gradients have passed through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ArgumentError, PullbackError, fail, warn
from ..function import Function
from ..hooks import SHARED, Handle
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
SHARED.append((EVERY_MODULE, "hooks of all modules"))


def run_always(after: Iterator[Any], module: Any, args: Any, kwargs: dict[str, Any], out: Any) -> None:
    """After an error: run those of the remaining hooks that asked for it. Their own errors become warnings."""
    for hook, with_kwargs, always in after:
        if not always:
            continue
        try:
            changed = hook(module, args, kwargs, out) if with_kwargs else hook(module, args, out)
            out = out if changed is None else changed
        except Exception as error:
            warn(f"a forward hook raised {error!r} after forward itself had failed")


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
        self.grad_output: tuple[Any, ...] | None = None  # once it has come
        self.places = 0  # how many inputs there are
        self.tensors: list[int] = []  # which of them are tensors
        self.out_places, self.out_tensors = 0, self.tensors  # the same of the results
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
        self.out_places, self.out_tensors = len(parts), tensors
        if not tensors:
            warn(f"backward hooks need a module that returns tensors, not {type(out).__name__}")
            return out
        for i, t in zip(tensors, Through.apply(self.enter, *(parts[i] for i in tensors)), strict=True):
            parts[i] = t
        if not isinstance(out, (tuple, list)):
            return parts[0]
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)

    def enter(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        grads = placed(grads, self.out_tensors, self.out_places)
        for hook in self.first:
            grads = changed_by(hook(self.module, grads), grads, "pre hook", "grad_output")
        self.grad_output = grads
        if not self.reached and any(g is not None for g in self.run((None,) * self.places)):
            fail(PullbackError, "a backward hook of a module none of whose inputs wants a gradient must return None")
        return tuple(grads[i] for i in self.out_tensors)

    def leave(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_output is None:  # they came from elsewhere than the results
            return grads
        grad_input = self.run(placed(grads, self.tensors, self.places))
        return tuple(grad_input[i] for i in self.tensors)

    def run(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.hooks:
            grad_input = changed_by(hook(self.module, grad_input, self.grad_output), grad_input, "hook", "grad_input")
        return grad_input


def placed(grads: tuple[Any, ...], at: list[int], places: int) -> tuple[Any, ...]:
    """The gradients where their tensors were, and None elsewhere."""
    found = dict(zip(at, grads, strict=True))
    return tuple(found.get(i) for i in range(places))


def changed_by(returned: Any, grads: tuple[Any, ...], hook: str, what: str) -> tuple[Any, ...]:
    """What a hook returned instead of the gradients it was shown, if it did."""
    if returned is None:
        return grads
    returned = returned if isinstance(returned, tuple) else (returned,)
    if len(returned) != len(grads):
        text = f"Backward {hook} returned an invalid number of {what}, got {len(returned)}, but expected {len(grads)}"
        fail(PullbackError, text)
    return returned
