"""Running the samples of op records: their inputs, results, cotangents and gradients."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from pullback import gradients
from pullback.dtypes import BF16, F16, F32, F64, FLOATS, HALVES
from pullback.ops import OPS
from pullback.ops.decompositions import full_precision
from pullback.ops.record import Op, Sample
from pullback.tensor import Tensor, wrap

Array = np.ndarray[Any, Any]

# (relative, absolute) error allowed of a value or gradient. Everything that is not floating point is exact.
TOLERANCE = {F64: (1e-9, 1e-11), F32: (2e-5, 2e-6), F16: (4e-3, 2e-3), BF16: (3e-2, 2e-2)}


class Case(NamedTuple):
    """One sample of one op."""

    op: Op
    number: int
    sample: Sample

    @property
    def id(self) -> str:
        note = self.sample.note.replace(" ", "_")
        return f"{self.op.name}-{self.number}" + (f"-{note}" if note else "")

    @property
    def params(self) -> dict[str, Any]:
        return {**self.op.defaults, **self.sample.params}


class Result(NamedTuple):
    """What a call gave, and what its pullback made of the case's cotangents."""

    outs: list[Array]
    requires: list[bool]  # which outputs carry gradients
    grads: list[Array | None]  # one for each floating input


@cache
def cases_of(name: str) -> list[Case]:
    samples = OPS[name].samples()
    return [Case(OPS[name], i, s._replace(inputs=tuple(map(as_array, s.inputs)))) for i, s in enumerate(samples)]


def all_cases(differentiable: bool = False) -> list[Case]:
    return [case for name, op in OPS.items() if op.differentiable or not differentiable for case in cases_of(name)]


def as_array(x: Any) -> Any:
    """NumPy's arithmetic makes scalars of 0-d arrays; samples mean arrays."""
    return np.asarray(x) if isinstance(x, np.generic) else x


# -- inputs ----------------------------------------------------------------------------------------------------------


def is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype in FLOATS


def copied(x: Any) -> Any:
    """The same array, strides and all, in memory of its own."""
    if not isinstance(x, np.ndarray):
        return x
    if x.size == 0:
        return x.copy()
    reach = [s * (n - 1) for s, n in zip(x.strides, x.shape, strict=True)]
    low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach)
    copy: Array = np.ndarray(x.shape, x.dtype, np.empty(high - low + x.itemsize, np.uint8), -low, x.strides)  # type: ignore[arg-type]
    copy[...] = x
    return copy


def inputs_of(case: Case, dtype: Any = None) -> list[Any]:
    """Fresh inputs; with `dtype`, the floating ones in it."""
    return [x.astype(dtype) if dtype is not None and is_float(x) else copied(x) for x in case.sample.inputs]


def on_tape(inputs: Iterable[Any]) -> list[Any]:
    """Arrays as Tensors, the floating ones wanting gradients."""
    tensors = [wrap(x) if hasattr(x, "dtype") else x for x in inputs]
    for t in tensors:
        if isinstance(t, Tensor) and t.dtype.is_floating_point:
            t.requires_grad = True
    return tensors


def leaves_of(inputs: Sequence[Any]) -> list[Tensor]:
    return [t for t in inputs if isinstance(t, Tensor) and t.requires_grad]


def random(name: str, shape: Sequence[int], dtype: Any = F64) -> Array:
    """Normal numbers that depend on the name alone."""
    return np.asarray(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape))).astype(dtype)


def cotangents_of(case: Case, outs: Sequence[Any]) -> list[Array | None]:
    """A fixed random cotangent for each floating output."""
    return [
        random(f"{case.op.name}/{case.number}/{i}", out.shape, out.dtype) if out.dtype in FLOATS else None
        for i, out in enumerate(outs)
    ]


# -- results ---------------------------------------------------------------------------------------------------------


def listed(out: Any) -> list[Any]:
    return list(out) if isinstance(out, (tuple, list)) else [out]


def raw(case: Case, inputs: Sequence[Any]) -> list[Array]:
    """The op on arrays; nothing is recorded."""
    return listed(case.op(*inputs, **case.sample.params))


def pulled(
    outs: Sequence[Tensor], leaves: Sequence[Tensor], gs: Sequence[Any], record: bool = False
) -> list[Tensor | None]:
    """The gradients of sum <out, g>."""
    pairs = [(y, g) for y, g in zip(outs, gs, strict=True) if y.requires_grad and g is not None]
    if not pairs or not leaves:
        return [None] * len(leaves)
    ys, hs = zip(*pairs, strict=True)
    return list(gradients.grad(ys, leaves, hs, create_graph=record, allow_unused=True))


def recorded(case: Case, inputs: Sequence[Any], function: Callable[..., Any] | None = None) -> Result:
    """The op (or `function` in its place) on Tensors, and its gradients."""
    tensors = on_tape(inputs)
    outs = listed(case.op(*tensors, **case.sample.params) if function is None else function(*tensors, **case.params))
    arrays = [y._array for y in outs]
    gs = [None if g is None else wrap(g) for g in cotangents_of(case, arrays)]
    grads = pulled(outs, leaves_of(tensors), gs)
    return Result(arrays, [y.requires_grad for y in outs], [None if g is None else g._array for g in grads])


# -- halves ----------------------------------------------------------------------------------------------------------


def half_case(op: Op) -> Case | None:
    """The sample that is also run in float16 and bfloat16: the first that is smooth and has something in it."""
    if op.dtypes is full_precision:  # takes no half types
        return None
    for case in cases_of(op.name):
        floats = [x for x in case.sample.inputs if is_float(x)]
        if case.sample.smooth and floats and all(x.size and x.dtype == F64 for x in floats):
            return case
    return None


# -- comparing -------------------------------------------------------------------------------------------------------


def assert_close(what: str, actual: Any, expected: Any, near: float = 0.0) -> None:
    """Same dtype, same shape, values within the dtype's tolerance or `near`, NaN and infinities in the same places."""
    if actual is None or expected is None:
        assert actual is expected, f"{what} is {actual}, but should be {expected}"
        return
    assert actual.dtype == expected.dtype, f"{what} is {actual.dtype}, but should be {expected.dtype}"
    assert actual.shape == expected.shape, f"{what} has shape {actual.shape}, but should have {expected.shape}"
    if actual.dtype not in FLOATS:
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    relative, absolute = TOLERANCE[actual.dtype]
    wide = F32 if actual.dtype in HALVES else actual.dtype
    np.testing.assert_allclose(actual.astype(wide), expected.astype(wide), max(relative, near), absolute, err_msg=what)


def assert_same_result(actual: Result, expected: Result, near: float = 0.0) -> None:
    """Outputs, which of them carry gradients, and the gradients agree."""
    assert len(actual.outs) == len(expected.outs), f"{len(actual.outs)} outputs instead of {len(expected.outs)}"
    for i, (a, b) in enumerate(zip(actual.outs, expected.outs, strict=True)):
        assert_close(f"output {i}", a, b, near)
    assert actual.requires == expected.requires, "other outputs carry gradients than should"
    for i, (x, y) in enumerate(zip(actual.grads, expected.grads, strict=True)):
        if y is not None or (x is not None and np.any(x)):  # zeros will do where there is none
            assert_close(f"gradient {i}", x, y, near)


def stamp(case: Case) -> str:
    """Changes when the sample does: a hash of inputs (to six digits), parameters and the PyTorch expression."""
    said = hashlib.sha256(repr((case.op.torch, sorted(case.params.items(), key=str))).encode())
    for x in case.sample.inputs:
        if isinstance(x, np.ndarray):
            said.update(f"{x.dtype}{x.shape}".encode())
            said.update((np.round(x.astype(F64), 6) + 0.0).tobytes())
        else:
            said.update(repr(x).encode())
    return said.hexdigest()[:16]
