"""Arrays that have a shape and a dtype and no values: what the core may look at, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pullback.dtypes import F32
from pullback.ops.record import IMPLEMENTATIONS, Op, Spec


class ShapeOnly:
    """An array without values. Whoever reads one is told off."""

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def astype(self, dtype: Any, copy: bool = True) -> ShapeOnly:
        return ShapeOnly(self.shape, dtype)

    def _read(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the values of an array were read")

    __array__ = __bool__ = __float__ = __int__ = __index__ = __iter__ = __len__ = __getitem__ = __setitem__ = _read
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __mul__ = __neg__ = item = tolist = copy = _read
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"ShapeOnly({self.shape}, {self.dtype})"


def without_values(x: Any) -> Any:
    """A stand-in for an array; anything else as it is."""
    return ShapeOnly(x.shape, x.dtype) if isinstance(x, np.ndarray) else x


def infer(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """Run an op on shapes alone: its dtype rule, then its shape rule."""
    arrays, restore = op.dtypes(op, [without_values(x) for x in inputs])
    specs = op.infer(*arrays, **params)
    outs = tuple(
        ShapeOnly(shape, restore if restore is not None and dtype == F32 else dtype)
        for shape, dtype in ([specs] if isinstance(specs, Spec) else specs)
    )
    return outs[0] if isinstance(specs, Spec) else outs


@contextmanager
def shapes_run() -> Iterator[None]:
    """Ops take ShapeOnly arrays inside."""
    IMPLEMENTATIONS[ShapeOnly] = infer
    try:
        yield
    finally:
        del IMPLEMENTATIONS[ShapeOnly]
