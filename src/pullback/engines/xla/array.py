"""Arrays on a device: places in its memory, as an ndarray is one in the host's.

JAX's arrays never change. A DeviceArray has a Memory that holds one of them, and a path of view ops that leads from it
to what is seen; a write gives the memory another array, and every view of it follows.
"""

from __future__ import annotations

import gc
import math
import operator
import os
import weakref
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from ...devices import common
from ...errors import PullbackError, RangeError, fail
from ...modes import MODES
from ...ops.create import cast
from ...ops.grouped import check_ends
from ...ops.indexing import each
from ...ops.record import IMPLEMENTATIONS, WATCHERS, Op, explain
from ...ops.shape import put_view
from ...ops.strided import as_strided
from ...program.capture.layout import view_strides
from ...program.capture.symbol import Flags, infer, lies_in_order, record
from ...program.program import Value, contiguous
from ...tensor import Storage, Tensor, check_writable
from . import forms
from .forms.indexing import DYNAMIC
from .keys import Key, key_of
from .weak import Weak

Look = tuple[Op, dict[str, Any]]


class Memory:
    """What lies in the memory of a device now, and how often it was written.

    `device` is where the user sees it: state that a compiled step has taken to a device is still on the "cpu" to them.
    """

    __slots__ = ("array", "device", "host", "version")

    def __init__(self, array: jax.Array, device: str = "cpu") -> None:
        self.array, self.device, self.version = array, device, 0
        self.host: Any = None  # (version, a weak reference to a copy in the host's memory)


class DeviceArray:
    """A place in the memory of a device."""

    __slots__ = ("_array", "_seen", "base", "dtype", "looks", "shape", "strides")

    def __init__(
        self, memory: Memory, array: jax.Array | None = None, looks: tuple[Look, ...] = (), strides: Any = None
    ) -> None:
        self.base, self.looks = memory, looks
        self._array, self._seen = memory.array if array is None else array, memory.version
        self.shape, self.dtype = self._array.shape, self._array.dtype
        self.strides = contiguous(self.shape, self.dtype.itemsize) if strides is None else strides

    memory = property(lambda self: self.base)
    device = property(lambda self: self.base.device)
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: math.prod(self.shape) * self.dtype.itemsize)

    @property
    def flags(self) -> Flags:
        return Flags(lies_in_order(self.shape, self.strides, self.dtype.itemsize))

    def read(self) -> jax.Array:
        """What is at this place now."""
        if self._seen != self.base.version:
            array = self.base.array
            for op, params in self.looks:
                array = execute(op, (array,), params)
            self._array, self._seen = array, self.base.version
        return self._array

    def put(self, array: jax.Array) -> None:
        """This place, as a rule the whole memory, becomes `array`."""
        if self.looks:
            return self.write(DeviceArray(Memory(array)))
        self.replace(array)

    def replace(self, array: jax.Array) -> None:
        """The whole memory becomes `array`."""
        self.base.array = array
        self.base.version += 1

    def write(self, value: Any) -> None:
        """Put `value` here, broadcast and cast."""
        check_writable(self)
        value = value.read() if type(value) is DeviceArray else np.asarray(value)
        path = tuple((op.name, params) for op, params in self.looks) or (("slice", {"key": (...,)}),)
        self.replace(execute(put_view, (self.base.array, beside(value, self.base.array)), {"path": path}))

    # -- the values, in the host's memory ------------------------------------------------------------------------------

    def known(self) -> np.ndarray[Any, Any]:
        """A copy of the values."""
        check_process()
        return np.array(self.read())

    def in_host(self) -> np.ndarray[Any, Any]:
        """The values; as long as somebody holds them, views of one memory are views of one copy."""
        memory, whole = self.base, None
        if memory.host is not None and memory.host[0] == memory.version:
            whole = memory.host[1]()
        if whole is None:
            whole = np.array(memory.array)
            memory.host = memory.version, weakref.ref(whole)
        for op, params in self.looks:
            whole = op.numpy(whole, **params)
        return whole

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.array(self.read(), dtype)

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

    # -- copies --------------------------------------------------------------------------------------------------------

    def copy(self) -> DeviceArray:
        """The same values in memory of their own."""
        return DeviceArray(Memory(jax.numpy.array(self.read(), copy=True), self.base.device))

    def moved(self, where: str) -> Any:
        """A copy on another device; on the CPU, an ndarray."""
        return self.known() if where == "cpu" else place(self, where)

    def astype(self, dtype: Any, copy: bool = True) -> DeviceArray:
        """The values in another dtype; the array itself if it has that and need not be copied."""
        if not copy and self.dtype == dtype:
            return self
        return run(cast, (self,), {"dtype": np.dtype(dtype)})

    def data_ptr(self) -> int:
        """The address on the device, as the memory is now."""
        return int(self.base.array.unsafe_buffer_pointer()) + self.offset

    @property
    def offset(self) -> int:
        """How many bytes of the memory come before the first element."""
        whole = self.base.array
        strides = contiguous(whole.shape, self.itemsize)
        view = outline = np.lib.stride_tricks.as_strided(np.empty(1, whole.dtype), whole.shape, strides)
        for op, params in self.looks:
            view = op.numpy(view, **params)
        return int(view.__array_interface__["data"][0] - outline.__array_interface__["data"][0])

    def __reduce__(self) -> Any:
        """In pickles, the values and the device."""
        return restored, (self.known(), self.device)

    def __repr__(self) -> str:
        return f"<{self.dtype}{list(self.shape)} on {self.device}>"


def restored(values: np.ndarray[Any, Any], where: str) -> Any:
    """What a pickle holds."""
    return values if where == "cpu" else place(values, where)


@lru_cache(4096)
def compiled(op: Op, places: Key, key: Key) -> Any:
    """An op with fixed parameters, jitted; `places` says which inputs are arrays or numbers that may differ."""

    def call(*given: Any) -> Any:
        rest = iter(given)
        inputs = [
            next(rest) if x is ARRAY else Weak(next(rest)) if x in (FLOAT, INT) else x for x in places.params["inputs"]
        ]
        return forms.run(op, inputs, key.params)

    return jax.jit(call)


ARRAY, FLOAT, INT = (type(name, (), {})() for name in ("Array", "Float", "Int"))
NUMBERS = {float: FLOAT, int: INT}
VARYING = {"add", "sub", "mul", "div", "sgd", "adam"}  # ops whose numbers often differ from call to call


FORKED: list[bool] = []  # is this a process that was forked after JAX began?
os.register_at_fork(after_in_child=lambda: FORKED.append(True))


def check_process() -> None:
    """A forked process has none of JAX's threads, and would wait for them for ever."""
    if FORKED:
        fail(
            PullbackError,
            "a tensor on a device is used in a forked process, such as a DataLoader's worker",
            "let datasets hold tensors of the CPU and move the batches, or pass multiprocessing_context='spawn'",
        )


def execute(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """Run an op on JAX's arrays at once."""
    check_process()
    with jax.enable_x64(True):
        numbers = NUMBERS if op.name in VARYING else {}
        places = [ARRAY if hasattr(x, "shape") else numbers.get(type(x), x) for x in inputs]
        fixed, key = key_of({"inputs": places}), key_of(params)
        if fixed is None or key is None:
            return forms.run(op, inputs, params)
        given = [x for x, place in zip(inputs, places, strict=True) if place in (ARRAY, FLOAT, INT)]
        return compiled(op, fixed, key)(*given)


def run(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """An op on device arrays; numbers and constants that are still in the host's memory go where they are."""
    if MODES.capture is not None:  # a tensor that was there before: the recorder says what to do
        return record(op, inputs, params)
    where = common(op, inputs)
    if op.name in DYNAMIC:  # the host has to look at the values
        out = op(*[x.known() if type(x) is DeviceArray else x for x in inputs], **params)
        lies = next(x for x in inputs if type(x) is DeviceArray and x.device == where).base.array
        made = tuple([DeviceArray(Memory(beside(o, lies), where)) for o in (out if type(out) is tuple else (out,))])
        return made if type(out) is tuple else made[0]
    arrays = gathered(inputs, where)
    try:
        check_indices(op, inputs, params)
        out = execute(op, arrays, params)
    except PullbackError:
        raise
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        infer(op, inputs, params)  # says what is wrong with the shapes or dtypes, as it does during capture
        explain(op, inputs, params, error)
    for watch in WATCHERS:
        watch(op, inputs, params, out)
    first = inputs[0]
    if op.view and type(first) is DeviceArray:
        if op.views is not None:
            looks = zip(op.views(first, **params), out, strict=True)
            return tuple([look(first, one, given, part) for (one, given), part in looks])
        return look(first, op, params, out)
    if type(out) is tuple:
        return tuple([DeviceArray(Memory(o, where)) for o in out])
    return DeviceArray(Memory(out, where))


def gathered(inputs: Sequence[Any], where: str) -> list[Any]:
    """What JAX is given: its own arrays, all on one device; NumPy's, which go along; and what is no array."""
    arrays, target, mixed = [], None, False
    for x in inputs:
        if type(x) is DeviceArray:
            x = x.read()
            if target is None:
                target = x
            mixed = mixed or x.device != target.device
        arrays.append(x)
    if mixed:  # state of compiled steps, on several devices but all "cpu"; or single numbers of the CPU
        lies = next(x for x in inputs if type(x) is DeviceArray and x.device == where).read()
        arrays = [beside(x, lies) if isinstance(x, jax.Array) else x for x in arrays]
    return arrays


def beside(x: Any, other: jax.Array) -> jax.Array:
    """x on the device of another array."""
    if isinstance(x, jax.Array) and x.device == other.device:
        return x
    with jax.enable_x64(True):
        return jax.device_put(x, other.device, may_alias=False)


# Ops that read or write where an input of integers says, and the dimensions that these index. XLA does not notice an
# index that is out of range.
INDEXED: dict[str, tuple[int, Any]] = {
    "take_at": (1, lambda dims, **_: dims),
    "put_at": (1, lambda dims, **_: dims),
    "gather": (1, lambda dim, **_: (dim,)),
    "scatter": (1, lambda dim, **_: (dim,)),
    "scatter_add": (1, lambda dim, **_: (dim,)),
    "scatter_reduce": (1, lambda dim, **_: (dim,)),
    "embedding": (1, lambda **_: (0,)),
}


def check_indices(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> None:
    """Refuse indices out of range, unless a rule made or used them."""
    if op.name == "grouped_mm" and not MODES.backward:
        check_ends(inputs[0], inputs[1], np.asarray(inputs[2]))
    if op.name not in INDEXED or MODES.backward:
        return
    which, dims = INDEXED[op.name]
    index, shape = np.asarray(inputs[which]), inputs[0].shape
    rows = each(index, tuple(dims(**params))) if op.name in ("take_at", "put_at") else [index]
    for i, d in zip(rows, dims(**params), strict=True):
        n = shape[d] if shape else 1
        if i.size and not (-n <= i.min() and i.max() < n):
            wrong = int(i.min()) if i.min() < -n else int(i.max())
            fail(
                RangeError,
                f"{op.name}: index {wrong} is out of bounds for dimension {d} with size {n}",
                "every index must lie in -size ... size - 1 of the dimension it indexes",
            )


def look(x: DeviceArray, op: Op, params: dict[str, Any], out: jax.Array) -> DeviceArray:
    """A view of x; or a copy, where x's layout allows none."""
    strides = view_strides(op, Value(0, x.shape, x.dtype, x.strides), params, tuple(out.shape))
    if strides is None:
        return DeviceArray(Memory(out, x.device))
    return DeviceArray(x.base, out, (*x.looks, (op, params)), strides)


def place(array: Any, where: str, seen: str | None = None) -> DeviceArray:
    """A copy of an array in the memory of a device; `seen` is the device that the user is told."""
    check_process()
    with jax.enable_x64(True):
        values = array.read() if type(array) is DeviceArray else np.asarray(array)
        there = jax.device_put(values, device_of(where), may_alias=False)
        if there is values:
            there = jax.numpy.array(there, copy=True)
        return DeviceArray(Memory(there, where if seen is None else seen))


def devices(kind: str) -> list[Any]:
    """JAX's devices of a kind: cpu, cuda, tpu; `xla` is those that it would choose."""
    try:
        return list(jax.devices({"cuda": "gpu", "xla": None}.get(kind, kind)))
    except RuntimeError:
        return []


def device_of(name: str) -> Any:
    """JAX's device of PyTorch's name."""
    kind, _, number = name.partition(":")
    found = devices(kind)
    if int(number or 0) < len(found):
        return found[int(number or 0)]
    here = ", ".join(f"{n} of kind {kind!r}" for kind in ("cpu", "cuda", "tpu") if (n := len(devices(kind))))
    todo = 'use one of these, or "xla", which is the one that JAX would choose'
    if kind == "cuda" and not found:
        todo = 'pip install "pullback[cuda]" on a machine with an NVIDIA GPU, or ask pullback.cuda.is_available() first'
    fail(PullbackError, f"there is no device {name!r} here: JAX {jax.__version__} finds {here}", todo)


def wait(device: Any) -> None:
    """Until all that was started on a device is done."""
    for array in jax.live_arrays():
        if device in array.devices():
            array.block_until_ready()


def adopt(storages: Sequence[Storage], where: str) -> None:
    """Move the CPU's memory to a device, where a compiled step needs it. To the user, tensors stay where they are."""
    wanted = {id(s): s for s in storages if type(s.array) is np.ndarray}
    if not wanted:
        return
    lookers = [t for t in gc.get_objects() if issubclass(type(t), Tensor) and id(t._storage) in wanted]
    bases: dict[int, tuple[np.ndarray[Any, Any], DeviceArray]] = {}
    for key, storage in wanted.items():
        base = place(storage.array, where, "cpu")
        base.strides = storage.array.strides
        bases[key] = storage.array, base
        storage.array = base
    for t in lookers:
        host, base = bases[id(t._storage)]
        if type(t._array) is np.ndarray:  # not what a capture has left behind
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
        base = look(base, op, params, execute(op, (base.read(),), params))
    return base


def register() -> None:
    """Let ops run on device arrays."""
    forms.register()
    IMPLEMENTATIONS[DeviceArray] = run


__all__ = ["DeviceArray", "Memory", "execute", "place", "register"]
