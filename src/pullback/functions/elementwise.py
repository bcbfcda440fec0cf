"""How ops that work element by element become functions: of Tensors and numbers, in place, or into `out`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import F32, F64
from ..errors import PullbackError, ShapeError, fail
from ..modes import MODES
from ..ops.record import Op
from ..tape import apply
from ..tensor import Tensor, check_writable, wrap
from ..views import update, write
from .expose import public

NO_PARAMS: dict[str, Any] = {}
DIRECT = {Tensor, float, int}  # what ops take as it is; subclasses of Tensor join when first met


def operand(x: Any) -> Any:
    """A number, tensor or array as ops want it; None for anything else."""
    if isinstance(x, Tensor):
        DIRECT.add(type(x))
        return x
    if isinstance(x, (bool, np.bool_)):
        return bool(x)
    if isinstance(x, (float, np.floating)):
        return float(x)
    if isinstance(x, (int, np.integer)):
        return int(x)
    return wrap(x) if isinstance(x, np.ndarray) else None


def expect(name: str, argument: str, x: Any) -> Any:
    """x as ops want it, or an error like PyTorch's."""
    if type(x) in DIRECT:
        return x
    value = operand(x)
    if value is None:
        raise TypeError(f"{name}(): argument '{argument}' must be Tensor, not {type(x).__name__}")
    return value


def deliver(result: Tensor, out: Tensor | None) -> Tensor:
    """The result, written into `out` if there is one."""
    if out is None:
        return result
    if out._array.shape != result._array.shape:
        fail(
            ShapeError,
            f"out has shape {list(out.shape)}, but the result's is {list(result.shape)}",
            "pass an out of the result's shape",
        )
    if MODES.grad and (out.requires_grad or result.requires_grad):
        fail(
            PullbackError,
            "out=... arguments don't support automatic differentiation",
            "leave out= away, or compute inside no_grad()",
        )
    return write(out, result)


def computed(op: Op, x: Any, y: Any, out: Tensor | None) -> Tensor:
    """op(x, y), of tensors or numbers on either side."""
    return deliver(apply(op, (expect(op.name, "input", x), expect(op.name, "other", y)), NO_PARAMS), out)


def overwrite(op: Op, x: Tensor, other: Any) -> bool:
    """x = op(x, other) without a temporary, where nothing is recorded and the types agree; says whether it did."""
    array, second = x._array, other._array if isinstance(other, Tensor) else other
    if type(array) is not np.ndarray or (array.dtype is not F32 and array.dtype is not F64):
        return False
    if type(second) is np.ndarray and (second.dtype is not array.dtype or second.shape not in (array.shape, ())):
        return False
    check_writable(array)
    op.into(array, array, second)
    x._storage.wrote()
    return True


def combine(op: Op, x: Tensor, other: Any) -> Tensor:
    """x becomes op(x, other)."""
    if not MODES.grad and overwrite(op, x, other):
        return x
    return update(x, apply(op, (x, other), NO_PARAMS))


def one(op: Op, *names: str, inplace: bool = True) -> Callable[..., Tensor]:
    """The function of one tensor that an op is, under these names (its own if none is given)."""
    name = names[0] if names else op.name

    def function(input: Tensor, *, out: Tensor | None = None) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}")
        result = apply(op, (input,), NO_PARAMS)
        return result if out is None else deliver(result, out)

    return named(function, op, names, inplace)


def two(op: Op, *names: str, inplace: bool = True) -> Callable[..., Tensor]:
    """The function of two tensors or numbers that an op is."""
    name = names[0] if names else op.name

    def function(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        if type(input) not in DIRECT:
            input = expect(name, "input", input)
        if type(other) not in DIRECT:
            other = expect(name, "other", other)
        result = apply(op, (input, other), NO_PARAMS)
        return result if out is None else deliver(result, out)

    def in_place(self: Tensor, other: Any) -> Tensor:
        return combine(op, self, expect(name, "other", other))

    return named(function, op, names, in_place if inplace else False)


def named(function: Callable[..., Any], op: Op, names: tuple[str, ...], inplace: Any) -> Callable[..., Any]:
    """Offer a function under each name, and `inplace` (True: made from it) under each name with an underscore."""
    names = names or (op.name,)
    function.__name__ = function.__qualname__ = names[0]
    function.__doc__ = op.formula
    for name in names:
        public(name=name, inplace=inplace is True)(function)
        if callable(inplace):
            public(name=name + "_")(inplace)
    if callable(inplace):
        inplace.__name__ = inplace.__qualname__ = names[0] + "_"
        inplace.__doc__ = f"{op.formula}, written over the tensor itself."
    return function
