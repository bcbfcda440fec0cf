"""Saving and loading: any nest of plain values and tensors in one safetensors file, and a reader of PyTorch's files."""

from __future__ import annotations

from .adapter import Adapter
from .binary import FormatError
from .files import load, save
from .torch_files import RefusedError

__all__ = ["Adapter", "FormatError", "RefusedError", "load", "save"]
