"""x[...]: which elements a key names, reading them, and writing them."""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import Any

from ..dtypes import BOOL, HALVES, I64, int32, int64, uint8
from ..errors import DTypeError, RangeError, ShapeError, fail
from ..modes import MODES
from ..ops import indexing as ops
from ..ops.create import cast
from ..ops.joining import stack, unbind
from ..ops.record import PLAIN, broadcast
from ..ops.shape import expand, permute, reshape, slice_
from ..tape import apply, edge
from ..tensor import Tensor, check_writable, wrap
from ..views import update, write
from . import unknown_keys
from .creation import to_array
from .viewing import see

Key = tuple[Any, ...]
SIMPLE = frozenset({int, slice, type(None), EllipsisType})
INDICES = frozenset({I64, int32.numpy})
MASKS = frozenset({BOOL, uint8.numpy})
DIRECT = INDICES | {BOOL}  # NumPy takes these for what they are
FIRST: dict[str, Any] = {"dims": (0,)}


def plain(key: Key) -> bool:
    """Does NumPy's basic indexing take the key as it is?"""
    dots = 0
    for k in key:
        cls = type(k)
        if cls is slice:
            if not (k.step is None or (type(k.step) is int and k.step > 0)) or not (_bound(k.start) and _bound(k.stop)):
                return False
        elif cls is EllipsisType:
            dots += 1
        elif cls not in SIMPLE:
            return False
    return dots < 2


def _bound(n: Any) -> bool:
    return n is None or type(n) is int


def _getitem(self: Tensor, key: Any) -> Tensor:
    """The elements that `key` names: a view for integers, slices, None and ...; a copy where tensors are among them."""
    cls = type(key)
    if cls is int:
        return see(slice_, self, {"key": (key,)})
    parts = key if cls is tuple else (key,)
    if plain(parts):
        return see(slice_, self, {"key": parts})
    if cls is Tensor and key.npdtype in INDICES and key._array.ndim and self._array.ndim:
        return apply(ops.take_at, (self, key), FIRST)
    if MODES.capture is not None and (found := unknown_keys.get(self, normal_parts(key))) is not None:
        return found
    basic, index, dims = parse(self, key)
    x = slice_(self, key=basic) if index is None or any(k != slice(None) for k in basic) else self
    return x if index is None else ops.take_at(x, index, dims=dims)


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    """Write `value`, broadcast and converted, to the elements that `key` names."""
    parts = key if type(key) is tuple else (key,)
    simple = plain(parts)
    masks = type(key) is Tensor and key._array.ndim > 0 and key.npdtype in DIRECT
    array = self._array
    if (
        (simple or masks)
        and type(array) in PLAIN
        and 0 not in array.strides
        and array.flags.writeable
        and not recorded(self, value)
    ):
        try:
            target, place = (array, key._array) if masks else (slice_.numpy(array, parts), ...)
            MODES.quietly(operator.setitem, target, place, value._array if isinstance(value, Tensor) else value)
        except (IndexError, ValueError, TypeError, OverflowError):
            pass  # the way below says what is wrong
        else:
            self._storage.wrote()
            return
    if simple:
        x = slice_(self, key=parts)
        write(x, fitted(value, x, x._array.shape))
        return
    if MODES.capture is not None and unknown_keys.put(self, normal_parts(key), value, fitted):
        return
    basic, index, dims = parse(self, key)
    x = slice_(self, key=basic) if index is None or any(k != slice(None) for k in basic) else self
    if index is None:
        write(x, fitted(value, x, x._array.shape))
    else:
        put(x, index, dims, fitted(value, x, ops.region(x._array.shape, index.shape, dims)))


Tensor.__getitem__ = _getitem  # type: ignore[method-assign]
Tensor.__setitem__ = _setitem  # type: ignore[method-assign]


def recorded(x: Tensor, value: Any) -> bool:
    """Would writing `value` into x leave something on the tape?"""
    if not MODES.grad:
        return False
    owner = x if x._base is None else x._base
    return owner._node is not None or owner._requires_grad or (isinstance(value, Tensor) and edge(value) is not None)


def fitted(value: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`value` as a tensor of x's dtype that broadcasts to `shape`."""
    if not isinstance(value, Tensor):
        try:
            value = wrap(to_array(value, x.dtype))
        except (ValueError, TypeError, OverflowError) as error:
            fail(DTypeError, f"{value!r} cannot be written into a tensor of {x.dtype}: {error}")
    own = value._array.shape
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    if len(own) > len(shape) or any(n not in (1, m) for n, m in zip(reversed(own), reversed(shape), strict=False)):
        fail(
            ShapeError,
            f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing result of "
            f"shape {list(shape)}",
        )
    if own != value._array.shape:
        value = reshape(value, shape=own)
    return value if value.npdtype == x.npdtype else cast(value, dtype=x.npdtype)


def put(
    x: Tensor, index: Any, dims: tuple[int, ...], values: Tensor, accumulate: bool = False, wrap: bool = True
) -> Tensor:
    """x[..., index, ...] = values, or += values, in place."""
    array = x._array
    if type(array) not in PLAIN or recorded(x, values) or (accumulate and array.dtype in HALVES):
        return update(x, ops.put_at(x, index, values, dims=dims, accumulate=accumulate, wrap=wrap))
    check_writable(array)
    try:
        MODES.quietly(
            ops.put_into,
            array,
            index._array if isinstance(index, Tensor) else index,
            values._array,
            dims,
            accumulate,
            wrap,
        )
    except IndexError as error:
        fail(RangeError, str(error))
    x._storage.wrote()
    return x


def parse(x: Tensor, key: Any) -> tuple[Key, Any, tuple[int, ...]]:
    """(basic key, index, dims) such that x[key] is x[basic key][..., index, ...]; no tensor in the key: index is None.

    As in PyTorch, integers, slices, None and ... act first; tensors then index the dimensions that are left.
    """
    parts = normal_parts(key)
    shape = x._array.shape
    taken = sum(_dims_taken(k) for k in parts)
    if taken > len(shape):
        fail(RangeError, f"too many indices for tensor of dimension {len(shape)}: {taken} given")
    basic: list[Any] = []
    indices: list[tuple[int, Any]] = []
    here, d = 0, 0  # dimension of x, of x[basic]
    rest = len(shape) - taken  # for the first ...
    for k in parts:
        if k is Ellipsis:
            basic += [slice(None)] * rest
            here, d, rest = here + rest, d + rest, 0
        elif isinstance(k, bool):
            basic.append(None)
            indices.append((d, to_array([0] * k, int64)))
            d += 1
        elif isinstance(k, Tensor):
            own = k._array.shape
            n = 1
            if k.npdtype in MASKS:
                n = len(own)
                if own != shape[here : here + n]:
                    fail(
                        RangeError,
                        f"The shape of the mask {list(own)} at index {here} does not match the shape of the indexed "
                        f"tensor {list(shape)} at index {here}",
                    )
                found = spots(k._array)
                if len(parts) == 1:
                    return (slice(None),) * n, found, tuple(range(n))
                indices += [(d + i, row) for i, row in enumerate((found,) if n == 1 else unbind(found, dim=0))]
            else:
                indices.append((d, k))
            basic += [slice(None)] * n
            here, d = here + n, d + n
        else:
            basic.append(k)
            here, d = here + (k is not None), d + (type(k) is not int)
    if not indices:
        return tuple(basic), None, ()
    dims = tuple([d for d, _ in indices])
    if len(indices) == 1:
        return tuple(basic), indices[0][1], dims
    arrays = [i._array if isinstance(i, Tensor) else i for _, i in indices]
    try:
        common = broadcast(*arrays)
    except ValueError:
        given = ", ".join(str(list(i.shape)) for i in arrays)
        fail(RangeError, f"shape mismatch: indexing tensors could not be broadcast together with shapes {given}")
    return tuple(basic), stack(*[i if i.shape == common else expand(i, shape=common) for i in arrays], dim=0), dims


def spots(mask: Any) -> Any:
    """The index, over all dimensions of an array, of what is true in it."""
    found = ops.nonzero(mask)
    return reshape(found, shape=(found.shape[0],)) if found.shape[1] == 1 else permute(found, dims=(1, 0))


def nested(key: Any) -> bool:
    """Does PyTorch read this list as a tuple?"""
    return type(key) is list and any(isinstance(k, (list, tuple, slice, Tensor, EllipsisType, type(None))) for k in key)


def normal_parts(key: Any) -> list[Any]:
    """The parts of a key, each in its plainest form."""
    return [_normal(k) for k in (key if type(key) is tuple or nested(key) else [key])]


def _normal(k: Any) -> Any:
    """One part of a key: int, slice of ints, None, ..., bool, or a tensor of indices or a mask."""
    if k is None or k is Ellipsis or type(k) in (int, bool):
        return k
    if isinstance(k, slice):
        start, stop, step = [None if n is None else operator.index(n) for n in (k.start, k.stop, k.step)]
        if step is not None and step <= 0:
            fail(ShapeError, f"step must be greater than zero, not {step}", "use flip() to reverse a dimension")
        return slice(start, stop, step)
    if isinstance(k, (list, tuple, range)):
        k = wrap(to_array(list(k), None if len(k) else int64))
    elif hasattr(k, "__array_interface__"):  # NumPy's
        k = wrap(to_array(k))
    if isinstance(k, Tensor):
        if unknown_keys.unknown(k) and k.npdtype in DIRECT | MASKS:
            return k
        if k.npdtype in MASKS:
            return k if k._array.ndim else bool(k._array)
        if k.npdtype in INDICES:
            return k if k._array.ndim else int(k._array)
        fail(
            RangeError,
            f"tensors used as indices must be long, int, byte or bool tensors, not {k.dtype}",
            "convert it with .long()",
        )
    try:
        return operator.index(k)
    except TypeError:
        fail(
            RangeError,
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte tensors are valid indices (got "
            f"{type(k).__name__})",
        )


def _dims_taken(k: Any) -> int:
    """How many dimensions of the tensor a part of a key stands for."""
    if k is None or k is Ellipsis or isinstance(k, bool):
        return 0
    return k._array.ndim if isinstance(k, Tensor) and k.npdtype in MASKS else 1
