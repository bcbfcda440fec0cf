"""A module as a function of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ArgumentError, PullbackError, fail
from ...tensor import Tensor
from ..module import Module

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs) with the given tensors, a dict by name or several, in place of its own.

    The others stay its own; with `strict` all must be given. With `tie_weights`, what the module has under two names is
    replaced under both. Buffers that the module sets meanwhile are set in the dict instead.
    """
    given = merged(parameter_and_buffer_dicts)
    own: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))
    used = tied(given, own) if tie_weights else given
    if strict and used.keys() != own.keys():
        extra, missing = sorted(used.keys() - own.keys()), sorted(own.keys() - used.keys())
        what = f"{type(module).__name__} cannot be called with these tensors: unexpected {extra}, missing {missing}"
        fail(PullbackError, what, "strict=False lets the module keep what is not given")
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    places = [(*place(module, name), t) for name, t in used.items()]
    before = [(table, key, table.get(key)) for table, key, _ in places]
    try:
        for table, key, t in places:
            table[key] = t
        return module(*args, **(kwargs or {}))
    finally:
        for name, (table, key, _) in zip(used, places, strict=True):
            if name in given and isinstance(table.get(key), Tensor):
                given[name] = table[key]
        for table, key, t in reversed(before):
            table.pop(key, None) if t is None else table.__setitem__(key, t)


def merged(dicts: Any) -> Any:
    """One dict; if it is given as one, that itself."""
    if isinstance(dicts, dict):
        return dicts
    if not isinstance(dicts, Sequence) or not all(isinstance(d, Mapping) for d in dicts):
        fail(ArgumentError, f"parameters and buffers come as a dict or a sequence of dicts, not {type(dicts).__name__}")
    one = {name: t for d in dicts for name, t in d.items()}
    if len(one) < sum(map(len, dicts)):
        twice = sorted(name for name in one if sum(name in d for d in dicts) > 1)
        fail(ArgumentError, f"{twice} are in several of the dicts, and it is not clear which is meant")
    return one


def tied(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor under all names that the module has it under."""
    new = {own[name]: t for name, t in given.items() if name in own}
    for name, t in given.items():
        if name in own and new[own[name]] is not t:
            names = sorted(other for other in own if own[other] is own[name])
            fail(ArgumentError, f"{names} are one tensor, but several were given for it", "pass tie_weights=False")
    return {**given, **{name: new[t] for name, t in own.items() if t in new}}


def place(module: Module, name: str) -> tuple[dict[str, Any], str]:
    """Where the module, or one below it, has an attribute of this name: (table, key)."""
    path, _, key = name.rpartition(".")
    holder = module.get_submodule(path)
    tables = (holder._parameters, holder._buffers, vars(holder))
    return next((table for table in tables if key in table), tables[-1]), key
