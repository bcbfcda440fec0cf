"""Data types: PyTorch's names over NumPy's, and PyTorch's promotion between them."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from .errors import DTypeError, fail


class dtype:  # noqa: N801 (PyTorch's name)
    """A tensor's element type. Each exists once, so `is` compares."""

    __slots__ = ("is_complex", "is_floating_point", "is_signed", "itemsize", "name", "numpy")
    by_numpy: ClassVar[dict[np.dtype[Any], dtype]] = {}
    by_name: ClassVar[dict[str, dtype]] = {}

    def __init__(self, name: str, scalar: type, floating: bool, signed: bool) -> None:
        self.name = name
        self.numpy = np.dtype(scalar)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point, self.is_signed, self.is_complex = floating, signed, False
        dtype.by_numpy[self.numpy] = dtype.by_name[name] = self

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:  # pickles and copies stay the one object
        return _by_name, (self.name,)


def _by_name(name: str) -> dtype:
    return dtype.by_name[name]


float64 = double = dtype("float64", np.float64, True, True)
float32 = dtype("float32", np.float32, True, True)
float16 = half = dtype("float16", np.float16, True, True)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, True, True)
int64 = long = dtype("int64", np.int64, False, True)
int32 = dtype("int32", np.int32, False, True)
int16 = short = dtype("int16", np.int16, False, True)
int8 = dtype("int8", np.int8, False, True)
uint8 = dtype("uint8", np.uint8, False, False)
bool_ = dtype("bool", np.bool_, False, False)

F64, F32, F16, BF16 = float64.numpy, float32.numpy, float16.numpy, bfloat16.numpy
I64, BOOL = int64.numpy, bool_.numpy
FLOATS = frozenset({F64, F32, F16, BF16})
HALVES = frozenset({F16, BF16})  # computed in float32, stored in two bytes

_default = float32


def get_default_dtype() -> dtype:
    """The type of a tensor made from Python floats."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Change the type of tensors made from Python floats."""
    global _default
    if not as_dtype(d).is_floating_point:
        fail(
            DTypeError, f"set_default_dtype: {d!r} is not a floating point type", "use float32, float64 or a half type"
        )
    _default = as_dtype(d)


_PYTHON = {float: "float32", int: "int64", bool: "bool"}


def as_dtype(d: Any) -> dtype:
    """A pullback dtype from ours, NumPy's, or Python's `float`, `int`, `bool`."""
    if isinstance(d, dtype):
        return d
    if isinstance(d, type) and d in _PYTHON:
        return _default if d is float else dtype.by_name[_PYTHON[d]]
    try:
        return dtype.by_numpy[np.dtype(d)]
    except (TypeError, KeyError):
        known = ", ".join(dtype.by_name)
        fail(
            DTypeError,
            f"{d!r} is not a data type pullback has",
            f"use one of: {known} (complex types are not supported yet)",
        )


def rank(d: np.dtype[Any]) -> int:
    """0 bool, 1 integer, 2 floating point: a higher category wins over any width."""
    return 2 if d in FLOATS else 0 if d == BOOL else 1


@cache
def promote(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The smallest type that holds both, by PyTorch's table."""
    a, b = own(a), own(b)
    if a is b:
        return a
    if rank(a) != rank(b):
        return a if rank(a) > rank(b) else b
    if a in HALVES and b in HALVES:
        return F32
    if a in FLOATS:
        return a if a.itemsize > b.itemsize else b
    return own(np.promote_types(a, b))


def own(d: np.dtype[Any]) -> np.dtype[Any]:
    """The object that stands for a type here. NumPy has others that are equal: those of unpickled arrays, say."""
    return dtype.by_numpy[d].numpy if d in dtype.by_numpy else d


def scalar_dtype(value: Any) -> np.dtype[Any]:
    """The type a Python number would have as a tensor."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return I64
    if isinstance(value, float):
        return _default.numpy
    if isinstance(value, complex):
        fail(
            DTypeError, f"{value!r} is complex, which pullback does not support yet", "work on real and imaginary parts"
        )
    fail(
        DTypeError, f"{value!r} ({type(value).__name__}) is neither a number nor a tensor", "pass a tensor or a number"
    )


def result_dtype(values: list[Any]) -> np.dtype[Any]:
    """The common type of arrays and Python numbers.

    Arrays with dimensions decide; 0-d arrays, then numbers, only count where their category is higher.
    """
    best: np.dtype[Any] | None = None
    tiers: list[list[np.dtype[Any]]] = [[], [], []]
    for v in values:
        if v is None:
            continue
        shape = getattr(v, "shape", None)
        if shape is None:
            tiers[2].append(scalar_dtype(v))
        else:
            tiers[0 if shape else 1].append(v.dtype)
    for tier in tiers:
        top: np.dtype[Any] | None = None
        for d in tier:
            top = d if top is None else promote(top, d)
        if top is not None and (best is None or rank(top) > rank(best)):
            best = top
    assert best is not None
    return best


class finfo:  # noqa: N801
    """Limits of a floating point type."""

    def __init__(self, type: Any = None) -> None:
        d = as_dtype(type or _default)
        if not d.is_floating_point:
            fail(DTypeError, f"finfo: {d!r} is not a floating point type", "use iinfo for integers")
        info: Any = ml_dtypes.finfo(d.numpy)  # type: ignore[no-untyped-call]
        self.dtype, self.bits = d.name, d.itemsize * 8
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = float(f"{info.resolution:.0e}")  # a power of ten

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{name}={getattr(self, name):g}' for name in names)}, dtype={self.dtype})"


class iinfo:  # noqa: N801
    """Limits of an integer type."""

    def __init__(self, type: Any) -> None:
        d = as_dtype(type)
        if d.is_floating_point or d is bool_:
            fail(DTypeError, f"iinfo: {d!r} is not an integer type", "use finfo for floating point types")
        info: Any = np.iinfo(d.numpy.type)
        self.dtype, self.bits, self.min, self.max = d.name, info.bits, int(info.min), int(info.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
