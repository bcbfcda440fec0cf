"""Packages that only language models need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import PullbackError, fail


def need(module: str, purpose: str) -> Any:
    """Import a module of an optional package, or say what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        if error.name != module.partition(".")[0]:
            raise  # it is there, and broken
    fail(PullbackError, f"{purpose} needs {module.partition('.')[0]}", 'pip install "pullback[lm]"')
