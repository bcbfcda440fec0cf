"""Padding as modules: (left, right) of the last dimension, then of the one before, and so on."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .functional.arguments import sizes
from .layer import Layer, expect_dims


class _Pad(Layer):
    """`n` spatial dimensions, behind channels or behind batch and channels."""

    n: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = sizes("padding", padding, 2 * self.n)

    def forward(self, input: Tensor) -> Tensor:
        expect_dims(input, self.n + 1, self.n + 2)
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class CircularPad1d(_Pad):
    """Continued from the other end."""

    n, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Continued from the other end."""

    n, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Continued from the other end."""

    n, mode = 3, "circular"


class ReflectionPad1d(_Pad):
    """Mirrored at the edge, which is not repeated."""

    n, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Mirrored at the edges, which are not repeated."""

    n, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Mirrored at the edges, which are not repeated."""

    n, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The edge, repeated."""

    n, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The edges, repeated."""

    n, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The edges, repeated."""

    n, mode = 3, "replicate"


class _ConstantPad(Layer):
    """The last `n` dimensions of any tensor."""

    n: int
    shown = ("padding", "value")

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__()
        self.padding, self.value = sizes("padding", padding, 2 * self.n), value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)


class ConstantPad1d(_ConstantPad):
    """`value` around the last dimension."""

    n = 1


class ConstantPad2d(_ConstantPad):
    """`value` around the last two dimensions."""

    n = 2


class ConstantPad3d(_ConstantPad):
    """`value` around the last three dimensions."""

    n = 3


class ZeroPad1d(ConstantPad1d):
    """Zeros around the last dimension."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Zeros around the last two dimensions."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Zeros around the last three dimensions."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"
