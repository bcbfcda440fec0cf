"""What convolution and pooling accept: one number for all dimensions or one for each, with or without a batch."""

from __future__ import annotations

import operator
from typing import Any

from ...errors import PullbackError, ShapeError, fail
from ...ops.shape import reshape
from ...tensor import Tensor

Sizes = tuple[int, ...]


def sizes(name: str, value: Any, n: int) -> Sizes:
    """n numbers from one number, or from a sequence of one or n."""
    if type(value) is int:
        return (value,) * n
    try:
        given = tuple(map(operator.index, value)) if isinstance(value, (tuple, list)) else (operator.index(value),)
    except TypeError:
        given = ()
    if len(given) == 1:
        return given * n
    if len(given) != n:
        fail(
            PullbackError,
            f"expected {name} to be a single integer value or a list of {n} values, but got {name}={value!r}",
        )
    return given


def batched(x: Tensor, n: int, expected: str) -> tuple[Tensor, bool]:
    """x with a batch in front of its channels and n spatial dimensions, and whether that was added here."""
    shape = x._array.shape
    if len(shape) == n + 2:
        return x, False
    if len(shape) != n + 1:
        fail(
            ShapeError,
            f"{expected}{list(shape)}",
            "unsqueeze() or reshape() the input to (batch, channels, *spatial sizes)",
        )
    return reshape(x, shape=(1, *shape)), True


def unbatched(y: Tensor, alone: bool) -> Tensor:
    """y without the batch that `batched` added."""
    return reshape(y, shape=y._array.shape[1:]) if alone else y
