"""Two of the same: one runs eagerly, the other compiled on the numpy engine, and both must be the same to the last bit."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import pullback
from pullback.tensor import Storage, Tensor

PLAIN = (int, float, bool, str, type(None))
LEFT_OUT = ("_opt_called", "_stepping", "_hooks")  # notes for warnings


def contents(x: Any, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Every tensor and plain value that is reached from x, with the way to it."""
    seen = set() if seen is None else seen
    if isinstance(x, PLAIN):
        yield name, x
        return
    if id(x) in seen or isinstance(x, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type, Storage)):
        return
    seen.add(id(x))
    if isinstance(x, Tensor):
        yield name, (x._array.dtype.name, x._array.shape, bits(x._array))
        yield f"{name}.requires_grad", x._requires_grad  # a result has no history
        yield from contents(x._grad, f"{name}.grad", seen)
        return
    if isinstance(x, dict):
        parts = [(f"[{i if isinstance(k, Tensor) else k!r}]", v) for i, (k, v) in enumerate(x.items())]
    elif isinstance(x, (list, tuple)):
        parts = [(f"[{i}]", v) for i, v in enumerate(x)]
    elif hasattr(x, "__dict__"):
        parts = [(f".{k}", v) for k, v in vars(x).items() if k not in LEFT_OUT]
    else:
        parts = []
    for key, value in parts:
        yield from contents(value, name + key, seen)


def bits(array: Any) -> bytes:
    """The elements in order; every NaN is like any other."""
    if array.dtype.kind == "f" and np.isnan(array).any():
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    data: bytes = array.tobytes()
    return data


def assert_same(eager: Any, compiled: Any) -> None:
    """The same tensors and plain values, under the same names."""
    a, b = list(contents(eager)), list(contents(compiled))
    assert [name for name, _ in a] == [name for name, _ in b]
    differ = [(name, shown(x), shown(y)) for (name, x), (_, y) in zip(a, b, strict=True) if x != y and (x == x or y == y)]
    assert not differ, differ[:5]


def shown(x: Any) -> Any:
    if not isinstance(x, tuple):
        return x
    dtype, shape, data = x
    return np.frombuffer(data, dtype).reshape(shape) if dtype != "bfloat16" else x


def together(
    make: Callable[[], tuple[Any, Callable[..., Any]]],
    calls: Sequence[tuple[Any, ...]],
    captures: int | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    """Make (state, step) twice; after every call, results, state and generator agree. Gives both (state, step)."""
    pullback.manual_seed(11)
    state, step = make()
    before = pullback.get_rng_state()
    trace = []
    for call in calls:
        result = step(*copied(call))
        trace.append([*contents((state, result)), *contents(pullback.get_rng_state())])
    pullback.manual_seed(11)
    other, same_step = make()
    assert bits(before._array) == bits(pullback.get_rng_state()._array), "what is made is not the same twice"
    compiled = pullback.compile(same_step, engine="numpy", **options)
    for i, (call, expected) in enumerate(zip(calls, trace, strict=True)):
        result = compiled(*copied(call))
        found = [*contents((other, result)), *contents(pullback.get_rng_state())]
        assert [name for name, _ in found] == [name for name, _ in expected], f"call {i}"
        differ = [(n, shown(x), shown(y)) for (n, x), (_, y) in zip(expected, found, strict=True) if x != y and (x == x or y == y)]
        assert not differ, (f"call {i}", differ[:4])
    if captures is not None:
        assert compiled._captures == captures, (compiled._captures, compiled._failed)
    return (state, step), (other, compiled)


def copied(call: Any) -> Any:
    """The same call with tensors of its own."""
    if isinstance(call, Tensor):
        return call.detach().clone().requires_grad_(call.requires_grad)
    if isinstance(call, dict):
        return {k: copied(v) for k, v in call.items()}
    return type(call)(copied(v) for v in call) if isinstance(call, (list, tuple)) else call
