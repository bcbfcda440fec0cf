"""Checksums: a file that says of each of its arrays, and of its own description, what SHA-256 they must have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from .adapter import Array
from .binary import FormatError

SUMS, SEAL = "sha256", "seal"  # keys of the metadata: {name: sum of the array}, and the sum over everything else


def seal(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata, with what `verify` will compare."""
    sums = {name: _sum(array) for name, array in arrays.items()}
    sealed = {**metadata, SUMS: json.dumps(sums, ensure_ascii=False)}
    return {**sealed, SEAL: _seal(arrays, sealed)}


def verify(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Refuse what is not, bit by bit, what was sealed; the error names the arrays that differ."""
    if metadata.get(SEAL) != _seal(arrays, {key: text for key, text in metadata.items() if key != SEAL}):
        raise FormatError("its description is damaged: the checksum over names, shapes and structure does not agree")
    damaged = [name for name, expected in json.loads(metadata[SUMS]).items() if _sum(arrays[name]) != expected]
    if damaged:
        raise FormatError(f"damaged, by their checksums: {', '.join(map(repr, damaged))}")


def _sum(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def _seal(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    shapes = sorted((name, array.dtype.name, list(array.shape)) for name, array in arrays.items())
    return hashlib.sha256(json.dumps([sorted(metadata.items()), shapes]).encode()).hexdigest()
