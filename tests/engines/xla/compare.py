"""Runs one sample of an op on NumPy and, jitted, on XLA."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.dtypes import BF16
from pullback.ops.record import OPS, Sample

# The largest error allowed, relative to the largest value and at least 1, by dtype of the result.
TOLERANCE = {"float64": 1e-9, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def samples_of(name: str) -> list[Sample]:
    return OPS[name].samples()


def agree(name: str, sample: Sample, half: bool = False) -> None:
    """Both give the same shapes, dtypes and values."""
    import jax

    from pullback.engines.xla import forms

    forms.register()
    op, (inputs, params, _, note) = OPS[name], sample
    if half:
        inputs = tuple(x.astype(BF16) if getattr(x, "dtype", None) == np.float64 else x for x in inputs)
        try:
            op(*inputs, **params)
        except Exception:
            return  # the record refuses half types
    with np.errstate(all="ignore"):
        expected = op(*inputs, **params)
    places = [i for i, x in enumerate(inputs) if hasattr(x, "shape")]

    def call(*arrays: Any) -> Any:
        given = list(inputs)
        for i, array in zip(places, arrays, strict=True):
            given[i] = array
        return op(*given, **params) if places else forms.run(op, given, params)

    with jax.enable_x64(True):
        got = jax.jit(call)(*[inputs[i] for i in places])
    expected, got = (x if isinstance(x, tuple) else (x,) for x in (expected, got))
    assert len(expected) == len(got), f"{name} {note}"
    for a, b in zip(expected, got, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype, f"{name} {note}: {b.dtype}{b.shape}, not {a.dtype}{a.shape}"
        close(np.asarray(a), np.asarray(b), f"{name} {note}")


def close(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], what: str) -> None:
    """Equal to the tolerance of the dtype, Inf and NaN at the same places."""
    if a.dtype.name not in TOLERANCE:
        np.testing.assert_array_equal(b, a, err_msg=what)
        return
    x, y = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(x)
    np.testing.assert_array_equal(y[~finite], x[~finite], err_msg=what)
    scale = max(1.0, float(np.abs(x[finite]).max(initial=0.0)))
    np.testing.assert_allclose(y[finite], x[finite], rtol=0, atol=TOLERANCE[a.dtype.name] * scale, err_msg=what)
