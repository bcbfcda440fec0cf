"""Memory that a worker writes batches into and the main process reads them from, without a copy.

It is one nameless file for each worker, so nothing can be left behind: it is gone with the last process that has it.
The file begins with a few numbers (`Status`) and then holds blocks. The worker fills a free block with a batch; the
tensors that come out of the loader look right into it; when the last of them is gone, the block is free again.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import struct
import weakref
from collections import defaultdict, deque
from typing import Any

import numpy as np

from ..errors import PullbackError, fail
from ..tensor import Tensor, wrap

HEADER = 4096
SMALLEST = 1 << 16
ALIGN = 64
HELD = 2  # blocks of one worker that may be out with the consumer; one who keeps more batches gets copies
MESSAGE = struct.Struct("qqqqq")  # epoch, batch, offset of the block, bytes, parts


class SharedFile:
    """A nameless file, mapped into memory as far as it reaches."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _nameless() if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, HEADER)
        self.map = mmap.mmap(self.fd, 0)
        self.status = np.frombuffer(self.map, np.int64, Status.SIZE)

    def view(self, offset: int, size: int) -> Any:
        """These bytes, as an array that keeps the memory alive."""
        if offset + size > len(self.map):
            self.map = mmap.mmap(self.fd, 0)  # what looks at the older map keeps it
        return np.frombuffer(self.map, np.uint8, size, offset)

    def grow(self, size: int) -> None:
        os.ftruncate(self.fd, size)

    def close(self) -> None:
        """Let go of the file; arrays that look into it stay valid."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __reduce__(self) -> Any:  # on the way into a process that is not a fork of this one
        from multiprocessing.reduction import DupFd

        return _attached, (DupFd(self.fd),)


def _attached(handle: Any) -> SharedFile:
    return SharedFile(handle.detach())


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pullback-data")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Status:
    """Which number stands where at the beginning of the file."""

    EPOCH, BATCH, PLACE, SIZE = range(4)  # the epoch wanted; the batch being made; how many samples of it are there
    STOP = -1  # no epoch any more
    STARTING, IDLE, COLLATING = -3, -2, -1  # places where it is at no sample


# -- the worker's side -------------------------------------------------------------------------------------------------


class Writer:
    """Puts objects into blocks of its own choice."""

    def __init__(self, file: SharedFile) -> None:
        self.file = file
        self.end = HEADER
        self.capacity: dict[int, int] = {}  # of each block, by its offset
        self.free: defaultdict[int, list[int]] = defaultdict(list)  # offsets, by capacity

    def give_back(self, offset: int) -> None:
        """This block may be filled again."""
        self.free[self.capacity[offset]].append(offset)

    def _block(self, size: int) -> int:
        capacity = max(SMALLEST, 1 << (size - 1).bit_length())  # few sizes, so that blocks fit again
        if self.free[capacity]:
            return self.free[capacity].pop()
        offset, self.end = self.end, self.end + capacity
        self.file.grow(self.end)
        self.capacity[offset] = capacity
        return offset

    def write(self, obj: Any) -> tuple[int, int, int]:
        """(offset, bytes, parts): the sizes of the parts, the pickle, then the memory of each array, end to end."""
        buffers: list[Any] = []
        parts = [np.frombuffer(_pickled(obj, buffers), np.uint8), *(np.frombuffer(b, np.uint8) for b in buffers)]
        sizes = np.array([part.size for part in parts], np.int64)
        starts = _starts(sizes)
        offset = self._block(size := starts[-1])
        block = self.file.view(offset, size)
        block[: sizes.nbytes] = sizes.view(np.uint8)
        for part, start in zip(parts, starts[:-1], strict=True):
            block[start : start + part.size] = part
        return offset, size, len(parts)


def _starts(sizes: Any) -> list[int]:
    """Where each part begins, and where all of it ends."""
    aligned = -(-np.concatenate([[sizes.nbytes], sizes]) // ALIGN) * ALIGN
    starts: list[int] = np.cumsum(aligned).tolist()
    return starts


class _Pickler(pickle.Pickler):
    """Pickles tensors by what they show, not by the whole memory they look at."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not Tensor or obj._node is not None:
            return NotImplemented
        array = np.ascontiguousarray(obj._array)
        return _tensor, (array.reshape(-1).view(np.uint8), obj.dtype, tuple(obj.shape), obj._requires_grad)


def _tensor(raw: Any, dtype: Any, shape: tuple[int, ...], requires_grad: bool) -> Tensor:
    tensor = wrap(raw.view(dtype.numpy).reshape(shape))
    tensor._requires_grad = requires_grad
    return tensor


def _pickled(obj: Any, buffers: list[Any]) -> bytes:
    """The pickle of obj; the memory of its arrays goes to `buffers` and not into it."""

    def outside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes:
            buffers.append(raw)
        return not raw.nbytes  # true: keep it in the pickle

    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=outside).dump(obj)
    return stream.getvalue()


# -- the main process's side -------------------------------------------------------------------------------------------


class Reader:
    """Takes objects out of a worker's blocks, and knows which blocks are free again."""

    def __init__(self, file: SharedFile) -> None:
        self.file = file
        self.held: dict[int, Any] = {}  # blocks that somebody looks into
        self.released: deque[int] = deque()  # blocks that nobody looks into any more

    def read(self, offset: int, size: int, parts: int) -> Any:
        """The object. Its arrays look into the block, or, if the consumer keeps many batches, at a copy."""
        block = self.file.view(offset, size)
        released = self.released
        if len(self.held) < HELD:
            self.held[offset] = weakref.ref(block, lambda _: released.append(offset))
        else:
            block = block.copy()
            released.append(offset)
        sizes = block[: 8 * parts].view(np.int64)
        starts = _starts(sizes)
        stream, *buffers = (block[a : a + n] for a, n in zip(starts, sizes.tolist(), strict=False))
        try:
            return pickle.loads(stream, buffers=buffers)
        except Exception as error:
            fail(PullbackError, f"a batch from a worker cannot be unpickled: {type(error).__name__}: {error}")

    def take_released(self) -> list[int]:
        """The blocks that have become free, to be told to the worker."""
        offsets = []
        while self.released:
            offsets.append(self.released.popleft())
            self.held.pop(offsets[-1], None)
        return offsets
