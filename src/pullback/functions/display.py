"""How tensors are printed."""

from __future__ import annotations

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
    profiles = {"default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, 2**62, 3, 80)}
    if profile is not None:
        _options.update(zip(("precision", "threshold", "edgeitems", "linewidth"), profiles[profile], strict=True))
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
        "sci_mode": sci_mode,
    }
    _options.update({k: v for k, v in given.items() if v is not None})


def _float_format(array: np.ndarray[Any, Any]) -> Any:
    """PyTorch's choice between 1.0000, 1. and 1.0000e+00."""
    finite = array[np.isfinite(array)]
    digits = _options["precision"]
    nonzero = np.abs(finite[finite != 0]).astype(np.float64)
    if nonzero.size == 0:
        return lambda v: "0." if v == 0 else str(v)
    whole = bool((finite == np.ceil(finite)).all())
    low, high = nonzero.min(), nonzero.max()
    scientific = (
        high / low > 1000.0 or high > 1e8 or (not whole and low < 1e-4)
        if _options["sci_mode"] is None
        else _options["sci_mode"]
    )
    if scientific and not (whole and high <= 1e8 and high / low <= 1000.0):
        return lambda v: f"{v:.{digits}e}"
    return (lambda v: f"{v:.0f}." if np.isfinite(v) else str(v)) if whole else (lambda v: f"{v:.{digits}f}")


def to_string(x: Tensor) -> str:
    """`tensor([1., 2.], requires_grad=True)`"""
    name = "tensor"
    if type(x._array) is not np.ndarray:
        return f"{name}(<{type(x._array).__name__}>, shape={list(x.shape)}, dtype={x.dtype})"
    array = x._array.astype(np.float64) if x._array.dtype in HALVES else x._array
    if array.size == 0:
        body = "[]" if array.ndim == 1 else f"[], size={tuple(x.shape)}"
    else:
        shown = _summarised(array)
        one = _float_format(shown) if array.dtype.kind == "f" else str
        texts = [one(v) for v in shown.reshape(-1).tolist()]
        width = max(map(len, texts))
        body = _nest(array, lambda v: one(v).rjust(width), len(name) + 1)
    notes = []
    if x._array.dtype not in (get_default_dtype().numpy, I64, BOOL):
        notes.append(f"dtype={x.dtype}")
    e = edge(x) if x._array.dtype in FLOATS else None
    if e is not None and e is not x:
        notes.append(f"grad_fn=<{e.name()}>")
    elif x.requires_grad:
        notes.append("requires_grad=True")
    return f"{name}({', '.join([body, *notes])})"


def _summarised(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that will be shown."""
    if array.size <= _options["threshold"]:
        return array
    k = _options["edgeitems"]
    for axis, n in enumerate(array.shape):
        if n > 2 * k:
            array = np.take(array, [*range(k), *range(n - k, n)], axis)
    return array


def _nest(array: np.ndarray[Any, Any], one: Any, indent: int) -> str:
    """Brackets and lines, as NumPy and PyTorch set them."""
    if array.ndim == 0:
        return str(one(array.item())).strip()
    k, many = _options["edgeitems"], _options["threshold"]
    short = array.size > many or many == 0
    rows: list[str] = []
    index = list(range(len(array)))
    parts: list[int | None] = [*index[:k], None, *index[-k:]] if short and len(index) > 2 * k else [*index]
    for i in parts:
        rows.append(
            "..."
            if i is None
            else one(array[i].item())
            if array.ndim == 1
            else _nest_inner(array[i], one, indent + 1, short)
        )
    if array.ndim == 1:
        return "[" + _wrap(rows, indent + 1) + "]"
    gap = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return "[" + gap.join(rows) + "]"


def _nest_inner(array: np.ndarray[Any, Any], one: Any, indent: int, short: bool) -> str:
    saved = _options["threshold"]
    _options["threshold"] = 0 if short else 2**62
    try:
        return _nest(array, one, indent)
    finally:
        _options["threshold"] = saved


def _wrap(cells: list[str], indent: int) -> str:
    """Cells joined by commas, broken at the line width."""
    width = max(1, (_options["linewidth"] - indent) // (max(map(len, cells)) + 2))
    lines = [", ".join(cells[i : i + width]) for i in range(0, len(cells), width)]
    return (",\n" + " " * indent).join(lines)


@public(function=False, name="__repr__")
def __repr__(self: Tensor, *, tensor_contents: Any = None) -> str:
    return to_string(self)


@public(function=False, name="__format__")
def __format__(self: Tensor, spec: str) -> str:
    return format(self.item(), spec) if self._array.ndim == 0 and spec else to_string(self)
