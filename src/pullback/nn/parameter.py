"""Parameter and Buffer: tensors that a Module finds among its attributes; also before their shapes are known."""

from __future__ import annotations

from typing import Any, NoReturn

from ..dtypes import as_dtype, dtype, get_default_dtype
from ..errors import ArgumentError, DTypeError, fail
from ..functions.creation import empty
from ..functions.files import PARAMETER
from ..tensor import Tensor, check_device

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


class Parameter(Tensor):
    """A tensor that, as an attribute of a Module, is one of its parameters. It shares `data`'s memory."""

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        self: Any = super().__new__(cls, *_tensors(data))
        self.requires_grad = requires_grad
        return self

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


PARAMETER.append(Parameter)


class Buffer(Tensor):
    """A tensor that, as an attribute of a Module, is state that no gradient changes (running means, say)."""

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        self: Any = super().__new__(cls, *_tensors(data))
        self.persistent = persistent
        return self


def _tensors(data: Any) -> tuple[Tensor, ...]:
    if data is not None and not isinstance(data, Tensor):
        fail(DTypeError, f"a parameter or buffer is made from a tensor, not {type(data).__name__}", "use tensor(data)")
    return () if data is None else (data,)


# -- before the shape is known -----------------------------------------------------------------------------------------


class Uninitialized(Tensor):
    """What the two kinds below have in common: a dtype, but neither shape nor memory."""

    cls_to_become: Any
    pending: dtype
    where: str | None  # the device

    def __getattr__(self, name: str) -> NoReturn:
        if name not in ("_array", "_storage"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        fail(
            ArgumentError,
            "an uninitialized parameter or buffer was used: its shape is not known yet",
            "run the lazy module on one batch first, or call materialize(shape)",
        )

    @property
    def dtype(self) -> dtype:
        return self.pending

    def materialize(self, shape: tuple[int, ...], device: Any = None, dtype: Any = None) -> None:
        """Become a tensor of this shape; its values are arbitrary."""
        where = vars(self).pop("where", None) if device is None else device
        like = empty(*shape, dtype=self.pending if dtype is None else dtype, device=where)
        self._array, self._storage = like._array, like._storage
        del self.pending
        self.__class__ = self.cls_to_become

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return object.__reduce_ex__(self, protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Uninitialized:
        twin: Uninitialized = object.__new__(type(self))
        vars(twin).update(vars(self))
        memo[id(self)] = twin
        return twin


def _pending(cls: Any, device: Any, d: Any) -> Any:
    self = object.__new__(cls)
    self.where = check_device(device)
    self.pending = get_default_dtype() if d is None else as_dtype(d)
    return self


class UninitializedParameter(Uninitialized, Parameter):
    """A parameter whose shape comes with the first input."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        self: Any = _pending(cls, device, dtype)
        self._requires_grad = requires_grad
        return self


class UninitializedBuffer(Uninitialized, Buffer):
    """A buffer whose shape comes with the first input."""

    cls_to_become = Buffer

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> UninitializedBuffer:
        self: Any = _pending(cls, device, dtype)
        self._requires_grad, self.persistent = requires_grad, persistent
        return self


def is_lazy(param: Any) -> bool:
    """Is the shape still unknown?"""
    return isinstance(param, Uninitialized)
