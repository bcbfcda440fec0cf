"""Whole training steps of all kinds, twenty of each, natively and eagerly: all of their state stays together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.program import test_models as models
from tests.program.test_models import MODELS, XY, calls
from tests.program.twins import Bits, contents, copied

import pullback
from pullback import nn

STEPS = 20
ATOL = {"float64": 1e-7, "float32": 2e-3, "float16": 0.05, "bfloat16": 0.1}


def assert_close(eager: Sequence[tuple[str, Any]], compiled: Sequence[tuple[str, Any]], when: str) -> None:
    """The same names; numbers to the tolerance of their type, relative to the largest."""
    assert [name for name, _ in eager] == [name for name, _ in compiled], when
    for (name, a), (_, b) in zip(eager, compiled, strict=True):
        if not isinstance(a, Bits) or a.array.dtype.kind not in "fV":
            assert a == b or (isinstance(a, float) and a == pytest.approx(b, rel=1e-3, nan_ok=True)), (when, name, a, b)
            continue
        assert a.array.dtype == b.array.dtype and a.array.shape == b.array.shape, (when, name)
        x, y = a.array.astype(np.float64), b.array.astype(np.float64)
        if "in_proj_bias" in name:
            continue  # that of keys changes no result: its gradient is noise, which Adam makes as large as any other
        scale = max(1.0, float(np.abs(x[np.isfinite(x)]).max(initial=0.0)))
        np.testing.assert_allclose(y, x, rtol=0, atol=ATOL[a.array.dtype.name] * scale, err_msg=f"{when}: {name}")


def natively(make: Any, batches: Sequence[Any]) -> Any:
    """Results, state and generator agree after each call."""
    pullback.manual_seed(11)
    state, step = make()
    expected = []
    for batch in batches:
        result = step(*copied(batch))
        expected.append(list(contents((state, result, pullback.get_rng_state()))))
    pullback.manual_seed(11)
    state, step = make()
    compiled = pullback.compile(step, engine="native")
    for k, batch in enumerate(batches):
        result = compiled(*copied(batch))
        assert_close(expected[k], list(contents((state, result, pullback.get_rng_state()))), f"call {k}")
    return compiled


def often(batches: Sequence[Any]) -> list[Any]:
    return (list(batches) * STEPS)[:STEPS]


NOISE = {  # what a bias before batch norm gets for a gradient, which Adam would make as large as any other
    "perceptron": (models.training(models.mlp, models.momentum), XY),
    "batch norm of all batches": (
        models.training(lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, momentum=None)), models.momentum), XY),
}  # fmt: skip
ALL = {**MODELS, **{name: (make, XY) for name, make in models.WAYS.items()}, **NOISE}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # in float16, after many steps
@pytest.mark.parametrize("name", ALL)
def test_models(name: str) -> None:
    make, batches = ALL[name]
    natively(make, often(batches))


@pytest.mark.slow
@pytest.mark.parametrize("name", models.REPARAMETRISED)
def test_parametrizations(name: str) -> None:
    wrap = models.REPARAMETRISED[name]
    natively(models.training(lambda: nn.Sequential(wrap(nn.Linear(5, 5)), nn.Linear(5, 3))), often(XY))


def test_a_model() -> None:
    compiled = natively(*ALL["perceptron"])
    assert compiled._captures <= 2 and not compiled._entries[0].run.plan.report


def test_a_model_in_half_precision() -> None:
    natively(models.mixed(pullback.bfloat16), calls((4, 5), (4, 3), steps=3))
