"""Training: the loop, what it saves and what it shows.

`Trainer` is a loop to be read; `accumulate`, `windows` and `Checkpoints` are for loops of your own.
"""

from __future__ import annotations

from .accumulation import Window, accumulate
from .bptt import detach, windows
from .callbacks import Callback, EarlyStopping
from .checkpoints import Checkpoints
from .curves import draw
from .logs import JsonLog, TensorBoardLog, read
from .nonfinite import NonFiniteError
from .progress import display
from .trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "JsonLog",
    "NonFiniteError",
    "TensorBoardLog",
    "Trainer",
    "Window",
    "accumulate",
    "detach",
    "display",
    "draw",
    "read",
    "windows",
]
