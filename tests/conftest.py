"""One thread for each BLAS, set before NumPy is loaded: results do not depend on the machine's cores, and two test runs
beside each other do not wait for one another's threads."""

from __future__ import annotations

import gc
import os
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PULLBACK_ENGINE", "numpy")  # of steps in tests that do not say: most are compiled for one call


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """What loads JAX comes last: its threads and the forks of data loaders had better not meet."""
    items.sort(key=lambda item: any(part in f"{item.path}::{item.name}" for part in ("jax", "xla", "test_docs")))


def pytest_collection_finish(session: Any) -> None:
    """A capture looks at all objects there are. Tens of thousands of tests are no part of any step."""
    gc.collect()
    gc.freeze()
