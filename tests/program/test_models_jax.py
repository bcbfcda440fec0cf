"""Twenty steps of each model on XLA against twenty eager steps: parameters, buffers, gradients and optimizer state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.program.test_models import MODELS
from tests.program.twins import Bits, contents, copied

import pullback

pytest.importorskip("jax")
pytestmark = [pytest.mark.parity, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """In float64, where what differs is not rounding."""
    pullback.set_default_dtype(pullback.float64)
    yield
    pullback.set_default_dtype(pullback.float32)


def lives(make: Any, calls: Any) -> None:
    found = []
    for engine in (None, "xla"):
        pullback.manual_seed(11)
        state, step = make()
        step = step if engine is None else pullback.compile(step, engine=engine)
        results = [step(*copied(call)) for call in calls]
        found.append(list(contents((state, results, pullback.get_rng_state()))))
    eager, compiled = found
    assert [name for name, _ in eager] == [name for name, _ in compiled]
    for (name, a), (_, b) in zip(eager, compiled, strict=True):
        if isinstance(a, Bits) and a.array.dtype.kind == "f":
            scale = max(1.0, float(np.abs(a.array).max(initial=0.0)))
            np.testing.assert_allclose(b.array, a.array, 1e-6, 1e-8 * scale, err_msg=name)
        else:
            assert a == b, name


def wide(call: Any) -> Any:
    return tuple(x.double() if x.is_floating_point() else x for x in call)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "half"])
def test_models(name: str) -> None:
    make, given = MODELS[name]
    lives(make, [wide(given[i % len(given)]) for i in range(20)])
