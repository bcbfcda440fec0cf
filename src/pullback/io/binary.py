"""Bytes: opening what holds them, replacing a file at once, and arrays as windows on a block of bytes."""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from ..errors import PullbackError
from .adapter import Array

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"


TEMPORARY = ".tmp"  # how the names of files end that are being written; they start with a dot


class FormatError(PullbackError, ValueError):
    """A file that is damaged, hostile, or of another format."""


def is_path(file: object) -> bool:
    """Whether `file` names a file rather than being one."""
    return isinstance(file, (str, os.PathLike))


@contextmanager
def reading(file: Any) -> Iterator[BinaryIO]:
    """A seekable binary file positioned where reading starts."""
    if is_path(file):
        with open(file, "rb") as opened:
            yield opened
    elif not hasattr(file, "readinto"):
        raise TypeError(f"a path or a binary file is needed, not {type(file)}; open text files with 'rb'")
    else:
        yield file if file.seekable() else io.BytesIO(file.read())


@contextmanager
def writing(file: Any) -> Iterator[BinaryIO]:
    """A binary file to write. A path gets its new contents all at once, or keeps its old ones if writing fails."""
    if not is_path(file):
        if not hasattr(file, "write") or isinstance(file, io.TextIOBase):
            raise TypeError(f"a path or a binary file is needed, not {type(file)}; open text files with 'wb'")
        yield file
        return
    path = os.path.realpath(file)  # write through a symbolic link, do not replace it
    if os.path.exists(path) and not os.path.isfile(path):  # /dev/null, a pipe: nothing to replace
        with open(path, "wb") as opened:
            yield opened
        return
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "the folder to save in does not exist; make it first", folder)
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}{TEMPORARY}")
    try:
        with open(temporary, "xb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        if os.path.exists(path):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
        sync_folder(folder)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def sync_folder(folder: str) -> None:
    """Make a new name in a folder outlast a power cut, where folders can be opened."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remaining(file: BinaryIO) -> int:
    """How many bytes follow the current position."""
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return end - here


def fill(file: BinaryIO, block: Array) -> Array:
    """Read as many bytes as the uint8 array `block` has."""
    view, done = block.data, 0
    while done < block.size:
        count = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise FormatError(f"the file ends {block.size - done} bytes too early; it is truncated")
        done += count
    return block


def typed(block: Array, dtype: np.dtype[Any]) -> Array:
    """The bytes of `block` as a 1-D array of `dtype`, sharing memory where alignment allows."""
    if dtype == np.bool_ and (block > 1).any():
        block[:] = block != 0  # NumPy trusts that a bool is 0 or 1
    if block.ctypes.data % dtype.alignment:
        block = block.copy()
    return block.view(dtype)


def extent(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> tuple[int, int]:
    """The first byte of a non-empty strided array and the one past its last, relative to element [0, 0, ...]."""
    reach = [stride * (size - 1) for size, stride in zip(shape, strides, strict=True)]
    return sum(r for r in reach if r < 0), sum(r for r in reach if r > 0) + itemsize


def strided(block: Array, dtype: np.dtype[Any], shape: Sequence[int], strides: Sequence[int], offset: int) -> Array:
    """A view of the uint8 array `block`; strides and offset count bytes. It cannot reach outside the block."""
    if (
        any(type(n) is not int for n in (*shape, *strides, offset))
        or len(shape) != len(strides)
        or min(shape, default=0) < 0
    ):
        raise FormatError(f"shape {shape}, strides {strides}, offset {offset} do not describe an array")
    try:
        if 0 in shape:
            return np.empty(shape, dtype)
        low, high = extent(shape, strides, dtype.itemsize)
        if offset + low < 0 or offset + high > block.size:
            raise FormatError(
                f"an array of shape {list(shape)} takes bytes {offset + low} to {offset + high} of {block.size}"
            )
        view: Array = np.ndarray(shape, dtype, block, offset, strides)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"shape {list(shape)}: {error}") from None
    if not view.flags.aligned:
        raise FormatError(f"an array of {dtype.name} starts at byte {offset}, which is not a multiple of its item size")
    return view
