"""The state of all random generators that a training script may draw from: pullback's, Python's and NumPy's."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from ..random import get_rng_state, set_rng_state


def get_states() -> dict[str, Any]:
    """Where the three global generators are, as something `save` can write."""
    version, words, gauss = random.getstate()
    return {
        "pullback": get_rng_state(),
        "python": {"version": version, "words": np.array(words, np.int64), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
    }


def set_states(states: dict[str, Any]) -> None:
    """Continue where `get_states` was taken."""
    python = states["python"]
    set_rng_state(states["pullback"])
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(states["numpy"])  # noqa: NPY002
