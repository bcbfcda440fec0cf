from __future__ import annotations

import contextlib
import io
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tests.io.fakes import ADAPTER, TYPES, Device, Size, Tensor, same

from pullback.io import FormatError, RefusedError, files, torch_files

FIXTURES = Path(__file__).parent / "fixtures"


def load(file, **kwargs):
    return files.load(file, adapter=ADAPTER, **kwargs)


# Files that PyTorch wrote: see fixtures/make.py.


def test_a_checkpoint_of_pytorch() -> None:
    found = load(FIXTURES / "checkpoint.pt")
    weight = np.arange(6, dtype=np.float32).reshape(2, 3) / 4
    model = OrderedDict(
        [
            ("fc.weight", Tensor(weight, True, True)),
            ("head.weight", Tensor(weight, True, True)),
            ("half", Tensor(np.array([1.5, -2.0], ml_dtypes.bfloat16))),
        ]
    )
    optimizer = {
        "state": {0: {"step": Tensor(np.float32(3.0)), "exp_avg": Tensor(weight.T)}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "maximize": False, "foreach": None, "params": [0]}],
    }
    plain = {"dtype": TYPES["float16"], "size": Size([2, 3]), "device": Device("cpu"), "seen": {1, 2}}
    milestones = Counter([30, 80, 80])
    expected = {
        "model": model,
        "optimizer": optimizer,
        "loss": np.float64(0.25),
        "milestones": milestones,
        "plain": plain,
    }
    assert same(found, expected)
    assert found["model"]["fc.weight"] is found["model"]["head.weight"]
    assert found["optimizer"]["state"][0]["exp_avg"].array.strides == (4, 12)


def test_a_legacy_file_of_pytorch() -> None:
    found = load(FIXTURES / "legacy.pt")
    base = np.arange(12)
    views = [base, base[2:11:3], base.reshape(3, 4).T, np.zeros((2, 1), np.int64), np.zeros((0, 3), np.float32)]
    kinds = [np.array([1, 0, 3]).astype(kind) for kind in (np.float16, np.float64, np.uint8, np.bool_)]
    assert same(found, [*map(Tensor, views + kinds), 2**70, b"bytes"])
    found[0].array[:] = -1
    assert all((tensor.array == -1).all() for tensor in found[:4])


@pytest.mark.parametrize("name", ["checkpoint.pt", "legacy.pt"])
def test_what_was_loaded_from_pytorch_can_be_saved(name) -> None:
    found = load(FIXTURES / name)
    file = io.BytesIO()
    files.save(found, file, adapter=ADAPTER)
    file.seek(0)
    assert same(load(file), found)


def test_an_open_file_is_read_from_where_it_stands() -> None:
    for name in ("checkpoint.pt", "legacy.pt"):
        file = io.BytesIO(b"prefix" + (FIXTURES / name).read_bytes())
        file.seek(6)
        assert same(load(file), torch_files.read_pt(FIXTURES / name, ADAPTER))


# Pickles and archives by hand. A function or class is GLOBAL, a call is MARK arguments TUPLE REDUCE.


def const(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def name(full: str) -> bytes:
    module, _, attribute = full.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def call(function: str | bytes, *args: bytes) -> bytes:
    return (name(function) if isinstance(function, str) else function) + b"(" + b"".join(args) + b"tR"


def storage(kind: str = "torch.FloatStorage", key: object = "0", count: object = 4) -> bytes:
    return b"(" + const("storage") + name(kind) + const(key) + const("cpu") + const(count) + b"tQ"


def tensor(at: bytes, offset: object = 0, size: object = (4,), stride: object = (1,), *rest: bytes) -> bytes:
    tail = rest or (const(False), call("collections.OrderedDict"))
    return call("torch._utils._rebuild_tensor_v2", at, const(offset), const(size), const(stride), *tail)


FOUR = np.arange(4, dtype=np.float32)


def archive(body: bytes, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as zipped:
        for key, data in {"data.pkl": b"\x80\x02" + body + b".", "data/0": FOUR.tobytes(), **entries}.items():
            if data is not None:
                zipped.writestr(key.removeprefix("../") if key.startswith("../") else f"archive/{key}", data)
    file.seek(0)
    return file


def stream(body: bytes, keys: object = ("0",), data: bytes | None = None, version: int = 1001) -> io.BytesIO:
    head = [0x1950A86A20F9469CFC6C, version, {"little_endian": True}]
    pickles = [*(pickle.dumps(value, 2) for value in head), b"\x80\x02" + body + b".", pickle.dumps(list(keys), 2)]
    return io.BytesIO(b"".join(pickles) + (struct.pack("<q", 4) + FOUR.tobytes() if data is None else data))


def test_a_file_by_hand() -> None:
    assert same(load(archive(tensor(storage()))), Tensor(FOUR))
    assert same(load(stream(tensor(b"(" + storage()[1:-2] + const(None) + b"tQ"))), Tensor(FOUR))
    old_view = b"(" + storage()[1:-2] + const(("1", 1, 2)) + b"tQ"
    assert same(load(stream(tensor(old_view, 0, (2,)))), Tensor(FOUR[1:3]))


def test_a_big_endian_file() -> None:
    swapped = FOUR.astype(">f4").tobytes()
    two = const([]) + b"(" + tensor(storage()) + tensor(storage(), 1, (2,)) + b"e"
    found = load(archive(two, **{"byteorder": b"big", "data/0": swapped}))
    assert same(found, [Tensor(FOUR), Tensor(FOUR[1:3])])


def test_older_and_rarer_tensors() -> None:
    assert same(
        load(archive(call("torch._utils._rebuild_tensor", storage(), const(1), const((2,)), const((1,))))),
        Tensor(FOUR[1:3]),
    )
    untyped = storage("torch.storage.UntypedStorage", count=16)
    arguments = const(0), const((2,)), const((3,)), const(True), const(None), name("torch.uint32")
    bits = FOUR.view(np.uint32)[::3]
    assert same(load(archive(call("torch._utils._rebuild_tensor_v3", untyped, *arguments))), Tensor(bits, True))
    plain = b"(" + storage() + const(0) + const((4,)) + const((1,)) + b"t"
    subclass = call(
        "torch._tensor._rebuild_from_type_v2",
        name("torch._utils._rebuild_tensor_v2"),
        name("torch.Tensor"),
        plain,
        const({"a": 1}),
    )
    assert same(load(archive(subclass)), Tensor(FOUR))
    parameter = call(
        "torch._utils._rebuild_parameter_with_state", tensor(storage()), const(True), const(None), const({"a": 1})
    )
    assert same(load(archive(parameter)), Tensor(FOUR, True, True))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_data_in_any_protocol(protocol) -> None:
    values = [None, True, 1, -(2**80), 0.5, "é", b"\xff", b"", {"a": (1, 2)}, {3}, frozenset({4}), OrderedDict(a=1), 2j]
    arrays = [
        np.float32(0.1),
        np.int64(7),
        np.bool_(True),
        np.arange(6).reshape(2, 3),
        np.ones((2, 3), order="F"),
        np.array(3),
    ]
    obj = [*values, *(arrays if protocol < 5 else arrays[:3])]  # PyTorch's default is 2
    data = pickle.dumps(obj, protocol)
    assert same(load(archive(b"", **{"data.pkl": data})), obj)
    if protocol < 3:
        old = data.replace(b"numpy._core", b"numpy.core")
        assert same(load(archive(b"", **{"data.pkl": old})), obj)


def test_an_array_met_twice_is_one() -> None:
    array = np.arange(3)
    first, second = load(archive(const([array, array])))
    assert first is second and same(first, array)


class Shell:
    def __reduce__(self):
        return __import__("os").system, ("touch it_ran",)


class Evaluation:
    def __reduce__(self):
        return eval, ("open('it_ran', 'w')",)


MALICIOUS = {
    "os.system": (const(Shell()), r"(posix|nt)\.system"),
    "eval": (const(Evaluation()), r"builtins\.eval"),
    "stack global": (pickle.dumps(Shell(), 4)[2:-1], r"(posix|nt)\.system"),
    "a getter": (name("operator.attrgetter"), r"operator\.attrgetter"),
    "a submodule's function": (name("torch._utils.os.system"), r"torch\._utils\.os\.system"),
    "a dotted name": (const("torch")[:-2] + const("storage.os.system")[:-2] + b"\x93", "torch.storage.os.system"),
    "INST": (b"(Vtouch it_ran\nios\nsystem\n", "in a way torch.save does not"),
    "OBJ": (b"(" + name("collections.OrderedDict") + b"o", "in a way torch.save does not"),
    "NEWOBJ": (name("collections.OrderedDict") + b")\x81", "in a way torch.save does not"),
    "EXT": (b"\x82\x01", "in a way torch.save does not"),
    "attributes of a function": (
        name("torch._utils._rebuild_tensor_v2") + const({"call": 1}) + b"b",
        "sets the attributes",
    ),
    "slots of a function": (name("collections.OrderedDict") + const((None, {"call": 1})) + b"b", "sets the attributes"),
    "attributes of a tensor": (tensor(storage()) + const({"array": 1}) + b"b", "sets the attributes"),
    "state of an array": (storage() + const((1, (9,), None, False, b"")) + b"b", "sets the attributes"),
    "a class": (name("torch.nn.modules.linear.Linear"), r"torch\.nn\.modules\.linear\.Linear"),
}


@pytest.mark.parametrize("case", MALICIOUS)
@pytest.mark.parametrize("pack", [archive, stream])
def test_a_file_that_would_run_code_is_refused(case, pack, tmp_path, monkeypatch) -> None:
    body, message = MALICIOUS[case]
    if pack is stream:
        body = body.replace(storage(), storage()[:-2] + const(None) + b"tQ")
    monkeypatch.chdir(tmp_path)
    for weights_only in (True, False):
        with pytest.raises(RefusedError, match=message) as error:
            load(pack(body), weights_only=weights_only)
        assert isinstance(error.value, pickle.UnpicklingError) and "could run code" in str(error.value)
    assert not list(tmp_path.iterdir())


MALFORMED = {
    "calls a string": (call(const("os.system"), const("x")), "not a function"),
    "calls a tensor": (call(tensor(storage())), "not a function"),
    "calls a dtype": (call("torch.float32"), "not a function"),
    "no such opcode": (b"\xff", "."),
    "ends early": (b"X\xff\xff\xff\x7fab", "cannot be read"),
    "empty stack": (b"0", "cannot be read"),
    "reaches past": (tensor(storage(), 1), "takes bytes 4 to 20 of 16"),
    "reaches before": (tensor(storage(), -1), "takes bytes -4 to 12"),
    "negative stride": (tensor(storage(), 0, (4,), (-1,)), "takes bytes -12"),
    "overflowing stride": (tensor(storage(), 0, (3,), (2**62,)), "takes bytes"),
    "overflowing size": (tensor(storage(), 0, (2**62, 2**62), (0, 0)), "shape"),
    "negative size": (tensor(storage(), 0, (-1,)), "do not describe"),
    "uneven strides": (tensor(storage(), 0, (2, 2)), "do not describe"),
    "size of text": (tensor(storage(), 0, "abcd"), "."),
    "offset of text": (tensor(storage(), "a"), "."),
    "no storage": (tensor(const(b"bytes")), "."),
    "storage of a tensor": (tensor(tensor(storage())), "."),
    "parameter of text": (
        call("torch._utils._rebuild_parameter", const("a"), const(True), const(None)),
        "not a tensor",
    ),
    "negated": (tensor(storage(), 0, (4,), (1,), const(False), const(None), const({"neg": True})), "negated"),
    "claims too little": (tensor(storage(count=3)), "16 bytes where the pickle says 12"),
    "claims too much": (tensor(storage(count=2**61)), "16 bytes where"),
    "negative count": (tensor(storage(count=-4)), "does not name a storage"),
    "missing storage": (tensor(storage(key="7")), "lacks archive/data/7"),
    "storage outside": (tensor(storage(key="../data.pkl")), "lacks"),
    "not a key": (tensor(storage(key=0)), "does not name a storage"),
    "not a storage": (tensor(storage("torch.float32")), "does not name a storage"),
    "not an id": (const("id") + b"Q", "cannot be read"),
    "array of objects": (const(np.array([None])), "'O8' cannot be loaded"),
    "array too short": (const(np.arange(3)).replace(const(3), const(9)), "cannot be read"),
    "array in the other order": (const(np.arange(3, dtype=">i8")), "big-endian"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_pickle_is_refused(case) -> None:
    body, message = MALFORMED[case]
    with pytest.raises((FormatError, RefusedError), match=message):
        load(archive(body))


ARCHIVES = {
    "no pickle": (archive(b"N", **{"data.pkl": None}), "0 entries"),
    "two pickles": (archive(b"N", **{"../b/data.pkl": b"N."}), "2 entries"),
    "not torch": (archive(b"N", **{"constants.pkl": b"N."}), "TorchScript"),
    "compressed": (archive(b"N" + b"N0" * 999, zipfile.ZIP_DEFLATED), "is compressed"),
    "unknown order": (archive(b"N", byteorder=b"middle"), "unknown byte order"),
    "cut off": (io.BytesIO(archive(b"N").getvalue()[:-30]), "damaged zip"),
    "changed data": (
        io.BytesIO(archive(tensor(storage())).getvalue().replace(FOUR.tobytes(), b"\1" * 16)),
        "damaged zip archive: Bad CRC-32",
    ),
    "tail": (io.BytesIO(b"PK\x03\x04" + b"\0" * 100), "damaged zip"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_malformed_archive_is_refused(case) -> None:
    file, message = ARCHIVES[case]
    with pytest.raises(FormatError, match=message):
        load(file)


OLD = tensor(storage()[:-2] + const(None) + b"tQ")
STREAMS = {
    "version": (stream(OLD, version=1002), "version 1002"),
    "too large": (stream(OLD.replace(const(4) + const(None), const(2**60) + const(None))), "does not fit"),
    "two kinds": (
        stream(const([]) + b"(" + OLD + OLD.replace(b"FloatStorage", b"IntStorage") + b"e"),
        "described in two ways",
    ),
    "missing key": (stream(OLD, keys=()), "not those"),
    "other keys": (stream(OLD, keys=("1",)), "not those"),
    "keys of lists": (stream(OLD, keys=([],)), "not those"),
    "other count": (stream(OLD, data=struct.pack("<q", 5) + FOUR.tobytes()), "has 5 elements, not the 4"),
    "negative count": (stream(OLD, data=struct.pack("<q", -1)), "has -1 elements"),
    "cut off": (stream(OLD, data=struct.pack("<q", 4) + b"ab"), "14 bytes too early"),
    "no data": (stream(OLD, data=b""), "8 bytes too early"),
    "no keys": (io.BytesIO(stream(b"N").getvalue()[:40]), "cannot be read"),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_malformed_stream_is_refused(case) -> None:
    file, message = STREAMS[case]
    with pytest.raises(FormatError, match=message):
        load(file)


@pytest.mark.parametrize("fixture", ["checkpoint.pt", "legacy.pt"])
def test_no_damage_causes_another_error(fixture) -> None:
    data = (FIXTURES / fixture).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(
            data[: generator.integers(len(data) // 2, len(data) + 1)] if generator.random() < 0.2 else data
        )
        for place in generator.integers(0, len(damaged), 3):
            damaged[place] = generator.integers(256)
        with contextlib.suppress(FormatError, RefusedError):
            load(io.BytesIO(damaged))


def test_a_file_of_no_known_kind_is_refused() -> None:
    with pytest.raises(FormatError, match="saved again"):
        torch_files.read_pt(io.BytesIO(b"something else"), ADAPTER)


# What PyTorch writes today.


def from_torch(obj, **kwargs):
    """`obj`, saved by PyTorch and loaded here."""
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save(obj, file, **kwargs)
    file.seek(0)
    return load(file)


def expected(obj):
    """The nest with each of PyTorch's tensors as ours."""
    torch = pytest.importorskip("torch")
    if isinstance(obj, torch.Tensor):
        flat = obj.detach().contiguous()
        array = (
            flat.view(torch.uint16).numpy().view(ml_dtypes.bfloat16) if obj.dtype == torch.bfloat16 else flat.numpy()
        )
        return Tensor(array, obj.requires_grad, isinstance(obj, torch.nn.Parameter))
    if isinstance(obj, dict):
        return type(obj)((key, expected(value)) for key, value in obj.items())
    return type(obj)(map(expected, obj)) if isinstance(obj, (list, tuple)) else obj


BOTH = pytest.mark.parametrize("new", [True, False])


@pytest.mark.parity
@BOTH
def test_a_training_checkpoint(new) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 2)
    )
    model[3].weight.flag = "an attribute"
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5])
    model(torch.randn(3, 1, 4, 4)).sum().backward()
    optimizer.step()
    schedule.step()
    obj = {
        "model": model.state_dict(),
        "parameters": list(model.parameters()),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "numpy": np.random.RandomState(0).get_state(),
        "epoch": 7,
    }
    found = from_torch(obj, _use_new_zipfile_serialization=new)
    assert same(found, expected(obj))
    found = from_torch(schedule.state_dict() | {"_get_lr_called_within_step": 0}, _use_new_zipfile_serialization=new)
    assert found["milestones"] == Counter([2, 5])


@pytest.mark.parity
@BOTH
def test_every_dtype_and_stride(new) -> None:
    torch = pytest.importorskip("torch")
    for kind in TYPES:
        base = torch.arange(24).reshape(2, 3, 4).to(getattr(torch, kind))
        obj = [base, base.T if base.ndim == 2 else base.permute(2, 0, 1), base[:, ::2, 1:], base[0, 0, 1], base[:0]]
        assert same(from_torch(obj, _use_new_zipfile_serialization=new), expected(obj)), kind


@pytest.mark.parity
@BOTH
def test_shared_and_tied_tensors(new) -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(6.0)
    tied = torch.nn.Parameter(torch.ones(2, 2))
    obj = [base, base[2:], base.view(2, 3).T, base[:1].expand(3), tied, tied, tied.detach()]
    found = from_torch(obj, _use_new_zipfile_serialization=new)
    assert same(found, expected(obj))
    found[0].array[:] = -1
    found[4].array[:] = -1
    assert all((tensor.array == -1).all() for tensor in found)
    assert found[4] is found[5]
    assert found[2].array.strides == (4, 12)


@pytest.mark.parity
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(protocol) -> None:
    torch = pytest.importorskip("torch")
    obj = {"t": torch.arange(3), "n": [1, (2.5, "x", b"y")], "o": OrderedDict(a=torch.ones(2, requires_grad=True))}
    for new in (True, False):
        assert same(from_torch(obj, pickle_protocol=protocol, _use_new_zipfile_serialization=new), expected(obj))


@pytest.mark.parity
def test_a_whole_module_is_refused_by_name() -> None:
    torch = pytest.importorskip("torch")
    for new in (True, False):
        with pytest.raises(RefusedError, match=r"torch\.nn\.modules\.linear\.Linear"):
            from_torch(torch.nn.Linear(2, 2), _use_new_zipfile_serialization=new)
    with pytest.raises(RefusedError, match=r"torch\._utils\._rebuild_sparse_tensor"):
        from_torch(torch.eye(2).to_sparse())
    with pytest.raises(FormatError, match="negated lazily"):
        from_torch(torch.ones(2, dtype=torch.complex64).conj().imag)


@pytest.mark.parity
def test_the_fixtures_are_what_pytorch_reads() -> None:
    torch = pytest.importorskip("torch")
    allowed = [np._core.multiarray.scalar, np.dtype, np.dtypes.Float64DType]
    with torch.serialization.safe_globals(allowed):
        theirs, old = (torch.load(FIXTURES / name, weights_only=True) for name in ("checkpoint.pt", "legacy.pt"))
    assert same(expected(theirs["model"]), load(FIXTURES / "checkpoint.pt")["model"])
    assert same(expected(theirs["optimizer"]), load(FIXTURES / "checkpoint.pt")["optimizer"])
    assert same(expected(old), load(FIXTURES / "legacy.pt"))
