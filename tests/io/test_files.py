from __future__ import annotations

import io
import json
import os
import struct
from collections import Counter, OrderedDict, namedtuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.io.fakes import ADAPTER, TYPES, Device, Size, Tensor, same

from pullback.io import FormatError, files, safetensors


def save(obj, f) -> None:
    files.save(obj, f, adapter=ADAPTER)


def load(f, *args, **kwargs):
    return files.load(f, *args, adapter=ADAPTER, **kwargs)


def through(obj, **kwargs):
    """`obj`, saved and loaded."""
    file = io.BytesIO()
    save(obj, file)
    file.seek(0)
    return load(file, **kwargs)


arrays = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = plain | st.tuples(plain, plain)
values = (
    plain
    | st.binary(max_size=8)
    | st.floats(width=32).map(np.float32)
    | st.sampled_from([*TYPES.values(), Size((2, 3)), np.bool_(True), np.int8(-1), ml_dtypes.bfloat16(0.1)])
    | arrays
    | st.builds(Tensor, arrays, st.booleans(), st.booleans())
)
nests = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(OrderedDict)
        | st.sets(keys, max_size=3)
        | st.frozensets(keys, max_size=3)
    ),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(nests)
def test_any_nest_comes_back(obj) -> None:
    assert same(through(obj), obj)


def test_exact_values_come_back() -> None:
    obj = {
        "floats": [0.0, -0.0, float("nan"), float("inf"), -float("inf"), 5e-324, 0.1],
        "ints": [2**63 - 1, -(2**63), 2**63, -(2**5000), 0],
        "text": ["", "é\0\n", "\ud800\udc00", "\U00010000"],
        "counts": Counter({3: 2, 1: 0}),
        (1, (None, "a")): {True: 1.0, 2.5: b"\x00\xff", None: b""},
        "device": Device("cuda:1"),
    }
    assert same(through(obj), obj)
    point = namedtuple("point", "x y")
    assert same(through(point(1, [2])), (1, [2]))


def test_a_state_dict_keeps_its_names_for_other_readers(tmp_path) -> None:
    state = OrderedDict({"fc.weight": Tensor(np.ones((2, 2)), True, True), "fc.bias": Tensor(np.zeros(2), True, True)})
    save({"model": state, "step": 3}, tmp_path / "a")
    assert list(safetensors.read(tmp_path / "a")[0]) == ["model.fc.weight", "model.fc.bias"]
    save(state, tmp_path / "a")
    assert list(safetensors.read(tmp_path / "a")[0]) == ["fc.weight", "fc.bias"]


def test_names_that_collide_are_told_apart() -> None:
    obj = {
        "a": {"b": Tensor(1.0)},
        "a.b": Tensor(2.0),
        "a.b.2": Tensor(3.0),
        "__metadata__": Tensor(4.0),
        "\ud800": Tensor(5.0),
    }
    obj["set"] = {Tensor(6.0)}
    back = through(obj)
    (member,) = back.pop("set")
    assert member.array == 6 and same(back, {k: v for k, v in obj.items() if k != "set"})


def test_one_tensor_twice_is_one_tensor() -> None:
    tied = Tensor(np.arange(4.0), True, True)
    array, text = np.arange(3), b"state"
    back = through({"a": tied, "b": [tied], "c": array, "d": (array,), "e": text, "f": text})
    assert back["a"] is back["b"][0] and back["c"] is back["d"][0] and back["e"] is back["f"]


def test_views_share_memory_and_are_stored_once() -> None:
    base = np.arange(24.0).reshape(4, 6)
    obj = {
        "rows": Tensor(base[1:3]),
        "base": Tensor(base),
        "turned": Tensor(base.T),
        "reversed": Tensor(base[::-1, ::-2]),
        "same": Tensor(base, True, True),
        "bits": Tensor(base.view(np.int64)[0]),
        "expanded": Tensor(np.broadcast_to(base[:1, :1], (3, 2))),
        "alone": Tensor(np.arange(24.0).reshape(4, 6)[:, 1]),
        "empty": Tensor(base[:0]),
    }
    file = io.BytesIO()
    save(obj, file)
    file.seek(0)
    stored = safetensors.read(file)[0]
    assert {name: array.shape for name, array in stored.items()} == {"base": (4, 6), "alone": (4,), "empty": (0, 6)}
    back = through(obj)
    assert same(back, obj)
    back["base"].array[:] = -1.0
    assert all((back[k].array == -1).all() for k in ("rows", "turned", "reversed", "same", "expanded"))
    assert (back["bits"].array == np.array(-1.0).view(np.int64)).all()
    assert not (back["alone"].array == -1).any()


def test_overlapping_views_without_a_common_owner_share_what_they_show() -> None:
    secret = np.full(100, 7.0, np.float32)
    secret[10:14] = range(4)
    obj = [Tensor(secret[10:13]), Tensor(secret[11:14]), Tensor(secret[10:14:2].view(np.int32))]
    file = io.BytesIO()
    save(obj, file)
    assert struct.pack("<f", 7.0) not in file.getvalue()
    back = through(obj)
    assert same(back, obj)
    back[0].array[1:] = -1
    assert back[1].array.tolist() == [-1, -1, 3]


def test_views_of_one_memory_with_other_item_sizes_stay_aligned(tmp_path) -> None:
    memory = np.zeros(64, np.uint8)
    start = -memory.ctypes.data % 8
    obj = [
        Tensor(np.ones(3, np.uint8)),
        Tensor(memory[start + 3 : start + 20]),
        Tensor(memory[start + 8 : start + 16].view(np.float64)),
    ]
    save(obj, tmp_path / "a")
    for mmap in (False, True):
        back = load(tmp_path / "a", mmap=mmap)
        back[2].array[:] = 1.5
        assert back[1].array[5:13].tobytes() == struct.pack("<d", 1.5)


def test_bools_on_bytes_are_0_or_1() -> None:
    memory = np.array([0, 1, 2], np.uint8)
    back = through([Tensor(memory), Tensor(memory.view(np.bool_)[:2])])
    assert back[1].array.tolist() == [False, True]


def test_neighbours_in_one_buffer_are_stored_under_their_own_names(tmp_path) -> None:
    flat = np.arange(10.0)
    save({"w": Tensor(flat[:6].reshape(2, 3)), "b": Tensor(flat[6:])}, tmp_path / "a")
    found, _ = safetensors.read(tmp_path / "a")
    assert found["w"].shape == (2, 3) and found["b"].shape == (4,)


class Model:
    def state_dict(self): ...


class Text(str):
    pass


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            {"model": {"layers": [0, 1, 2, object()]}},
            r'^obj\["model"\]\["layers"\]\[3\]: a <class \'object\'> cannot be saved; ',
        ),
        (Model(), r"^obj: a .*Model'> cannot be saved; save its state_dict\(\)"),
        ({(1, "a"): [len]}, r"^obj\[\(1, 'a'\)\]\[0\]: "),
        ({"é": {1j}}, r'^obj\["é"\]{...}: a <class \'complex\'>'),
        ([Text("a")], r"convert it with str\(...\)"),
        ({"a": {b"k": 1}}, r'^obj\["a"\]: its key b\'k\', a <class \'bytes\'>'),
        ({("a", object): 1}, r"^obj: its key <class 'object'>"),
        ([slice(1)], "slice"),
        ([np.datetime64(1, "s")], "datetime64"),
        ([np.array(["a"])], r"^obj\[0\]: an array of <U1 cannot be saved"),
        ([np.ma.masked_array([1.0], [True])], "MaskedArray"),
        ([Tensor(np.ones(2, complex))], "complex128"),
        ([np.ones(2, ">f4")], ">f4"),
    ],
)
def test_what_cannot_be_saved_is_named_with_its_path(obj, message, tmp_path) -> None:
    with pytest.raises(TypeError, match=message):
        save(obj, tmp_path / "a")
    assert not os.listdir(tmp_path)


def test_a_container_in_itself_is_an_error() -> None:
    obj: list[object] = []
    obj.append({"a": obj})
    with pytest.raises(ValueError, match="does it contain itself"):
        save(obj, io.BytesIO())


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    save([1], tmp_path / "a")
    with pytest.raises(TypeError):
        save([object()], tmp_path / "a")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        save([2], tmp_path / "a")
    assert load(tmp_path / "a") == [1] and os.listdir(tmp_path) == ["a"]


def test_a_plain_safetensors_file_is_a_dict_of_tensors(tmp_path) -> None:
    safetensors.write(tmp_path / "a", {"x": np.arange(3), "y": np.ones(2)}, {"format": "pt"})
    for mmap in (None, True):
        back = load(str(tmp_path / "a"), mmap=mmap)
        assert same(back, {"x": Tensor(np.arange(3)), "y": Tensor(np.ones(2))})


def test_an_open_file_is_read_and_written(tmp_path) -> None:
    with open(tmp_path / "a", "wb") as file:
        save([Tensor(np.arange(3))], file)
    with open(tmp_path / "a", "rb") as file:
        assert same(load(file), [Tensor(np.arange(3))])
        file.seek(0)
        with pytest.raises(ValueError, match="needs a path"):
            load(file, mmap=True)


def test_a_mapped_file_can_be_saved_over(tmp_path) -> None:
    save([Tensor(np.arange(3))], tmp_path / "a")
    mapped = load(tmp_path / "a", mmap=True)
    save([mapped[0], 1], tmp_path / "a")
    assert same(load(tmp_path / "a"), [Tensor(np.arange(3)), 1]) and same(mapped, [Tensor(np.arange(3))])


@pytest.mark.parametrize("place", [None, "cpu", Device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage])
def test_tensors_load_to_the_cpu(place) -> None:
    assert through([1], map_location=place, weights_only=False) == [1]


def test_tensors_load_nowhere_else() -> None:
    with pytest.raises(ValueError, match="'cpu' only"):
        through([1], map_location="cuda:0")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x80\x04K\x01.", "bare pickle"),
        (b"hello, this is text", "unknown format"),
        (b"\x10\0\0\0\0\0\0\0{", "at least 10 bytes"),
    ],
)
def test_a_file_of_another_kind_is_an_error_with_its_name(data, message, tmp_path) -> None:
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(FormatError, match=rf"model\.bin: .*{message}"):
        load(tmp_path / "model.bin")


def described(structure: object, version: str = "1") -> io.BytesIO:
    file = io.BytesIO()
    text = structure if isinstance(structure, str) else json.dumps(structure)
    metadata = {"format": "pullback", "version": version, "structure": text}
    safetensors.write(file, {"x": np.arange(4.0)}, metadata)
    file.seek(0)
    return file


def leaf(**record: object) -> dict[str, object]:
    return {"tree": {"leaf": 0}, "leaves": [{"key": "x", "kind": "tensor", **record}]}


@pytest.mark.parametrize(
    "structure",
    [
        "{",
        "[" * 100_000,
        [],
        {"tree": 1},
        {"tree": {"leaf": 0}, "leaves": []},
        {"tree": {"unknown": 0}, "leaves": []},
        {"tree": {"a": 0, "b": 0}, "leaves": []},
        {"tree": {"dict": [[[], 1]]}, "leaves": []},
        {"tree": {"dict": 3}, "leaves": []},
        {"tree": {"scalar": ["F32", "00"]}, "leaves": []},
        {"tree": {"scalar": ["F99", "00000000"]}, "leaves": []},
        {"tree": {"dtype": "nothing"}, "leaves": []},
        {"tree": {"int": "x"}, "leaves": []},
        {"tree": 1, "leaves": [3]},
        leaf(key="y"),
        leaf(kind="code"),
        leaf(view=3),
        leaf(view=["F64", [5], [8], 0]),
        leaf(view=["F64", [2], [-8], 0]),
        leaf(view=["F64", [2], [2**62], 0]),
        leaf(view=["F64", [1], [8], 4]),
        leaf(view=["F64", ["2"], [8], 0]),
        leaf(view=["F64", 2, 8, 0]),
        leaf(view=["F99", [2], [8], 0]),
    ],
)
def test_a_hostile_description_is_refused(structure) -> None:
    with pytest.raises(FormatError, match=r"^BytesIO: "):
        load(described(structure))


def test_a_newer_version_asks_for_an_update() -> None:
    with pytest.raises(FormatError, match="update pullback"):
        load(described({"tree": 1, "leaves": []}, version="2"))
    assert load(described({"tree": 1, "leaves": []})) == 1
