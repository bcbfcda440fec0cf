"""Token files: what is in them, and that nothing that happens on the way changes it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.errors import ArgumentError, RangeError
from pullback.io.checkpoints import CheckpointError
from pullback.lm.documents import DataError, Documents
from pullback.lm.tokenfile import TokenFile
from pullback.lm.tokenise import Bar, Lines, Progress, tokenise
from pullback.lm.tokenizer import Tokenizer

tokenising = import_module("pullback.lm.tokenise")  # the module: pullback.lm.tokenise is the function
TEXTS = [f"Document {i}: {'words and more ' * (i % 7)}\n" for i in range(60)]
STEADY = settings(derandomize=True, deadline=None)
TOKENIZER = Tokenizer.train(TEXTS, vocab_size=300)
HELD = 4  # one document of so many is held out


def quiet(progress: Progress) -> None:
    pass


def source_of(folder: Path, texts: list[str] = TEXTS, bad: bool = True) -> Path:
    """Two JSONL files, with a bad line after every eleventh document, and one at the very end."""
    folder.mkdir(exist_ok=True)
    for name, part in (("a.jsonl", texts[: len(texts) // 2]), ("b.jsonl", texts[len(texts) // 2 :])):
        lines = [json.dumps({"text": text}) + ("\nbad" if bad and i % 11 == 10 else "") for i, text in enumerate(part)]
        (folder / name).write_text("\n".join(lines) + ("\nbad\n" if bad else ""))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return source_of(tmp_path / "source")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenising, "CHUNK", 300)


def build(source: Any, folder: Path, tokenizer: Tokenizer = TOKENIZER, **options: Any) -> tuple[TokenFile, TokenFile]:
    return tokenise(source, tokenizer, folder, **{"held_out": HELD, "progress": quiet, **options})


# -- what is in them ---------------------------------------------------------------------------------------------------


@settings(STEADY, max_examples=25)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=20), st.integers(1, 40))
def test_a_token_file_has_the_tokens_of_every_document(texts: list[str], chunk: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenising, "CHUNK", chunk)
        source = source_of(Path(name, "source"), [*texts, "never alone"], bad=False)
        documents = list(Documents(source))
        if all(document.held_out(3) for document in documents):
            return
        files = build(source, Path(name, "tokens"), held_out=3)
        for file, held in zip(files, (False, True), strict=True):
            mine = [document for document in documents if document.held_out(3) == held]
            assert [file.document(i).tolist() for i in range(len(file))] == [TOKENIZER.encode(d.text) for d in mine]
            assert file.bytes == sum(len(document.data) for document in mine)
            ends = [i for i, token in enumerate(file.tokens) if token == TOKENIZER.end_id]
            assert ends == [0, *file.ends.tolist()]
            assert file.labels == sum(len(TOKENIZER.encode(d.text)) + 1 for d in mine)


def test_its_arrays_and_counts(source: Path, tmp_path: Path) -> None:
    train, held_out = build(source, tmp_path / "tokens")
    assert train.tokens.dtype == np.uint16 and train.ends.dtype == np.int64
    assert isinstance(train.tokens, np.memmap) and not train.tokens.flags.writeable
    assert len(train) + len(held_out) == len(TEXTS) and len(held_out) > 5
    assert (train.document(-1) == train.document(len(train) - 1)).all()
    assert repr(train) == (
        f"TokenFile({str(tmp_path / 'tokens')!r}, 'train'): "
        f"{len(train)} documents, {train.bytes:,} bytes, {len(train.tokens):,} tokens"
    )
    with pytest.raises(RangeError, match=f"there is no document {len(train)} in a token file of {len(train)}"):
        train.document(len(train))
    copy = pickle.dumps(train)
    assert len(copy) < 500 and (pickle.loads(copy).tokens == train.tokens).all()


def test_many_tokens_take_four_bytes(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Model
    from tokenizers import models, pre_tokenizers

    model = Model(models.WordLevel({"</s>": 0, **{f"w{i}": i for i in range(1, 70_000)}}, unk_token="</s>"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.add_special_tokens(["</s>"])
    (tmp_path / "a.txt").write_text("w1 w69999 w2")
    train, _ = build(tmp_path / "a.txt", tmp_path / "tokens", Tokenizer(model.to_str()), held_out=0)
    assert train.tokens.dtype == np.uint32 and train.tokens.tolist() == [0, 1, 69_999, 2, 0]


def test_documents_of_ones_own_choice(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"content": "one"}\n')
    train, held_out = build(Documents(tmp_path, key="content"), tmp_path / "tokens", held_out=0)
    assert len(train) == 1 and train.bytes == 3
    assert len(held_out) == 0 and held_out.bytes == 0 and held_out.tokens.tolist() == [0] and held_out.labels == 0


def test_problems_are_shown_and_written_down(
    source: Path, tmp_path: Path, small_chunks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    build(source, tmp_path / "tokens")
    lines = (tmp_path / "tokens" / "problems.txt").read_text().splitlines()
    assert lines[0] == "left out, because they cannot be read: 6" and len(lines) == 7
    assert lines[1] == f"{source / 'a.jsonl'}:12: not JSON: Expecting value, character 0"
    shown = capsys.readouterr().out
    assert (
        "\n".join(lines[:6]) in shown
        and "... and 1 more" in shown
        and f"noted in {tmp_path / 'tokens' / 'problems.txt'}" in shown
    )
    source_of(source, bad=False)
    build(source, tmp_path / "tokens")
    assert not (tmp_path / "tokens" / "problems.txt").exists()


def test_what_cannot_be_tokenised(tmp_path: Path, source: Path) -> None:
    with pytest.raises(DataError, match="but what is held out: 60 documents"):
        build(source, tmp_path / "tokens", held_out=1)
    with pytest.raises(ArgumentError, match="held_out=-1"):
        build(source, tmp_path / "tokens", held_out=-1)
    endless = Tokenizer.train(["a"], vocab_size=257, special_tokens=["<s>"])
    with pytest.raises(ArgumentError, match="no token that ends a document"):
        build(source, tmp_path / "tokens", endless)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"there is no text in .*a.txt"):
        build(tmp_path / "a.txt", tmp_path / "tokens")


def test_what_cannot_be_opened(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "tokens"
    with pytest.raises(DataError, match=r"is not there\n.*\n  tokenise\(\) makes it"):
        TokenFile.open(folder)
    build(source, folder)
    with pytest.raises(ArgumentError, match="'valid' is no part of a token file"):
        TokenFile.open(folder, "valid")
    os.truncate(folder / "train.tokens.bin", 100)
    with pytest.raises(DataError, match=r"train.tokens.bin is damaged: it has 100 bytes instead of \d+"):
        TokenFile.open(folder)
    (folder / "meta.json").write_text("{")
    with pytest.raises(DataError, match=r"meta.json cannot be read"):
        TokenFile.open(folder)


# -- taken again, or made anew -----------------------------------------------------------------------------------------


def forbidden(progress: Progress) -> None:
    raise AssertionError("there is nothing to do")


def test_what_is_there_is_taken(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "tokens")
    before = contents(tmp_path / "tokens")
    build(source, tmp_path / "tokens", progress=forbidden)
    assert contents(tmp_path / "tokens") == before


def changed(source: Path) -> None:
    with open(source / "b.jsonl", "a") as file:
        file.write('{"text": "one more"}\n')


CHANGES: list[tuple[str, Callable[[Path], Any], dict[str, Any]]] = [
    ("the tokenizer is another one", lambda source: None, {"tokenizer": Tokenizer.train(["other"], vocab_size=259)}),
    ("held_out is another one", lambda source: None, {"held_out": 5}),
    ("b.jsonl has changed", changed, {}),
    ("c.txt is new", lambda source: (source / "c.txt").write_text("more"), {}),
    ("b.jsonl is not read any more", lambda source: (source / "b.jsonl").unlink(), {}),
]


@pytest.mark.parametrize(("why", "change", "options"), CHANGES, ids=[why for why, _, _ in CHANGES])
@pytest.mark.parametrize("finished", [True, False])
def test_what_is_of_something_else_is_made_anew(
    source: Path, tmp_path: Path, capsys: Any, why: str, change: Any, options: dict[str, Any], finished: bool
) -> None:
    old, _ = build(source, tmp_path / "tokens")
    tokens = old.tokens.copy()
    if not finished:
        meta = json.loads((tmp_path / "tokens" / "meta.json").read_text())
        (tmp_path / "tokens" / "meta.json").write_text(json.dumps({**meta, "done": False}))
    change(source)
    capsys.readouterr()
    build(source, tmp_path / "tokens", **options)
    assert f"the tokens are made anew, because {why}" in capsys.readouterr().out.replace(f"{source}{os.sep}", "")
    assert (old.tokens == tokens).all()  # who has it open sees what was there
    build(source, tmp_path / "fresh", **options)
    assert contents(tmp_path / "tokens") == contents(tmp_path / "fresh")


# -- stopped at any moment ---------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.usefixtures("small_chunks")
def test_stopped_anywhere_it_goes_on_to_the_same_files(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    steps = 0
    last = 10**9  # of the steps that are let through

    def counted(file: int) -> None:
        nonlocal steps
        steps += 1
        if steps > last:
            raise Killed

    monkeypatch.setattr(os, "fsync", counted)
    build(source, tmp_path / "whole")
    whole, total = contents(tmp_path / "whole"), steps
    assert total > 50
    for last in range(0, total, 2):
        folder, steps = tmp_path / f"stopped-{last}", 0
        with pytest.raises(Killed):
            build(source, folder)
        steps = -(10**9)
        for path in folder.glob("*.bin"):
            with open(path, "ab") as file:
                file.write(b"what was under way")
        chunks: list[Progress] = []
        build(source, folder, progress=chunks.append)
        assert contents(folder) == whole
        assert chunks == sorted(chunks) and (not chunks or chunks[-1].documents == len(TEXTS))
    assert len(chunks) <= 1  # the last time, nearly nothing was left to do
    assert "going on after 5" in capsys.readouterr().out


def test_lost_data_are_noticed(source: Path, tmp_path: Path, small_chunks: None, capsys: Any) -> None:
    def stop(progress: Progress) -> None:
        if progress.documents > 30:
            raise Killed

    with pytest.raises(Killed):
        build(source, tmp_path / "tokens", progress=stop)
    with pytest.raises(DataError, match=r"is not finished\n.*\n  tokenise\(\) makes it, or goes on with it"):
        TokenFile.open(tmp_path / "tokens")
    os.truncate(tmp_path / "tokens" / "train.ends.bin", 8)
    build(source, tmp_path / "tokens")
    assert "made anew, because train.ends.bin is damaged" in capsys.readouterr().out
    build(source, tmp_path / "whole")
    assert contents(tmp_path / "tokens") == contents(tmp_path / "whole")


BUILDER = """
import os, signal, sys
from importlib import import_module
from pullback.lm.tokenizer import Tokenizer
tokenise = import_module("pullback.lm.tokenise")
source, tokenizer, folder, chunks = sys.argv[1:]
tokenise.CHUNK = 300
def progress(now, left=[int(chunks)]):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
tokenise.tokenise(source, Tokenizer.load(tokenizer), folder, held_out=4, progress=progress)
"""


def builder(source: Path, tmp_path: Path, chunks: int) -> subprocess.Popen[str]:
    TOKENIZER.save(tmp_path / "tokenizer")
    paths = map(str, (source, tmp_path / "tokenizer", tmp_path / "tokens"))
    command = [sys.executable, "-c", BUILDER, *paths, str(chunks)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_killed_processes_leave_what_the_next_one_needs(source: Path, tmp_path: Path, small_chunks: None) -> None:
    for chunks in (2, 5, 0):
        process = builder(source, tmp_path, chunks)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == (-9 if chunks else 0), output
    assert "going on after" in output
    build(source, tmp_path / "whole")
    assert contents(tmp_path / "tokens") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_at_once(source: Path, tmp_path: Path, small_chunks: None) -> None:
    both = [builder(source, tmp_path, 0) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes, outputs
    refused = [output for code, output in zip(codes, outputs, strict=True) if code]
    assert all("another run is writing to" in output for output in refused)
    build(source, tmp_path / "whole")
    assert contents(tmp_path / "tokens") == contents(tmp_path / "whole")


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of this kind")
def test_one_run_at_a_time_writes_to_a_folder(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    build(source, folder)
    command = [sys.executable, "-c", HOLDER, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        build(source, folder, progress=forbidden)  # reading it needs no lock
        with pytest.raises(CheckpointError, match="another run is writing to"):
            build(source, folder, held_out=5)
        holder.communicate("")
    build(source, folder, held_out=5)


# -- showing it --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_chunks")
def test_progress_says_how_far_it_is(source: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    train, held_out = build(source, tmp_path / "tokens", progress=seen.append)
    assert len(seen) > 5 and seen == sorted(seen)
    size = sum(path.stat().st_size for path in source.iterdir())
    assert all(progress.read <= size == progress.size for progress in seen)
    assert seen[-1].documents == len(TEXTS) and seen[-1].tokens == len(train.tokens) + len(held_out.tokens)


@pytest.mark.parametrize("kind", [Lines, Bar])
@pytest.mark.usefixtures("small_chunks")
def test_it_is_shown(kind: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(kind, "every", 0.0)
    build(source, tmp_path / "tokens", progress=kind())
    shown = capsys.readouterr().out
    assert "tokenising" in shown and "100%" in shown and "60 documents" in shown and "tokens/s" in shown


def test_between_lines_there_is_time(source: Path, tmp_path: Path, small_chunks: None, capsys: Any) -> None:
    source_of(source, bad=False)
    build(source, tmp_path / "tokens", progress=None)
    assert capsys.readouterr().out == ""
