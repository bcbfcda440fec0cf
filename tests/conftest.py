"""One thread for each BLAS, set before NumPy is loaded: results do not depend on the machine's cores, and two test runs
beside each other do not wait for one another's threads."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
