"""Arrays on a device: places in its memory, as an ndarray is one in the host's.

JAX's arrays never change. A DeviceArray has a Memory that holds one of them, and a path of view ops that leads from it
to what is seen; a write gives the memory another array, and every view of it follows.
"""

from __future__ import annotations

import gc
import math
import operator
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from ...errors import PullbackError, fail
from ...ops.record import IMPLEMENTATIONS, Op
from ...ops.shape import put_view
from ...ops.strided import as_strided
from ...program.layout import view_strides
from ...program.program import Value, contiguous
from ...program.symbol import Flags, lies_in_order
from ...tensor import Storage, Tensor
from . import forms
from .keys import key_of

Look = tuple[Op, dict[str, Any]]


class Memory:
    """What lies in the memory of a device now, and how often it was written."""

    __slots__ = ("array", "version")

    def __init__(self, array: jax.Array) -> None:
        self.array, self.version = array, 0


class DeviceArray:
    """A place in the memory of a device."""

    __slots__ = ("_array", "_seen", "dtype", "looks", "memory", "shape", "strides")

    def __init__(self, memory: Memory, array: jax.Array | None = None, looks: tuple[Look, ...] = (), strides: Any = None):
        self.memory, self.looks = memory, looks
        self._array, self._seen = memory.array if array is None else array, memory.version
        self.shape, self.dtype = self._array.shape, self._array.dtype
        self.strides = contiguous(self.shape, self.dtype.itemsize) if strides is None else strides

    def read(self) -> jax.Array:
        """What is at this place now."""
        if self._seen != self.memory.version:
            array = self.memory.array
            for op, params in self.looks:
                array = execute(op, (array,), params)
            self._array, self._seen = array, self.memory.version
        return self._array

    def put(self, array: jax.Array) -> None:
        """The whole memory becomes `array`."""
        self.memory.array = array
        self.memory.version += 1

    def write(self, value: Any) -> None:
        """Put `value` here, broadcast and cast."""
        value = value.read() if type(value) is DeviceArray else np.asarray(value)
        path = tuple((op.name, params) for op, params in self.looks) or (("slice", {"key": (...,)}),)
        self.put(execute(put_view, (self.memory.array, value), {"path": path}))

    def known(self) -> np.ndarray[Any, Any]:
        """The values, in the host's memory."""
        return np.array(self.read())

    __array__ = lambda self, dtype=None, copy=None: np.array(self.read(), dtype)  # noqa: E731
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: math.prod(self.shape) * self.dtype.itemsize)

    @property
    def flags(self) -> Flags:
        return Flags(lies_in_order(self.shape, self.strides, self.dtype.itemsize))

    @property
    def device(self) -> str:
        """PyTorch's name of the device."""
        (where,) = self.memory.array.devices()
        return name_of(where)

    def copy(self) -> DeviceArray:
        return DeviceArray(Memory(jax.numpy.array(self.read(), copy=True)))

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return self.known().astype(dtype)

    def tolist(self) -> Any:
        return self.known().tolist()

    def item(self) -> Any:
        return self.known().item()

    def __getitem__(self, key: Any) -> Any:
        return self.known()[key]

    def __len__(self) -> int:
        return self.shape[0]

    __bool__ = lambda self: bool(self.known())  # noqa: E731
    __float__ = lambda self: float(self.known())  # noqa: E731
    __int__ = lambda self: int(self.known())  # noqa: E731
    __index__ = lambda self: operator.index(self.known())  # noqa: E731

    def __reduce__(self) -> Any:  # files and pickles hold what is seen
        return np.asarray, (self.known(),)

    def __repr__(self) -> str:
        return f"<{self.dtype}{list(self.shape)} on {self.device}>"


def name_of(where: Any) -> str:
    """`cuda:0`, `tpu:1`, `cpu`: a device of JAX's as PyTorch calls it."""
    if where.platform == "cpu":
        return "cpu"
    return f"{'cuda' if where.platform in ('gpu', 'cuda') else where.platform}:{where.id}"


@lru_cache(4096)
def compiled(op: Op, places: tuple[Any, ...], key: Any) -> Any:
    """An op with fixed parameters, jitted; `places` are the inputs that are no arrays."""

    def call(*arrays: Any) -> Any:
        given, rest = list(places), iter(arrays)
        inputs = [next(rest) if x is ARRAY else x for x in given]
        return forms.run(op, inputs, key.params)

    return jax.jit(call)


ARRAY: Any = type("TheArray", (), {})()


def execute(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """Run an op on JAX's arrays at once."""
    arrays = [x for x in inputs if hasattr(x, "shape")]
    places = tuple([ARRAY if hasattr(x, "shape") else x for x in inputs])
    with jax.enable_x64(True):
        key = key_of(params)
        if key is None or op.name in forms.DYNAMIC:
            return forms.run(op, inputs, params)
        return compiled(op, places, key)(*arrays)


def run(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """An op on device arrays; what is still in the host's memory goes where they are."""
    where = next(x.device for x in inputs if type(x) is DeviceArray)
    if op.name in forms.DYNAMIC:  # the host has to look at the values
        out = op(*[x.known() if type(x) is DeviceArray else x for x in inputs], **params)
        return tuple(place(o, where) for o in out) if type(out) is tuple else place(out, where)
    first = inputs[0]
    arrays = []
    for x in inputs:
        if type(x) is DeviceArray:
            if x.device != where:
                fail(
                    PullbackError,
                    f"Expected all tensors to be on the same device, but found at least two devices, {where} and {x.device}",
                    "move one of them with .to(device)",
                )
            arrays.append(x.read())
        elif isinstance(x, np.ndarray) and x.ndim and where != "cpu":
            fail(
                PullbackError,
                f"Expected all tensors to be on the same device, but found at least two devices, {where} and cpu",
                "move one of them with .to(device)",
            )
        else:
            arrays.append(x)
    out = execute(op, arrays, params)
    if op.views is not None and type(first) is DeviceArray:
        return tuple(seen(first, one, given) for one, given in op.views(first, **params))
    if op.view and type(first) is DeviceArray:
        strides = layout(first, op, params, out.shape)
        return DeviceArray(Memory(out)) if strides is None else DeviceArray(
            first.memory, out, (*first.looks, (op, params)), strides
        )
    return tuple(DeviceArray(Memory(o)) for o in out) if type(out) is tuple else DeviceArray(Memory(out))


def layout(x: DeviceArray, op: Op, params: dict[str, Any], shape: Any) -> Any:
    return view_strides(op, Value(0, x.shape, x.dtype, x.strides), params, tuple(shape))


def seen(x: DeviceArray, op: Op, params: dict[str, Any]) -> DeviceArray:
    out = execute(op, (x.read(),), params)
    return DeviceArray(x.memory, out, (*x.looks, (op, params)), layout(x, op, params, out.shape))


def place(array: Any, where: str) -> DeviceArray:
    """An array in the memory of a device."""
    with jax.enable_x64(True):
        array = array.read() if type(array) is DeviceArray else np.asarray(array)
        return DeviceArray(Memory(jax.device_put(array, device_of(where))))


def device_of(name: str) -> Any:
    """JAX's device of PyTorch's name."""
    kind, _, number = name.partition(":")
    platform = {"cuda": "gpu", "xla": None}.get(kind, kind)
    try:
        return jax.devices(platform)[int(number or 0)]
    except (RuntimeError, IndexError):
        fail(
            PullbackError,
            f"there is no device {name!r} here: JAX finds {', '.join(sorted({name_of(d) for d in jax.devices()}))}",
            "install pullback[cuda] on a machine with an NVIDIA GPU, or use another device",
        )


def adopt(storages: Sequence[Storage], where: str) -> None:
    """Move memory to a device; all tensors that look at it see it there."""
    wanted = {id(s): s for s in storages if type(s.array) is np.ndarray}
    if not wanted:
        return
    lookers = [t for t in gc.get_objects() if isinstance(t, Tensor) and id(t._storage) in wanted]
    bases: dict[int, tuple[np.ndarray[Any, Any], DeviceArray]] = {}
    for key, storage in wanted.items():
        bases[key] = storage.array, place(storage.array, where)
        storage.array = bases[key][1]
    for t in lookers:
        host, base = bases[id(t._storage)]
        t._array = base if t._array is host else view_of(base, host, t)


def view_of(base: DeviceArray, host: np.ndarray[Any, Any], t: Tensor) -> DeviceArray:
    """How a tensor that is a view looks at memory that has moved."""
    path = t._path
    if not path:
        array, size = t._array, host.itemsize
        offset = (array.__array_interface__["data"][0] - host.__array_interface__["data"][0]) // size
        strides = tuple(s // size for s in array.strides)
        if array.shape == host.shape and array.strides == host.strides and not offset:
            return base
        path = ((as_strided, {"size": array.shape, "stride": strides, "offset": offset}),)
    for op, params in path:
        base = seen(base, op, params)
    return base


def register() -> None:
    """Let ops run on device arrays."""
    forms.register()
    IMPLEMENTATIONS[DeviceArray] = run


__all__ = ["DeviceArray", "Memory", "execute", "partial", "place", "register"]
