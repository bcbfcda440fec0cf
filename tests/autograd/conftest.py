"""Semantics are written once and hold for pullback and, where it is installed, for PyTorch."""

from __future__ import annotations

import importlib
from typing import Any

import pytest


@pytest.fixture(params=["pullback", pytest.param("torch", marks=pytest.mark.parity)])
def torch(request: pytest.FixtureRequest) -> Any:
    """pullback, and PyTorch as the reference."""
    if request.param == "torch":
        pytest.importorskip("torch")
        importlib.import_module("torch.utils.checkpoint")
        importlib.import_module("torch.utils.flop_counter")
        importlib.import_module("torch.func")
    return importlib.import_module(request.param)
