"""The least a tensor library must be for its tensors to be saved."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.io import Adapter
from pullback.io.safetensors import DTYPES


class Tensor:
    """An array with the two flags that files keep."""

    def __init__(self, array: Any, requires_grad: bool = False, is_parameter: bool = False) -> None:
        self.array, self.requires_grad, self.is_parameter = np.asarray(array), requires_grad, is_parameter

    def __repr__(self) -> str:
        return f"Tensor({self.array!r}, {self.requires_grad}, {self.is_parameter})"


class DType:
    def __init__(self, name: str) -> None:
        self.name = name


class Size(tuple[int, ...]):
    pass


class Device:
    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    def __str__(self) -> str:
        return self.spelling


TYPES = {dtype.name: DType(dtype.name) for dtype in DTYPES.values()}

ADAPTER = Adapter(
    is_tensor=lambda obj: isinstance(obj, Tensor),
    to_array=lambda tensor: tensor.array,
    flags=lambda tensor: (tensor.requires_grad, tensor.is_parameter),
    from_array=Tensor,
    dtype_name=lambda obj: obj.name if isinstance(obj, DType) else None,
    dtype_from_name=TYPES.__getitem__,
    size=Size,
    device=Device,
)


def same(a: Any, b: Any) -> bool:
    """Whether two nests are equal in every bit, type and order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return (a.requires_grad, a.is_parameter) == (b.requires_grad, b.is_parameter) and same(a.array, b.array)
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Device):
        return str(a) == str(b)
    if isinstance(a, (set, frozenset)):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    return bool(a == b)
