"""Nests of tuples, lists and dicts with tensors in them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .modes import Watched
from .tensor import Tensor


def _is_mapping(tree: Any) -> bool:
    return type(tree) in (dict, OrderedDict, Watched)


def _is_sequence(tree: Any) -> bool:
    return type(tree) is tuple or type(tree) is list or (isinstance(tree, tuple) and hasattr(tree, "_fields"))


def leaves(tree: Any) -> Iterator[Any]:
    """What is not a container, from left to right."""
    if _is_sequence(tree) or _is_mapping(tree):
        for part in tree.values() if _is_mapping(tree) else tree:
            yield from leaves(part)
    else:
        yield tree


def tensors(tree: Any) -> list[Tensor]:
    """The tensors in it."""
    return [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]


def rebuild(tree: Any, values: Iterable[Any]) -> Any:
    """The same nest with other leaves."""
    return _rebuild(tree, iter(values))


def _rebuild(tree: Any, values: Iterator[Any]) -> Any:
    if _is_mapping(tree):
        return type(tree)((key, _rebuild(part, values)) for key, part in tree.items())
    if _is_sequence(tree):
        parts = [_rebuild(part, values) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return next(values)


def map_tensors(f: Callable[[Tensor], Any], tree: Any) -> Any:
    """The same nest with f(t) for every tensor t."""
    return rebuild(tree, [f(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves(tree)])
