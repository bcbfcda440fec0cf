"""Parameters of an op as a key of a cache."""

from __future__ import annotations

from typing import Any

import numpy as np


class Key:
    """Parameters, compared by what they are."""

    __slots__ = ("_hash", "_text", "params")

    def __init__(self, params: dict[str, Any], text: tuple[Any, ...]) -> None:
        self.params, self._text, self._hash = params, text, hash(text)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._text == other._text


def key_of(params: dict[str, Any]) -> Key | None:
    """A key for these parameters; None if they hold something that cannot be compared."""
    try:
        return Key(params, tuple([(name, frozen(value)) for name, value in params.items()]))
    except TypeError:
        return None


def frozen(x: Any) -> Any:
    """x as something hashable; numbers of different types differ."""
    if isinstance(x, slice):
        return "slice", frozen(x.start), frozen(x.stop), frozen(x.step)
    if isinstance(x, (tuple, list)):
        return (type(x).__name__, *map(frozen, x))
    if isinstance(x, dict):
        return tuple((k, frozen(v)) for k, v in x.items())
    if isinstance(x, (bool, int, float)):
        return type(x).__name__, repr(x)
    if isinstance(x, np.ndarray):
        raise TypeError("an array")
    hash(x)
    return x
