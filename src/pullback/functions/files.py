"""save and load: files of tensors, in terms of `pullback.io`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import as_dtype, dtype
from ..errors import DTypeError, fail
from ..tensor import Size, Storage, Tensor, device
from .expose import public

PARAMETER: list[type[Tensor]] = []  # nn.Parameter; it puts itself here, being of a layer above


class _Maker:
    """Makes tensors from arrays; those over one memory share one Storage."""

    def __init__(self) -> None:
        self.storages: dict[int, Storage] = {}

    def __call__(self, array: np.ndarray[Any, Any], requires_grad: bool, is_parameter: bool) -> Tensor:
        if array.dtype not in dtype.by_numpy:
            fail(
                DTypeError,
                f"the file holds a tensor of type {array.dtype}, which pullback does not have",
                "convert it before saving",
            )
        cls = PARAMETER[-1] if is_parameter else Tensor
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        storage = self.storages.setdefault(
            id(root), Storage(root if root.dtype == array.dtype and root.shape else array)
        )
        tensor = object.__new__(cls)
        tensor._array, tensor._storage, tensor._requires_grad = array, storage, requires_grad
        return tensor


def adapter() -> Any:
    """Tensors, as files see them."""
    from .. import io  # only now: it takes a tenth of the time of importing pullback

    return io.Adapter(
        is_tensor=lambda obj: isinstance(obj, Tensor),
        to_array=lambda t: t._array,
        flags=lambda t: (t.requires_grad, type(t) is PARAMETER[-1]),
        from_array=_Maker(),
        dtype_name=lambda obj: obj.name if isinstance(obj, dtype) else None,
        dtype_from_name=as_dtype,
        size=Size,
        device=device,
    )


@public(method=False)
def save(
    obj: Any, f: Any, pickle_module: Any = None, pickle_protocol: int = 2, _use_new_zipfile_serialization: bool = True
) -> None:
    """Write any nest of containers, numbers, strings and tensors to a file: safetensors plus JSON, never pickle."""
    from .. import io

    io.save(obj, f, adapter=adapter())


@public(method=False)
def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save` wrote, a safetensors file, or PyTorch's `.pt`; no code in the file is ever run."""
    from .. import io

    return io.load(f, map_location, weights_only=True, mmap=mmap, adapter=adapter())
