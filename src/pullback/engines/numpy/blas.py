"""How many threads NumPy's matrix products use: asked of, and told to, the OpenBLAS that NumPy brings along."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any


def get_threads() -> int | None:
    """None if there is no OpenBLAS to ask."""
    get = _find("get_num_threads")
    return None if get is None else int(get())


def set_threads(n: int) -> bool:
    """Was there an OpenBLAS to tell?"""
    tell = _find("set_num_threads")
    if tell is not None:
        tell(n)
    return tell is not None


@cache
def _find(what: str) -> Callable[..., Any] | None:
    """The function of the OpenBLAS that is loaded, whatever its builder has called it."""
    maps = Path("/proc/self/maps")
    for path in sorted(set(re.findall(r"(/\S*openblas\S*)", maps.read_text() if maps.exists() else ""))):
        library = ctypes.CDLL(path)
        for prefix in ("openblas_", "scipy_openblas_"):
            for suffix in ("", "64_"):
                if hasattr(library, prefix + what + suffix):
                    return getattr(library, prefix + what + suffix)
    return None
