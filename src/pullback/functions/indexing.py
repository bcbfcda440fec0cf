"""Choosing elements: x[...], gather, scatter, masks. Names and arguments are PyTorch's."""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import Any

from ..dtypes import BOOL, FLOATS, HALVES, I64, int32, int64, uint8
from ..errors import DTypeError, PullbackError, RangeError, ShapeError, fail
from ..modes import MODES
from ..ops import indexing as ops
from ..ops.arithmetic import mul
from ..ops.compare import where as choose
from ..ops.create import cast, full_like
from ..ops.joining import stack, unbind
from ..ops.record import PLAIN, broadcast, normal_dim
from ..ops.shape import expand, permute, reshape, slice_
from ..tape import apply, edge
from ..tensor import Tensor, check_writable, wrap
from ..views import update, write
from .creation import to_array
from .expose import public
from .viewing import see

Key = tuple[Any, ...]
SIMPLE = frozenset({int, slice, type(None), EllipsisType})
INDICES = frozenset({I64, int32.numpy})
MASKS = frozenset({BOOL, uint8.numpy})
DIRECT = INDICES | {BOOL}  # NumPy takes these for what they are
FIRST: dict[str, Any] = {"dims": (0,)}


# -- x[key] ------------------------------------------------------------------------------------------------------------


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
        return apply(ops.take_at, (self, key), FIRST)  # type: ignore[no-any-return]
    basic, index, dims = parse(self, key)
    x = slice_(self, key=basic) if index is None or any(k != slice(None) for k in basic) else self
    return x if index is None else ops.take_at(x, index, dims=dims)  # type: ignore[no-any-return]


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    """Write `value`, broadcast and converted, to the elements that `key` names."""
    parts = key if type(key) is tuple else (key,)
    basic = plain(parts)
    masks = type(key) is Tensor and key._array.ndim > 0 and key.npdtype in DIRECT
    array = self._array
    if (basic or masks) and type(array) in PLAIN and 0 not in array.strides and array.flags.writeable and not recorded(self, value):
        try:
            MODES.quietly(operator.setitem, array, key._array if masks else parts, value._array if isinstance(value, Tensor) else value)
        except (IndexError, ValueError, TypeError, OverflowError):
            pass  # the way below says what is wrong
        else:
            self._storage.wrote()
            return
    if basic:
        x = slice_(self, key=parts)
        write(x, fitted(value, x, x._array.shape))
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
        fail(ShapeError, f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing result of shape {list(shape)}")
    if own != value._array.shape:
        value = reshape(value, shape=own)
    return value if value.npdtype == x.npdtype else cast(value, dtype=x.npdtype)  # type: ignore[no-any-return]


def put(x: Tensor, index: Any, dims: tuple[int, ...], values: Tensor, accumulate: bool = False, wrap: bool = True) -> Tensor:
    """x[..., index, ...] = values, or += values, in place."""
    array = x._array
    if type(array) not in PLAIN or recorded(x, values) or (accumulate and array.dtype in HALVES):
        return update(x, ops.put_at(x, index, values, dims=dims, accumulate=accumulate, wrap=wrap))
    check_writable(array)
    try:
        MODES.quietly(ops.put_into, array, index._array if isinstance(index, Tensor) else index, values._array, dims, accumulate, wrap)
    except IndexError as error:
        fail(RangeError, str(error))
    x._storage.wrote()
    return x


def parse(x: Tensor, key: Any) -> tuple[Key, Any, tuple[int, ...]]:
    """(basic key, index, dims) such that x[key] is x[basic key][..., index, ...]; index is None if there is no tensor in the key.

    As in PyTorch, integers, slices, None and ... act first; tensors then index the dimensions that are left.
    """
    parts = list(key) if type(key) is tuple or nested(key) else [key]
    parts = [_normal(k) for k in parts]
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
                    fail(RangeError, f"The shape of the mask {list(own)} at index {here} does not match the shape of the indexed tensor {list(shape)} at index {here}")
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
    dims, tensors = tuple([d for d, _ in indices]), [i for _, i in indices]
    if len(tensors) == 1:
        return tuple(basic), tensors[0], dims
    try:
        common = broadcast(*tensors)
    except ValueError:
        fail(RangeError, f"shape mismatch: indexing tensors could not be broadcast together with shapes {', '.join(str(list(_shape(i))) for i in tensors)}")
    return tuple(basic), stack(*[i if _shape(i) == common else expand(i, shape=common) for i in tensors], dim=0), dims


def spots(mask: Any) -> Any:
    """The index, over all dimensions of an array, of what is true in it."""
    found = ops.nonzero(mask)
    return reshape(found, shape=(found.shape[0],)) if found.shape[1] == 1 else permute(found, dims=(1, 0))


def _shape(x: Any) -> tuple[int, ...]:
    return x._array.shape if isinstance(x, Tensor) else x.shape


def nested(key: Any) -> bool:
    """Does PyTorch read this list as a tuple?"""
    return type(key) is list and any(isinstance(k, (list, tuple, slice, Tensor, EllipsisType, type(None))) for k in key)


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
        if k.npdtype in MASKS:
            return k if k._array.ndim else bool(k._array)
        if k.npdtype in INDICES:
            return k if k._array.ndim else int(k._array)
        fail(RangeError, f"tensors used as indices must be long, int, byte or bool tensors, not {k.dtype}", "convert it with .long()")
    try:
        return operator.index(k)
    except TypeError:
        fail(
            RangeError,
            f"only integers, slices (`:`), ellipsis (`...`), None and long or byte tensors are valid indices (got {type(k).__name__})",
        )


def _dims_taken(k: Any) -> int:
    """How many dimensions of the tensor a part of a key stands for."""
    if k is None or k is Ellipsis or isinstance(k, bool):
        return 0
    return k._array.ndim if isinstance(k, Tensor) and k.npdtype in MASKS else 1


# -- one dimension -----------------------------------------------------------------------------------------------------


@public()
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """A view of one slice along a dimension, which is gone in it."""
    shape = input._array.shape
    d = normal_dim(dim, len(shape))
    if not shape:
        fail(RangeError, "select() cannot be applied to a 0-dim tensor.")
    if not -shape[d] <= index < shape[d]:
        fail(RangeError, f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {d}")
    return see(slice_, input, {"key": (*(slice(None),) * d, operator.index(index))})


@public()
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """A view of start:start+length along a dimension."""
    shape = input._array.shape
    d, first = normal_dim(dim, len(shape)), int(start)
    if not shape:
        fail(ShapeError, "narrow() cannot be applied to a 0-dim tensor.")
    if not -shape[d] <= first <= shape[d]:
        fail(RangeError, f"start out of range (expected to be in range of [{-shape[d]}, {shape[d]}], but got {first})")
    first += shape[d] if first < 0 else 0
    if length < 0 or first + length > shape[d]:
        fail(ShapeError, f"start ({first}) + length ({length}) exceeds dimension size ({shape[d]}).")
    return see(slice_, input, {"key": (*(slice(None),) * d, slice(first, first + length))})


def _row(name: str, x: Tensor, dim: int, index: Tensor) -> tuple[int, Any]:
    """(dimension, index of shape [n]) of an index over one dimension."""
    if index.npdtype not in INDICES:
        fail(DTypeError, f"{name}(): Expected dtype int32 or int64 for index, but got {index.dtype}", "convert it with .long()")
    if index._array.ndim > 1:
        fail(RangeError, f"{name}(): Index is supposed to be a vector, but has shape {list(index.shape)}")
    return normal_dim(dim, x._array.ndim), index if index._array.ndim else reshape(index, shape=(1,))


def _alike(name: str, x: Tensor, source: Tensor) -> None:
    if source.npdtype != x.npdtype:
        fail(DTypeError, f"{name}(): self ({x.dtype}) and source ({source.dtype}) must have the same dtype", "convert one of them with .to(dtype)")


def _whole(name: str, x: Tensor, dim: int, index: Tensor, source: Tensor) -> tuple[Tensor, int, Any]:
    """(source, dimension, index), checked: source has a slice for each index."""
    _alike(name, x, source)
    d, row = _row(name, x, dim, index)
    shape = x._array.shape
    n = row._array.size
    wanted = (*shape[:d], n, *shape[d + 1 :])
    if source._array.shape != wanted:
        if source._array.size == 1 and wanted == (1,):
            return reshape(source, shape=wanted), d, row
        fail(ShapeError, f"{name}(): source has shape {list(source.shape)}, but {list(wanted)} is needed for {n} indices into dimension {d} of {list(shape)}")
    return source, d, row


@public()
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The slices along a dimension that `index` names."""
    x = input if input._array.ndim else reshape(input, shape=(1,))
    d, row = _row("index_select", x, dim, index)
    result = ops.take_at(x, row, dims=(d,), wrap=False)
    if not input._array.ndim:
        result = reshape(result, shape=())
    return result if out is None else write(out, result)  # type: ignore[no-any-return]


def _both(name: str) -> Any:
    """Offer f(x, put, ...), which calls `put(x, dims, index, values, ...)`, as `name` and as `name_`."""

    def offer(f: Any) -> Any:
        @public(name=name)
        def outside(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if input._array.ndim:
                return f(input, put_outside, *args, **kwargs)  # type: ignore[no-any-return]
            return reshape(f(reshape(input, shape=(1,)), put_outside, *args, **kwargs), shape=())  # type: ignore[no-any-return]

        @public(function=False, name=name + "_")
        def inside(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            f(self if self._array.ndim else reshape(self, shape=(1,)), put, *args, **kwargs)
            return self

        outside.__doc__ = f.__doc__
        inside.__doc__ = f"{name}, written over the tensor itself."
        return f

    return offer


def put_outside(x: Tensor, index: Any, dims: tuple[int, ...], values: Tensor, accumulate: bool = False, wrap: bool = True) -> Tensor:
    """`put` into a copy."""
    return ops.put_at(x, index, values, dims=dims, accumulate=accumulate, wrap=wrap)  # type: ignore[no-any-return]


@_both("index_add")
def _index_add(x: Tensor, place: Any, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """Slices of alpha * source added to the slices along a dimension that `index` names."""
    source, d, row = _whole("index_add", x, dim, index, source)
    return place(x, row, (d,), source if alpha == 1 else mul(source, alpha), accumulate=True, wrap=False)  # type: ignore[no-any-return]


@_both("index_copy")
def _index_copy(x: Tensor, place: Any, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Slices of source in the place of the slices along a dimension that `index` names."""
    source, d, row = _whole("index_copy", x, dim, index, source)
    return place(x, row, (d,), source, wrap=False)  # type: ignore[no-any-return]


@public(inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A number in all slices along a dimension that `index` names."""
    d, row = _row("index_fill", input, dim, index)
    shape = input._array.shape or (1,)
    named = ops.put_at(full_like(row, value=False, shape=(shape[d],), dtype=BOOL), row, full_like(row, value=True, shape=(), dtype=BOOL), dims=(0,))
    mask = reshape(named, shape=(*(1,) * d, shape[d], *(1,) * (len(shape) - d - 1)) if input._array.ndim else ())
    return choose(mask, _zero_d("index_fill", input, value), input)  # type: ignore[no-any-return]


@_both("index_put")
def _index_put(x: Tensor, place: Any, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """x[indices] = values, or += values where every one of repeated indices counts."""
    if values.npdtype != x.npdtype:
        fail(DTypeError, f"Index put requires the source and destination dtypes match, got {x.dtype} for the destination and {values.dtype} for the source.")
    _, index, dims = parse(x, tuple([slice(None) if i is None else i for i in indices]))
    if index is None:
        fail(RangeError, "index_put: there must be an index")
    return place(x, index, dims, fitted(values, x, ops.region(x._array.shape, index.shape, dims)), accumulate=accumulate)  # type: ignore[no-any-return]


@public(inplace=True)
def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """Slices of source combined (prod, mean, amax, amin) into the slices along a dimension that `index` names."""
    source, d, row = _whole("index_reduce", input, dim, index, source)
    along = expand(reshape(row, shape=(*(1,) * d, row._array.size, *(1,) * (input._array.ndim - d - 1))), shape=source._array.shape)
    return scatter_reduce(input, d, along, source, reduce, include_self=include_self)


# -- gather and scatter ------------------------------------------------------------------------------------------------


def _along(name: str, x: Tensor, dim: int, index: Tensor) -> tuple[Tensor, int, Tensor]:
    """(x, dim, index) with at least one dimension each, checked."""
    if index.npdtype not in INDICES:
        fail(DTypeError, f"{name}(): Expected dtype int32/int64 for index, but got {index.dtype}", "convert it with .long()")
    d = normal_dim(dim, x._array.ndim)
    return (x if x._array.ndim else reshape(x, shape=(1,))), d, (index if index._array.ndim else reshape(index, shape=(1,)))


@public()
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None) -> Tensor:
    """out[i, j] = input[index[i, j], j] for dim 0, and so on."""
    x, d, along = _along("gather", input, dim, index)
    result = ops.gather(x, along, dim=d)
    if along is not index:
        result = reshape(result, shape=())
    return result if out is None else write(out, result)  # type: ignore[no-any-return]


@public()
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """gather, where the other dimensions broadcast; without dim, from all elements in a row."""
    if dim is None:
        return ops.gather(reshape(input, shape=(input._array.size,)), reshape(indices, shape=(indices._array.size,)), dim=0)  # type: ignore[no-any-return]
    d = normal_dim(dim, input._array.ndim)
    own, wanted = input._array.shape, indices._array.shape
    if len(own) != len(wanted):
        fail(ShapeError, f"take_along_dim(): input and indices should have the same number of dimensions, but got {len(own)} and {len(wanted)}")
    both = [m if m != 1 else n for n, m in zip(own, wanted, strict=True)]
    x = expand(input, shape=(*both[:d], own[d], *both[d + 1 :]))
    return gather(x, d, expand(indices, shape=(*both[:d], wanted[d], *both[d + 1 :])))


@public(inplace=True)
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, value: Any = None, *, reduce: str | None = None) -> Tensor:
    """A copy with out[index[i, j], j] = src[i, j] for dim 0, and so on; reduce adds or multiplies instead."""
    what = value if src is None else src
    x, d, along = _along("scatter", input, dim, index)
    if not isinstance(what, Tensor):
        what = what if input.npdtype in FLOATS else int(what)
    else:
        _alike("scatter", input, what)
        what = what if what._array.ndim else reshape(what, shape=(1,))
    if reduce is None:
        result = ops.scatter(x, along, what, dim=d)
    else:
        kind = {"add": "sum", "multiply": "prod"}.get(reduce)
        if kind is None:
            fail(PullbackError, f"reduce argument must be either add or multiply, not {reduce!r}", "scatter_reduce knows sum, prod, mean, amax, amin")
        whole = what if isinstance(what, Tensor) else full_like(x, value=what, shape=along._array.shape)
        result = ops.scatter_reduce(x, along, whole, dim=d, reduce=kind)
    return result if x is input else reshape(result, shape=())  # type: ignore[no-any-return]


@public(inplace=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with out[index[i, j], j] += src[i, j] for dim 0, and so on."""
    _alike("scatter_add", input, src)
    x, d, along = _along("scatter_add", input, dim, index)
    result = ops.scatter_add(x, along, src if src._array.ndim else reshape(src, shape=(1,)), dim=d)
    return result if x is input else reshape(result, shape=())  # type: ignore[no-any-return]


@public(inplace=True)
def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """A copy with the sum, prod, mean, amax or amin of what goes to out[index[i, j], j] for dim 0, and so on."""
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        fail(PullbackError, f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    _alike("scatter_reduce", input, src)
    x, d, along = _along("scatter_reduce", input, dim, index)
    result = ops.scatter_reduce(x, along, src if src._array.ndim else reshape(src, shape=(1,)), dim=d, reduce=reduce, include_self=include_self)
    return result if x is input else reshape(result, shape=())  # type: ignore[no-any-return]


# -- all elements in a row -----------------------------------------------------------------------------------------------


@public()
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at these places of the flattened tensor."""
    flat = reshape(input, shape=(input._array.size,))
    return ops.take_at(flat, index, dims=(0,))  # type: ignore[no-any-return]


@public(inplace=True, name="put")
def _put_elements(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with source written (or added) at these places of the flattened tensor."""
    _alike("put", input, source)
    flat = reshape(input, shape=(input._array.size,))
    n = index._array.size
    result = ops.put_at(flat, reshape(index, shape=(n,)), reshape(source, shape=(n,)), dims=(0,), accumulate=accumulate)
    return reshape(result, shape=input._array.shape)  # type: ignore[no-any-return]


# -- masks -------------------------------------------------------------------------------------------------------------


def _mask(name: str, mask: Tensor) -> None:
    if mask.npdtype != BOOL:
        fail(DTypeError, f"{name} only supports boolean masks, but got mask with dtype {mask.dtype}", "compare it with something, or convert it with .bool()")


def _zero_d(name: str, x: Tensor, value: Any) -> Tensor:
    """A number, or a 0-d tensor, as a 0-d tensor of x's dtype."""
    if isinstance(value, Tensor):
        if value._array.ndim:
            fail(ShapeError, f"{name} only supports a 0-dimensional value tensor, but got tensor with {value._array.ndim} dimension(s).")
        return value if value.npdtype == x.npdtype else cast(value, dtype=x.npdtype)
    return fitted(value, x, ())


@public()
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A copy with a number where mask is true."""
    _mask("masked_fill", mask)
    if isinstance(value, Tensor) or input.npdtype not in FLOATS:
        value = _zero_d("masked_fill", input, value)
    return choose(mask, value, input)  # type: ignore[no-any-return]


@public(function=False)
def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Write a number where mask is true."""
    _mask("masked_fill_", mask)
    shape = self._array.shape
    if mask._array.shape == shape and shape and not isinstance(value, Tensor):
        self[mask] = value
        return self
    return update(self, masked_fill(self, mask, value))


def _spots(x: Tensor, mask: Tensor) -> tuple[Tensor, Any]:
    """(x, index of the places where mask is true), both broadcast against each other."""
    try:
        shape = broadcast(x, mask)
    except ValueError as error:
        fail(ShapeError, f"the mask {list(mask.shape)} does not fit the tensor {list(x.shape)}: {error}")
    array = mask._array if mask._array.shape == shape else expand(mask._array, shape=shape)
    x = x if x._array.shape == shape else expand(x, shape=shape)
    return (x, spots(array)) if shape else (reshape(x, shape=(1,)), spots(reshape(array, shape=(1,))))


@public()
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements where mask is true, in one dimension."""
    _mask("masked_select", mask)
    x, index = _spots(input, mask)
    result = ops.take_at(x, index, dims=tuple(range(x._array.ndim)))
    return result if out is None else write(out, result)  # type: ignore[no-any-return]


@public(inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy with the elements of source, one after the other, where mask is true."""
    _mask("masked_scatter", mask)
    _alike("masked_scatter", input, source)
    x, index = _spots(input, mask)
    n = index.shape[-1]
    if n > source._array.size:
        fail(ShapeError, f"masked_scatter: the mask has {n} true elements, but the source only {source._array.size}")
    values = slice_(reshape(source, shape=(source._array.size,)), key=(slice(n),))
    out = ops.put_at(x, index, values, dims=tuple(range(x._array.ndim)))
    return out if input._array.ndim or out._array.shape != (1,) else reshape(out, shape=())  # type: ignore[no-any-return]


@public()
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero: a row each, or a tensor for each dimension."""
    if not as_tuple:
        return ops.nonzero(input)
    found = ops.nonzero(input if input._array.ndim else reshape(input, shape=(1,)))
    return unbind(found, dim=1)


@public()
def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not zero, a row each."""
    return ops.nonzero(input)  # type: ignore[no-any-return]


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A new last dimension of zeros, with a one at the place the class names."""
    if tensor.npdtype != I64:
        fail(DTypeError, f"one_hot is only applicable to index tensor of type LongTensor, not {tensor.dtype}", "convert it with .long()")
    if num_classes == -1:
        if not tensor._array.size:
            fail(ShapeError, "Can not infer total number of classes from empty tensor.", "give num_classes")
        num_classes = int(tensor._array.max()) + 1
    return ops.one_hot(tensor, classes=num_classes)  # type: ignore[no-any-return]
