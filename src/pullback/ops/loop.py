"""One body for every step of a loop: what recurrent layers are composed of."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

from .joining import stack
from .shape import slice_

Arrays = tuple[Any, ...]


def scan(
    body: Callable[[Arrays, Arrays], tuple[Arrays, Arrays]],
    carry: Arrays,
    xs: Sequence[Any],
    length: int,
    reverse: bool = False,
) -> tuple[Arrays, Arrays]:
    """`carry, y = body(carry, x)` along the first dimension of the xs: the last carry, and the ys stacked in their order."""
    steps, ys = range(length), []
    for t in builtins.reversed(steps) if reverse else steps:
        carry, y = body(carry, tuple([slice_(x, key=(t,)) for x in xs]))
        ys.append(y)
    if reverse:
        ys.reverse()
    return carry, tuple([stack(*column, dim=0) for column in zip(*ys, strict=True)])
