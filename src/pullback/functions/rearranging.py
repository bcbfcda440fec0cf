"""Elements repeated, padded, reordered; diagonals, windows and strides. Names and arguments are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

from ..autocasting import autocasts
from ..errors import PullbackError, ShapeError, fail
from ..ops import shape as ops
from ..ops.create import clone
from ..ops.indexing import spread, take_at
from ..ops.joining import cat
from ..ops.joining import repeat_interleave as repeat_each
from ..ops.joining import tile as tile_op
from ..ops.record import normal_dim, normal_dims
from ..ops.strided import as_strided as as_strided_op
from ..ops.strided import check_reach, undiagonal
from ..ops.strided import diagonal as diagonal_op
from ..ops.strided import unfold as unfold_op
from ..tensor import Tensor
from ..views import write
from .expose import public
from .shape import numbers, ravel, transpose
from .viewing import see

# -- more elements -----------------------------------------------------------------------------------------------------


@public(function=False)
def expand(self: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """Dimensions of size 1 seen as larger ones, without copies; -1 keeps a size."""
    wanted, shape = numbers(sizes, size), self._array.shape
    new = len(wanted) - len(shape)
    if new < 0:
        fail(
            ShapeError,
            f"expand: the number of sizes provided ({len(wanted)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({len(shape)})",
        )
    full = list(wanted)
    for d, n in enumerate(wanted):
        own = shape[d - new] if d >= new else 1
        if n == -1 and d >= new:
            full[d] = own
        elif n < 0:
            fail(ShapeError, f"expand: size {n} of a new dimension {d} isn't allowed in {list(wanted)}")
        elif n != own and own != 1:
            fail(
                ShapeError,
                f"The expanded size of the tensor ({n}) must match the existing size ({own}) at non-singleton "
                f"dimension {d}. Target sizes: {list(wanted)}.  Tensor sizes: {list(shape)}",
            )
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
        fail(
            ShapeError,
            f"repeat: number of repeats {list(times)} can not be smaller than the number of dimensions of "
            f"{list(self.shape)}",
            "give one for each; 1 keeps",
        )
    return tile_op(self, repeats=times)


@public()
def tile(input: Tensor, *dims: Any) -> Tensor:
    """As repeat, where missing leading repeats are 1."""
    times = numbers(dims)
    return tile_op(input, repeats=(1,) * (input._array.ndim - len(times)) + times)


@public()
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element `repeats` times in a row; of repeats alone, the indices that do so."""
    if repeats is None:
        return spread(input)
    x = input if dim is not None else ravel(input)
    d = 0 if dim is None else normal_dim(dim, x._array.ndim)
    if isinstance(repeats, Tensor) and repeats._array.size == 1:
        repeats = int(repeats._array.reshape(()))
    if not isinstance(repeats, Tensor):
        if repeats < 0:
            fail(ShapeError, f"repeats can not be negative, but is {repeats}")
        return repeat_each(x, repeats=int(repeats), dim=d)
    if repeats._array.shape != (x._array.shape[d],):
        fail(
            ShapeError,
            f"repeats must have the same size as input along dim: {list(repeats.shape)} for dimension {d} of "
            f"{list(x.shape)}",
        )
    return take_at(x, spread(repeats), dims=(d,))


def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Elements put around the tensor: (left, right) of the last dimension, then of the one before, and so on."""
    sizes = numbers(tuple(pad))
    n = input._array.ndim
    if len(sizes) % 2 or len(sizes) > 2 * n:
        fail(
            ShapeError,
            f"pad: {len(sizes)} numbers for a tensor of {n} dimensions",
            "give a pair for each dimension, the last one first",
        )
    pairs = ((0, 0),) * (n - len(sizes) // 2) + tuple(zip(sizes[-2::-2], sizes[::-2], strict=True))
    if mode == "constant":
        return ops.pad(input, padding=pairs, value=0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        fail(PullbackError, f"pad: there is no mode {mode!r}", "use constant, reflect, replicate or circular")
    if value is not None:
        fail(PullbackError, f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode == "circular" or (mode == "reflect" and len(sizes) == 6):  # autocast leaves these two as they are
        return _continued(input, pairs, mode)
    return pad_by_edge(input, pairs, mode)


@autocasts
def pad_by_edge(input: Tensor, pairs: Any, mode: str) -> Tensor:
    """Continued by mirroring, or by the edge."""
    return _continued(input, pairs, mode)


def _continued(x: Tensor, pairs: Any, mode: str) -> Tensor:
    for d, (before, after) in enumerate(pairs):
        if before or after:
            x = _pad_with_itself(x, d, before, after, mode)
    return x


def _pad_with_itself(x: Tensor, d: int, before: int, after: int, mode: str) -> Tensor:
    """One dimension continued by mirroring, by its edge, or from its other end."""
    n = x._array.shape[d]
    if mode == "circular" and min(before, after) < 0:  # goes round what is left
        x = ops.slice_(x, key=(*(slice(None),) * d, slice(max(-before, 0), n - max(-after, 0))))
        before, after, n = max(before, 0), max(after, 0), x._array.shape[d]
    if max(before, after) > (n - 1 if mode == "reflect" else n if mode == "circular" else math.inf) or (
        mode == "replicate" and not n
    ):
        fail(
            ShapeError,
            f"pad: {mode} padding ({before}, {after}) is too large for dimension {d} of {list(x.shape)}",
            "pad by less, or in two steps",
        )

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
    return cat(*left, piece(max(-before, 0), n - max(-after, 0)), *right, dim=d)


# -- elements in other places ------------------------------------------------------------------------------------------


@public()
def flip(input: Tensor, *dims: Any) -> Tensor:
    """The order of elements reversed along dims."""
    return ops.flip(input, dims=normal_dims(numbers(dims), input._array.ndim))


@public()
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order."""
    if input._array.ndim < 2:
        fail(ShapeError, "fliplr: Input must be >= 2-d", "use flip(0)")
    return ops.flip(input, dims=(1,))


@public()
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order."""
    if input._array.ndim < 1:
        fail(ShapeError, "flipud: Input must be >= 1-d")
    return ops.flip(input, dims=(0,))


@public()
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned by k quarters from dims[0] towards dims[1]."""
    a, b = normal_dims(tuple(dims), input._array.ndim)
    if k % 2 == 0:
        return ops.flip(input, dims=(a, b)) if k % 4 else clone(input)
    turned = transpose(input, a, b)
    return ops.flip(turned, dims=(a if k % 4 == 1 else b,))


@public()
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved by `shifts`, those that fall off come in at the other end."""
    steps = numbers((shifts,))
    if dims is None:
        if len(steps) != 1:
            fail(ShapeError, f"roll: {len(steps)} shifts need as many dims", "name the dims")
        return ops.roll(input, shifts=steps)
    over = tuple([normal_dim(d, input._array.ndim) for d in numbers((dims,))])
    if len(over) != len(steps):
        fail(ShapeError, f"shifts and dimensions must align. shifts: {len(steps)}, dims: {len(over)}")
    return ops.roll(input, shifts=steps, dims=over)


def _matrix(name: str, x: Tensor) -> None:
    if x._array.ndim < 2:
        fail(ShapeError, f"{name}: input tensor must have at least 2 dimensions, it has {x._array.ndim}")


@public(inplace=True)
def tril(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """What is on and below a diagonal, zero above."""
    _matrix("tril", input)
    result = ops.tril(input, diagonal=int(diagonal))
    return result if out is None else write(out, result)


@public(inplace=True)
def triu(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """What is on and above a diagonal, zero below."""
    _matrix("triu", input)
    result = ops.triu(input, diagonal=int(diagonal))
    return result if out is None else write(out, result)


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
    return diagonal_op(input, offset=offset, dim1=a, dim2=b)


@public(function=False)
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write a number on the main diagonal; `wrap`: of a tall matrix, over and over."""
    shape = self._array.shape
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        fail(
            ShapeError,
            f"fill_diagonal_: expected a matrix, or dimensions of one length, but the shape is {list(shape)}",
            "write to x.diagonal() for a diagonal of two dimensions",
        )
    if wrap and len(shape) == 2:
        places = range(0, math.prod(shape), shape[1] + 1)
        self[[i // shape[1] for i in places], [i % shape[1] for i in places]] = fill_value
    else:
        self[(range(min(shape)),) * len(shape)] = fill_value
    return self


@public()
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zeros, with the last dimension on a diagonal of two new ones."""
    shape = input._array.shape
    a, b = _two_dims("diag_embed", len(shape) + 1, dim1, dim2)
    side = shape[-1] + abs(offset)
    full = list(shape[:-1])
    for d in sorted((a, b)):
        full.insert(d, side)
    return undiagonal(input, shape=tuple(full), offset=offset, dim1=a, dim2=b)


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
    return unfold_op(self, dim=d, size=size, step=step)


@public()
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the tensor's storage with any size and strides."""
    whole = input if input._base is None else input._base
    offset = (input.storage_offset() if storage_offset is None else storage_offset) - whole.storage_offset()
    array = whole._array
    order = tuple(sorted(range(array.ndim), key=lambda d: -array.strides[d]))
    if not array.flags.c_contiguous:
        whole = ops.permute(whole, dims=order)  # how it lies in memory
        if not whole._array.flags.c_contiguous:
            fail(
                PullbackError,
                f"as_strided: the memory of {list(array.shape)} with strides {list(array.strides)} has gaps",
                "call contiguous() first",
            )
    sizes, strides = numbers((size,)), numbers((stride,))
    try:
        check_reach(array.size, sizes, strides, offset)
    except ValueError as error:
        fail(ShapeError, f"as_strided: {error}")
    return as_strided_op(whole, size=sizes, stride=strides, offset=offset)


# -- a copy with a part replaced -------------------------------------------------------------------------------------


@public()
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with src at one index of a dimension."""
    out = clone(input)
    write(out.select(dim, index), src)
    return out


@public()
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy with src at start:end:step of a dimension."""
    out = clone(input)
    write(ops.slice_(out, key=(*(slice(None),) * normal_dim(dim, out._array.ndim), slice(start, end, step))), src)
    return out


@public()
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy with src on a diagonal."""
    out = clone(input)
    write(diagonal(out, offset, dim1, dim2), src)
    return out
