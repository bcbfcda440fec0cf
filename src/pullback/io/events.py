"""TensorBoard's event files: records in a frame with checksums, each an Event in Protocol Buffers.

8 bytes      length N, little-endian
4 bytes      masked CRC-32C of these 8
N bytes      the event
4 bytes      masked CRC-32C of the event
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .adapter import Array


def frame(event: bytes) -> bytes:
    """An event as a record of the file."""
    length = struct.pack("<Q", len(event))
    return length + _masked(length) + event + _masked(event)


def _table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = _table()


def crc32c(data: bytes) -> int:
    """The cyclic redundancy check of Castagnoli's polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    """The format's own disguise of a checksum: rotated by 15 bits, and a constant added."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


# -- Protocol Buffers: a message is its fields, one after the other --------------------------------------------------


def varint(n: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as 64-bit words."""
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def double(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value)


def single(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + np.float32(value).tobytes()


def block(number: int, data: bytes | str) -> bytes:
    """Bytes, text, or a message within this one."""
    data = data.encode() if isinstance(data, str) else data
    return varint(number << 3 | 2) + varint(len(data)) + data


def doubles(number: int, values: Iterable[float]) -> bytes:
    return block(number, np.asarray(list(values), "<f8").tobytes())


# -- events ----------------------------------------------------------------------------------------------------------


def event(time: float, step: int | None, *fields: bytes) -> bytes:
    return double(1, time) + (b"" if step is None else integer(2, step)) + b"".join(fields)


def opening(time: float) -> bytes:
    """What a file begins with."""
    return event(time, None, block(3, "brain.Event:2"))


def purge(time: float, step: int) -> bytes:
    """Whatever earlier files say of this step and later ones is void."""
    return event(time, step, block(7, integer(1, 1)))


def summary(tag: str, *fields: bytes) -> bytes:
    """A value under a tag, as a field of an event."""
    return block(5, block(1, block(1, tag) + b"".join(fields)))


def scalar(tag: str, value: float) -> bytes:
    with np.errstate(over="ignore"):
        return summary(tag, single(2, value))


def text(tag: str, string: str) -> bytes:
    tensor = integer(1, 7) + block(2, block(2, integer(1, 1))) + block(8, string)  # a list of one string
    return summary(tag, block(9, block(1, block(1, "text"))), block(8, tensor))


def histogram(tag: str, values: Array, bins: str | int | Sequence[float]) -> bytes:
    """How many values lie in each bin; those that are not finite are left out."""
    values = np.asarray(values, np.float64).reshape(-1)
    values = values[np.isfinite(values)]
    if not values.size:
        raise ValueError(f"{tag!r}: a histogram needs at least one finite value")
    edges = _default_edges() if bins == "tensorflow" else bins
    counts, limits = np.histogram(values, bins=edges)
    some = counts.nonzero()[0]
    first, last = some[0], some[-1]
    fields = [double(1, values.min()), double(2, values.max()), double(3, len(values)), double(4, values.sum())]
    fields += [double(5, float(values @ values))]
    fields += [doubles(6, limits[first : last + 2]), doubles(7, [0, *counts[first : last + 1]])]
    return summary(tag, block(5, b"".join(fields)))


def _default_edges() -> list[float]:
    """Bins that grow by a tenth each, to both sides of zero."""
    up = 1e-12 * 1.1 ** np.arange(774)
    return [*(-up[::-1]).tolist(), 0.0, *up.tolist()]


def image(tag: str, pixels: Array) -> bytes:
    """A picture of (height, width, channels) bytes."""
    height, width, channels = pixels.shape
    return summary(tag, block(4, integer(1, height) + integer(2, width) + integer(3, channels) + block(4, png(pixels))))


def png(pixels: Array) -> bytes:
    """uint8 (height, width, 1 to 4 channels) as a PNG file."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)  # 0: no filter in this row
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks: list[tuple[bytes, Any]] = [(b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
