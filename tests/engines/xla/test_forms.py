"""Every op's samples on XLA: the same values as on NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engines.xla.compare import agree, samples_of

import pullback  # noqa: F401 (all records)
from pullback.errors import PullbackError
from pullback.ops.record import OPS

pytest.importorskip("jax")
pytestmark = pytest.mark.parity

CASES = [(name, i) for name in OPS for i in range(len(samples_of(name)))]


@pytest.mark.parametrize(("name", "i"), CASES)
def test_a_sample_agrees(name: str, i: int) -> None:
    from pullback.engines.xla.forms.indexing import DYNAMIC

    if name in DYNAMIC:
        with pytest.raises(PullbackError, match="the shape of its result depends on values"):
            agree(name, samples_of(name)[i])
        return
    agree(name, samples_of(name)[i])


@pytest.mark.parametrize("name", [name for name in OPS if samples_of(name)])
def test_half_types(name: str) -> None:
    """The first sample in bfloat16, where the record takes it."""
    sample = samples_of(name)[0]
    if not any(getattr(x, "dtype", None) == np.float64 for x in sample.inputs):
        return
    agree(name, sample, half=True)
