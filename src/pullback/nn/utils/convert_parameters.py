"""All parameters as one vector, and back: for methods that see a model as one point in space."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import DTypeError, ShapeError, fail
from ...functions.joining import cat
from ...modes import no_grad
from ...tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """One after the other, each flattened; gradients pass."""
    vector: Tensor = cat([p.reshape(-1) for p in parameters])
    return vector


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make the parameters views of a vector, one after the other: they share its memory from here on."""
    if not isinstance(vec, Tensor):
        fail(DTypeError, f"the vector must be a Tensor, not {type(vec).__name__}")
    given: list[Any] = list(parameters)
    sizes = [p.numel() for p in given]
    if vec.shape != (sum(sizes),):
        what = f"the parameters have {sum(sizes)} elements, but the vector is of shape {list(vec.shape)}"
        fail(ShapeError, what, "pass parameters_to_vector(parameters) of the same parameters, in the same order")
    with no_grad():
        for p, part in zip(given, vec.split(sizes), strict=True):
            p.data = part.view_as(p)
