from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import Case, agree, check

from pullback.ops.record import OPS

LAYERS = ["rnn", "lstm", "gru"]


@pytest.mark.parametrize("name", LAYERS)
def test_samples(name):
    check([name, f"{name}_gradient"], host=False)


def test_along_one_dimension():
    check(["recurrence", "cummax", "cummin"], host=False)
    calls = [("recurrence", 2), ("cummax", 1), ("cummin", 1)]
    shapes = [((3, 50, 1300), 1), ((60, 700), 1), ((2000, 20), 0)]
    agree([Case(OPS[name], [normal(*shape, dtype=np.float32, scale=0.5)] * n, {"dim": dim}, f"{shape}")
           for name, n in calls for shape, dim in shapes], host=False)  # fmt: skip


def normal(*shape: int, dtype: Any, scale: float = 1.0) -> np.ndarray[Any, Any]:
    return (scale * np.random.default_rng(sum(shape)).standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_sizes(name: str, dtype: Any) -> None:
    """Rows and columns that fill tiles and that do not, more terms than a block has, strided rows, no steps."""
    gates, states = {"rnn": (1, 1), "lstm": (4, 2), "gru": (3, 1)}[name]
    found = []
    for steps, batch, size in [(5, 25, 70), (3, 40, 130), (2, 7, 300), (1, 1, 33), (0, 2, 4), (3, 200, 40)]:
        x = normal(batch, steps, gates * size, dtype=dtype).swapaxes(0, 1)
        firsts = [normal(batch, size + k, dtype=dtype)[:, k:] for k in range(states)]
        w = normal(gates * size, size, dtype=dtype, scale=size**-0.5)
        bias = [normal(gates * size, dtype=dtype)] if name == "gru" else []
        for reverse in (False, True):
            options = {"reverse": reverse} | ({"relu": reverse} if name == "rnn" else {})
            forward = Case(OPS[name], (x, *firsts, w, *bias), options, f"{x.shape}")
            found.append(forward)
            if not steps:  # NumPy has no gradient then
                continue
            cotangents = [normal(batch, *y.shape[::2], dtype=dtype).swapaxes(0, 1) for y in forward.expected]
            for given in (cotangents, [cotangents[0], *[None] * (len(cotangents) - 1)]):
                operands = (*given, *firsts, w, *forward.expected)
                found.append(Case(OPS[f"{name}_gradient"], operands, options, f"{x.shape}"))
    agree(found, host=False, tolerance={"float32": 1e-5})
