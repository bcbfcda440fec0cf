"""Python numbers that are not known when a Program is built: they do not widen what they are computed with."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ...ops.record import Op, per_input


class Weak:
    """A traced number, in float64 or int64, that behaves in dtype rules as a Python number does."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    @property
    def stand_in(self) -> float | int:
        """A number of the same kind, for dtype rules."""
        return 1.0 if self.array.dtype.kind == "f" else 1


def stood_in(inputs: Any) -> list[Any]:
    """Inputs for a dtype rule."""
    return [x.stand_in if type(x) is Weak else x for x in inputs]


def settled(op: Op, inputs: Any, arrays: Any) -> list[Any]:
    """What the dtype rule gave, with the numbers in the dtype that it gave their stand-ins."""
    if op.dtypes is per_input:  # an optimizer's update: its numbers are computed with in float64
        return [x.array if type(x) is Weak else x for x in inputs]
    if not any(type(x) is Weak for x in inputs):
        return list(arrays)
    common = next((a.dtype for a in arrays if hasattr(a, "dtype") and a.dtype.kind != "b"), jnp.dtype("float32"))
    return [
        x.array.astype(getattr(a, "dtype", common)) if type(x) is Weak else a
        for x, a in zip(inputs, arrays, strict=True)
    ]


def _binary(name: str, compute: Callable[[Any, Any], Any]) -> None:
    def forward(x: Weak, y: Any) -> Any:
        other = y.array if type(y) is Weak else y
        return Weak(compute(x.array, other)) if not hasattr(other, "shape") or type(y) is Weak else NotImplemented

    setattr(Weak, f"__{name}__", forward)
    setattr(Weak, f"__r{name}__", lambda y, x: Weak(compute(x, y.array)))


for _name in ("add", "sub", "mul", "truediv", "pow"):
    _binary(_name, getattr(operator, _name))
setattr(Weak, "__neg__", lambda x: Weak(-x.array))
