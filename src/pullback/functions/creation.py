"""Making tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dtypes import BOOL, F64, FLOATS, I64, as_dtype, bool_, dtype, get_default_dtype, int64, result_dtype
from ..errors import DTypeError, PullbackError, ShapeError, fail
from ..modes import MODES
from ..moves import move
from ..ops import create as ops
from ..ops.joining import stack
from ..ops.shape import expand, reshape
from ..tensor import Tensor, check_device, wrap
from ..views import write
from .expose import public

# PyTorch's older names of tensor types.
LEGACY = {
    "FloatTensor": "float32",
    "DoubleTensor": "float64",
    "HalfTensor": "float16",
    "BFloat16Tensor": "bfloat16",
    "LongTensor": "int64",
    "IntTensor": "int32",
    "ShortTensor": "int16",
    "CharTensor": "int8",
    "ByteTensor": "uint8",
    "BoolTensor": "bool",
}
STRIDED, PRESERVE = "torch.strided", "torch.preserve_format"


def to_array(data: Any, d: Any = None) -> np.ndarray[Any, Any]:
    """An array of its own: Python floats give the default dtype, NumPy arrays keep theirs."""
    want = None if d is None else as_dtype(d).numpy
    if MODES.capture is not None and _holds_unknown(data):
        array = _joined(data)
        return ops.clone(array if want is None else ops.cast(array, dtype=want))
    if isinstance(data, Tensor):
        return np.array(data._array, dtype=want)
    if isinstance(data, (list, tuple)):
        data = _untensor(data)
    try:
        array = np.array(data, dtype=want)
    except (ValueError, TypeError) as error:
        fail(
            ShapeError,
            f"cannot make a tensor of this data: {error}",
            "all lists of one level must have the same length and hold numbers",
        )
    if want is None and not isinstance(data, (np.ndarray, np.generic)) and (array.dtype == F64 or array.size == 0):
        array = array.astype(get_default_dtype().numpy)
    return checked(array)


def checked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Refuse the types that tensors do not have; of others, the same memory under the type's own name."""
    known = dtype.by_numpy.get(array.dtype)
    if known is None:
        todo = (
            "pullback does not support complex numbers yet" if array.dtype.kind == "c" else "pass numbers or booleans"
        )
        fail(DTypeError, f"can't convert data of type {array.dtype} to a tensor", todo)
    return array if array.dtype is known.numpy else array.view(known.numpy)


def _holds_unknown(data: Any) -> bool:
    """Is there a tensor in it whose values are not known, as while a step is captured?"""
    if isinstance(data, Tensor):
        return type(data._array) is not np.ndarray and data._array.known() is None
    return isinstance(data, (list, tuple)) and any(map(_holds_unknown, data))


def _joined(data: Any) -> Any:
    """Nested lists of numbers and tensors as one array, of the type that NumPy gives them (float64: the default)."""
    if isinstance(data, Tensor):
        return data._array
    types = [part._array.dtype if isinstance(part, Tensor) else np.asarray(part).dtype for part in _flat(data)]
    common = np.result_type(*types)
    common = get_default_dtype().numpy if common == F64 else common

    def stacked(part: Any) -> Any:
        if isinstance(part, (list, tuple)):
            return stack(*map(stacked, part), dim=0)
        return ops.cast(part._array if isinstance(part, Tensor) else np.asarray(part), dtype=common)

    return stacked(data)


def _flat(data: Any) -> Iterator[Any]:
    if isinstance(data, (list, tuple)):
        for part in data:
            yield from _flat(part)
    else:
        yield data


def _untensor(data: Any) -> Any:
    """Nested lists, with the tensors in them as arrays."""
    if isinstance(data, Tensor):
        return data._array
    return [_untensor(d) for d in data] if isinstance(data, (list, tuple)) else data


def shape_of(size: Any, options: dict[str, Any]) -> tuple[int, ...]:
    """`zeros(2, 3)`, `zeros((2, 3))` and `zeros(size=(2, 3))` all mean (2, 3)."""
    if not size and "size" in options:
        size = options.pop("size")
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    shape = tuple([n if type(n) is int else operator.index(n) for n in size])
    if any(n < 0 for n in shape):
        fail(ShapeError, f"Trying to create tensor with negative dimension: {list(shape)}", "sizes must be 0 or more")
    return shape


def made(array: Any, requires_grad: bool, options: dict[str, Any], out: Tensor | None = None) -> Tensor:
    """Wrap a new array as the options say."""
    where = MODES.device
    if options:
        given = options.pop("device", None)
        where = where if given is None else check_device(given)
        if options.pop("layout", None) not in (None, STRIDED):
            fail(PullbackError, "sparse layouts are not supported", "use dense tensors")
        for ignored in ("pin_memory", "memory_format", "names"):
            options.pop(ignored, None)
        if options:
            raise TypeError(f"unexpected keyword argument {next(iter(options))!r}")
    if out is not None:
        return write(out, wrap(array))
    if MODES.capture is not None and type(array) is np.ndarray:  # it may be written to
        array = MODES.capture.symbol_of(array)
    tensor = wrap(array if where is None else move(array, where))
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def _npdtype(d: Any) -> Any:
    return (get_default_dtype() if d is None else as_dtype(d)).numpy


@public(method=False)
def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A new leaf tensor holding a copy of `data`."""
    if device is None and isinstance(data, Tensor):
        device = data._array.device
    return made(to_array(data, dtype), requires_grad, {"device": device})


@public(method=False)
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing memory (and the graph) where it can."""
    where = check_device(device)
    if isinstance(data, Tensor):
        x = data if where is None else move(data, where)
        return x if dtype is None or as_dtype(dtype) is x.dtype else ops.cast(x, dtype=as_dtype(dtype).numpy)
    shared = isinstance(data, np.ndarray) and (dtype is None or as_dtype(dtype).numpy == data.dtype)
    array, where = checked(data) if shared else to_array(data, dtype), where or MODES.device
    return wrap(array if where is None else move(array, where))


public(method=False, name="asarray")(as_tensor)


@public(method=False)
def from_numpy(ndarray: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over the array's own memory: writing to one writes to the other."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return wrap(checked(ndarray))


@public(method=False)
def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor over memory that another library owns."""
    if isinstance(ext_tensor, Tensor) and type(ext_tensor._array) is np.ndarray:
        return from_numpy(ext_tensor._array)
    return wrap(checked(np.from_dlpack(ext_tensor)))


@public(method=False)
def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-D tensor over a buffer's memory."""
    return made(np.frombuffer(buffer, as_dtype(dtype).numpy, count, offset), requires_grad, {})


@public(method=False)
def zeros(
    *size: Any, dtype: Any = None, requires_grad: bool = False, out: Tensor | None = None, **options: Any
) -> Tensor:
    """All 0."""
    return made(np.zeros(shape_of(size, options), _npdtype(dtype)), requires_grad, options, out)


@public(method=False)
def ones(
    *size: Any, dtype: Any = None, requires_grad: bool = False, out: Tensor | None = None, **options: Any
) -> Tensor:
    """All 1."""
    return made(np.ones(shape_of(size, options), _npdtype(dtype)), requires_grad, options, out)


@public(method=False)
def empty(
    *size: Any, dtype: Any = None, requires_grad: bool = False, out: Tensor | None = None, **options: Any
) -> Tensor:
    """Whatever is in the memory."""
    return made(np.empty(shape_of(size, options), _npdtype(dtype)), requires_grad, options, out)


@public(method=False)
def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """All `fill_value`, whose type decides the dtype."""
    if _holds_unknown(fill_value):
        kind = dtype or (bool_ if fill_value.npdtype == BOOL else None if fill_value.npdtype in FLOATS else int64)
        array = ops.cast(reshape(fill_value._array, shape=()), dtype=_npdtype(kind))
        return made(ops.clone(expand(array, shape=shape_of((size,), {}))), requires_grad, options, out)
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    npdtype = result_dtype([value]) if dtype is None else as_dtype(dtype).numpy
    return made(np.full(shape_of((size,), {}), value, npdtype), requires_grad, options, out)


def _like(input: Tensor, value: Any, dtype: Any, requires_grad: bool, options: dict[str, Any]) -> Tensor:
    array = ops.full_like(input._array, value=value, dtype=None if dtype is None else as_dtype(dtype).numpy)
    return made(array, requires_grad, options if MODES.device is None else beside(input, options))


@public(method=False)
def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """All 0, shaped like `input`."""
    return _like(input, 0, dtype, requires_grad, options)


@public(method=False)
def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """All 1, shaped like `input`."""
    return _like(input, 1, dtype, requires_grad, options)


@public(method=False)
def empty_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Shaped like `input`, unspecified values."""
    return _like(input, 0, dtype, requires_grad, options)


@public(method=False)
def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """All `fill_value`, shaped like `input`."""
    if _holds_unknown(fill_value):
        return full(input.shape, fill_value, dtype=dtype or input.dtype, requires_grad=requires_grad, **options)
    return _like(
        input, fill_value.item() if isinstance(fill_value, Tensor) else fill_value, dtype, requires_grad, options
    )


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor) else x


@public(method=False)
def arange(
    *bounds: Any,
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    dtype: Any = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """start, start + step, ... below end: `arange(end)`, `arange(start, end)` or `arange(start, end, step)`."""
    given = [_number(b) for b in bounds]
    if len(given) == 1 and end is None:
        given = [start, *given]
    start, end, step = (given + [start, end, step][len(given) :])[:3]
    start, end, step = _number(start), _number(end), _number(step)
    if step == 0:
        fail(PullbackError, "arange: step must be nonzero")
    if (end - start) * step < 0:
        fail(
            PullbackError,
            f"arange: upper bound and lower bound inconsistent with step sign: from {start} to {end} by {step}",
            "change the sign of step",
        )
    npdtype = (
        as_dtype(dtype).numpy
        if dtype is not None
        else get_default_dtype().numpy
        if any(isinstance(v, float) for v in (start, end, step))
        else I64
    )
    n = max(0, math.ceil((end - start) / step))
    wide = np.int64 if all(isinstance(v, int) for v in (start, end, step)) else F64
    return made((np.arange(n, dtype=wide) * step + start).astype(npdtype), requires_grad, options, out)


@public(method=False)
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """`steps` evenly spaced numbers from start to end, both included."""
    if steps < 0:
        fail(PullbackError, f"linspace: number of steps must be non-negative, got {steps}")
    return made(np.linspace(_number(start), _number(end), steps).astype(_npdtype(dtype)), requires_grad, options, out)


@public(method=False)
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """base ** linspace(start, end, steps)"""
    return made(
        np.logspace(_number(start), _number(end), steps, base=base).astype(_npdtype(dtype)), requires_grad, options, out
    )


@public(method=False)
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Ones on the diagonal."""
    return made(np.eye(n, m, dtype=_npdtype(dtype)), requires_grad, options, out)


@public(method=False)
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, **options: Any) -> Tensor:
    """Rows and columns of a lower triangle."""
    return made(
        np.stack(np.tril_indices(row, offset, col)).astype(I64 if dtype is None else as_dtype(dtype).numpy),
        False,
        options,
    )


@public(method=False)
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, **options: Any) -> Tensor:
    """Rows and columns of an upper triangle."""
    return made(
        np.stack(np.triu_indices(row, offset, col)).astype(I64 if dtype is None else as_dtype(dtype).numpy),
        False,
        options,
    )


def _window(name: str, formula: Any) -> None:
    @public(method=False, name=name)
    def window(
        window_length: int, periodic: bool = True, *, dtype: Any = None, requires_grad: bool = False, **options: Any
    ) -> Tensor:
        n = max(window_length - (0 if periodic else 1), 1)
        return made(formula(np.arange(window_length) / n).astype(_npdtype(dtype)), requires_grad, options)

    window.__doc__ = f"A {name.removesuffix('_window')} window."


_window("hann_window", lambda t: 0.5 - 0.5 * np.cos(2 * np.pi * t))
_window("hamming_window", lambda t: 0.54 - 0.46 * np.cos(2 * np.pi * t))


# -- tensors like this one ---------------------------------------------------------------------------------------------


@public(function=False)
def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """A copy of `data` in this tensor's dtype."""
    return made(to_array(data, dtype or self.dtype), requires_grad, beside(self, options))


def beside(x: Tensor, options: dict[str, Any]) -> dict[str, Any]:
    """Options for a tensor that lies where x does, if they do not say where."""
    if options.get("device") is None and (type(x._array) is not np.ndarray or MODES.device is not None):
        options["device"] = x._array.device
    return options


@public(function=False)
def new_zeros(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Zeros in this tensor's dtype."""
    return zeros(*size, dtype=dtype or self.dtype, **beside(self, options))


@public(function=False)
def new_ones(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Ones in this tensor's dtype."""
    return ones(*size, dtype=dtype or self.dtype, **beside(self, options))


@public(function=False)
def new_empty(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Unspecified values in this tensor's dtype."""
    return empty(*size, dtype=dtype or self.dtype, **beside(self, options))


@public(function=False)
def new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """One value throughout, in this tensor's dtype."""
    return full(size, fill_value, dtype=dtype or self.dtype, **beside(self, options))


@public(function=False)
def new(self: Tensor, *data: Any) -> Tensor:
    """PyTorch's older form: `x.new(2, 3)` or `x.new([1, 2])`."""
    if len(data) == 1 and not isinstance(data[0], int):
        return made(to_array(data[0], self.dtype), False, beside(self, {}))
    return empty(*(data or (0,)), dtype=self.dtype, **beside(self, {}))


class TypedTensor(type):
    """PyTorch's older types: `LongTensor([1, 2])` makes an int64 tensor, `isinstance(x, LongTensor)` tells one."""

    of: dtype

    def __call__(cls, *data: Any) -> Tensor:
        if len(data) == 1 and not isinstance(data[0], int):
            return wrap(to_array(data[0], cls.of))
        return wrap(np.zeros(data or (0,), cls.of.numpy))

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dtype is cls.of

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


for _name, _of in LEGACY.items():
    public(method=False, name=_name)(TypedTensor(_name, (), {"of": dtype.by_name[_of], "__slots__": ()}))
