from __future__ import annotations

import io
import json
import os
import stat
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pullback.io import FormatError, binary, safetensors
from pullback.io.safetensors import DTYPES


def raw(header: object, data: bytes = b"", length: int | None = None) -> io.BytesIO:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(struct.pack("<Q", len(text) if length is None else length) + text + data)


def entry(dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_the_bytes_are_those_of_the_format() -> None:
    file = io.BytesIO()
    safetensors.write(file, {"b": np.array([1, 2], np.uint8), "a": np.array(1.5, np.float32)}, {"k": "v"})
    data = file.getvalue()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length]) == {
        "__metadata__": {"k": "v"},
        "b": {"dtype": "U8", "shape": [2], "data_offsets": [4, 6]},  # the wider item comes first
        "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
    }
    assert data[8 + length :] == struct.pack("<f", 1.5) + b"\x01\x02"


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("mmap", [False, True])
def test_every_dtype_comes_back(name, mmap, tmp_path) -> None:
    bits = np.random.default_rng(0).integers(0, 256, 6 * DTYPES[name].itemsize, np.uint8)
    array = (bits % 2 if name == "BOOL" else bits).view(DTYPES[name]).reshape(2, 3)
    arrays = {"odd": np.ones(3, np.uint8), "x": array, "0d": array[0, 0, ...], "none": array[:0], "t": array.T[::-1]}
    safetensors.write(tmp_path / "a", arrays)
    found, metadata = safetensors.read(tmp_path / "a", mmap=mmap)
    assert metadata == {} and list(found) == list(arrays)
    for key, array in arrays.items():
        a = found[key]
        assert (a.dtype, a.shape, a.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert a.flags.writeable and a.flags.aligned and a.flags.c_contiguous


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda s: s != "__metadata__"),
        hnp.arrays(
            st.sampled_from([np.float64, np.float16, np.int8, np.bool_]), hnp.array_shapes(min_dims=0, min_side=0)
        ),
        max_size=5,
    )
)
def test_any_arrays_come_back(arrays) -> None:
    file = io.BytesIO()
    safetensors.write(file, arrays)
    file.seek(0)
    found, _ = safetensors.read(file)
    assert list(found) == list(arrays)
    for key, array in arrays.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        assert found[key].tobytes() == array.tobytes()


def test_writing_to_a_mapped_array_leaves_the_file(tmp_path) -> None:
    safetensors.write(tmp_path / "a", {"x": np.zeros(4)})
    safetensors.read(tmp_path / "a", mmap=True)[0]["x"][:] = 1
    assert not safetensors.read(tmp_path / "a")[0]["x"].any()


def test_mapping_needs_a_path() -> None:
    with pytest.raises(ValueError, match="needs a path"):
        safetensors.read(raw({}), mmap=True)


def test_an_unaligned_file_of_others_is_read(tmp_path) -> None:
    data = b"\x01" + struct.pack("<d", 2.5)
    (tmp_path / "a").write_bytes(raw({"b": entry("U8", [1], [0, 1]), "x": entry("F64", [1], [1, 9])}, data).getvalue())
    for mmap in (False, True):
        x = safetensors.read(tmp_path / "a", mmap=mmap)[0]["x"]
        assert x == 2.5 and x.flags.aligned


def test_a_bool_is_0_or_1() -> None:
    x = safetensors.read(raw({"x": entry("BOOL")}, b"\x00\x01\x02\xff"))[0]["x"]
    assert x.tobytes() == b"\x00\x01\x01\x01"


def test_reading_starts_where_the_file_stands() -> None:
    file = io.BytesIO(b"prefix" + raw({"x": entry()}, b"abcd").getvalue())
    file.seek(6)
    assert safetensors.read(file)[0]["x"].tobytes() == b"abcd"


def test_a_stream_that_cannot_seek_is_read() -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert safetensors.read(Stream(raw({"x": entry()}, b"abcd").getvalue()))[0]["x"].tobytes() == b"abcd"


HOSTILE = {
    "empty": (io.BytesIO(b""), "at least 10 bytes"),
    "short": (io.BytesIO(b"\x02\0\0\0\0\0\0\0{"), "at least 10 bytes"),
    "length past the end": (raw({}, length=100), "the header claims 100 bytes"),
    "huge length": (raw({}, length=2**64 - 1), "the header claims"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not valid JSON"),
    "not JSON": (raw(b"{,}"), "not valid JSON"),
    "deep JSON": (raw(b"[" * 100_000), "not valid JSON"),
    "NaN": (raw(b'{"x": NaN}'), "not valid JSON"),
    "not an object": (raw([1, 2, 3]), "not a JSON object"),
    "duplicate name": (raw(b'{"x": 1, "x": 2}'), "a key appears twice"),
    "duplicate field": (raw(b'{"x": {"dtype": "U8", "dtype": "I8"}}'), "a key appears twice"),
    "metadata not strings": (raw({"__metadata__": {"a": 1}}), "map from strings to strings"),
    "metadata a list": (raw({"__metadata__": []}), "map from strings to strings"),
    "record not an object": (raw({"x": 3}), "needs exactly"),
    "record incomplete": (raw({"x": {"dtype": "U8", "shape": []}}), "needs exactly"),
    "unknown dtype": (raw({"x": entry("F8_E4M3")}, b"abcd"), "F8_E4M3"),
    "dtype not text": (raw({"x": entry([])}, b"abcd"), r"has dtype \[\]"),
    "negative size": (raw({"x": entry(shape=[-4])}, b"abcd"), "lists of sizes"),
    "boolean size": (raw({"x": entry(shape=[4, True])}, b"abcd"), "lists of sizes"),
    "fractional size": (raw({"x": entry(shape=[4.0])}, b"abcd"), "lists of sizes"),
    "too many dimensions": (raw({"x": entry(shape=[4, *[1] * 64])}, b"abcd"), "lists of sizes"),
    "overflowing size": (raw({"x": entry(shape=[0, 2**64], offsets=[0, 0])}), "lists of sizes"),
    "size NumPy has not": (raw({"x": entry("F64", [0, 2**62], [0, 0])}), "has shape"),
    "three offsets": (raw({"x": entry(offsets=[0, 2, 4])}, b"abcd"), "lists of sizes"),
    "negative offset": (raw({"x": entry(offsets=[-4, 0])}, b"abcd"), "lists of sizes"),
    "reversed offsets": (raw({"x": entry(offsets=[4, 0])}, b"abcd"), "does not fit its data_offsets"),
    "wrong size": (raw({"x": entry(shape=[5])}, b"abcde"), "does not fit its data_offsets"),
    "past the end": (raw({"x": entry()}, b"abc"), "ends at byte 4 of 3"),
    "overlap": (raw({"x": entry(), "y": entry(shape=[3], offsets=[2, 5])}, b"abcde"), "overlaps"),
    "same bytes twice": (raw({"x": entry(), "y": entry()}, b"abcd"), "overlaps"),
    "gap": (raw({"x": entry(offsets=[1, 5])}, b"abcde"), "bytes 0 to 1 before 'x' belong to no array"),
    "trailing bytes": (raw({"x": entry()}, b"abcdef"), "2 bytes after the last array"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("mmap", [False, True])
def test_a_hostile_file_is_refused(case, mmap, tmp_path) -> None:
    file, message = HOSTILE[case]
    (tmp_path / "a").write_bytes(file.getvalue())
    with pytest.raises(FormatError, match=message):
        safetensors.read(tmp_path / "a", mmap=mmap)


def test_what_cannot_be_written_is_named() -> None:
    file = io.BytesIO()
    with pytest.raises(TypeError, match="'z': safetensors has no complex128"):
        safetensors.write(file, {"z": np.ones(2, complex)})
    with pytest.raises(ValueError, match="rename"):
        safetensors.write(file, {"__metadata__": np.ones(2)})
    with pytest.raises(ValueError, match="over the format's"):
        safetensors.write(file, {}, {"x": "y" * 100_000_001})
    assert not file.getvalue()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a"
    safetensors.write(path, {"x": np.arange(3)})
    before = path.read_bytes()

    def write_half() -> None:
        with binary.writing(path) as file:
            file.write(b"half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            safetensors.write(path, {"x": np.arange(4)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]


def test_replacing_a_file_keeps_its_mode_and_its_links(tmp_path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    safetensors.write(path, {})
    os.chmod(path, 0o640)
    link.symlink_to(path)
    safetensors.write(link, {"x": np.arange(3)})
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(safetensors.read(path)[0]) == ["x"]


def test_a_device_is_written_to_not_replaced() -> None:
    safetensors.write(os.devnull, {"x": np.arange(3)})
    assert not os.path.isfile(os.devnull)


def test_only_paths_and_binary_files_are_taken(tmp_path) -> None:
    with pytest.raises(TypeError, match="'wb'"):
        safetensors.write(io.StringIO(), {})
    with pytest.raises(TypeError, match="'rb'"):
        safetensors.read(io.StringIO())
    with pytest.raises(FileNotFoundError, match="make it first"):
        safetensors.write(tmp_path / "missing" / "a", {})


def test_a_view_never_leaves_its_block() -> None:
    block, f32 = np.arange(16, dtype=np.uint8), np.dtype(np.float32)
    assert binary.strided(block, f32, (2, 2), (4, 8), 0).shape == (2, 2)
    assert binary.strided(block, f32, (4,), (-4,), 12).base is block
    cases = [
        ((5,), (4,), 0),
        ((4,), (4,), 4),
        ((2,), (-4,), 0),
        ((2,), (2**62,), 0),
        ((3,), (2**63,), 0),
        ((1,), (4,), -4),
    ]
    for shape, strides, offset in cases:
        with pytest.raises(FormatError):
            binary.strided(block, f32, shape, strides, offset)
    with pytest.raises(FormatError, match="multiple"):
        binary.strided(block, f32, (1,), (4,), 2)
    with pytest.raises(FormatError, match="do not describe"):
        binary.strided(block, f32, (1,), (4, 4), 0)
    with pytest.raises(FormatError, match="do not describe"):
        binary.strided(block, f32, (True,), (4,), 0)
