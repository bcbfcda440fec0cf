"""Two of the same, one run eagerly and one compiled for the numpy engine: they must agree to the last bit."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import pullback
from pullback.errors import PullbackError
from pullback.tensor import Storage, Tensor

Step = Callable[..., Any]
Make = Callable[[], tuple[Any, Step]]

PLAIN = (int, float, bool, str, type(None))
CODE = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type, Storage)
NOTES = ("_opt_called", "_stepping", "_hooks")  # for warnings


def contents(x: Any, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Every tensor and plain value that is reached from x, and the way there."""
    seen = set() if seen is None else seen
    if isinstance(x, PLAIN):
        yield name, x
        return
    if id(x) in seen or isinstance(x, CODE):
        return
    seen.add(id(x))
    if isinstance(x, Tensor):
        yield name, Bits(x._array)
        yield f"{name}.requires_grad", x._requires_grad  # of leaves: what a compiled step returns has no history
        yield from contents(x._grad, f"{name}.grad", seen)
        return
    for key, part in parts_of(x):
        yield from contents(part, name + key, seen)


def parts_of(x: Any) -> list[tuple[str, Any]]:
    if isinstance(x, dict):
        return [(f"[{i if isinstance(key, Tensor) else key!r}]", part) for i, (key, part) in enumerate(x.items())]
    if isinstance(x, (list, tuple, deque)):
        return [(f"[{i}]", part) for i, part in enumerate(x)]
    return [(f".{key}", part) for key, part in getattr(x, "__dict__", {}).items() if key not in NOTES]


class Bits:
    """An array's type, shape and elements; one NaN is like another."""

    def __init__(self, array: Any) -> None:
        self.array = array = np.array(array)
        if array.dtype.kind == "f" and np.isnan(array).any():
            array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
        self.bits = array.dtype, array.shape, array.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bits) and self.bits == other.bits

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.array.dtype}{list(self.array.shape)} {self.array}"


def assert_same(eager: Sequence[tuple[str, Any]], compiled: Sequence[tuple[str, Any]], when: str = "") -> None:
    """The same under the same names."""
    assert [name for name, _ in eager] == [name for name, _ in compiled], when
    pairs = zip(eager, compiled, strict=True)
    differ = [(name, x, y) for (name, x), (_, y) in pairs if x != y and not (x is not y and x != x and y != y)]
    assert not differ, (when, differ[:4])


def together(make: Make, calls: Sequence[tuple[Any, ...]], captures: int | None = None) -> Any:
    """`make` gives (state, step), twice. After each call results, state and generator agree. Gives the compiled."""
    pullback.manual_seed(11)
    state, step = make()
    start = pullback.get_rng_state()
    expected = []
    for call in calls:
        result = step(*copied(call))
        expected.append(list(contents((state, result, pullback.get_rng_state()))))
    pullback.manual_seed(11)
    state, step = make()
    assert Bits(start._array) == Bits(pullback.get_rng_state()._array), "what is made is not the same twice"
    compiled = pullback.compile(step, engine="numpy")
    for i, call in enumerate(calls):
        result = compiled(*copied(call))
        assert_same(expected[i], list(contents((state, result, pullback.get_rng_state()))), f"call {i}")
    if captures is not None:
        assert compiled._captures == captures, (compiled._captures, compiled._failed)
    return compiled


def same(function: Step, *arguments: Any) -> Any:
    """A function of its arguments alone; it may write to them. They and the results are compared."""

    def make() -> tuple[Any, Step]:
        return None, lambda *xs: (function(*xs), xs)

    return together(make, [arguments])


def refused(function: Step, *arguments: Any, match: str) -> None:
    """Works eagerly; compiled, it is refused at the user's line, and what it would have changed is as it was."""
    pullback.manual_seed(11)
    function(*copied(arguments))
    given = copied(arguments)
    state = pullback.get_rng_state()
    before = list(contents((given, state)))
    with pytest.raises(PullbackError, match=match) as caught:
        pullback.compile(function, engine="numpy")(*given)
    assert_same(before, list(contents((given, pullback.get_rng_state()))))
    assert "\n  at " in str(caught.value) and str(caught.value).count("\n") >= 2


def copied(call: Any) -> Any:
    """The same with tensors of its own."""
    if isinstance(call, Tensor):
        return call.detach().clone().requires_grad_(call.requires_grad)
    if isinstance(call, dict):
        return {key: copied(part) for key, part in call.items()}
    return type(call)(copied(part) for part in call) if isinstance(call, (list, tuple)) else call
