"""The native engine: a Program as C, compiled for this processor.

`lower` makes a plan of a Program: `fuse` gathers elementwise instructions in loops, `kernels/` calls what stands in
`c/`, `arena` lays out memory. `source` writes it as C, `build` compiles that and keeps it, `engine` calls it.
"""

from __future__ import annotations

from .build import available
from .engine import Executable, build

__all__ = ["Executable", "available", "build"]
