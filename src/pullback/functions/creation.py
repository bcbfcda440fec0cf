"""Making tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import F64, as_dtype, dtype, get_default_dtype
from ..errors import DTypeError, fail
from ..tensor import Tensor, device, wrap
from .expose import public


def to_array(data: Any, d: Any = None) -> np.ndarray[Any, Any]:
    """An array of its own, with PyTorch's choice of dtype: Python floats give the default type, NumPy arrays keep theirs."""
    want = None if d is None else as_dtype(d).numpy
    if isinstance(data, Tensor):
        return np.array(data._array, dtype=want)
    if isinstance(data, (list, tuple)):
        data = _untensor(data)
    array = np.array(data, dtype=want)
    if want is None and not isinstance(data, (np.ndarray, np.generic)) and (array.dtype == F64 or array.size == 0):
        array = array.astype(get_default_dtype().numpy)
    if array.dtype not in dtype.by_numpy:
        fail(DTypeError, f"data of type {array.dtype} cannot become a tensor", "pass numbers or booleans in lists of equal lengths")
    return array


def _untensor(data: Any) -> Any:
    """Nested lists with the tensors in them replaced by numbers."""
    if isinstance(data, Tensor):
        return data._array
    return [_untensor(d) for d in data] if isinstance(data, (list, tuple)) else data


@public(method=False)
def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A new leaf tensor holding a copy of `data`."""
    t = wrap(to_array(data, dtype))
    if requires_grad:
        t.requires_grad = True
    return t
