"""gather, scatter and their kin: one index for each element, along one dimension."""

from __future__ import annotations

from typing import Any

from ..dtypes import FLOATS
from ..errors import DTypeError, PullbackError, RangeError, ShapeError, fail
from ..ops import indexing as ops
from ..ops.create import full_like
from ..ops.record import PLAIN, normal_dim
from ..ops.shape import expand, reshape
from ..tensor import Tensor, check_writable
from ..views import update, write
from .brackets import INDICES, recorded
from .expose import public
from .indexing import alike, whole


def _along(name: str, x: Tensor, dim: int, index: Tensor) -> tuple[Tensor, int, Tensor]:
    """(x, dim, index) with at least one dimension each, checked."""
    if index.npdtype not in INDICES:
        fail(
            DTypeError,
            f"{name}(): Expected dtype int32/int64 for index, but got {index.dtype}",
            "convert it with .long()",
        )
    d = normal_dim(dim, x._array.ndim)
    return (
        (x if x._array.ndim else reshape(x, shape=(1,))),
        d,
        (index if index._array.ndim else reshape(index, shape=(1,))),
    )


@public()
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None) -> Tensor:
    """out[i, j] = input[index[i, j], j] for dim 0, and so on."""
    x, d, along = _along("gather", input, dim, index)
    result = ops.gather(x, along, dim=d)
    if along is not index:
        result = reshape(result, shape=())
    return result if out is None else write(out, result)


@public()
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """gather, where the other dimensions broadcast; without dim, from all elements in a row."""
    if dim is None:
        return ops.gather(
            reshape(input, shape=(input._array.size,)), reshape(indices, shape=(indices._array.size,)), dim=0
        )
    d = normal_dim(dim, input._array.ndim)
    own, wanted = input._array.shape, indices._array.shape
    if len(own) != len(wanted):
        fail(
            ShapeError,
            f"take_along_dim(): input and indices should have the same number of dimensions, but got {len(own)} and "
            f"{len(wanted)}",
        )
    both = [m if m != 1 else n for n, m in zip(own, wanted, strict=True)]
    x = expand(input, shape=(*both[:d], own[d], *both[d + 1 :]))
    return gather(x, d, expand(indices, shape=(*both[:d], wanted[d], *both[d + 1 :])))


def _scatter_source(x: Tensor, src: Any, value: Any) -> Any:
    """A number in x's kind, or a tensor of x's dtype with dimensions."""
    what = value if src is None else src
    if not isinstance(what, Tensor):
        return what if x.npdtype in FLOATS else int(what)
    alike("scatter", x, what)
    return what if what._array.ndim else reshape(what, shape=(1,))


@public()
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, value: Any = None, *, reduce: str | None = None
) -> Tensor:
    """A copy with out[index[i, j], j] = src[i, j] for dim 0, and so on; reduce adds or multiplies instead."""
    what = _scatter_source(input, src, value)
    x, d, along = _along("scatter", input, dim, index)
    if reduce is None:
        result = ops.scatter(x, along, what, dim=d)
    else:
        kind = {"add": "sum", "multiply": "prod"}.get(reduce)
        if kind is None:
            fail(
                PullbackError,
                f"reduce argument must be either add or multiply, not {reduce!r}",
                "scatter_reduce knows sum, prod, mean, amax, amin",
            )
        whole = what if isinstance(what, Tensor) else full_like(x, value=what, shape=along._array.shape)
        result = ops.scatter_reduce(x, along, whole, dim=d, reduce=kind)
    return result if x is input else reshape(result, shape=())


@public(function=False)
def scatter_(
    self: Tensor, dim: int, index: Tensor, src: Any = None, value: Any = None, *, reduce: str | None = None
) -> Tensor:
    """scatter, written over the tensor itself."""
    what, array = _scatter_source(self, src, value), self._array
    if reduce is not None or not array.ndim or type(array) not in PLAIN or recorded(self, what):
        return update(self, scatter(self, dim, index, src, value, reduce=reduce))
    _, d, along = _along("scatter_", self, dim, index)
    check_writable(array)
    try:
        ops.scatter_into(array, along._array, what._array if isinstance(what, Tensor) else what, d)
    except (IndexError, ValueError) as error:
        fail(RangeError if isinstance(error, IndexError) else ShapeError, f"scatter_: {error}")
    self._storage.wrote()
    return self


@public(inplace=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with out[index[i, j], j] += src[i, j] for dim 0, and so on."""
    alike("scatter_add", input, src)
    x, d, along = _along("scatter_add", input, dim, index)
    result = ops.scatter_add(x, along, src if src._array.ndim else reshape(src, shape=(1,)), dim=d)
    return result if x is input else reshape(result, shape=())


@public(inplace=True)
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy with the sum, prod, mean, amax or amin of what goes to out[index[i, j], j] for dim 0, and so on."""
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        fail(PullbackError, f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    alike("scatter_reduce", input, src)
    x, d, along = _along("scatter_reduce", input, dim, index)
    result = ops.scatter_reduce(
        x, along, src if src._array.ndim else reshape(src, shape=(1,)), dim=d, reduce=reduce, include_self=include_self
    )
    return result if x is input else reshape(result, shape=())


@public(inplace=True)
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Slices of source combined (prod, mean, amax, amin) into the slices along a dimension that `index` names."""
    source, d, row = whole("index_reduce", input, dim, index, source)
    along = expand(
        reshape(row, shape=(*(1,) * d, row._array.size, *(1,) * (input._array.ndim - d - 1))), shape=source._array.shape
    )
    return scatter_reduce(input, d, along, source, reduce, include_self=include_self)
