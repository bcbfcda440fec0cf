"""What the layers' files share."""

from __future__ import annotations

from ..errors import ShapeError, fail
from ..tensor import Tensor
from .module import Module


class Layer(Module):
    """A module whose repr gives the attributes named in `shown`."""

    shown: tuple[str, ...] = ()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)


def expect_dims(input: Tensor, *allowed: int) -> None:
    """An error unless the input has one of these numbers of dimensions."""
    if input._array.ndim not in allowed:
        wanted = " or ".join(f"{n}D" for n in allowed)
        fail(ShapeError, f"expected {wanted} input (got {input.ndim}D input of shape {list(input.shape)})")
