"""Tensors as other things: other dtypes, NumPy arrays, Python numbers, copies, pickles."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import named, place_of
from ..dtypes import FLOATS, HALVES, as_dtype, dtype, own, promote, result_dtype
from ..errors import PullbackError, ShapeError, fail
from ..moves import move
from ..ops.create import cast
from ..ops.create import clone as clone_op
from ..ops.record import OPS, broadcasts_to
from ..tensor import Storage, Tensor, check_device, device, wrap
from ..views import write
from .creation import LEGACY, TypedTensor, shape_of
from .expose import public


@public(function=False)
def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """This tensor in a dtype, on a device, or both as another tensor has them; itself if it is so already."""
    where, want = target(args, kwargs)
    npdtype = self.npdtype if want is None else want.numpy
    there = self if where is None else move(self, where)
    if npdtype != self.npdtype:
        return cast(there, dtype=npdtype)
    return clone(there) if there is self and (kwargs.get("copy") or (len(args) == 4 and args[3])) else there


def target(args: Any, kwargs: dict[str, Any]) -> tuple[str | None, dtype | None]:
    """The device and the dtype that arguments of `to` ask for: a tensor's, or each by itself."""
    want, where = kwargs.get("dtype"), kwargs.get("device")
    for arg in (*args, kwargs.get("other"), kwargs.get("tensor")):
        if isinstance(arg, Tensor):
            want, where = arg.dtype, arg._array.device
        elif isinstance(arg, (str, device)) or type(arg) is int:
            where = arg
        elif arg is not None and not isinstance(arg, bool):
            want = arg
    return check_device(where), None if want is None else as_dtype(want)


def _to_dtype(name: str, of: dtype) -> None:
    @public(function=False, name=name)
    def convert(self: Tensor, **options: Any) -> Tensor:
        return self if self.npdtype == of.numpy else cast(self, dtype=of.numpy)

    convert.__doc__ = f"This tensor as {of.name}."


for _name, _of in {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "long": "int64", "int": "int32",
    "short": "int16", "char": "int8", "byte": "uint8", "bool": "bool",
}.items():  # fmt: skip
    _to_dtype(_name, dtype.by_name[_of])


@public(function=False, name="type")
def type_(self: Tensor, dtype: Any = None, **options: Any) -> Any:
    """The type's name, or this tensor as another type."""
    if dtype is None:
        return "torch." + next(name for name, of in LEGACY.items() if of == self.dtype.name)
    if isinstance(dtype, TypedTensor):
        dtype = dtype.of
    if isinstance(dtype, str):
        dtype = dtypes.dtype.by_name[LEGACY[dtype.rpartition(".")[2]]]
    return to(self, dtype)


@public(function=False)
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor in the dtype of another."""
    return to(self, other.dtype)


@public(function=False)
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """This tensor on the CPU; itself if it is there."""
    return move(self, "cpu")


@public(function=False)
def cuda(self: Tensor, device: Any = None, **options: Any) -> Tensor:
    """This tensor on a CUDA device."""
    return move(self, named("cuda" if device is None else device))


@public(function=False)
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Itself: there is nothing to pin for."""
    return self


@public()
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with memory of its own, through which gradients flow."""
    return clone_op(input)


@public(function=False)
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """Itself if its elements lie in order in memory, else a copy in which they do."""
    return self if self._array.flags.c_contiguous else clone_op(self)


@public(function=False)
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write `src`, broadcast and converted, over this tensor."""
    src = src if isinstance(src, Tensor) else wrap(np.asarray(src))
    if not broadcasts_to(src._array.shape, self._array.shape):
        fail(
            ShapeError,
            f"copy_: a tensor of shape {list(src.shape)} does not broadcast to {list(self.shape)}",
            "make the shapes fit: print them before this line",
        )
    return write(self, src)


@public(function=False)
def fill_(self: Tensor, value: Any) -> Tensor:
    """Write one value everywhere."""
    return write(self, value if isinstance(value, Tensor) else wrap(np.asarray(value, self.npdtype)))


public(method=False, name="fill_")(fill_)


@public(function=False)
def zero_(self: Tensor) -> Tensor:
    """Write 0 everywhere."""
    return fill_(self, 0)


# -- to Python and NumPy --------------------------------------------------------------------------------------------


def known(x: Tensor) -> bool:
    """May the values be looked at? Not while a step is being captured."""
    array = x._array
    return type(array) is np.ndarray or (hasattr(array, "known") and array.known() is not None)


def _values(x: Tensor, what: str) -> np.ndarray[Any, Any]:
    """The array, where its values may be looked at."""
    if type(x._array) is not np.ndarray:
        if (array := x._array.known()) is not None:
            return array
        fail(
            PullbackError,
            f"{what} needs the tensor's values, which are not known while a step is being captured",
            "keep the value as a tensor: where() or cond() instead of `if`, while_loop() instead of `while`; or move "
            "this out of the step",
        )
    return x._array


@public(function=False)
def item(self: Tensor) -> Any:
    """The one element, as a Python number."""
    array = _values(self, "item()")
    if array.size != 1:
        fail(
            PullbackError,
            f"a Tensor with {array.size} elements cannot be converted to Scalar",
            "reduce it first (sum, mean) or use tolist()",
        )
    return array.astype(np.float64).item() if array.dtype in HALVES else array.item()


@public(function=False)
def tolist(self: Tensor) -> Any:
    """Nested lists of Python numbers."""
    array = _values(self, "tolist()")
    return (array.astype(np.float64) if array.dtype in HALVES else array).tolist()


@public(function=False)
def numpy(self: Tensor, *, force: bool = False) -> np.ndarray[Any, Any]:
    """The tensor's memory as a NumPy array."""
    if self.requires_grad and not force:
        fail(PullbackError, "Can't call numpy() on Tensor that requires grad", "use tensor.detach().numpy()")
    if type(self._array) is not np.ndarray and not force and self._array.device != "cpu":
        fail(
            PullbackError,
            f"can't convert {self._array.device} device type tensor to numpy",
            "use tensor.cpu() to copy it to the host's memory first",
        )
    return _values(self, "numpy()")


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
    array = numpy(self)
    if dtype is not None and np.dtype(dtype) != array.dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


setattr(Tensor, "__array__", _array)


@public(function=False, name="__dlpack__")
def dlpack(self: Tensor, **options: Any) -> Any:
    """Lend the memory to another library."""
    if self.requires_grad:
        fail(PullbackError, "Can't export tensors that require gradient", "use tensor.detach()")
    return _values(self, "__dlpack__()").__dlpack__(**options)


@public(function=False, name="__dlpack_device__")
def dlpack_device(self: Tensor) -> tuple[int, int]:
    """(1, 0): the CPU, or the CPU's copy."""
    return 1, 0


# -- copies and pickles: identity and sharing are kept -----------------------------------------------------------------


def _rebuild(cls: type[Tensor], storage: Storage, layout: Any, requires_grad: bool, extra: dict[str, Any]) -> Tensor:
    """A tensor that looks at `storage` through `layout`: None for all of it, else (offset, shape, strides)."""
    tensor = object.__new__(cls)
    tensor._storage, tensor._requires_grad = storage, requires_grad
    tensor._array = storage.array if layout is None else _window(storage.array, *layout)
    vars(tensor).update(extra)
    return tensor


def _window(array: Any, offset: Any, shape: Any, strides: Any) -> Any:
    if strides is None:  # of an array on a device: the view ops that lead there
        for name, params in offset:
            array = OPS[name](array, **params)
        return array
    flat = array.reshape(-1)[offset // array.itemsize :]
    return np.lib.stride_tricks.as_strided(flat, shape, strides) if math.prod(shape) else np.empty(shape, array.dtype)


def _layout(x: Tensor) -> tuple[Storage, Any]:
    """(storage in one contiguous piece, how x looks at it)"""
    array, whole = x._array, x._storage.array
    if array is whole:
        return x._storage, None
    if type(array) is not np.ndarray:
        path = array.looks[len(whole.looks) :]
        return x._storage, (tuple([(op.name, params) for op, params in path]), array.shape, None)
    if not whole.flags.c_contiguous:
        return Storage(array.copy()), None
    return x._storage, (
        array.__array_interface__["data"][0] - whole.__array_interface__["data"][0],
        array.shape,
        array.strides,
    )


def _rebuild_storage(array: Any) -> Storage:
    return Storage(array.view(own(array.dtype)) if type(array) is np.ndarray else array)


def _reduce_storage(self: Storage) -> Any:
    array = self.array
    return _rebuild_storage, (np.asarray(array, order="C") if type(array) is np.ndarray else array,)


setattr(Storage, "__reduce__", _reduce_storage)
setattr(Storage, "__deepcopy__", lambda self, memo: memo.setdefault(id(self), Storage(self.array.copy())))


def _extra(x: Tensor) -> dict[str, Any]:
    """The gradient, and attributes a user has put on the tensor."""
    return {k: v for k, v in vars(x).items() if not k.startswith("_") or k == "_grad"}


def _check_leaf(x: Tensor, what: str) -> None:
    if x._node is not None:
        fail(
            PullbackError,
            f"only Tensors created explicitly by the user (graph leaves) can be {what}: this one was computed",
            "use x.detach()",
        )


def _reduce(self: Tensor, protocol: Any) -> Any:
    _check_leaf(self, "pickled")
    return _rebuild, (type(self), *_layout(self), self._requires_grad, _extra(self))


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    _check_leaf(self, "deep-copied")
    storage, layout = _layout(self)
    twin = memo[id(self)] = _rebuild(type(self), copy.deepcopy(storage, memo), layout, self._requires_grad, {})
    vars(twin).update({k: copy.deepcopy(v, memo) for k, v in _extra(self).items()})
    return twin


setattr(Tensor, "__reduce_ex__", _reduce)
setattr(Tensor, "__deepcopy__", _deepcopy)


# -- questions about dtypes --------------------------------------------------------------------------------------------


@public()
def is_floating_point(input: Tensor) -> bool:
    """Is the dtype float64, float32, float16 or bfloat16?"""
    return input.npdtype in FLOATS


@public()
def is_complex(input: Tensor) -> bool:
    """Never, so far."""
    return False


@public(function=False)
def is_signed(self: Tensor) -> bool:
    """Can the dtype hold negative numbers?"""
    return self.dtype.is_signed


@public(method=False)
def is_tensor(obj: Any) -> bool:
    """Is it a Tensor?"""
    return isinstance(obj, Tensor)


@public(method=False)
def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype that arithmetic between the two gives."""
    return as_dtype(result_dtype([x._array if isinstance(x, Tensor) else x for x in (tensor1, tensor2)]))


@public(method=False)
def promote_types(type1: Any, type2: Any) -> dtype:
    """The smallest dtype that holds both."""
    return as_dtype(promote(as_dtype(type1).numpy, as_dtype(type2).numpy))


@public(method=False)
def can_cast(from_: Any, to: Any) -> bool:
    """May results of one dtype be written into a tensor of the other?"""
    a, b = as_dtype(from_), as_dtype(to)
    rank = [2 if d.is_floating_point else 0 if d is dtypes.bool_ else 1 for d in (a, b)]
    return rank[0] <= rank[1]


@public(function=False)
def data_ptr(self: Tensor) -> int:
    """The address of the first element."""
    array = self._array
    return int(array.__array_interface__["data"][0] if type(array) is np.ndarray else array.data_ptr())


@public(function=False)
def storage(self: Tensor) -> Storage:
    """The memory that this tensor and its views look at."""
    return self._storage


public(function=False, name="untyped_storage")(storage)


@public(function=False)
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Give this tensor another size in place; the first elements stay, new ones are unspecified."""
    if self.requires_grad:
        fail(PullbackError, "cannot resize variables that require grad", "detach() it first, or use reshape and pad")
    shape = shape_of(sizes, {})
    old = _values(self, "resize_()").reshape(-1)
    new = np.zeros(math.prod(shape), old.dtype)
    new[: old.size] = old[: new.size]
    setattr(self, "data", wrap(move(new.reshape(shape), place_of(self._array))))
    return self


@public(function=False)
def element_size(self: Tensor) -> int:
    """Bytes per element."""
    return int(self.npdtype.itemsize)


@public(function=False)
def get_device(self: Tensor) -> int:
    """The device's number; -1 is the CPU."""
    return -1 if self.device.type == "cpu" else int(self.device.index or 0)


for _name, _value in {
    "is_sparse": False,
    "is_quantized": False,
    "is_mps": False,
    "is_meta": False,
    "layout": "torch.strided",
}.items():
    setattr(Tensor, _name, _value)


def _is_on(kind: str) -> property:
    return property(lambda self: self.device.type == kind)


for _name in ("cpu", "cuda", "xla"):
    setattr(Tensor, f"is_{_name}", _is_on(_name))
setattr(Tensor, "itemsize", property(element_size))
setattr(Tensor, "nbytes", property(lambda self: self._array.nbytes))
