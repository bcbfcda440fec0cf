"""Putting tensors together and taking them apart, with PyTorch's names and arguments."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NoReturn

from ..dtypes import int64
from ..errors import RangeError, ShapeError, fail
from ..ops import joining as ops
from ..ops.create import full_like
from ..ops.indexing import take_at
from ..ops.record import broadcast, normal_dim
from ..ops.shape import expand, pad, reshape, slice_
from ..tensor import Size, Tensor, wrap
from ..views import write
from .creation import to_array
from .expose import also_known_as, public
from .shape import numbers


def several(tensors: tuple[Any, ...]) -> list[Tensor]:
    """`f(a, b)` and `f([a, b])` mean the same."""
    return list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)


# -- together ----------------------------------------------------------------------------------------------------------


def _expect_several(name: str, tensors: Any) -> NoReturn:
    if isinstance(tensors, Tensor):
        raise TypeError(f"{name}(): argument 'tensors' must be a tuple or list of Tensors, not one Tensor")
    fail(ShapeError, f"{name}: expected a non-empty list of Tensors")


@public(method=False)
def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None, out: Tensor | None = None) -> Tensor:
    """Tensors one after the other along a dimension."""
    if isinstance(tensors, Tensor) or not tensors:
        _expect_several("cat", tensors)
    if axis is not None:
        dim = axis
    if dim < 0 or dim:
        ranks = [x._array.ndim for x in tensors if x._array.shape != (0,)]
        dim = normal_dim(dim, ranks[0] if ranks else 1)
    result = ops.cat(*tensors, dim=dim)
    return result if out is None else write(out, result)


also_known_as(cat, "concat", "concatenate", method=False)


@public(method=False)
def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """Tensors of one shape one after the other along a new dimension."""
    if isinstance(tensors, Tensor) or not tensors:
        _expect_several("stack", tensors)
    result = ops.stack(*tensors, dim=normal_dim(dim, tensors[0]._array.ndim + 1) if dim else 0)
    return result if out is None else write(out, result)


@public(method=False)
def atleast_1d(*tensors: Any) -> Any:
    """With at least one dimension."""
    return _at_least(tensors, lambda s: s or (1,))


@public(method=False)
def atleast_2d(*tensors: Any) -> Any:
    """With at least two dimensions, the new ones in front."""
    return _at_least(tensors, lambda s: (1,) * (2 - len(s)) + s)


@public(method=False)
def atleast_3d(*tensors: Any) -> Any:
    """With at least three dimensions: a row becomes [1, n, 1], a matrix [n, m, 1]."""
    return _at_least(tensors, lambda s: s if len(s) >= 3 else (*s, 1) if len(s) == 2 else (1, *(s or (1,)), 1))


def _at_least(tensors: tuple[Any, ...], grown: Any) -> Any:
    out = [
        x if grown(x._array.shape) == x._array.shape else reshape(x, shape=grown(x._array.shape))
        for x in several(tensors)
    ]
    return out[0] if len(tensors) == 1 and isinstance(tensors[0], Tensor) else tuple(out)


@public(method=False)
def hstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors side by side."""
    xs = atleast_1d(list(tensors))
    return cat(xs, 0 if xs[0]._array.ndim == 1 else 1, out=out)


@public(method=False)
def vstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors below each other, 1-D ones as rows."""
    return cat(atleast_2d(list(tensors)), 0, out=out)


also_known_as(vstack, "row_stack", method=False)


@public(method=False)
def dstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors behind each other, along the third dimension."""
    return cat(atleast_3d(list(tensors)), 2, out=out)


@public(method=False)
def column_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors side by side, 1-D ones as columns."""
    return cat([x if x._array.ndim > 1 else reshape(x, shape=(x._array.size, 1)) for x in tensors], 1, out=out)


@public(method=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal of one matrix, zero elsewhere."""
    blocks = atleast_2d(list(tensors))
    width, left, rows = sum(b._array.shape[1] for b in blocks), 0, []
    for b in blocks:
        if b._array.ndim > 2:
            fail(
                ShapeError, f"block_diag: Input tensors must have 2 or fewer dimensions, one has shape {list(b.shape)}"
            )
        n = b._array.shape[1]
        rows.append(pad(b, padding=((0, 0), (left, width - left - n))))
        left += n
    return ops.cat(*rows, dim=0)


# -- apart -------------------------------------------------------------------------------------------------------------


@public()
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive pieces: all of one size (the last may be smaller), or of the sizes in a list."""
    shape = tensor._array.shape
    d = normal_dim(dim, len(shape))
    if not shape:
        fail(ShapeError, "split expects at least a 1-dimensional tensor")
    n, piece = shape[d], split_size_or_sections
    if isinstance(piece, int):
        if piece < 0 or (piece == 0 and n):
            fail(
                ShapeError,
                f"split_size can only be 0 if dimension size is 0, but got split_size {piece} and dimension size {n}",
            )
        sizes = tuple([min(piece, n - start) for start in range(0, n, piece or 1)]) or (0,)
    else:
        sizes = numbers(tuple(piece))
        if sum(sizes) != n or min(sizes, default=0) < 0:
            fail(
                ShapeError,
                f"split_with_sizes expects split_sizes to sum exactly to {n} (the size of dimension {d}), but got "
                f"{list(sizes)}",
            )
    return ops.split(tensor, sizes=sizes, dim=d)


also_known_as(split, "split_with_sizes")


@public()
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal size (the last may be smaller)."""
    if chunks <= 0:
        fail(ShapeError, f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input._array.shape[normal_dim(dim, input._array.ndim)] if input._array.ndim else 0
    size = -(-n // chunks)
    return split(input, size if size else (0,) * chunks, dim)


@public()
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of a number of pieces of nearly equal size, or of the pieces between given indices."""
    if not input._array.ndim:
        fail(ShapeError, "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    d = normal_dim(dim, input._array.ndim)
    n, where = input._array.shape[d], indices_or_sections
    if isinstance(where, Tensor):
        where = where.tolist()
    if isinstance(where, int):
        if where <= 0:
            fail(ShapeError, f"number of sections must be larger than 0, got {where}")
        least, more = divmod(n, where)
        return ops.split(input, sizes=(least + 1,) * more + (least,) * (where - more), dim=d)
    bounds = [slice(i, None).indices(n)[0] for i in numbers(tuple(where))]
    key = (slice(None),) * d
    return tuple(
        [slice_(input, key=(*key, slice(a, max(a, b)))) for a, b in zip([0, *bounds], [*bounds, n], strict=True)]
    )


def _splitter(name: str, dim: int, rank: int) -> None:
    @public(name=name)
    def split_along(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        n = input._array.ndim
        if n < rank:
            fail(
                ShapeError,
                f"{name} requires a tensor with at least {rank} dimension, but got a tensor with {n} dimensions!",
            )
        return tensor_split(input, indices_or_sections, 0 if n == 1 else dim)

    split_along.__doc__ = f"tensor_split along dimension {dim}."


_splitter("hsplit", 1, 1)
_splitter("vsplit", 0, 2)
_splitter("dsplit", 2, 3)


@public()
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of the slices along a dimension, which is gone in them."""
    if not input._array.ndim:
        fail(RangeError, "Dimension specified as 0 but tensor has no dimensions")
    return ops.unbind(input, dim=normal_dim(dim, input._array.ndim))


def _iterate(self: Tensor) -> Any:
    """The slices along the first dimension."""
    if not self._array.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(ops.unbind(self, dim=0))


Tensor.__iter__ = _iterate  # type: ignore[method-assign]


# -- combinations ------------------------------------------------------------------------------------------------------


@public(method=False)
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape."""
    xs = several(tensors)
    try:
        shape = broadcast(*xs)
    except ValueError as error:
        fail(ShapeError, f"broadcast_tensors: {error}")
    return tuple([x if x._array.shape == shape else expand(x, shape=shape) for x in xs])


@public(method=False)
def broadcast_shapes(*shapes: Any) -> Any:
    """The common shape of tensors of these shapes."""
    try:
        return (
            Size(broadcast(*[Shaped((s,) if isinstance(s, int) else tuple(s)) for s in shapes])) if shapes else Size(())
        )
    except ValueError as error:
        fail(ShapeError, f"broadcast_shapes: {error}")


class Shaped:
    """Something with just a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


@public(method=False)
def meshgrid(*tensors: Tensor, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of all points of the grid that 1-D tensors span."""
    xs = several(tensors)
    if indexing not in ("ij", "xy"):
        fail(ShapeError, f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing!r}')
    if any(x._array.ndim > 1 for x in xs):
        fail(ShapeError, f"meshgrid: expected 0D or 1D tensors, but got {', '.join(str(list(x.shape)) for x in xs)}")
    n = len(xs)
    places = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    shape = [0] * n
    for x, d in zip(xs, places, strict=True):
        shape[d] = x._array.size
    return tuple(
        [
            expand(reshape(x, shape=tuple(x._array.size if e == d else 1 for e in range(n))), shape=tuple(shape))
            for x, d in zip(xs, places, strict=True)
        ]
    )


@public(method=False)
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All tuples of one element from each 1-D tensor, a row each."""
    xs = several(tensors)
    if len(xs) == 1:
        return xs[0]
    return ops.stack(*[reshape(x, shape=(x._array.size,)) for x in meshgrid(*xs)], dim=1)


@public()
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a 1-D tensor, a row each."""
    if input._array.ndim != 1:
        fail(ShapeError, f"combinations: Expect a 1D vector, but got shape {list(input.shape)}")
    if r == 0:
        return wrap(full_like(input._array, value=0, shape=(0,)))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input._array.size), r))
    index = wrap(to_array(rows, int64).reshape(len(rows), r))
    return take_at(input, index, dims=(0,))
