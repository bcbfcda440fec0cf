"""Choosing elements by an index or a mask: names and arguments are PyTorch's."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

from ..autocasting import autocasts
from ..dtypes import BOOL, FLOATS, I64
from ..errors import DTypeError, RangeError, ShapeError, fail
from ..ops import indexing as ops
from ..ops.arithmetic import mul
from ..ops.compare import where as choose
from ..ops.create import cast, full_like
from ..ops.extremes import max as max_
from ..ops.joining import unbind
from ..ops.record import broadcast, normal_dim
from ..ops.shape import expand, reshape, slice_
from ..tensor import Tensor
from ..views import update, write
from .brackets import INDICES, fitted, parse, put, spots
from .expose import public
from .unknown_keys import select_at, unknown
from .viewing import see

# -- one dimension -----------------------------------------------------------------------------------------------------


@public()
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """A view of one slice along a dimension, which is gone in it."""
    shape = input._array.shape
    d = normal_dim(dim, len(shape))
    if not shape:
        fail(RangeError, "select() cannot be applied to a 0-dim tensor.")
    if unknown(index):
        return select_at(input, d, index)  # type: ignore[arg-type]
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


F = TypeVar("F", bound=Callable[..., Any])


def _row(name: str, x: Tensor, dim: int, index: Tensor) -> tuple[int, Any]:
    """(dimension, index of shape [n]) of an index over one dimension."""
    if index.npdtype not in INDICES:
        fail(
            DTypeError,
            f"{name}(): Expected dtype int32 or int64 for index, but got {index.dtype}",
            "convert it with .long()",
        )
    if index._array.ndim > 1:
        fail(RangeError, f"{name}(): Index is supposed to be a vector, but has shape {list(index.shape)}")
    return normal_dim(dim, x._array.ndim), index if index._array.ndim else reshape(index, shape=(1,))


def alike(name: str, x: Tensor, source: Tensor) -> None:
    if source.npdtype != x.npdtype:
        fail(
            DTypeError,
            f"{name}(): self ({x.dtype}) and source ({source.dtype}) must have the same dtype",
            "convert one of them with .to(dtype)",
        )


def whole(name: str, x: Tensor, dim: int, index: Tensor, source: Tensor) -> tuple[Tensor, int, Any]:
    """(source, dimension, index), checked: source has a slice for each index."""
    alike(name, x, source)
    d, row = _row(name, x, dim, index)
    shape = x._array.shape
    n = row._array.size
    wanted = (*shape[:d], n, *shape[d + 1 :])
    if source._array.shape != wanted:
        if source._array.size == 1 and wanted == (1,):
            return reshape(source, shape=wanted), d, row
        fail(
            ShapeError,
            f"{name}(): source has shape {list(source.shape)}, but {list(wanted)} is needed for {n} indices into "
            f"dimension {d} of {list(shape)}",
        )
    return source, d, row


@public()
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The slices along a dimension that `index` names."""
    x = input if input._array.ndim else reshape(input, shape=(1,))
    d, row = _row("index_select", x, dim, index)
    result = ops.take_at(x, row, dims=(d,), wrap=False)
    if not input._array.ndim:
        result = reshape(result, shape=())
    return result if out is None else write(out, result)


def _both(name: str) -> Callable[[F], F]:
    """Offer f(x, put, ...), which calls `put(x, dims, index, values, ...)`, as `name` and as `name_`."""

    def offer(f: F) -> F:
        def outside(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if input._array.ndim:
                return f(input, put_outside, *args, **kwargs)
            return reshape(f(reshape(input, shape=(1,)), put_outside, *args, **kwargs), shape=())

        @public(function=False, name=name + "_")
        def inside(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            f(self if self._array.ndim else reshape(self, shape=(1,)), put, *args, **kwargs)
            return self

        outside.__name__, outside.__doc__ = name, f.__doc__
        public()(autocasts(outside))
        inside.__doc__ = f"{name}, written over the tensor itself."
        return f

    return offer


def put_outside(
    x: Tensor, index: Any, dims: tuple[int, ...], values: Tensor, accumulate: bool = False, wrap: bool = True
) -> Tensor:
    """`put` into a copy."""
    return ops.put_at(x, index, values, dims=dims, accumulate=accumulate, wrap=wrap)


@_both("index_add")
def _index_add(x: Tensor, place: Any, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """Slices of alpha * source added to the slices along a dimension that `index` names."""
    source, d, row = whole("index_add", x, dim, index, source)
    return place(x, row, (d,), source if alpha == 1 else mul(source, alpha), accumulate=True, wrap=False)


@_both("index_copy")
def _index_copy(x: Tensor, place: Any, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Slices of source in the place of the slices along a dimension that `index` names."""
    source, d, row = whole("index_copy", x, dim, index, source)
    return place(x, row, (d,), source, wrap=False)


@public(inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A number in all slices along a dimension that `index` names."""
    d, row = _row("index_fill", input, dim, index)
    shape = input._array.shape or (1,)
    named = ops.put_at(
        full_like(row, value=False, shape=(shape[d],), dtype=BOOL),
        row,
        full_like(row, value=True, shape=(), dtype=BOOL),
        dims=(0,),
    )
    mask = reshape(named, shape=(*(1,) * d, shape[d], *(1,) * (len(shape) - d - 1)) if input._array.ndim else ())
    return choose(mask, _zero_d("index_fill", input, value), input)


@_both("index_put")
def _index_put(x: Tensor, place: Any, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """x[indices] = values, or += values where every one of repeated indices counts."""
    if values.npdtype != x.npdtype:
        fail(
            DTypeError,
            f"Index put requires the source and destination dtypes match, got {x.dtype} for the destination and "
            f"{values.dtype} for the source.",
        )
    _, index, dims = parse(x, tuple([slice(None) if i is None else i for i in indices]))
    if index is None:
        fail(RangeError, "index_put: there must be an index")
    return place(
        x, index, dims, fitted(values, x, ops.region(x._array.shape, index.shape, dims)), accumulate=accumulate
    )


# -- all elements in a row -------------------------------------------------------------------------------------------


@public()
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at these places of the flattened tensor."""
    flat = reshape(input, shape=(input._array.size,))
    return ops.take_at(flat, index, dims=(0,))


@public(inplace=True, name="put")
def _put_elements(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with source written (or added) at these places of the flattened tensor."""
    alike("put", input, source)
    flat = reshape(input, shape=(input._array.size,))
    n = index._array.size
    result = ops.put_at(flat, reshape(index, shape=(n,)), reshape(source, shape=(n,)), dims=(0,), accumulate=accumulate)
    return reshape(result, shape=input._array.shape)


# -- masks -------------------------------------------------------------------------------------------------------------


def _mask(name: str, mask: Tensor) -> None:
    if mask.npdtype != BOOL:
        fail(
            DTypeError,
            f"{name} only supports boolean masks, but got mask with dtype {mask.dtype}",
            "compare it with something, or convert it with .bool()",
        )


def _zero_d(name: str, x: Tensor, value: Any) -> Tensor:
    """A number, or a 0-d tensor, as a 0-d tensor of x's dtype."""
    if isinstance(value, Tensor):
        if value._array.ndim:
            fail(
                ShapeError,
                f"{name} only supports a 0-dimensional value tensor, but got tensor with {value._array.ndim} "
                "dimension(s).",
            )
        return value if value.npdtype == x.npdtype else cast(value, dtype=x.npdtype)
    return fitted(value, x, ())


@public()
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A copy with a number where mask is true."""
    _mask("masked_fill", mask)
    if isinstance(value, Tensor) or input.npdtype not in FLOATS:
        value = _zero_d("masked_fill", input, value)
    return choose(mask, value, input)


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
    return result if out is None else write(out, result)


@public(inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy with the elements of source, one after the other, where mask is true."""
    _mask("masked_scatter", mask)
    alike("masked_scatter", input, source)
    x, index = _spots(input, mask)
    n = index.shape[-1]
    if n > source._array.size:
        fail(ShapeError, f"masked_scatter: the mask has {n} true elements, but the source only {source._array.size}")
    values = slice_(reshape(source, shape=(source._array.size,)), key=(slice(n),))
    out = ops.put_at(x, index, values, dims=tuple(range(x._array.ndim)))
    return out if input._array.ndim or out._array.shape != (1,) else reshape(out, shape=())


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
    return ops.nonzero(input)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A new last dimension of zeros, with a one at the place the class names."""
    if tensor.npdtype != I64:
        fail(
            DTypeError,
            f"one_hot is only applicable to index tensor of type LongTensor, not {tensor.dtype}",
            "convert it with .long()",
        )
    if num_classes == -1:
        if not tensor._array.size:
            fail(ShapeError, "Can not infer total number of classes from empty tensor.", "give num_classes")
        num_classes = int(max_(tensor)) + 1
    return ops.one_hot(tensor, classes=num_classes)
