"""Modules whose starting values do not matter, since others will be loaded."""

from __future__ import annotations

import inspect
from typing import Any

from ...errors import PullbackError, fail
from ...random import fork_rng
from ..module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """module_cls(*args, **kwargs) with arbitrary values; nothing is drawn from the default generator."""
    if not (inspect.isclass(module_cls) and issubclass(module_cls, Module)):
        fail(PullbackError, f"a subclass of Module is needed, not {module_cls!r}")
    if "device" not in inspect.signature(module_cls).parameters:
        fail(PullbackError, f"{module_cls.__name__} takes no argument `device`, as a module to be made this way must")
    with fork_rng():
        return module_cls(*args, **kwargs)
