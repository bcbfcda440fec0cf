"""How tensors are printed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import BOOL, FLOATS, HALVES, I64, get_default_dtype
from ..tape import edge
from ..tensor import Tensor
from .expose import public

_options: dict[str, Any] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}


@public(method=False)
def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How many digits and elements to show."""
    profiles = {"default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, np.inf, 3, 80)}
    if profile is not None:
        _options.update(zip(("precision", "threshold", "edgeitems", "linewidth"), profiles[profile], strict=True))
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    _options.update({k: v for k, v in given.items() if v is not None})
    _options["sci_mode"] = sci_mode  # None is a choice, too: as the numbers ask for


def _formatter(array: np.ndarray[Any, Any]) -> tuple[Any, int]:
    """How to write an element, and how wide: PyTorch's choice between 1.0000, 1. and 1.0000e+00."""
    if array.dtype.kind != "f":
        return str, max(map(len, map(str, array.reshape(-1).tolist())))
    finite = array[np.isfinite(array) & (array != 0)].astype(np.float64)
    digits, forced = _options["precision"], _options["sci_mode"]
    whole = bool((finite == np.ceil(finite)).all())
    low, high = (np.abs(finite).min(), np.abs(finite).max()) if finite.size else (1.0, 1.0)
    scientific = high / low > 1000.0 or high > 1e8 or (not whole and low < 1e-4) if forced is None else forced
    one: Any = _whole if whole else f"{{:.{digits}f}}".format
    if scientific:
        one = f"{{:.{digits}e}}".format
    return one, max((len(one(v)) for v in finite.tolist()), default=1)  # NaN and Inf do not widen the columns


def _whole(v: float) -> str:
    return f"{v:.0f}." if math.isfinite(v) else str(v)


def to_string(x: Tensor) -> str:
    """`tensor([1., 2.], requires_grad=True)`"""
    name = "tensor" if type(x).__name__ in ("Tensor", "Parameter") else type(x).__name__
    array = x._array
    if type(array) is not np.ndarray:
        if not hasattr(array, "in_host"):
            return f"{name}(<{type(array).__name__}>, shape={list(x.shape)}, dtype={x.dtype})"
        array = array.in_host()
    array = array.astype(np.float32) if array.dtype in HALVES else array
    implied = [get_default_dtype().numpy]
    notes = [] if x._array.device == "cpu" else [f"device='{x._array.device}'"]
    if array.size == 0:
        body = "[]"
        if array.ndim != 1:
            notes.append(f"size={tuple(x.shape)}")
    else:
        short = array.size > _options["threshold"]
        one, width = _formatter(_summarised(array) if short else array)
        body = _nest(array, lambda v: one(v).rjust(width), width, len(name) + 1, short)
        implied += [I64, BOOL]
    if x._array.dtype not in implied:
        notes.append(f"dtype={x.dtype}")
    e = edge(x) if x._array.dtype in FLOATS else None
    if e is not None and e is not x:
        notes.append(f"grad_fn=<{e.name()}>")
    elif x.requires_grad:
        notes.append("requires_grad=True")
    return _annotated(f"{name}({body}", notes, len(name) + 1) + ")"


def _annotated(text: str, notes: list[str], indent: int) -> str:
    """The notes behind the values, each on a new line where it would not fit."""
    column = len(text) - text.rfind("\n") + 1
    for note in notes:
        if column + len(note) + 2 > _options["linewidth"]:
            text += ",\n" + " " * indent + note
            column = indent + len(note)
        else:
            text += ", " + note
            column += len(note) + 2
    return text


def _summarised(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that will be shown of a large array."""
    k = _options["edgeitems"]
    for axis, n in enumerate(array.shape):
        if n > 2 * k:
            array = np.take(array, [*range(k), *range(n - k, n)], axis)
    return array


def _nest(array: np.ndarray[Any, Any], one: Any, width: int, indent: int, short: bool) -> str:
    """Brackets and lines, as NumPy and PyTorch set them."""
    if array.ndim == 0:
        return str(one(array.item()))
    k, n = _options["edgeitems"], len(array)
    ends = short and n > 2 * k
    shown: list[Any] = [*array[:k], *array[n - k :]] if ends else list(array)
    if array.ndim == 1:
        cells = [one(v.item()) for v in shown]
        if ends:
            cells.insert(k, " ...")
        per_line = max(1, (_options["linewidth"] - indent) // (width + 2))
        lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [_nest(row, one, width, indent + 1, short) for row in shown]
    if ends:
        rows.insert(k, "...")
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


@public(function=False, name="__repr__")
def __repr__(self: Tensor, *, tensor_contents: Any = None) -> str:
    return to_string(self)


@public(function=False, name="__format__")
def __format__(self: Tensor, spec: str) -> str:
    """A 0-d tensor is formatted as its number."""
    return (
        format(self.item(), spec) if self._array.ndim == 0 and type(self) is Tensor else object.__format__(self, spec)
    )
