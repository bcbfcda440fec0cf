"""Matrix products of the native engine, against NumPy's; with one thread and with two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import TOLERANCE, Case, check, close, program_of

from pullback.dtypes import F32, F64
from pullback.engines.native import engine
from pullback.ops.record import OPS

ORDERS = ("rows", "columns", "gaps")
SIZES = [
    (1, 1, 1), (1, 1, 300), (1, 70, 1), (70, 1, 1), (1, 300, 70), (300, 1, 70), (2, 2, 2), (13, 11, 7), (12, 32, 16),
    (3, 0, 2), (3, 2, 0), (0, 3, 2), (12, 16, 257), (31, 33, 37), (193, 47, 129), (97, 530, 259), (256, 64, 64),
    (130, 300, 515),
]  # fmt: skip


def array(shape: tuple[int, ...], dtype: Any, order: str = "rows", seed: int = 0) -> np.ndarray[Any, Any]:
    """Random numbers: row by row, column by column, or with gaps."""
    rng = np.random.default_rng(seed)
    if order == "columns":
        return np.swapaxes(rng.standard_normal((*shape[:-2], *shape[:-3:-1])).astype(dtype), -1, -2)
    if order == "gaps":
        return rng.standard_normal([2 * n for n in shape]).astype(dtype)[tuple([slice(None, None, 2)] * len(shape))]
    return rng.standard_normal(shape).astype(dtype)


def agree(some: list[Case], threads: tuple[int, ...] = (1, 2, 3)) -> None:
    """As NumPy to rounding, and the same bits for any number of threads."""
    program, arrays = program_of(some)
    made = engine.build(program)
    assert not made.plan.report
    results = []
    for count in threads:
        for piece in made.tables:
            piece.threads = count  # type: ignore[union-attr]
        results.append(made(arrays))
    for k, case in enumerate(some):
        close(case.expected[0], results[0][k], case.note, {**TOLERANCE, "float32": 1e-5})
        for other in results[1:]:
            assert results[0][k].tobytes() == other[k].tobytes(), case.note


def test_samples() -> None:
    check(["matmul", "linear"], host=False)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_sizes_and_strides(dtype: Any) -> None:
    agree([
        Case(OPS["matmul"], (array((m, k), dtype, one), array((k, n), dtype, other, 1)), {}, f"{m, n, k} {one} {other}")
        for m, n, k in SIZES
        for one in ORDERS
        for other in ORDERS
    ])  # fmt: skip


@pytest.mark.parametrize("dtype", [F32, F64])
def test_linear(dtype: Any) -> None:
    agree([
        Case(OPS["linear"], (array((m, k), dtype, order), array((n, k), dtype, order, 1), array((n,), dtype)), {},
             f"{m, n, k} {order}")
        for m, n, k in SIZES
        for order in ORDERS
    ])  # fmt: skip


SHAPES = [
    ((5, 40, 30), (5, 30, 50)), ((3, 2, 40, 30), (30, 50)), ((40, 30), (3, 2, 30, 50)), ((3, 1, 40, 30), (2, 30, 50)),
    ((2, 1, 3, 4, 5), (3, 1, 5, 6)), ((2, 1, 2, 3, 4, 5), (3, 1, 1, 5, 6)), ((30,), (4, 30, 50)), ((4, 40, 30), (30,)),
    ((4, 1, 30), (30, 50)), ((16, 1, 30), (16, 30, 1)), ((9, 64, 64), (9, 64, 64)), ((2, 0, 4), (4, 3)),
    ((0, 2, 4), (0, 4, 3)), ((1, 1, 3, 4), (2, 3, 4, 5)), ((32, 40, 30), (32, 30, 50)), ((30,), (30,)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [F32, F64])
def test_batches(dtype: Any) -> None:
    agree([
        Case(OPS["matmul"], (array(x, dtype, order), array(y, dtype, order, 1)), {}, f"{x} {y} {order}")
        for x, y in SHAPES
        for order in ("rows", "gaps")
    ])  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integers_wrap(dtype: str) -> None:
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    x, y, w = (rng.integers(info.min, info.max, shape, dtype) for shape in ((3, 40, 30), (30, 50), (50, 30)))
    agree([
        Case(OPS["matmul"], (x, y), {}, "one y"),
        Case(OPS["matmul"], (x.transpose(1, 0, 2), w.T), {}, "strided"),
        Case(OPS["linear"], (x, w, y[0]), {}, "bias"),
    ])  # fmt: skip


def test_special_values_stay_where_they_are() -> None:
    """Infinity times what fills a tile up must not be seen; and the memory of the result is not read."""
    x, y = array((17, 19), F32), array((19, 21), F32)
    x[3, 4], x[9, 0], y[5, 20], y[18, 7] = np.inf, np.nan, -np.inf, np.nan
    agree([Case(OPS["matmul"], (x, y), {}, "special"), Case(OPS["matmul"], (y.T, x.T), {}, "special, transposed"),
           Case(OPS["linear"], (x, y.T.copy(), y[5].copy()), {}, "special, with a bias")])  # fmt: skip
