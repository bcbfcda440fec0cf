"""Windows: every token is a label once, after the token that it follows."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pullback as torch
from pullback.data import DataLoader
from pullback.errors import ArgumentError, RangeError
from pullback.lm.tokenfile import TokenFile
from pullback.lm.windows import Windows, bits_per_byte

STEADY = settings(derandomize=True, deadline=None)

END = 0


def file_of(folder: Path, documents: list[list[int]], size: int = 1) -> TokenFile:
    """A token file of these tokens, as `tokenise` would write it; each document has `size` bytes."""
    tokens = [END, *(token for document in documents for token in (*document, END))]
    ends = np.cumsum([len(document) + 1 for document in documents])
    counts = {"documents": len(documents), "bytes": len(documents) * size, "tokens": len(tokens)}
    np.array(tokens, "<u2").tofile(folder / "train.tokens.bin")
    np.array(ends, "<i8").tofile(folder / "train.ends.bin")
    (folder / "meta.json").write_text(
        f'{{"done": true, "dtype": "<u2", "splits": {{"train": {counts}}}}}'.replace("'", '"')
    )
    return TokenFile.open(folder)


@pytest.fixture
def three(tmp_path: Path) -> TokenFile:
    return file_of(tmp_path, [[11, 12, 13], [21], [31, 32, 33, 34, 35, 36]])


def lists(windows: Windows) -> list[list[list[int]]]:
    return [[part.tolist() for part in windows[i]] for i in range(len(windows))]


def test_packed_documents_lie_end_to_end(three: TokenFile) -> None:
    assert lists(Windows(three, 5)) == [
        [[END, 11, 12, 13, END], [11, 12, 13, END, 21]],
        [[21, END, 31, 32, 33], [END, 31, 32, 33, 34]],
        [[34, 35, 36, END, END], [35, 36, END, -100, -100]],
    ]


def test_otherwise_each_has_windows_of_its_own(three: TokenFile) -> None:
    assert lists(Windows(three, 4, packed=False)) == [
        [[END, 11, 12, 13], [11, 12, 13, END]],
        [[END, 21, END, END], [21, END, -100, -100]],
        [[END, 31, 32, 33], [31, 32, 33, 34]],
        [[34, 35, 36, END], [35, 36, END, -100]],
    ]


def test_segments_number_the_documents_of_a_window(three: TokenFile) -> None:
    packed = Windows(three, 5, segments=True)
    assert [part[2] for part in lists(packed)] == [[0, 0, 0, 0, 1], [0, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
    alone = Windows(three, 4, packed=False, segments=True)
    assert [part[2] for part in lists(alone)] == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]]


documents = st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=8)


@STEADY
@given(documents, st.integers(1, 15), st.booleans())
def test_every_token_is_a_label_once_after_the_one_before(several: list[list[int]], length: int, packed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = file_of(Path(folder), several)
        windows = Windows(file, length, packed=packed, segments=True)
        pairs, filled = [], 0
        for inputs, labels, segments in lists(windows):
            assert len(inputs) == len(labels) == len(segments) == length
            kept = [label for label in labels if label != -100]
            assert kept and labels[: len(kept)] == kept  # what is left of a window is at its end
            pairs += list(zip(inputs, kept, strict=False))
            filled += length - len(kept)
            turns = [inputs[i] == END for i in range(1, length)]  # a document begins with the end token before it
            if length == len(kept):
                assert np.diff(segments).tolist() == turns and segments[0] == 0
        tokens = file.tokens.tolist()
        assert pairs == list(pairwise(tokens))
        assert file.labels == len(pairs)
        if packed:
            assert filled < length and len(windows) == -(-file.labels // length)
        else:
            assert len(windows) == sum(-(-(len(document) + 1) // length) for document in several)


@STEADY
@given(documents, st.integers(1, 6), st.booleans(), st.data())
def test_batches_are_their_windows(several: list[list[int]], length: int, packed: bool, data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        windows = Windows(file_of(Path(folder), several), length, packed=packed, segments=True)
        indices = data.draw(st.lists(st.integers(-len(windows), len(windows) - 1), max_size=5))
        batch = windows.__getitems__(indices)
        assert len(batch) == len(indices)
        assert all(column.dtype == torch.int64 and column.shape == (len(indices), length) for column in batch.columns)
        rows = [[column[i].tolist() for column in batch.columns] for i in range(len(indices))]
        assert rows == [[part.tolist() for part in windows[i]] for i in indices]


def batches(loader: DataLoader) -> Iterator[Any]:
    return ([part.tolist() for part in batch] for batch in loader)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_takes_them_and_goes_on_where_it_was(tmp_path: Path, workers: int) -> None:
    file = file_of(tmp_path, [list(range(1, n)) for n in range(1, 30)])
    windows = Windows(file, 7)

    def loader(generator: torch.Generator) -> DataLoader:
        return DataLoader(windows, batch_size=4, shuffle=True, num_workers=workers, generator=generator)

    first = loader(torch.Generator().manual_seed(1))
    passing = batches(first)
    begun = [next(passing) for _ in range(3)]
    state = first.state_dict()
    rest = list(passing)
    seen = [tuple(row) for inputs, _ in begun + rest for row in inputs]
    assert sorted(seen) == sorted(tuple(inputs) for inputs, _ in lists(windows)) and len(seen) == len(windows)
    again = loader(torch.Generator())
    again.load_state_dict(state)
    assert list(batches(again)) == rest


def test_nothing_gives_no_windows(tmp_path: Path) -> None:
    file = file_of(tmp_path, [])
    for packed in (True, False):
        windows = Windows(file, 4, packed=packed)
        assert len(windows) == 0
        with pytest.raises(RangeError, match="there is no window 0: there are 0"):
            windows[0]


def test_what_is_no_window(three: TokenFile) -> None:
    with pytest.raises(ArgumentError, match="windows of 0 tokens"):
        Windows(three, 0)
    with pytest.raises(RangeError, match="there is no window 3: there are 3"):
        Windows(three, 5)[3]
    with pytest.raises(TypeError):
        Windows(three, 5)[1.5]  # type: ignore[index]


def test_bits_per_byte(tmp_path: Path) -> None:
    file = file_of(tmp_path, [[1, 2, 3], [4]], size=12)  # 6 labels for 24 bytes
    assert math.isclose(bits_per_byte(math.log(16), file), 6 * 4 / 24)
    with pytest.raises(ArgumentError, match="no text"):
        bits_per_byte(1.0, file_of(tmp_path, []))


def test_a_uniform_byte_model_needs_eight_bits_and_the_end_tokens(tmp_path: Path) -> None:
    """One token for each byte: 8 bits for each, and 8 more for each document's end."""
    text = list(b"a document")
    file = file_of(tmp_path, [text] * 5, size=len(text))
    assert math.isclose(bits_per_byte(math.log(256), file), 8 * (len(text) + 1) / len(text))
