"""PULLBACK_DEBUG=1: who writes where he must not is found, and named; no kernel does."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback
from pullback.engines.native import debug
from pullback.engines.native.engine import builder
from pullback.errors import PullbackError
from pullback.ops.record import OPS

ROOT = Path(__file__).parents[3]
FAMILIES = sorted({op.family for op in OPS.values()})
SAMPLES = """
import sys
from pullback.ops.record import OPS
from tests.engines.native.compare import check
for family in sys.argv[1:]:
    made = check([name for name, op in OPS.items() if op.family == family], dtypes=[None])
    assert made.guards is not None
    print(family)
"""


@pytest.fixture
def debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values lie apart; no sanitizers, as libraries without them may be loaded already."""
    monkeypatch.setenv("PULLBACK_DEBUG", "1")
    monkeypatch.setattr(builder, "DEBUG", ("-O1",))


def step(x: Any) -> Any:
    y = x.sum(0)
    z = y.softmax(0)  # of the sum
    return z @ z, z[:2] * 3


def test_values_lie_apart(debugging: None) -> None:
    compiled, x = pullback.compile(step, engine="native"), pullback.ones(4, 3)
    for _ in range(2):
        a, b = compiled(x)
        np.testing.assert_allclose([a.item(), *b.tolist()], [1 / 3, 1, 1], rtol=1e-6)
    made = compiled._entries[0].run
    pieces = sorted(made.guards.pieces.values(), key=lambda m: m.offset)
    assert len(pieces) > 1
    for before, after in itertools.pairwise(pieces):
        assert before.offset + before.nbytes + debug.GUARD <= after.offset


def spoiled(compiled: Any, x: Any, where: Any) -> None:
    """A run, in which a byte is written."""
    made = compiled._entries[0].run
    run = made.run

    def wrong(table: Any, inputs: Any, outputs: Any) -> int:
        done = run(table, inputs, outputs)
        where(made)[...] = 0
        return int(done)

    made.run = wrong
    compiled(x)


@pytest.mark.parametrize("at", [-1, 0])
def test_who_writes_beside_a_value_is_named(debugging: None, at: int) -> None:
    compiled, x = pullback.compile(step, engine="native"), pullback.ones(4, 3)
    compiled(x)

    def where(made: Any) -> Any:
        step = next(s for s in made.plan.steps if getattr(s, "function", "") == "pb_softmax_f32")
        place = next(m for m in step.writes)
        begin = place.offset + (place.nbytes if at == 0 else -1)
        return made.arena[begin : begin + 1]

    side = "after" if at == 0 else "before"
    with pytest.raises(PullbackError, match=rf"(?s){side} the 12 bytes .*pb_softmax_f32 \(softmax at .*# of the sum"):
        spoiled(compiled, x, where)


def test_who_writes_beside_a_result_is_named(debugging: None) -> None:
    compiled, x = pullback.compile(step, engine="native"), pullback.ones(4, 3)
    compiled(x)
    with pytest.raises(PullbackError, match=r"(?s)beside the 8 bytes .*\(mul at .*z\[:2\] \* 3"):
        spoiled(compiled, x, lambda made: made.guards.results[1][-1:])


def test_what_is_read_before_it_is_written_stands_out(debugging: None) -> None:
    compiled = pullback.compile(step, engine="native")
    compiled(pullback.ones(4, 3))
    made = compiled._entries[0].run
    made.guards.begin()
    piece = next(iter(made.guards.pieces.values()))
    assert np.isnan(made.arena[piece.offset : piece.offset + 4].view(np.float32)).all()


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(pullback.__file__).parents[1]), str(ROOT)])
    known = {**os.environ, "PYTHONPATH": path, "PULLBACK_DEBUG": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code, *arguments], capture_output=True, text=True,
                          env=known, cwd=ROOT)  # fmt: skip


@pytest.mark.slow
def test_the_sanitizer_is_there() -> None:
    """It ends the process where C leaves open what happens."""
    code = """
from pullback.engines.native.engine import builder
import ctypes
library = builder.load({}, '#include "pullback.h"\\nKERNEL i64 shifted(i64 n) { return 1 << n; }\\n')
library.shifted(ctypes.c_int64(3)), print("fine", flush=True)
library.shifted(ctypes.c_int64(99))
"""
    done = run(code)
    assert done.returncode != 0 and done.stdout == "fine\n" and "runtime error: shift exponent 99" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_no_kernel_does_what_it_must_not(part: int) -> None:
    """All samples of all ops, with sanitizers and guards."""
    done = run(SAMPLES, *FAMILIES[part::6])
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == FAMILIES[part::6]
