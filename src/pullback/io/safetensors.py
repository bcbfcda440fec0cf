"""The safetensors format: named arrays in one file that holds no code.

8 bytes      length N of the header, little-endian
N bytes      JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ..., "__metadata__": {...}}
the rest     the arrays' bytes, little-endian and C-contiguous, without gaps or overlaps
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import ml_dtypes
import numpy as np

from .adapter import Array
from .binary import FormatError, Source, fill, is_path, reading, remaining, typed, writing

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
METADATA = "__metadata__"
MAX_HEADER = 100_000_000  # the limit of the format's reference implementation


@dataclass(frozen=True)
class Entry:
    """Where an array lies in the data and what it is."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def write(file: Source, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays; a path is replaced at once or not at all."""
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    for name, array in arrays.items():
        if name == METADATA:
            raise ValueError(f"{name!r} cannot name an array: the format reserves it; rename the array")
        if array.dtype not in NAMES:
            raise TypeError(
                f"{name!r}: safetensors has no {array.dtype}; convert it to one of {', '.join(map(str, NAMES))}"
            )
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape)}
    end = 0
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)  # wide items first keep every array aligned
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        header[name]["data_offsets"] = [begin, end]
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"the header takes {len(text)} bytes, over the format's {MAX_HEADER}: save long lists as arrays"
        )
    with writing(file) as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            out.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)


def read(file: Source, *, mmap: bool = False) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the metadata of a file. With `mmap` a path's arrays are read when first touched.

    Arrays are writable; writing to mapped ones does not change the file.
    """
    if mmap and not is_path(file):
        raise ValueError("mmap=True needs a path: an open file cannot be mapped; pass its name")
    with reading(file) as source:
        entries, metadata = read_header(source)
        start = source.tell()
        arrays = {}
        mapped = np.asarray(np.memmap(file, np.uint8, "c")) if mmap else None
        for name, entry in entries.items():
            if mapped is None:
                source.seek(start + entry.begin)
                block = fill(source, np.empty(entry.end - entry.begin, np.uint8))
            else:
                block = mapped[start + entry.begin : start + entry.end]
            try:
                arrays[name] = typed(block, entry.dtype).reshape(entry.shape)
            except ValueError as error:  # more dimensions, or larger ones, than NumPy has
                _bad(f"{name!r} has shape {list(entry.shape)}: {error}")
    return arrays, metadata


def read_header(file: BinaryIO) -> tuple[dict[str, Entry], dict[str, str]]:
    """Parse and check the header, leaving the file at the first byte of the data."""
    size = remaining(file) - 8
    if size < 2:
        _bad("a safetensors file has at least 10 bytes")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(size, MAX_HEADER):
        _bad(f"the header claims {length} bytes, but {min(size, MAX_HEADER)} are possible; is the file truncated?")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_unique, parse_constant=_bad)
    except (ValueError, RecursionError) as error:
        _bad(f"the header is not valid JSON: {error}")
    if not isinstance(header, dict):
        _bad("the header is not a JSON object")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _bad(f"{METADATA} is not a map from strings to strings")
    entries = {name: _entry(name, record) for name, record in header.items()}
    _check_tiling(entries, size - length)
    return entries, metadata


def _entry(name: str, record: Any) -> Entry:
    """One record of the header, checked on its own."""
    if not isinstance(record, dict) or set(record) != {"dtype", "shape", "data_offsets"}:
        _bad(f"{name!r} needs exactly dtype, shape and data_offsets")
    shape, offsets = record["shape"], record["data_offsets"]
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        _bad(f"{name!r} has shape {shape} and data_offsets {offsets}; both must be short lists of sizes")
    dtype = DTYPES.get(record["dtype"]) if isinstance(record["dtype"], str) else None
    if dtype is None:
        _bad(f"{name!r} has dtype {record['dtype']!r}; supported are {', '.join(DTYPES)}")
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        _bad(f"{name!r} of shape {shape} and {dtype} does not fit its data_offsets {offsets}")
    return Entry(dtype, tuple(shape), *offsets)


def _check_tiling(entries: dict[str, Entry], size: int) -> None:
    """Every byte of the data belongs to exactly one array."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.end > size:
            _bad(f"{name!r} ends at byte {entry.end} of {size}; is the file truncated?")
        if entry.begin < position:
            _bad(f"{name!r} overlaps another array at byte {entry.begin}")
        if entry.begin > position:
            _bad(f"bytes {position} to {entry.begin} before {name!r} belong to no array")
        position = entry.end
    if position != size:
        _bad(f"{size - position} bytes after the last array belong to no array")


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 64 and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused if a key appears twice: readers would disagree on which one counts."""
    result = dict(pairs)
    if len(result) != len(pairs):
        _bad("a key appears twice")
    return result


def _bad(what: str) -> NoReturn:
    raise FormatError(what)
