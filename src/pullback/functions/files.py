"""save and load: files of tensors, in terms of `pullback.io`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import moved
from ..dtypes import as_dtype, dtype
from ..errors import DTypeError, fail
from ..tensor import Size, Storage, Tensor, check_device, device
from .expose import public

PARAMETER: list[type[Tensor]] = []  # nn.Parameter; it puts itself here, being of a layer above


class _Maker:
    """Makes tensors from arrays; those over one memory share one Storage."""

    def __init__(self) -> None:
        self.storages: dict[int, Storage] = {}
        self.made: list[Tensor] = []

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
        self.made.append(tensor)
        return tensor

    def move(self, where: str) -> None:
        """All that was made goes to a device; what looks at the same memory in the same way still shares it."""
        there: dict[Any, Storage] = {}
        for x in self.made:
            array = x._array
            place = array.__array_interface__["data"], array.shape, array.strides, array.dtype
            if place not in there:
                there[place] = Storage(moved(array, where))
            x._storage = there[place]
            x._array = x._storage.array


def adapter(maker: _Maker | None = None) -> Any:
    """Tensors, as files see them."""
    from .. import io  # only now: it takes a tenth of the time of importing pullback

    return io.Adapter(
        is_tensor=lambda obj: isinstance(obj, Tensor),
        to_array=lambda t: t._array if type(t._array) is np.ndarray else t._array.in_host(),
        flags=lambda t: (t.requires_grad, type(t) is PARAMETER[-1]),
        from_array=_Maker() if maker is None else maker,
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
    """Read what `save` wrote, a safetensors file, or PyTorch's `.pt`; no code in the file is ever run.

    Files do not say where their tensors lay: they are loaded to the CPU, or all of them to `map_location`.
    """
    from .. import io

    to = map_location.get("cpu") if isinstance(map_location, dict) else None if callable(map_location) else map_location
    where, maker = check_device(to), _Maker()
    loaded = io.load(f, None, weights_only=True, mmap=mmap, adapter=adapter(maker))
    if where is not None and where != "cpu":
        maker.move(where)
    return loaded
