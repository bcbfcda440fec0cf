"""backward() and what belongs to a tensor's place on the tape."""

from __future__ import annotations

from typing import Any

from .. import gradients
from ..tensor import Tensor
from .expose import public


@public(function=False)
def backward(self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
    """Add the gradients of this tensor to the `.grad` of the leaves it was computed from."""
    gradients.backward(self, gradient, retain_graph, create_graph, inputs=inputs)
