"""`torch.utils`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import checkpoint, flop_counter

__all__ = ["checkpoint", "data", "flop_counter", "tensorboard"]


def __getattr__(name: str) -> Any:
    if name in ("data", "tensorboard"):  # loaded when first asked for: importing pullback stays quick
        return import_module(f".{name}", __name__)
    raise AttributeError(f"pullback.utils has no {name!r}")
