"""Making token files: documents are read, tokenised on all cores and written, chunk by chunk."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import ArgumentError, fail
from ..io.binary import writing
from ..train.checkpoints import Lock
from .documents import DataError, Document, Documents, Place, Problems, Source
from .tokenfile import META, SPLITS, TokenFile, dtype_for, ends_path, read_meta, tokens_path
from .tokenizer import Tokenizer

CHUNK = 2**22  # bytes of text that are tokenised at once; the library takes some 50 times as much memory for them
REQUEST = "request.json"  # what was asked for; it is written before anything else
PROBLEMS = "problems.txt"
SHOWN = 5  # problems on the screen; the file has more


class Progress(NamedTuple):
    """How far tokenising is: bytes read of all the source's, and what they were."""

    read: int
    size: int
    documents: int
    tokens: int


def tokenise(
    source: Documents | Source | Iterable[Source],
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    *,
    held_out: int = 50,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[TokenFile, TokenFile]:
    """Tokenise documents into a folder: those to learn from, and, of `held_out` documents about one, those to test on.

    Stopped at any moment, the same call goes on where it was. What is there of the same files, tokenizer and `held_out`
    is taken as it is; else it is made anew. `progress` is called after each chunk; without it, a bar or lines appear.
    """
    documents = source if isinstance(source, Documents) else Documents(source)
    folder = Path(folder)
    if tokenizer.end_id is None:
        fail(ArgumentError, "this tokenizer has no token that ends a document", "load one with an eos_token")
    if held_out < 0:
        fail(ArgumentError, f"held_out={held_out}: one of so many documents", "0 holds out none")
    request = {
        "documents": documents.identity(),
        "tokenizer": tokenizer.fingerprint,
        "end_id": tokenizer.end_id,
        "held_out": held_out,
    }
    if not _is_done(folder, request):
        lock = Lock(folder)
        try:
            if not _is_done(folder, request):  # another run may just have finished
                _Build(folder, request, documents, tokenizer).run(progress or display())
        finally:
            lock.close()
    return TokenFile.open(folder, "train"), TokenFile.open(folder, "held_out")


def _is_done(folder: Path, request: dict[str, Any]) -> bool:
    return bool(read_meta(folder).get("done")) and _difference(folder, request) is None


def _difference(folder: Path, request: dict[str, Any]) -> str | None:
    """Why what is in the folder is not what was asked for."""
    try:
        there = json.loads((folder / REQUEST).read_bytes())
        if there == request:
            return None
        for key, name in (("tokenizer", "the tokenizer"), ("end_id", "the end token"), ("held_out", "held_out")):
            if there[key] != request[key]:
                return f"{name} is another one"
        if there["documents"]["key"] != request["documents"]["key"]:
            return "the key of the texts is another one"
        before, now = ({path: rest for path, *rest in one["documents"]["files"]} for one in (there, request))
        path = next((path for path in chain(before, now) if before.get(path) != now.get(path)), None)
        if path is None:
            return "the files come in another order"
        return f"{path} {'is new' if path not in before else 'has changed' if path in now else 'is not read any more'}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"its {REQUEST} cannot be read"


class _Build:
    """One run that fills a folder. After each chunk it is noted how far that is; what lies beyond was never written."""

    def __init__(self, folder: Path, request: dict[str, Any], documents: Documents, tokenizer: Tokenizer) -> None:
        self.folder, self.request, self.documents, self.tokenizer = folder, request, documents, tokenizer
        self.meta = self._there() or self._nothing()
        self.documents.problems = Problems(**self.meta["problems"])

    # -- what is there ------------------------------------------------------------------------------------------------

    def _there(self) -> dict[str, Any] | None:
        """What an earlier run has done of this, with its files cut to that length."""
        meta = read_meta(self.folder)
        if not meta:
            return None
        difference = _difference(self.folder, self.request)
        if difference is not None:
            _say(f"{self.folder}: the tokens are made anew, because {difference}")
            return None
        lengths = [
            (path, length)
            for split, counts in meta["splits"].items()
            for path, length in (
                (tokens_path(self.folder, split), counts["tokens"] * np.dtype(meta["dtype"]).itemsize),
                (ends_path(self.folder, split), counts["documents"] * 8),
            )
        ]
        for path, length in lengths:
            if not path.is_file() or path.stat().st_size < length:
                _say(f"{self.folder}: the tokens are made anew, because {path.name} is damaged")
                return None
        for path, length in lengths:
            os.truncate(path, length)
        _say(f"{self.folder}: going on after {sum(c['documents'] for c in meta['splits'].values()):,} documents")
        return meta

    def _nothing(self) -> dict[str, Any]:
        """A folder with the request and no tokens. Files are not written over: other runs may be looking at them."""
        for path in (self.folder / META, self.folder / PROBLEMS, *self._paths()):
            path.unlink(missing_ok=True)
        _write(self.folder / REQUEST, self.request)
        return {
            "done": False,
            "tokenizer": self.request["tokenizer"],
            "vocab_size": self.tokenizer.vocab_size,
            "end_id": self.request["end_id"],
            "dtype": dtype_for(self.tokenizer.vocab_size),
            "held_out": self.request["held_out"],
            "source": self.documents.name,
            "place": None,
            "splits": {split: {"documents": 0, "bytes": 0, "tokens": 0} for split in SPLITS},
            "problems": {"count": 0, "first": []},
        }

    def _paths(self) -> list[Path]:
        return [path(self.folder, split) for split in SPLITS for path in (tokens_path, ends_path)]

    # -- what is to be done -------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[Progress], None]) -> None:
        """Read, tokenise, write."""
        with ExitStack() as stack:
            stack.callback(getattr(progress, "close", lambda: None))
            files = {path: stack.enter_context(open(path, "ab")) for path in self._paths()}
            if self.meta["place"] is None:
                for split in SPLITS:
                    self._append(files, split, np.array([self.request["end_id"]]), np.empty(0, np.int64), 0)
            pool = stack.enter_context(ThreadPoolExecutor(1))
            place = self.meta["place"]
            for chunk, encodings in self._encoded(_chunks(self.documents, place and tuple(place)), pool):
                self._add(files, chunk.documents, encodings)
                self.meta.update(place=list(chunk.place), problems=chunk.problems)
                self._save(files)
                counts = self.meta["splits"].values()
                done = (sum(count[key] for count in counts) for key in ("documents", "tokens"))
                progress(Progress(chunk.read, self.documents.size, *done))
            self._finish(files)
        problems = self.documents.problems
        if problems.count:
            _say(f"{problems.text(SHOWN)}\nnoted in {self.folder / PROBLEMS}")

    def _encoded(self, chunks: Iterable[Chunk], pool: ThreadPoolExecutor) -> Iterator[tuple[Chunk, list[Any]]]:
        """Chunks with their tokens. While one is tokenised, the next is read, and the one before written."""
        before: tuple[Chunk, Future[list[Any]]] | None = None
        for chunk in chunks:
            future = pool.submit(self.tokenizer._encodings, [document.text for document in chunk.documents])
            if before is not None:
                yield before[0], before[1].result()
            before = chunk, future
        if before is not None:
            yield before[0], before[1].result()

    def _add(self, files: Mapping[Path, BinaryIO], chunk: list[Document], encodings: list[Any]) -> None:
        """Append each document's tokens to its file."""
        parts: dict[str, list[int]] = {split: [] for split in SPLITS}
        for i, document in enumerate(chunk):
            parts["held_out" if document.held_out(self.request["held_out"]) else "train"].append(i)
        end = (self.request["end_id"],)
        for split, members in parts.items():
            ends = np.cumsum([len(encodings[i]) + 1 for i in members], dtype=np.int64)
            ids = chain.from_iterable(chain(encodings[i].ids, end) for i in members)
            tokens = np.fromiter(ids, self.meta["dtype"], int(ends[-1]) if members else 0)
            self._append(files, split, tokens, ends - 1, sum(len(chunk[i].data) for i in members))

    def _append(self, files: Mapping[Path, BinaryIO], split: str, tokens: Any, ends: Any, size: int) -> None:
        counts = self.meta["splits"][split]
        files[tokens_path(self.folder, split)].write(tokens.astype(self.meta["dtype"], copy=False).tobytes())
        files[ends_path(self.folder, split)].write((ends + counts["tokens"]).astype("<i8").tobytes())
        counts["tokens"] += len(tokens)
        counts["documents"] += len(ends)
        counts["bytes"] += size

    def _save(self, files: Mapping[Path, BinaryIO]) -> None:
        """First the data, then what says that they are there."""
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
        _write(self.folder / META, self.meta)

    def _finish(self, files: Mapping[Path, BinaryIO]) -> None:
        problems, counts = self.documents.problems, self.meta["splits"]
        if not counts["train"]["documents"]:
            held = counts["held_out"]["documents"]
            but = f" but what is held out: {held} documents" if held else ""
            fail(
                DataError,
                f"there is no text in {self.documents.name}{but}",
                problems.text(SHOWN) or "give more documents, or held_out=0",
            )
        if problems.count:
            with writing(self.folder / PROBLEMS) as file:
                file.write(f"{problems.text()}\n".encode())
        self.meta.update(done=True, problems=problems.state())
        self._save(files)


class Chunk(NamedTuple):
    """Documents that are tokenised together, and how far was read for them."""

    documents: list[Document]
    place: Place
    read: int
    problems: dict[str, Any]  # all those up to there


def _chunks(documents: Documents, place: Place | None) -> Iterator[Chunk]:
    """Documents of CHUNK bytes or a little more."""
    chunk, size = list[Document](), 0
    for document in documents.after(place):
        chunk.append(document)
        size += len(document.data)
        if size >= CHUNK:
            yield Chunk(chunk, document.place, documents.read, documents.problems.state())
            chunk, size = [], 0
    if chunk:
        yield Chunk(chunk, (len(documents.files), 0), documents.read, documents.problems.state())


def _write(path: Path, contents: dict[str, Any]) -> None:
    with writing(path) as file:
        file.write(json.dumps(contents, indent=1).encode())


# -- showing it ------------------------------------------------------------------------------------------------------


def display() -> Callable[[Progress], None]:
    """What suits where standard output goes."""
    return Bar() if sys.stdout.isatty() and find_spec("rich") is not None else Lines()


def _say(text: str) -> None:
    print(text, flush=True)


class Lines:
    """A line every ten seconds."""

    every = 10.0

    def __init__(self) -> None:
        self.began = self.shown = time.monotonic()
        self.first: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if self.first is None:  # what it has may be another run's
            self.first, self.began = progress, now
        elif now - self.shown >= self.every:
            self.shown = now
            self.show(progress, (progress.tokens - self.first.tokens) / max(now - self.began, 1e-9))

    def show(self, progress: Progress, rate: float) -> None:
        """Show how far it is; `rate`: tokens a second."""
        done = f"{progress.read / max(progress.size, 1):.0%}"
        _say(f"tokenising  {done}  {progress.documents:,} documents  {progress.tokens:,} tokens  {rate:,.0f} tokens/s")


class Bar(Lines):
    """A bar, drawn by rich."""

    every = 0.1

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        super().__init__()
        columns = [TextColumn("tokenising"), BarColumn(24), TaskProgressColumn(), TimeElapsedColumn()]
        self.bar = Progress(*columns, TextColumn("{task.fields[text]}"), auto_refresh=False)
        self.task = self.bar.add_task("", total=None, text="")
        self.bar.start()

    def show(self, progress: Progress, rate: float) -> None:
        text = f"{progress.documents:,} documents  {progress.tokens:,} tokens  {rate:,.0f} tokens/s"
        self.bar.update(self.task, completed=progress.read, total=progress.size, text=text, refresh=True)

    def close(self) -> None:
        self.bar.stop()
