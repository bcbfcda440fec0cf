"""How PyTorch users name dimensions, and how several results come back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

from ..dtypes import as_dtype
from ..errors import DTypeError, fail
from ..ops.create import cast
from ..ops.record import Op, normal_dim, normal_dims
from ..tensor import Tensor
from ..views import write

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def shown_as(name: str) -> Callable[[C], C]:
    """Let a named tuple show itself as PyTorch's result of that name does."""

    def show(self: Any) -> str:
        lines = ",\n".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{name}(\n{lines})"

    def decorate(cls: C) -> C:
        cls.__repr__ = show  # type: ignore[method-assign,assignment]
        return cls

    return decorate


class Picked(NamedTuple):
    """Elements, and where they stood. What each function returns is a subclass of its name."""

    values: Tensor
    indices: Tensor

    def __reduce__(self) -> Any:
        return picked, (type(self).__name__, None, tuple(self))


@cache
def _picked_by(name: str) -> Any:
    return shown_as(name)(type(name, (Picked,), {"__slots__": ()}))


NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}  # PyTorch takes these, too


def renamed(names: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Keyword arguments with NumPy's names replaced by PyTorch's."""
    for name in names:
        if name not in NUMPY_NAMES:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
    return {**others, **{NUMPY_NAMES[name]: value for name, value in names.items()}}


def numpy_names(f: F) -> F:
    """Let a function take NumPy's `axis` and `keepdims` for `dim` and `keepdim`."""

    @functools.wraps(f)
    def named(*args: Any, **kwargs: Any) -> Any:
        if kwargs and not NUMPY_NAMES.keys().isdisjoint(kwargs):
            kwargs = {NUMPY_NAMES.get(name, name): value for name, value in kwargs.items()}
        return f(*args, **kwargs)

    return named  # type: ignore[return-value]


def many(dim: Any, ndim: int) -> tuple[int, ...] | None:
    """`dim` of a reduction as a tuple of non-negative numbers; None is all of them, and so is ()."""
    if type(dim) is int and 0 <= dim < ndim:
        return (dim,)
    if dim is None or dim == () or dim == []:
        return None
    dims = normal_dims(dim, ndim)
    return dims if ndim else None


def one(dim: int, ndim: int) -> int:
    """`dim` as a non-negative number."""
    return dim if type(dim) is int and 0 <= dim < ndim else normal_dim(dim, ndim)


def fold(op: Op, input: Tensor, dim: Any, keepdim: bool, out: Tensor | None = None, **params: Any) -> Tensor:
    """A reduction over any dims."""
    if type(keepdim) is not bool:
        fail(
            DTypeError,
            f"{op.name}(): keepdim must be a bool, not {keepdim!r}",
            f"fold several dims by a tuple: {op.name}((0, 1))",
        )
    return given(out, op(input, dim=many(dim, input._array.ndim), keepdim=keepdim, **params))


def given(out: Any, result: Any) -> Tensor:
    """The result, also written into `out` if there is one."""
    return result if out is None else write(out, result)


def picked(name: str, out: Any, results: tuple[Tensor, Tensor]) -> Picked:
    """Values and indices as function `name` returns them, also written into the pair `out` if there is one."""
    values, indices = results
    if out is not None:
        values, indices = write(out[0], values), write(out[1], indices)
    return _picked_by(name)(values, indices)


def converted(input: Tensor, dtype: Any) -> Tensor:
    """The tensor in another dtype."""
    npdtype = as_dtype(dtype).numpy
    return input if input._array.dtype == npdtype else cast(input, dtype=npdtype)


def typed(op: Callable[..., Tensor], input: Tensor, dtype: Any, **params: Any) -> Tensor:
    """An op with `dtype=`: the input is converted first, and what integers add up in afterwards."""
    return op(input, **params) if dtype is None else converted(op(converted(input, dtype), **params), dtype)
