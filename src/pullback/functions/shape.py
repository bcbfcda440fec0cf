"""Tensors under other shapes: views, reorderings, repetitions. Names and arguments are PyTorch's."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

from ..dtypes import dtype as DType
from ..errors import PullbackError, RangeError, ShapeError, fail
from ..ops import shape as ops
from ..ops.create import clone
from ..ops.indexing import spread, take_at
from ..ops.joining import cat
from ..ops.joining import repeat_interleave as repeat_each
from ..ops.joining import tile as tile_op
from ..ops.record import PLAIN, normal_dim, normal_dims
from ..ops.strided import as_strided as as_strided_op
from ..ops.strided import check_reach, undiagonal
from ..ops.strided import diagonal as diagonal_op
from ..ops.strided import unfold as unfold_op
from ..tape import edge
from ..tensor import Size, Tensor, alias, shares
from ..views import check_allowed, write
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
            fail(ShapeError, f"shape {list(shape)} is invalid for input of size {count}", "the sizes must multiply to the number of elements; one may be -1")
        return shape
    known = -math.prod(shape)
    if shape.count(-1) > 1 or min(shape) < -1:
        fail(ShapeError, f"shape {list(shape)}: only one dimension can be inferred, and no other may be negative")
    if known == 0:
        fail(ShapeError, f"cannot reshape tensor of {count} elements into shape {list(shape)} because the unspecified dimension size -1 can be any value")
    if count % known:
        fail(ShapeError, f"shape {list(shape)} is invalid for input of size {count}", "the other sizes must divide the number of elements")
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
    return self._array.ndim  # type: ignore[no-any-return]


also_known_as(dim, "ndimension")


@public()
def numel(input: Tensor) -> int:
    """How many elements there are."""
    return input._array.size  # type: ignore[no-any-return]


Tensor.nelement = numel


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
    return (self._array.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // base.itemsize if self._array.size else 0  # type: ignore[no-any-return]


@public(function=False)
def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Do the elements lie in order in memory?"""
    return self._array.flags.c_contiguous  # type: ignore[no-any-return]


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
    if type(array) in PLAIN and not array.flags.c_contiguous and array.size and not shares(out._array, self):
        fail(
            ShapeError,
            f"view size is not compatible with input tensor's size and stride: {list(out.shape)} of {list(self.shape)} with strides {list(stride(self))}",
            "use .reshape(...), which copies where it must",
        )
    return out  # type: ignore[no-any-return]


def _view_dtype(x: Tensor, d: DType) -> Tensor:
    array = x._array
    if d.numpy == array.dtype:
        return view(x, array.shape)
    if d.itemsize != array.itemsize and (not array.ndim or array.strides[-1] != array.itemsize or array.shape[-1] * array.itemsize % d.itemsize):
        fail(ShapeError, f"view({d!r}): the last dimension of {x.dtype} {list(x.shape)} does not hold whole elements of {d!r} next to each other")
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
        fail(ShapeError, f"permute: {len(order)} dimensions given for a tensor of {input._array.ndim}", "name each dimension once")
    return see(ops.permute, input, {"dims": order})


@public()
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped."""
    n = input._array.ndim
    order = list(range(n))
    a, b = normal_dim(dim0, n), normal_dim(dim1, n)
    if n:
        order[a], order[b] = b, a
    return see(ops.permute, input, {"dims": tuple(order)})


also_known_as(transpose, "swapaxes", "swapdims")


@public()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; fewer dimensions stay as they are."""
    n = input._array.ndim
    if n > 2:
        fail(ShapeError, f"t() expects a tensor with <= 2 dimensions, but self is {n}D", "use transpose(dim0, dim1) or .mT")
    return see(ops.permute, input, {"dims": (1, 0) if n == 2 else tuple(range(n))})


def _reversed(self: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    return see(ops.permute, self, {"dims": tuple(range(self._array.ndim - 1, -1, -1))})


def _matrix_transpose(self: Tensor) -> Tensor:
    """The last two dimensions swapped."""
    if self._array.ndim < 2:
        fail(ShapeError, f"tensor.mT is only supported on matrices or batches of matrices. Got {self._array.ndim}-D tensor", "use .T or unsqueeze it first")
    return transpose(self, -2, -1)


Tensor.T = Tensor.H = property(_reversed)
Tensor.mT = Tensor.mH = property(_matrix_transpose)
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


# -- in place: the tensor itself gets another shape ----------------------------------------------------------------------


def _become(name: str, f: Any) -> None:
    @public(function=False, name=name)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out = f(self, *args, **kwargs)
        check_allowed(self, self if self._base is None else self._base, edge(self))
        self._array, self._node = out._array, out._node
        if self._base is not None:
            self._path, self._seen = out._path, out._seen
        return self

    method.__doc__ = f"{f.__name__}, of the tensor itself."


for _f in squeeze, unsqueeze, transpose, t:
    _become(_f.__name__ + "_", _f)
_become("swapaxes_", transpose)
_become("swapdims_", transpose)


# -- more elements -----------------------------------------------------------------------------------------------------


@public(function=False)
def expand(self: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """Dimensions of size 1 seen as larger ones, without copies; -1 keeps a size."""
    wanted, shape = numbers(sizes, size), self._array.shape
    new = len(wanted) - len(shape)
    if new < 0:
        fail(ShapeError, f"expand: the number of sizes provided ({len(wanted)}) must be greater or equal to the number of dimensions in the tensor ({len(shape)})")
    full = list(wanted)
    for d, n in enumerate(wanted):
        own = shape[d - new] if d >= new else 1
        if n == -1 and d >= new:
            full[d] = own
        elif n < 0:
            fail(ShapeError, f"expand: size {n} of a new dimension {d} isn't allowed in {list(wanted)}")
        elif n != own and own != 1:
            fail(ShapeError, f"The expanded size of the tensor ({n}) must match the existing size ({own}) at non-singleton dimension {d}. Target sizes: {list(wanted)}.  Tensor sizes: {list(shape)}")
    return see(ops.expand, self, {"shape": tuple(full)})


@public(function=False)
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of another tensor."""
    return expand(self, other._array.shape)


@public()
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """Expanded to `size`."""
    return expand(input, size)


@public(function=False)
def repeat(self: Tensor, *repeats: Any) -> Tensor:
    """A copy, repeats[d] times along each dimension d."""
    times = numbers(repeats)
    if len(times) < self._array.ndim:
        fail(ShapeError, f"repeat: number of repeats {list(times)} can not be smaller than the number of dimensions of {list(self.shape)}", "give one for each; 1 keeps")
    return tile_op(self, repeats=times)  # type: ignore[no-any-return]


@public()
def tile(input: Tensor, *dims: Any) -> Tensor:
    """As repeat, where missing leading repeats are 1."""
    times = numbers(dims)
    return tile_op(input, repeats=(1,) * (input._array.ndim - len(times)) + times)  # type: ignore[no-any-return]


@public()
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Each element `repeats` times in a row; of repeats alone, the indices that do so."""
    if repeats is None:
        return spread(input)  # type: ignore[no-any-return]
    x = input if dim is not None else ravel(input)
    d = 0 if dim is None else normal_dim(dim, x._array.ndim)
    if isinstance(repeats, Tensor) and repeats._array.size == 1:
        repeats = int(repeats._array.reshape(()))
    if not isinstance(repeats, Tensor):
        if repeats < 0:
            fail(ShapeError, f"repeats can not be negative, but is {repeats}")
        return repeat_each(x, repeats=int(repeats), dim=d)  # type: ignore[no-any-return]
    if repeats._array.shape != (x._array.shape[d],):
        fail(ShapeError, f"repeats must have the same size as input along dim: {list(repeats.shape)} for dimension {d} of {list(x.shape)}")
    return take_at(x, spread(repeats), dims=(d,))  # type: ignore[no-any-return]


def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Elements put around the tensor: (left, right) of the last dimension, then of the one before, and so on."""
    sizes = numbers(tuple(pad))
    n = input._array.ndim
    if len(sizes) % 2 or len(sizes) > 2 * n:
        fail(ShapeError, f"pad: {len(sizes)} numbers for a tensor of {n} dimensions", "give a pair for each dimension, the last one first")
    pairs = ((0, 0),) * (n - len(sizes) // 2) + tuple(zip(sizes[-2::-2], sizes[::-2], strict=True))
    if mode == "constant":
        return ops.pad(input, padding=pairs, value=0.0 if value is None else value)  # type: ignore[no-any-return]
    if mode not in ("reflect", "replicate", "circular"):
        fail(PullbackError, f"pad: there is no mode {mode!r}", "use constant, reflect, replicate or circular")
    if value is not None:
        fail(PullbackError, f'Padding mode "{mode}" doesn\'t take in value argument')
    for d, (before, after) in enumerate(pairs):
        if before or after:
            input = _pad_with_itself(input, d, before, after, mode)
    return input


def _pad_with_itself(x: Tensor, d: int, before: int, after: int, mode: str) -> Tensor:
    """One dimension continued by mirroring, by its edge, or from its other end."""
    n = x._array.shape[d]
    if max(before, after) > (n - 1 if mode == "reflect" else n if mode == "circular" else math.inf) or (mode == "replicate" and not n):
        fail(ShapeError, f"pad: {mode} padding ({before}, {after}) is too large for dimension {d} of {list(x.shape)}", "pad by less, or in two steps")

    def piece(start: int, stop: int) -> Any:
        return ops.slice_(x, key=(*(slice(None),) * d, slice(start, stop)))

    def border(count: int, mirrored: Any, edge: Any, far: Any) -> list[Any]:
        if count <= 0:
            return []
        if mode == "reflect":
            return [ops.flip(mirrored(), dims=(d,))]
        if mode == "circular":
            return [far()]
        return [ops.expand(edge(), shape=(*x._array.shape[:d], count, *x._array.shape[d + 1 :]))]

    left = border(before, lambda: piece(1, before + 1), lambda: piece(0, 1), lambda: piece(n - before, n))
    right = border(after, lambda: piece(n - 1 - after, n - 1), lambda: piece(n - 1, n), lambda: piece(0, after))
    return cat(*left, piece(max(-before, 0), n - max(-after, 0)), *right, dim=d)  # type: ignore[no-any-return]


# -- elements in other places ------------------------------------------------------------------------------------------


@public()
def flip(input: Tensor, *dims: Any) -> Tensor:
    """The order of elements reversed along dims."""
    return ops.flip(input, dims=normal_dims(numbers(dims), input._array.ndim))  # type: ignore[no-any-return]


@public()
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order."""
    if input._array.ndim < 2:
        fail(ShapeError, "fliplr: Input must be >= 2-d", "use flip(0)")
    return ops.flip(input, dims=(1,))  # type: ignore[no-any-return]


@public()
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order."""
    if input._array.ndim < 1:
        fail(ShapeError, "flipud: Input must be >= 1-d")
    return ops.flip(input, dims=(0,))  # type: ignore[no-any-return]


@public()
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned by k quarters from dims[0] towards dims[1]."""
    a, b = normal_dims(tuple(dims), input._array.ndim)
    if k % 2 == 0:
        return ops.flip(input, dims=(a, b)) if k % 4 else clone(input)
    turned = transpose(input, a, b)
    return ops.flip(turned, dims=(a if k % 4 == 1 else b,))  # type: ignore[no-any-return]


@public()
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved by `shifts`, those that fall off come in at the other end."""
    steps = numbers((shifts,))
    if dims is None:
        if len(steps) != 1:
            fail(ShapeError, f"roll: {len(steps)} shifts need as many dims", "name the dims")
        return ops.roll(input, shifts=steps)  # type: ignore[no-any-return]
    over = tuple([normal_dim(d, input._array.ndim) for d in numbers((dims,))])
    if len(over) != len(steps):
        fail(ShapeError, f"shifts and dimensions must align. shifts: {len(steps)}, dims: {len(over)}")
    return ops.roll(input, shifts=steps, dims=over)  # type: ignore[no-any-return]


def _matrix(name: str, x: Tensor) -> None:
    if x._array.ndim < 2:
        fail(ShapeError, f"{name}: input tensor must have at least 2 dimensions, it has {x._array.ndim}")


@public(inplace=True)
def tril(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """What is on and below a diagonal, zero above."""
    _matrix("tril", input)
    result = ops.tril(input, diagonal=int(diagonal))
    return result if out is None else write(out, result)  # type: ignore[no-any-return]


@public(inplace=True)
def triu(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """What is on and above a diagonal, zero below."""
    _matrix("triu", input)
    result = ops.triu(input, diagonal=int(diagonal))
    return result if out is None else write(out, result)  # type: ignore[no-any-return]


# -- diagonals, windows, strides ---------------------------------------------------------------------------------------


def _two_dims(name: str, n: int, dim1: int, dim2: int) -> tuple[int, int]:
    a, b = normal_dim(dim1, n), normal_dim(dim2, n)
    if a == b:
        fail(ShapeError, f"{name}: diagonal dimensions cannot be identical {dim1}, {dim2}")
    return a, b


@public()
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of a diagonal of two dimensions, as the last one."""
    a, b = _two_dims("diagonal", input._array.ndim, dim1, dim2)
    return diagonal_op(input, offset=offset, dim1=a, dim2=b)  # type: ignore[no-any-return]


@public()
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zeros, with the last dimension on a diagonal of two new ones."""
    shape = input._array.shape
    a, b = _two_dims("diag_embed", len(shape) + 1, dim1, dim2)
    side = shape[-1] + abs(offset)
    full = list(shape[:-1])
    for d in sorted((a, b)):
        full.insert(d, side)
    return undiagonal(input, shape=tuple(full), offset=offset, dim1=a, dim2=b)  # type: ignore[no-any-return]


@public()
def diag(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The diagonal of a matrix, or the matrix with this diagonal."""
    n = input._array.ndim
    if n not in (1, 2):
        fail(ShapeError, f"diag(): Supports 1D or 2D tensors. Got {n}D", "use diagonal() or diag_embed()")
    result = diag_embed(input, diagonal) if n == 1 else clone(diagonal_op(input, offset=diagonal))
    return result if out is None else write(out, result)


@public()
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements on a diagonal."""
    return diag_embed(ravel(input), offset)


@public(function=False)
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` elements, `step` apart; the windows' elements are the last dimension."""
    d = normal_dim(dimension, self._array.ndim)
    n = self._array.shape[d] if self._array.ndim else 1
    if size > n or size < 0:
        fail(ShapeError, f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if step <= 0:
        fail(ShapeError, f"step is {step} but must be > 0")
    return unfold_op(self, dim=d, size=size, step=step)  # type: ignore[no-any-return]


@public()
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the tensor's storage with any size and strides."""
    whole = input if input._base is None else input._base
    offset = Tensor.storage_offset(input) if storage_offset is None else storage_offset
    array = whole._array
    order = tuple(sorted(range(array.ndim), key=lambda d: -array.strides[d]))
    if not array.flags.c_contiguous:
        whole = ops.permute(whole, dims=order)  # how it lies in memory
        if not whole._array.flags.c_contiguous:
            fail(PullbackError, f"as_strided: the memory of {list(array.shape)} with strides {list(array.strides)} has gaps", "call contiguous() first")
    sizes, strides = numbers((size,)), numbers((stride,))
    try:
        check_reach(array.size, sizes, strides, offset)
    except ValueError as error:
        fail(ShapeError, f"as_strided: {error}")
    return as_strided_op(whole, size=sizes, stride=strides, offset=offset)  # type: ignore[no-any-return]


# -- a copy with a part replaced -----------------------------------------------------------------------------------------


@public()
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with src at one index of a dimension."""
    out = clone(input)
    write(out.select(dim, index), src)
    return out  # type: ignore[no-any-return]


@public()
def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """A copy with src at start:end:step of a dimension."""
    out = clone(input)
    write(ops.slice_(out, key=(*(slice(None),) * normal_dim(dim, out._array.ndim), slice(start, end, step))), src)
    return out  # type: ignore[no-any-return]


@public()
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy with src on a diagonal."""
    out = clone(input)
    write(diagonal(out, offset, dim1, dim2), src)
    return out  # type: ignore[no-any-return]
