"""Runs samples of ops natively, many in one Program, and compares with NumPy; with one thread and with two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pullback.dtypes import BF16, F16, F32
from pullback.engines.native import engine
from pullback.ops.record import OPS, Op, Sample
from pullback.program.program import Input, Instruction, Program, Value

# The largest error allowed, relative to the largest value and at least 1, by dtype of the result.
TOLERANCE = {"float64": 1e-12, "float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}


class Case:
    """One sample as an instruction, and what NumPy makes of it."""

    def __init__(self, op: Op, inputs: Sequence[Any], params: dict[str, Any], note: str) -> None:
        self.note = f"{op.name} {note}"
        self.arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        with np.errstate(all="ignore"):
            made = op(*inputs, **params)
        self.expected = made if isinstance(made, tuple) else (made,)
        values = [Value(0, x.shape, x.dtype, x.strides) if isinstance(x, np.ndarray) else x for x in inputs]
        self.inputs = [x for x in values if type(x) is Value]
        outs = [Value(0, x.shape, x.dtype, None) for x in self.expected]
        self.instruction = Instruction(op, values, params, outs)


def cases(names: Iterable[str], dtype: Any = None) -> list[Case]:
    """All samples of these ops; in another floating type, if asked for."""
    found = []
    for name in names:
        for inputs, params, _, note in OPS[name].samples():
            if dtype is not None:
                if not any(isinstance(x, np.ndarray) and x.dtype == np.float64 for x in inputs):
                    continue
                inputs = tuple(changed(x, dtype) for x in inputs)
            try:
                found.append(Case(OPS[name], inputs, params, f"{note} {dtype or ''}"))
            except Exception:
                if dtype is None:
                    raise
    return found


def changed(x: Any, dtype: Any) -> Any:
    """The same array, with the same order in memory, in another floating type."""
    return x.astype(dtype, order="K") if isinstance(x, np.ndarray) and x.dtype == np.float64 else x


def program_of(some: Sequence[Case]) -> tuple[Program, list[Any]]:
    """A Program that runs them all, and its inputs."""
    inputs = [Input(v, "argument", f"x{k}") for k, v in enumerate([v for c in some for v in c.inputs])]
    outputs = [v for c in some for v in c.instruction.outputs]
    return Program("samples", inputs, {}, [c.instruction for c in some], outputs), [a for c in some for a in c.arrays]


def check(names: Iterable[str], dtypes: Sequence[Any] = (None, F32, F16, BF16), host: bool = True,
          tolerance: dict[str, float] | None = None) -> engine.Executable:  # fmt: skip
    """Native and NumPy agree on all samples; unless `host`, none of them may be run by NumPy."""
    return agree([c for dtype in dtypes for c in cases(names, dtype)], host, tolerance)


def agree(some: Sequence[Case], host: bool = True, tolerance: dict[str, float] | None = None) -> engine.Executable:
    """The same of any cases."""
    program, arrays = program_of(some)
    made = engine.build(program)
    if not host:
        assert not made.plan.report, {
            f"{i.op.name} {[str(v) + str(v.dtype) for v in i.values]}: {why}" for i, why in made.plan.report
        }
    results = made(arrays)
    for piece in made.tables:
        if isinstance(piece, engine.Table):
            piece.threads = 2
    again = made(arrays)
    at = 0
    assert len(results) == sum(len(case.expected) for case in some)
    for case in some:
        for expected in case.expected:
            got, twice = results[at], again[at]
            at += 1
            assert got.shape == expected.shape and got.dtype == expected.dtype, f"{case.note}: {got.dtype}{got.shape}"
            assert got.tobytes() == twice.tobytes(), f"{case.note}: with two threads it is {twice}, with one {got}"
            close(expected, got, case.note, {**TOLERANCE, **(tolerance or {})})
    return made


def close(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], what: str, tolerance: dict[str, float]) -> None:
    """Equal to the tolerance of the dtype; Inf and NaN at the same places."""
    if a.dtype.name not in tolerance:
        np.testing.assert_array_equal(b, a, err_msg=what)
        return
    x, y = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(x)
    np.testing.assert_array_equal(y[~finite], x[~finite], err_msg=what)
    scale = max(1.0, float(np.abs(x[finite]).max(initial=0.0)))
    np.testing.assert_allclose(y[finite], x[finite], rtol=0, atol=tolerance[a.dtype.name] * scale, err_msg=what)


__all__ = ["Case", "Sample", "agree", "cases", "check"]
