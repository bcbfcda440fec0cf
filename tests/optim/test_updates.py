"""The kernels of SGD and Adam: blocks and threads change nothing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from tests.ops.harness import random

import pullback as torch
from pullback import optim
from pullback.engines.numpy import threads, updates
from pullback.ops.updates import adam, sgd
from pullback.tensor import wrap
from pullback.utils.flop_counter import FlopCounterMode

SHAPES = (700,), (30, 20), (), (0, 3), (2, 500)
CASES = [
    lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.1),
    lambda ps: optim.AdamW(ps, lr=0.1, amsgrad=True),
]


def run(make: Any, dtype: Any = np.float32, layout: Any = np.copy) -> list[Any]:
    ps = [wrap(layout(random(f"{s}", s).astype(dtype))) for s in SHAPES]
    for p in ps:
        p.requires_grad = True
    optimizer = make(ps)
    for step in range(3):
        for p in ps:
            p.grad = wrap(layout(random(f"{step}{p.shape}", p.shape).astype(dtype)))
        optimizer.step()
    return [p.detach().numpy() for p in ps]


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("layout", [np.copy, np.asfortranarray])
def test_blocks_and_threads_change_nothing(make: Any, dtype: Any, layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(make, dtype, layout)
    monkeypatch.setattr(updates, "BLOCK_BYTES", 256)
    blocked = run(make, dtype, layout)
    monkeypatch.setattr(threads, "WORTHWHILE", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    spread = run(make, dtype, layout)
    for a, b, c in zip(plain, blocked, spread, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert threading.active_count() == 1  # none is left to fork


def test_threads_stay_silent_and_hand_errors_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORTHWHILE", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    arrays = [np.ones(10) for _ in range(8)]

    def work(a: Any) -> None:
        if a is arrays[5]:
            raise IndexError("number five")

    with pytest.raises(IndexError, match="number five"):
        threads.spread(work, arrays, 0)
    p = torch.full((4000,), 3e38, requires_grad=True)
    p.grad = torch.full((4000,), -3e38)
    monkeypatch.setattr(updates, "BLOCK_BYTES", 4000)
    optim.SGD([p], lr=10.0).step()  # overflows, without a warning
    assert bool(torch.isinf(p).all())


def test_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads.cores() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert threads.cores() >= 1


def test_writing_in_place_is_what_the_op_gives() -> None:
    p, m, v, g = (random(name, (5, 6)) for name in "pmvg")
    rows = [
        (p, m, v * v, np.array(2.0), None, g, 0.1, 0.9, 0.99, 1e-8, 0.1),
        (p + 1, m + 1, g * g, np.array(7.0), None, v, 1, 0, 0.5, 1.0, 0),
    ]
    expected = [adam(*row, decoupled=True) for row in rows]
    adam.overwrite(rows, {"decoupled": True})
    for row, new in zip(rows, expected, strict=True):
        for a, b in zip(row, new, strict=False):
            np.testing.assert_array_equal(a, b)
    before = p.copy()
    sgd.overwrite([(p, None, g, 0.1, 0.0, 0.0, 0.0)], {}, np.ones(1))
    np.testing.assert_array_equal(p, before)


def test_steps_are_counted() -> None:
    p = torch.ones(10, requires_grad=True)
    p.grad = torch.ones(10)
    optimizer = optim.AdamW([p])
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    assert counter.get_flop_counts()["Global"] == {"adam": 140}
