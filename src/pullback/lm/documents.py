"""Documents to learn from: the texts in files, in a fixed order, and what in these files is none."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sysconfig
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from ..errors import PullbackError, fail
from .extras import need
from .tokenizer import END

Source: TypeAlias = "str | os.PathLike[str]"
Place: TypeAlias = tuple[int, int]  # a document's: number of the file, and of its first line (in Parquet: its row)

LINES, PARQUET = (".jsonl", ".ndjson"), (".parquet",)
SUFFIXES = (*LINES, *PARQUET, ".txt", ".md", ".py")
PACKED = (".gz", ".zst")  # may follow any of them but Parquet's
NOT_ITS_OWN = ("site-packages", "dist-packages", "__pycache__")  # folders beside the standard library's sources
SHOWN = 100  # problems that are kept word by word


class DataError(PullbackError):
    """There is no text to learn from, or it cannot be read."""


class Document(NamedTuple):
    """One text, as UTF-8, and where it comes from."""

    data: bytes
    path: Path
    place: Place

    @property
    def text(self) -> str:
        return self.data.decode()

    def held_out(self, one_in: int) -> bool:
        """Whether this is the one in so many that nothing is learned from; 0: none is.

        The text alone decides: whatever else there is and in which order, and two that are equal stay together.
        """
        digest = hashlib.blake2b(self.data, digest_size=8).digest()
        return one_in > 0 and int.from_bytes(digest, "big") % one_in == 0


class Problems:
    """What could not be read: how much of it there is, and the first of it with path, line and reason."""

    def __init__(self, count: int = 0, first: Iterable[str] = ()) -> None:
        self.count, self.first = count, list(first)

    def add(self, path: Path, line: int, reason: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{path}:{line}: {reason}")

    def state(self) -> dict[str, Any]:
        """What another one can be made from."""
        return {"count": self.count, "first": list(self.first)}

    def text(self, most: int = SHOWN) -> str:
        """A line that counts them, and one for each of the first `most`; empty if there are none."""
        if not self.count:
            return ""
        shown = self.first[:most]
        more = [f"... and {self.count - len(shown)} more"] if self.count > len(shown) else []
        return "\n".join([f"left out, because they cannot be read: {self.count}", *shown, *more])


class Documents:
    """The documents of a source: a file, a folder, "stdlib", or a list of such. Each iteration reads them anew.

    - `.jsonl`, `.ndjson`: each line is an object, whose `key` is a text.
    - `.parquet`: each row, its column `key`.
    - `.txt`, `.md`, `.py`, and what else `suffixes` names: a file is one document, or several between lines that say
      `<|endoftext|>` and nothing else.
    - All but Parquet may be compressed, as in `.jsonl.gz` or `.txt.zst`.
    - A folder stands for the files of these kinds in it and in its folders, sorted; what begins with a dot is not seen.
    - "stdlib" is the source code of this Python's standard library, as far as it is UTF-8.

    Each file is read once. Empty documents are passed over; what cannot be read is noted in `problems`.
    """

    def __init__(
        self, source: Source | Iterable[Source], key: str = "text", suffixes: Iterable[str] = SUFFIXES
    ) -> None:
        self.key, self.suffixes = key, tuple(suffixes)
        self.problems = Problems()
        sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
        self.name = ", ".join(map(str, sources)) or "an empty list"
        self.library = Path(sysconfig.get_path("stdlib")).resolve() if "stdlib" in sources else None
        self.files = list(dict.fromkeys(path for one in sources for path in self._files(one)))
        self.sizes = [path.stat().st_size for path in self.files]
        self._behind = 0  # bytes of the files that were read
        self._within: Callable[[], int] | None = None  # and of the one that is open
        if not self.files:
            fail(DataError, f"there is nothing to read in {self.name}", f"what is read: {self._known()}")

    def __iter__(self) -> Iterator[Document]:
        self.problems = Problems()
        found = False
        for document in self.after(None):
            found = True
            yield document
        if not found:
            fail(DataError, f"there is no text in {self.name}", self.problems.text(most=5))

    def after(self, place: Place | None) -> Iterator[Document]:
        """The documents that follow the one at this place; `problems` goes on as well."""
        first, line = place or (0, 0)
        self._behind = sum(self.sizes[:first])
        for number in range(first, len(self.files)):
            path, start = self.files[number], line if number == first else 0
            in_library = self.library is not None and path.is_relative_to(self.library)
            problems = Problems() if in_library else self.problems  # its tests read all kinds of encodings
            for at, data in self._texts(path, start, problems):
                yield Document(data, path, (number, at))
            self._behind += self.sizes[number]

    @property
    def size(self) -> int:
        """Bytes of all files, as they lie on the disk."""
        return sum(self.sizes)

    @property
    def read(self) -> int:
        """How many of them have been read."""
        return self._behind + (self._within() if self._within else 0)

    def identity(self) -> dict[str, Any]:
        """What the documents depend on: as long as it is equal, they are."""
        stats = [(str(path), path.stat()) for path in self.files]
        return {"key": self.key, "files": [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]}

    # -- files ---------------------------------------------------------------------------------------------------------

    def _files(self, source: Source) -> Iterator[Path]:
        path = Path(source)
        if source == "stdlib" and self.library is not None:
            yield from (file for file in _walk(self.library, NOT_ITS_OWN) if file.suffix == ".py")
        elif path.is_dir():
            yield from (file for file in _walk(path.resolve()) if self._kind(file) in self.suffixes)
        elif not path.exists():
            fail(DataError, f"there is no {path.absolute()}", 'name a file, a folder, or "stdlib"')
        elif self._kind(path) not in self.suffixes:
            todo = "to read it as plain text, name its suffix in suffixes=(...)"
            fail(DataError, f"{path} is of none of the kinds that are read, {self._known()}", todo)
        else:
            yield path.resolve()

    def _kind(self, path: Path) -> str:
        """Its suffix, without that of a compression."""
        return Path(path.stem).suffix if path.suffix in PACKED else path.suffix

    def _known(self) -> str:
        return f"{' '.join(self.suffixes)}, each also with {' or '.join(PACKED)}"

    def _texts(self, path: Path, start: int, problems: Problems) -> Iterator[tuple[int, bytes]]:
        """(line, text) of the documents that begin after line `start`."""
        kind = self._kind(path)
        items: Any = _lines if kind in LINES else self._rows if kind in PARQUET else _passages
        understood: Any = self._from_json if kind in LINES else _utf8
        try:
            with self._opened(path) as file:
                for line, item in items(file, start):
                    try:
                        data = understood(item)
                    except Unreadable as problem:
                        problems.add(path, line + problem.line, str(problem))
                        continue
                    if data:
                        yield line, data
        except (OSError, EOFError, zlib.error) as error:  # a damaged archive is one of these
            fail(DataError, f"{path} cannot be read: {error}", "mend it, or leave it out")

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        """The file's contents, decompressed; `read` follows how far into it we are."""
        with open(path, "rb") as raw:
            self._within = raw.tell
            try:
                if path.suffix == ".gz":
                    with gzip.open(raw) as file:
                        yield file
                elif path.suffix == ".zst":
                    yield io.BufferedReader(need("pyarrow", "reading .zst").CompressedInputStream(raw, "zstd"))
                else:
                    yield raw
            finally:
                self._within = None

    def _rows(self, file: BinaryIO, start: int) -> Iterator[tuple[int, bytes | None]]:
        """(row, text) after row `start` of a Parquet file, from one group of rows after the other."""
        arrow, parquet = need("pyarrow", "reading Parquet"), need("pyarrow.parquet", "reading Parquet")
        try:
            table = parquet.ParquetFile(file)
        except arrow.ArrowInvalid as error:
            raise OSError(error) from error
        columns = {field.name: str(field.type) for field in table.schema_arrow}
        if columns.get(self.key, "") not in ("string", "large_string", "string_view"):
            there = ", ".join(f"{name} ({kind})" for name, kind in columns.items())
            fail(DataError, f"{file.name} has no column of texts called {self.key!r}", f"its columns are {there}")
        size, groups, row = os.fstat(file.fileno()).st_size, table.num_row_groups, 0
        for group in range(groups):
            self._within = (size * group // groups).__int__
            length = table.metadata.row_group(group).num_rows
            if row + length <= start:
                row += length
                continue
            for batch in table.iter_batches(1024, row_groups=[group], columns=[self.key]):
                for value in batch.column(0).cast(arrow.large_binary()).to_pylist():  # it need not be UTF-8
                    row += 1
                    if row > start:
                        yield row, value

    def _from_json(self, line: bytes) -> bytes:
        try:
            record = json.loads(_utf8(line.rstrip()))
        except json.JSONDecodeError as error:
            raise Unreadable(f"not JSON: {error.msg}, character {error.pos}") from error
        except (ValueError, RecursionError) as error:  # numbers too long, or nested too deeply
            raise Unreadable(f"not JSON that can be read: {error}") from error
        if not isinstance(record, dict) or self.key not in record:
            there = f"its keys are {', '.join(map(repr, record))}" if isinstance(record, dict) else "it is no object"
            raise Unreadable(f"no {self.key!r}: {there:.200}")
        if not isinstance(record[self.key], str):
            raise Unreadable(f"its {self.key!r} is of type {type(record[self.key]).__name__}, not a text")
        try:
            return record[self.key].encode()
        except UnicodeEncodeError as error:
            raise Unreadable(f"its {self.key!r} has half of a surrogate pair at character {error.start}") from error


class Unreadable(Exception):
    """Why something is no document, and on which line of it."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


def _walk(folder: Path, but: Iterable[str] = ()) -> list[Path]:
    """The files in a folder and its folders, sorted; but for these, and for names with a dot in front."""
    found = []
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in but]
        found += [Path(at, name) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _utf8(data: bytes | None) -> bytes:
    if data is None:
        raise Unreadable("no text: null")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte {data[error.start]:#04x}"
        raise Unreadable(reason, data.count(b"\n", 0, error.start)) from error
    return data


def _numbered(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines and their numbers, without a byte order mark in front."""
    for number, line in enumerate(file, 1):
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _lines(file: Iterable[bytes], start: int) -> Iterator[tuple[int, bytes]]:
    """The lines after line `start` that have something in them."""
    return ((number, line) for number, line in _numbered(file) if number > start and line.strip())


def _passages(file: Iterable[bytes], start: int) -> Iterator[tuple[int, bytes]]:
    """What stands between lines of `<|endoftext|>`, with its first line's number, if that is after line `start`."""
    begin, lines = 1, list[bytes]()
    for number, line in _numbered(file):
        if line.strip() == END.encode():
            if begin > start:
                yield begin, b"".join(lines)
            begin, lines = number + 1, []
        elif begin > start:
            lines.append(line)
    if begin > start:
        yield begin, b"".join(lines)
