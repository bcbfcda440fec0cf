"""How a function becomes a name of the package, a method of Tensor, and an in-place method."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..errors import DTypeError, fail
from ..modes import MODES, Switch
from ..tensor import Tensor
from ..views import update

F = TypeVar("F", bound=Callable[..., Any])

PUBLIC: dict[str, Callable[..., Any]] = {}  # what `pullback.NAME` offers


def public(
    *, method: bool = True, function: bool = True, inplace: bool = False, name: str | None = None
) -> Callable[[F], F]:
    """Offer a function as `pullback.name`, as `Tensor.name`, and as `Tensor.name_`, which writes over its argument."""

    def offer(f: F) -> F:
        own = name or f.__name__
        if function:
            PUBLIC[own] = tensors_only(f, "pullback", own) if method else f
        if method:
            setattr(Tensor, own, f)
        if inplace:
            setattr(Tensor, own + "_", in_place(f, own))
            PUBLIC[own + "_"] = getattr(Tensor, own + "_")
        return f

    return offer


def tensors_only(f: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """The function form, `module.name`: an ndarray or a list as `input` is refused; as a method it cannot come up."""
    code = getattr(inspect.unwrap(f), "__code__", None)
    if code is None or code.co_varnames[:1] != ("input",):
        return f

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        if args and type(args[0]) in (np.ndarray, list):
            what = f"{f.__name__}(): argument 'input' must be Tensor, not {type(args[0]).__name__}"
            fail(
                DTypeError, what, "make it a tensor first: pullback.tensor(data), or from_numpy(array) to share memory"
            )
        return f(*args, **kwargs)

    call.__module__, call.__qualname__ = module, name  # where pickle finds it
    return call


def in_place(f: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`x.name_(...)`: x becomes f(x, ...)."""

    @functools.wraps(f)
    def write(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if MODES.autocast is not None:  # what is written over keeps its type
            with Switch(autocast=None):
                return update(self, f(self, *args, **kwargs))
        return update(self, f(self, *args, **kwargs))

    write.__name__ = write.__qualname__ = name + "_"
    write.__module__ = "pullback"  # where pickle finds it
    write.__doc__ = f"{name}, written over the tensor itself."
    return write


def also_known_as(f: Callable[..., Any], *names: str, method: bool = True, inplace: bool = False) -> None:
    """Further names of a function (`mul` is also `multiply`)."""
    for other in names:
        public(method=method, inplace=inplace, name=other)(f)
