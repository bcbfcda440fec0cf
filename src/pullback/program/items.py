"""Parameters and arrays in JSON's terms; what JSON lacks is an object with one key. `files.py` lists them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import dtype
from ..errors import PullbackError, fail
from .program import Program, Value

SCHEMA = 1  # the form of files
OPSET = 1  # what ops mean; raised when a record's name, parameters or meaning change
UNSIGNED = {name: np.dtype(name) for name in ("uint16", "uint32", "uint64")}  # which pullback has no tensors of


def encode(x: Any, place: dict[Value, int], nested: Callable[[Program], Any]) -> Any:
    """An operand or a parameter in JSON's terms; `nested` says how a Program is told."""

    def items(xs: Any) -> list[Any]:
        return [encode(y, place, nested) for y in xs]

    if x is None or type(x) in (bool, int, str):
        return x
    if isinstance(x, Value):
        return {"value": place[x]}
    if type(x) is float:
        return x if math.isfinite(x) else {"float": repr(x)}
    if type(x) is list:
        return items(x)
    if isinstance(x, tuple):
        return {"tuple": items(x)}
    if isinstance(x, dict):
        return {"dict": [items(pair) for pair in x.items()]}
    if isinstance(x, slice):
        return {"slice": items((x.start, x.stop, x.step))}
    if x is Ellipsis:
        return {"ellipsis": None}
    if isinstance(x, dtype):
        return {"dtype": x.name}
    if isinstance(x, np.dtype):
        return {"numpy dtype": name_of(x)}
    if isinstance(x, np.ndarray):
        return {"array": [name_of(x.dtype), list(x.shape), pack(x)]}
    if isinstance(x, np.generic):
        return {"scalar": [name_of(x.dtype), pack(np.asarray(x))]}
    if isinstance(x, Program):
        return {"program": nested(x)}
    fail(PullbackError, f"{x!r} ({type(x).__name__}) cannot be an op's parameter in a file")


def decode(x: Any, at: Callable[[Any], Value], nested: Callable[[Any], Program]) -> Any:
    """What `encode` was given; `at` gives a value by its number."""

    def items(xs: Any) -> list[Any]:
        return [decode(y, at, nested) for y in expect(list, xs)]

    if isinstance(x, list):
        return items(x)
    if not isinstance(x, dict):
        return x
    ((tag, content),) = x.items()
    if tag == "value":
        return at(content)
    if tag == "float":
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[content]
    if tag == "tuple":
        return tuple(items(content))
    if tag == "dict":
        return dict(items(pair) for pair in content)
    if tag == "slice":
        start, stop, step = items(content)
        return slice(start, stop, step)
    if tag == "ellipsis":
        return ...
    if tag == "dtype":
        return dtype.by_name[content]
    if tag == "numpy dtype":
        return dtype_named(content)
    if tag == "array":
        return unpack(dtype_named(content[0]), sizes(content[1]), content[2])
    if tag == "scalar":
        return unpack(dtype_named(content[0]), (), content[1])[()]
    if tag == "program":
        return nested(content)
    raise ValueError(f"{tag!r} is no kind of item")


def pack(array: np.ndarray[Any, Any]) -> str:
    """An array's elements in order, as text."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and not np.little_endian):
        flat = flat.byteswap()
    return base64.b64encode(flat.view(np.uint8).tobytes()).decode()


def unpack(kind: np.dtype[Any], shape: tuple[int, ...], text: str) -> np.ndarray[Any, Any]:
    """The array that `pack` was given."""
    data = base64.b64decode(text, validate=True)
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"an array of {kind}{list(shape)} has {len(data)} bytes")
    if kind == np.bool_ and set(data) - {0, 1}:
        raise ValueError("a boolean is neither 0 nor 1")
    flat = np.frombuffer(data, np.uint8).copy().view(kind)
    return (flat if np.little_endian else flat.byteswap()).reshape(shape)


def name_of(d: np.dtype[Any]) -> str:
    """`float32`; only types that `dtype_named` knows."""
    if d.name not in dtype.by_name and d.name not in UNSIGNED:
        fail(PullbackError, f"a file cannot hold an array of {d}")
    return d.name


def dtype_named(name: Any) -> np.dtype[Any]:
    """NumPy's type for a name."""
    return dtype.by_name[name].numpy if name in dtype.by_name else UNSIGNED[name]


def sizes(shape: Any) -> tuple[int, ...]:
    """A shape."""
    if any(expect(int, n) < 0 for n in shape):
        raise ValueError(f"{shape} is no shape")
    return tuple(shape)


def index(n: Any, size: int) -> int:
    """A place among `size`."""
    if not 0 <= expect(int, n) < size:
        raise IndexError(f"{n} points at nothing")
    return int(n)


def expect(kind: type, x: Any) -> Any:
    """x, which must be of just this class."""
    if type(x) is not kind:
        raise TypeError(f"{x!r} should be {kind.__name__}")
    return x
