"""Documents in files of all kinds, and what is none."""

from __future__ import annotations

import gzip
import json
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.lm.documents import DataError, Document, Documents, Problems

STEADY = settings(derandomize=True, deadline=None)


def texts(documents: Documents) -> list[str]:
    return [document.text for document in documents]


def jsonl(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# -- kinds of files ----------------------------------------------------------------------------------------------------


def test_each_line_of_a_jsonl_file_is_a_document(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": "one\ntwo"}, {"text": "", "n": 1}, {"n": 2, "text": "Grüße\u2028🙂"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b'\r\n\n{"text": "last"}')
    documents = Documents(path)
    assert texts(documents) == ["one\ntwo", "Grüße\u2028🙂", "last"]
    assert [document.place for document in documents] == [(0, 1), (0, 3), (0, 6)]
    assert documents.problems.count == 0 and documents.problems.text() == ""


def test_its_key_can_be_another_one(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"content": "one", "text": "two"})
    assert texts(Documents(path, key="content")) == ["one"]


def test_a_text_file_is_one_document_or_several_between_end_tokens(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\n\r\n<|endoftext|> is in it\r\n")
    assert texts(Documents(path)) == ["one\r\n\r\n<|endoftext|> is in it\r\n"]
    path.write_bytes(b"\xef\xbb\xbf<|endoftext|>\none\n\n <|endoftext|>\r\n<|endoftext|>\n two\n<|endoftext|>")
    documents = Documents(path)
    assert texts(documents) == ["one\n\n", " two\n"]
    assert [document.place for document in documents] == [(0, 2), (0, 6)]


def test_rows_of_a_parquet_file(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [f"text {i} 🙂" for i in range(5000)]
    rows[7], rows[8] = "", None
    table = arrow.table({"n": list(range(5000)), "text": rows})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1500)
    large = table.set_column(1, "text", table["text"].cast(arrow.large_string()))
    parquet.write_table(large, tmp_path / "b.parquet")
    documents = Documents([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    whole = rows[:7] + rows[9:]
    assert texts(documents) == whole + whole
    assert documents.problems.first == [f"{tmp_path / name}:9: no text: null" for name in ("a.parquet", "b.parquet")]
    assert [d.text for d in documents.after((0, 4000))] == rows[4000:] + whole
    with pytest.raises(DataError, match=r"no column of texts called 'n'\n.*\n  its columns are n \(int64\), text"):
        texts(Documents(tmp_path / "a.parquet", key="n"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(DataError, match="cannot be read"):
        texts(documents)


def test_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n{"text": "two"}\n'))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"three\n"))
    assert texts(Documents(tmp_path)) == ["one", "two", "three\n"]
    whole = (tmp_path / "a.jsonl.gz").read_bytes()
    for damaged in (whole[:-9], whole[:12] + b"\xff\xff" + whole[14:], b"no archive"):
        (tmp_path / "a.jsonl.gz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"a.jsonl.gz cannot be read: .*\n.*\n  mend it"):
            texts(Documents(tmp_path))


def test_zstandard_files(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    data = b'{"text": "one"}\n' * 5000 + b'{"text": "two"}\n'
    (tmp_path / "a.jsonl.zst").write_bytes(arrow.compress(data, "zstd", asbytes=True))
    found = texts(Documents(tmp_path))
    assert found == ["one"] * 5000 + ["two"]
    (tmp_path / "a.jsonl.zst").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"a.jsonl.zst cannot be read"):
        texts(Documents(tmp_path))


# -- sources -----------------------------------------------------------------------------------------------------------


def folder_of(tmp_path: Path) -> Path:
    for name in ("b/2.txt", "b/10.txt", "a.txt", "c.md", "d.bin", ".hidden/e.txt", "b/.f.txt", "g.c"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    documents = Documents(folder_of(tmp_path))
    assert texts(documents) == ["a.txt", "b/10.txt", "b/2.txt", "c.md"]
    assert texts(Documents(tmp_path, suffixes=[".c", ".md"])) == ["c.md", "g.c"]


def test_several_sources_in_the_order_given_and_each_file_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    documents = Documents([folder / "c.md", str(folder / "b"), folder])
    assert texts(documents) == ["c.md", "b/10.txt", "b/2.txt", "a.txt"]
    assert documents.size == documents.read == sum(map(len, texts(documents)))


def test_the_standard_library() -> None:
    root = Path(sysconfig.get_path("stdlib")).resolve()
    documents = Documents("stdlib")
    names = [path.relative_to(root) for path in documents.files]
    assert names == sorted(names, key=lambda name: name.parts)
    assert Path("json/decoder.py") in names and not any("site-packages" in name.parts for name in names)
    first = next(iter(documents))
    assert first.data == first.path.read_bytes()
    number = names.index(Path("json/decoder.py"))
    assert next(documents.after((number - 1, 10**9))).data == (root / "json/decoder.py").read_bytes()


def test_the_standard_librarys_files_of_other_encodings_are_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("a = 1\n")
    (tmp_path / "b.py").write_bytes(b"# coding: latin-1\n'\xe9'\n")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "c.py").write_text("c = 1\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    documents = Documents("stdlib")
    assert texts(documents) == ["a = 1\n"] and documents.problems.count == 0


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no .*nowhere\n.*\n  name a file, a folder, or \"stdlib\""):
        Documents(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nothing to read in an empty list"):
        Documents([])
    with pytest.raises(DataError, match=r"nothing to read in .*\n.*\n  what is read: .jsonl .ndjson .parquet .txt"):
        Documents(tmp_path)
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"none of the kinds .*\n.*\n  .*name its suffix in suffixes="):
        Documents(tmp_path / "a.csv")


# -- problems ----------------------------------------------------------------------------------------------------------

BAD = [
    (b'{"text": "cut', "not JSON: Unterminated string starting at, character 9"),
    (b"[1, 2]", "no 'text': it is no object"),
    (b'{"content": "one"}', "no 'text': its keys are 'content'"),
    (b'{"text": 5}', "its 'text' is of type int, not a text"),
    (b'{"text": null}', "its 'text' is of type NoneType, not a text"),
    (b'{"text": "\xff"}', "not UTF-8: byte 0xff"),
    (b'{"text": "a\\ud800"}', "its 'text' has half of a surrogate pair at character 1"),
    (b"[" * 100_000, "not JSON that can be read: "),
]


def test_lines_that_are_no_document_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b'{"text": "good"}\n' + line + b"\n" for line, _ in BAD))
    documents = Documents(path)
    for _ in range(2):  # counted anew each time
        assert texts(documents) == ["good"] * len(BAD)
        assert documents.problems.count == len(BAD)
    for i, (problem, (_, reason)) in enumerate(zip(documents.problems.first, BAD, strict=True)):
        assert problem.startswith(f"{path}:{2 * i + 2}: {reason}")


def test_a_text_that_is_no_utf8_is_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n<|endoftext|>\ntwo\nthr\xe9e\n<|endoftext|>\nfour\n")
    documents = Documents(tmp_path)
    assert texts(documents) == ["one\n", "four\n"]
    assert documents.problems.first == [f"{tmp_path / 'a.txt'}:4: not UTF-8: byte 0xe9"]


def test_no_document_at_all_is_an_error(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"content": "one"}, {"content": "two"})
    with pytest.raises(DataError, match=r"there is no text in .*a.jsonl(.|\n)*a.jsonl:1: no 'text': its keys are"):
        texts(Documents(path))
    path.write_bytes(b"\n\n")
    with pytest.raises(DataError, match="there is no text in"):
        texts(Documents(path))


def test_only_the_first_problems_are_kept() -> None:
    problems = Problems()
    for line in range(1, 1001):
        problems.add(Path("a"), line, "bad")
    lines = problems.text(most=2).splitlines()
    assert lines == ["left out, because they cannot be read: 1000", "a:1: bad", "a:2: bad", "... and 998 more"]
    assert len(problems.first) == 100


# -- going on, and holding out -----------------------------------------------------------------------------------------


def test_documents_after_any_of_them(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", *({"text": f"line {i}"} if i % 3 else {} for i in range(10)))
    (tmp_path / "b.txt").write_bytes(b"<|endoftext|>\none\n<|endoftext|>\ntwo\n<|endoftext|>\n")
    (tmp_path / "c.txt").write_bytes(b"three\n")
    documents = Documents(tmp_path)
    whole = list(documents)
    assert documents.problems.count == 4
    for i, document in enumerate(whole):
        assert list(documents.after(document.place)) == whole[i + 1 :]
        assert documents.read == documents.size


def document(text: str, place: tuple[int, int] = (0, 1)) -> Document:
    return Document(text.encode(), Path("a"), place)


@STEADY
@given(st.text(), st.integers(1, 5))
def test_the_text_alone_decides_what_is_held_out(text: str, one_in: int) -> None:
    assert document(text).held_out(one_in) == document(text, (7, 7)).held_out(one_in)
    assert document(text).held_out(1) and not document(text).held_out(0)


def test_of_many_documents_about_one_in_so_many_is_held_out() -> None:
    held = [i for i in range(10_000) if document(f"text {i}").held_out(50)]
    assert 150 < len(held) < 250
    assert held[:7] == [109, 170, 178, 199, 223, 275, 278]  # on every machine, and in every version


def test_identity_changes_with_the_files(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": "one"})
    before = Documents(tmp_path).identity()
    assert Documents(path).identity() == before == json.loads(json.dumps(before))
    assert Documents(tmp_path, key="other").identity() != before
    jsonl(path, {"text": "other"})
    assert Documents(path).identity() != before
