"""Tensors under other shapes: views, reorderings, repetitions. Names and arguments are PyTorch's."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

from ..dtypes import dtype as DType
from ..errors import PullbackError, RangeError, ShapeError, fail
from ..hooks import follow
from ..modes import MODES, enable_grad
from ..ops import shape as ops
from ..ops.record import normal_dim, normal_dims
from ..tape import edge
from ..tensor import Size, Tensor, alias, shares, tick
from ..views import check_allowed
from .expose import also_known_as, public
from .viewing import see

Shape = tuple[int, ...]


def numbers(given: tuple[Any, ...], named: Any = None) -> Shape:
    """`f(2, 3)`, `f((2, 3))` and `f(shape=(2, 3))` all mean (2, 3)."""
    if named is not None:
        given = tuple(named) if isinstance(named, Iterable) else (named,)
    elif len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = tuple(given[0])
    for n in given:
        if type(n) is not int:
            return tuple([operator.index(n) for n in given])
    return given


def complete(shape: Shape, count: int) -> Shape:
    """`shape` with its -1 worked out."""
    if -1 not in shape:
        if math.prod(shape) != count:
            fail(
                ShapeError,
                f"shape {list(shape)} is invalid for input of size {count}",
                "the sizes must multiply to the number of elements; one may be -1",
            )
        return shape
    known = -math.prod(shape)
    if shape.count(-1) > 1 or min(shape) < -1:
        fail(ShapeError, f"shape {list(shape)}: only one dimension can be inferred, and no other may be negative")
    if known == 0:
        fail(
            ShapeError,
            f"cannot reshape tensor of {count} elements into shape {list(shape)} because the unspecified dimension "
            "size -1 can be any value",
        )
    if count % known:
        fail(
            ShapeError,
            f"shape {list(shape)} is invalid for input of size {count}",
            "the other sizes must divide the number of elements",
        )
    i = shape.index(-1)
    return (*shape[:i], count // known, *shape[i + 1 :])


# -- what shape it has -------------------------------------------------------------------------------------------------


@public(function=False)
def size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or the size of one dimension."""
    shape = self._array.shape
    if dim is None:
        return Size(shape)
    if not shape or not -len(shape) <= dim < len(shape):
        normal_dim(dim, 0 if not shape else len(shape))
        fail(RangeError, "Dimension specified as 0 but tensor has no dimensions")
    return shape[dim]


@public(function=False)
def dim(self: Tensor) -> int:
    """How many dimensions there are."""
    return self._array.ndim


also_known_as(dim, "ndimension")


@public()
def numel(input: Tensor) -> int:
    """How many elements there are."""
    return input._array.size


Tensor.nelement = numel  # type: ignore[attr-defined]


@public(function=False)
def stride(self: Tensor, dim: int | None = None) -> Any:
    """How many elements apart neighbours lie in memory, along each dimension or one."""
    array = self._array
    if array.flags.c_contiguous:
        strides, step = [0] * array.ndim, 1
        for d in range(array.ndim - 1, -1, -1):
            strides[d] = step
            step *= max(array.shape[d], 1)
    else:
        strides = [s // array.itemsize for s in array.strides]
    return tuple(strides) if dim is None else strides[normal_dim(dim, array.ndim)]


@public(function=False)
def storage_offset(self: Tensor) -> int:
    """How many elements of the storage come before the tensor's first."""
    base = self._storage.array
    if hasattr(base, "offset"):  # on a device
        return int(self._array.offset - base.offset) // int(base.itemsize)
    return (
        (self._array.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // base.itemsize
        if self._array.size
        else 0
    )


@public(function=False)
def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Do the elements lie in order in memory?"""
    return self._array.flags.c_contiguous


# -- another shape -----------------------------------------------------------------------------------------------------


@public()
def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The same elements, in order, under another shape: a view where possible, else a copy."""
    return see(ops.reshape, input, {"shape": complete(numbers(sizes, shape), input._array.size)})


@public(function=False)
def view(self: Tensor, *sizes: Any, size: Any = None, dtype: Any = None) -> Tensor:
    """The same memory under another shape; of another dtype, the same bits."""
    if dtype is not None or (sizes and isinstance(sizes[0], DType)):
        return _view_dtype(self, sizes[0] if dtype is None else dtype)
    array = self._array
    out = see(ops.reshape, self, {"shape": complete(numbers(sizes, size), array.size)})
    if not array.flags.c_contiguous and array.size and not shares(out._array, self):
        fail(
            ShapeError,
            f"view size is not compatible with input tensor's size and stride: {list(out.shape)} of "
            f"{list(self.shape)} with strides {list(stride(self))}",
            "use .reshape(...), which copies where it must",
        )
    return out


def _view_dtype(x: Tensor, d: DType) -> Tensor:
    array = x._array
    if d.numpy == array.dtype:
        return view(x, array.shape)
    if d.itemsize != array.itemsize and (
        not array.ndim or array.strides[-1] != array.itemsize or array.shape[-1] * array.itemsize % d.itemsize
    ):
        fail(
            ShapeError,
            f"view({d!r}): the last dimension of {x.dtype} {list(x.shape)} does not hold whole elements of {d!r} "
            "next to each other",
        )
    if not hasattr(array, "view"):
        what = f"view({d!r}): memory on {array.device} cannot be looked at as another dtype"
        fail(PullbackError, what, "convert it with .to(dtype), or move it first: x.cpu()")
    return alias(x, array.view(d.numpy))


@public(function=False)
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor."""
    return view(self, other._array.shape)


@public(function=False)
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The same elements in the shape of another tensor."""
    return reshape(self, other._array.shape)


@public()
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim made one."""
    shape = input._array.shape
    first, last = normal_dim(start_dim, len(shape)), normal_dim(end_dim, len(shape))
    if not shape:
        return see(ops.reshape, input, {"shape": (1,)})
    if first > last:
        fail(ShapeError, f"flatten() has invalid args: start_dim {start_dim} cannot come after end_dim {end_dim}")
    if first == last:
        return input
    return see(ops.reshape, input, {"shape": (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])})


@public()
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension made several."""
    shape = input._array.shape
    d = normal_dim(dim, len(shape))
    parts = complete(numbers(tuple(sizes)), shape[d])
    return see(ops.reshape, input, {"shape": (*shape[:d], *parts, *shape[d + 1 :])})


@public()
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return input if input._array.ndim == 1 else ops.reshape(input, shape=(input._array.size,))


@public()
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without the dimensions of size 1 (among `dim`)."""
    shape = input._array.shape
    dims = normal_dims(dim, len(shape))
    return see(ops.reshape, input, {"shape": tuple([n for d, n in enumerate(shape) if n != 1 or d not in dims])})


@public()
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    shape = input._array.shape
    rank = len(shape) + 1
    if dim < 0:
        dim += rank
    if not 0 <= dim < rank:
        normal_dim(dim - rank if dim < 0 else dim, rank)
    return see(ops.reshape, input, {"shape": (*shape[:dim], 1, *shape[dim:])})


# -- dimensions in another order ---------------------------------------------------------------------------------------


@public()
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions in the given order."""
    order = normal_dims(numbers(dims), input._array.ndim)
    if len(order) != input._array.ndim:
        fail(
            ShapeError,
            f"permute: {len(order)} dimensions given for a tensor of {input._array.ndim}",
            "name each dimension once",
        )
    return see(ops.permute, input, {"dims": order})


@public()
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped."""
    n = input._array.ndim
    a, b = dim0 + n if dim0 < 0 else dim0, dim1 + n if dim1 < 0 else dim1
    if not (0 <= a < n and 0 <= b < n):
        a, b = normal_dim(dim0, n), normal_dim(dim1, n)
    order = list(range(n))
    if n:
        order[a], order[b] = b, a
    return see(ops.permute, input, {"dims": tuple(order)})


also_known_as(transpose, "swapaxes", "swapdims")


@public()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; fewer dimensions stay as they are."""
    n = input._array.ndim
    if n > 2:
        fail(
            ShapeError,
            f"t() expects a tensor with <= 2 dimensions, but self is {n}D",
            "use transpose(dim0, dim1) or .mT",
        )
    return see(ops.permute, input, {"dims": (1, 0) if n == 2 else tuple(range(n))})


def _reversed(self: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    return see(ops.permute, self, {"dims": tuple(range(self._array.ndim - 1, -1, -1))})


def _matrix_transpose(self: Tensor) -> Tensor:
    """The last two dimensions swapped."""
    if self._array.ndim < 2:
        fail(
            ShapeError,
            f"tensor.mT is only supported on matrices or batches of matrices. Got {self._array.ndim}-D tensor",
            "use .T or unsqueeze it first",
        )
    return transpose(self, -2, -1)


Tensor.T = Tensor.H = property(_reversed)  # type: ignore[attr-defined]
Tensor.mT = Tensor.mH = property(_matrix_transpose)  # type: ignore[attr-defined]
public(name="adjoint")(_matrix_transpose)


@public()
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions `source` moved to `destination`; the others keep their order."""
    n = input._array.ndim
    old, new = normal_dims(source, n), normal_dims(destination, n)
    if len(old) != len(new):
        fail(ShapeError, f"movedim: source {source} and destination {destination} must be equally many")
    places = dict(zip(new, old, strict=True))
    rest = iter([d for d in range(n) if d not in old])
    return see(ops.permute, input, {"dims": tuple([places[d] if d in places else next(rest) for d in range(n)])})


also_known_as(movedim, "moveaxis")


# -- in place: the tensor itself gets another shape ------------------------------------------------------------------


def _become(name: str, f: Any) -> None:
    @public(function=False, name=name)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        history = edge(self)
        if MODES.grad:
            check_allowed(self, self if self._base is None else self._base, history)
        with enable_grad():  # a tensor that has a history keeps it
            out = f(self, *args, **kwargs)
        self._array = out._array
        if history is not self:
            self._node = out._node
        if self._base is None:
            self._moved = tick()
        else:
            self._path, self._seen = out._path, out._seen
        follow(self)
        return self

    method.__doc__ = f"{f.__name__}, of the tensor itself."


for _f in squeeze, unsqueeze, transpose, t:
    _become(_f.__name__ + "_", _f)
_become("swapaxes_", transpose)
_become("swapdims_", transpose)
