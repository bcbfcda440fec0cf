"""What saving and loading must know about tensors, so that files can be written and read in terms of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The tensor library, seen from a file."""

    is_tensor: Callable[[Any], bool]
    to_array: Callable[[Any], Array]  # the tensor's own memory, not a copy: sharing is found by address
    flags: Callable[[Any], tuple[bool, bool]]  # (requires_grad, is a Parameter)
    from_array: Callable[[Array, bool, bool], Any]  # (array, requires_grad, is a Parameter); keeps the array's memory
    dtype_name: Callable[[Any], str | None]  # "float32" for the dtype object; None for anything that is not one
    dtype_from_name: Callable[[str], Any]
    size: type[Any] = tuple  # the class of shapes, made from a tuple of ints
    device: type[Any] = str  # the class of devices, made from, and spelt as, a string like "cpu" or "cuda:0"
