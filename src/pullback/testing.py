"""`torch.testing`: comparing tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .dtypes import FLOATS, HALVES, dtype
from .errors import here, show
from .tensor import Tensor

_TOLERANCE = {"float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5), "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5)}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raise AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere."""
    options = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_dtype": check_dtype}
    problem = _difference(actual, expected, "", options)
    if problem:
        problem += f"\n  at {show(here())}"
        raise AssertionError(msg(problem) if callable(msg) else msg or problem)


def _difference(a: Any, b: Any, where: str, options: dict[str, Any]) -> str:
    if isinstance(b, Mapping):
        if set(a) != set(b):
            return f"the keys differ{where}: {sorted(map(str, a))} and {sorted(map(str, b))}"
        return next((p for k in b if (p := _difference(a[k], b[k], f"{where}[{k!r}]", options))), "")
    if isinstance(b, Sequence) and not isinstance(b, str):
        if len(a) != len(b):
            return f"the lengths differ{where}: {len(a)} and {len(b)}"
        pairs = enumerate(zip(a, b, strict=True))
        return next((p for i, (x, y) in pairs if (p := _difference(x, y, f"{where}[{i}]", options))), "")
    x, y = (t._array if isinstance(t, Tensor) else np.asarray(t) for t in (a, b))
    if x.shape != y.shape:
        return f"The values for attribute 'shape' do not match{where}: {list(x.shape)} != {list(y.shape)}."
    if options["check_dtype"] and x.dtype != y.dtype:
        return f"The values for attribute 'dtype' do not match{where}: {x.dtype} != {y.dtype}."
    rtol, atol = options["rtol"], options["atol"]
    if (rtol is None) != (atol is None):
        raise ValueError("rtol and atol must be given together or not at all")
    if rtol is None:
        found = [_TOLERANCE[dtype.by_numpy[d].name] if d in FLOATS else (0.0, 0.0) for d in (x.dtype, y.dtype)]
        rtol, atol = max(f[0] for f in found), max(f[1] for f in found)
    wide: list[Any] = [v.astype(np.float64) if v.dtype in HALVES else v for v in (x, y)]
    close: Any = np.isclose(wide[0], wide[1], rtol=rtol, atol=atol, equal_nan=options["equal_nan"])
    if close.all():
        return ""
    with np.errstate(all="ignore"):
        error = np.where(close, 0, np.abs(wide[0].astype(np.float64) - wide[1].astype(np.float64)))
    at = tuple(int(i) for i in np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape))
    return (
        f"Tensor-likes are not close{where}!\n\nMismatched elements: {int((~close).sum())} / {close.size}\n"
        f"Greatest absolute difference: {error[at]:.6g} at index {at} (up to {atol} allowed): {x[at]} and {y[at]}"
    )
