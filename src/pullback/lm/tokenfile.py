"""Documents as tokens on the disk: written once by `tokenise`, looked at by every run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, RangeError, fail
from .documents import DataError

SPLITS = ("train", "held_out")
META = "meta.json"  # what is there: written after it, and `done` when all is
Array = np.ndarray[Any, Any]


def tokens_path(folder: Path, split: str) -> Path:
    """All tokens: the end token, then each document's and the end token after it."""
    return folder / f"{split}.tokens.bin"


def ends_path(folder: Path, split: str) -> Path:
    """Where each document's end token stands among them, as int64."""
    return folder / f"{split}.ends.bin"


def dtype_for(vocab_size: int) -> str:
    """The smallest that holds every token."""
    return "<u2" if vocab_size <= 2**16 else "<u4"


class TokenFile:
    """The tokens of many documents, in the order in which they were read. Arrays are windows on the file, not copies.

    `tokens[0]` is the end token, so that every document follows one; document i ends before `tokens[ends[i]]`.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str = "train") -> None:
        self.folder, self.split = Path(folder), split
        if split not in SPLITS:
            fail(ArgumentError, f"{split!r} is no part of a token file", f"there are {' and '.join(SPLITS)}")
        self.meta = read_meta(self.folder)
        if not self.meta.get("done"):
            what = "is not finished" if self.meta else "is not there"
            fail(
                DataError,
                f"the token file in {self.folder.absolute()} {what}",
                "tokenise() makes it, or goes on with it",
            )
        counts = self.meta["splits"][split]
        self.bytes: int = counts["bytes"]  # of the documents' UTF-8
        self.tokens = _mapped(tokens_path(self.folder, split), self.meta["dtype"], counts["tokens"])
        self.ends = _mapped(ends_path(self.folder, split), "<i8", counts["documents"])

    @staticmethod
    def open(folder: str | os.PathLike[str], split: str = "train") -> TokenFile:
        """The "train" or the "held_out" tokens of a folder that `tokenise` has filled."""
        return TokenFile(folder, split)

    def __reduce__(self) -> Any:
        return TokenFile, (self.folder, self.split)  # another process opens it itself

    def __len__(self) -> int:
        return len(self.ends)

    def __repr__(self) -> str:
        counts = f"{len(self):,} documents, {self.bytes:,} bytes, {len(self.tokens):,} tokens"
        return f"TokenFile({str(self.folder)!r}, {self.split!r}): {counts}"

    @property
    def labels(self) -> int:
        """How many tokens are there to be predicted: all but the first."""
        return len(self.tokens) - 1

    def document(self, i: int) -> Array:
        """The tokens of a document, without the end token."""
        if not -len(self) <= i < len(self):
            fail(RangeError, f"there is no document {i} in a token file of {len(self)}")
        i %= len(self)
        return self.tokens[int(self.ends[i - 1]) + 1 if i else 1 : int(self.ends[i])]


def read_meta(folder: Path) -> dict[str, Any]:
    """What a folder says about the token file in it; empty if it says nothing."""
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        fail(DataError, f"{(folder / META).absolute()} cannot be read: {error}", "remove the folder and make it anew")
    return meta


def _mapped(path: Path, dtype: str, length: int) -> Array:
    wanted = length * np.dtype(dtype).itemsize
    size = path.stat().st_size if path.is_file() else 0
    if size != wanted:
        what = f"{path.absolute()} is damaged: it has {size} bytes instead of {wanted}"
        fail(DataError, what, "remove the folder and make it anew")
    return np.memmap(path, dtype, "r", shape=(length,)) if length else np.empty(0, dtype)
