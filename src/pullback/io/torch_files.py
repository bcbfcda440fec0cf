"""A reader of the files that PyTorch's `torch.save` writes, which cannot run code.

Such a file is a pickle that refers to storages: raw bytes beside it, in a zip archive or, before PyTorch 1.6, after it
in a stream. Pickles call functions by name. Here a name can only stand for one of this module's own functions or for
plain data, and only those opcodes work that make plain data or call such a function.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import numpy as np

from ..errors import PullbackError
from .adapter import Adapter, Array
from .binary import FormatError, Source, fill, reading, remaining, strided, typed
from .safetensors import DTYPES

MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # starts the legacy stream
LEGACY_PROTOCOL = 1001

# PyTorch's names of element types -> NumPy's.
ELEMENTS = {dtype.name: dtype for dtype in DTYPES.values()}
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
# NumPy's own spelling of the types a scalar or an array in a checkpoint may have.
NUMPY_TYPES = {f"{dtype.kind}{dtype.itemsize}" for dtype in ELEMENTS.values() if dtype.name != "bfloat16"}

OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS "
    "EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET GLOBAL STACK_GLOBAL BINPERSID"
)
ALLOWED = {getattr(pickle, name)[0] for name in OPCODES.split()}

Fetch = Callable[[Any], Array]  # the storage that a persistent id names


class RefusedError(PullbackError, pickle.UnpicklingError):
    """The file asks for something that could run code."""


def is_zip(head: bytes) -> bool:
    """Whether a file with these first bytes may be torch.save's zip archive."""
    return head.startswith(b"PK\x03\x04")


def is_legacy(head: bytes) -> bool:
    """Whether a file with these first bytes is torch.save's legacy stream."""
    return head.startswith(b"\x80") and MAGIC in head[:32]


def read_pt(file: Source, adapter: Adapter) -> Any:
    """What a `.pt` or `.pth` file holds; tensors that shared a storage share memory."""
    with reading(file) as source:
        start = source.tell()
        head = source.read(32)
        source.seek(start)
        if is_zip(head):
            return _read_zip(source, adapter)
        if is_legacy(head):
            return _read_legacy(source, adapter)
    raise FormatError("not a file of torch.save; one from before PyTorch 0.2 must be saved again with a newer PyTorch")


def _read_zip(file: BinaryIO, adapter: Adapter) -> Any:
    """The default format: data.pkl, and one entry data/<key> a storage, in one folder of an uncompressed archive."""
    size = remaining(file)
    try:
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickles) != 1:
                raise FormatError(f"a zip archive with {len(pickles)} entries */data.pkl; torch.save writes one")
            folder = pickles[0].removesuffix("/data.pkl")
            if f"{folder}/constants.pkl" in archive.namelist():
                raise FormatError("a TorchScript program; load it with PyTorch and save its state_dict()")

            def entry(name: str) -> Array:
                try:
                    info = archive.getinfo(f"{folder}/{name}")
                except KeyError:
                    raise FormatError(f"the archive lacks {folder}/{name}; it is damaged") from None
                stored = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size <= size
                if not stored:
                    raise FormatError(f"{info.filename} is compressed or claims a wrong size; save it with torch.save")
                with archive.open(info) as opened:
                    return fill(opened, np.empty(info.file_size, np.uint8))  # type: ignore[arg-type]

            order = entry("byteorder").tobytes() if f"{folder}/byteorder" in archive.namelist() else b"little"
            if order not in (b"little", b"big"):
                raise FormatError(f"unknown byte order {order!r}")
            storages: dict[str, Array] = {}

            def fetch(pid: Any) -> Array:
                dtype, key, nbytes, _ = _storage(pid)
                fresh = key not in storages
                if fresh:
                    storages[key] = entry(f"data/{key}")
                if storages[key].size != nbytes:
                    raise FormatError(f"storage {key} has {storages[key].size} bytes where the pickle says {nbytes}")
                if fresh and order.decode() != sys.byteorder:
                    storages[key].view(f"u{dtype.itemsize}").byteswap(inplace=True)
                return typed(storages[key], dtype)

            return _unpickle(io.BytesIO(entry("data.pkl").tobytes()), adapter, fetch)
    except PullbackError:
        raise
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OverflowError, struct.error) as error:
        raise FormatError(f"a damaged zip archive: {error}") from error


def _read_legacy(file: BinaryIO, adapter: Adapter) -> Any:
    """PyTorch's stream before 1.6: pickles of magic, version, system, object and storage keys, then the storages."""
    size = remaining(file)
    storages: dict[str, tuple[Array, np.dtype[Any]]] = {}

    def fetch(pid: Any) -> Array:
        dtype, key, nbytes, part = _storage(pid)
        if key not in storages:
            if nbytes + sum(block.size for block, _ in storages.values()) > size:
                raise FormatError(f"storage {key} of {nbytes} bytes does not fit in the file; is it truncated?")
            storages[key] = np.zeros(nbytes, np.uint8), dtype  # filled below; tensors keep their array's memory
        block, known = storages[key]
        if known != dtype or block.size != nbytes:
            raise FormatError(f"storage {key} is described in two ways")
        whole = block.view(dtype)
        return whole if part is None else whole[part[1] : part[1] + part[2]]

    _, version, _, result, keys = (_unpickle(file, adapter, fetch) for _ in range(5))
    if version != LEGACY_PROTOCOL:
        raise FormatError(f"version {version!r} of the legacy stream is unknown")
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise FormatError("the storages in the file are not those its pickle refers to")
    for key in keys:
        block, dtype = storages[key]
        (count,) = struct.unpack("<q", fill(file, np.empty(8, np.uint8)).tobytes())
        if count * dtype.itemsize != block.size:
            raise FormatError(
                f"storage {key} has {count} elements, not the {block.size // dtype.itemsize} of the pickle"
            )
        typed(fill(file, block), dtype)
    return result


def _storage(pid: Any) -> tuple[np.dtype[Any], str, int, tuple[Any, int, int] | None]:
    """Element type, key, bytes and (in old files) the part of the storage that a persistent id names."""
    kind, dtype, key, _, count, *rest = pid
    named = kind == "storage" and isinstance(dtype, np.dtype) and type(key) is str
    if not named or type(count) is not int or count < 0:
        raise FormatError(f"{pid!r} does not name a storage")
    return dtype, key, count * dtype.itemsize, rest[0] if rest else None


def _unpickle(file: BinaryIO, adapter: Adapter, fetch: Fetch) -> Any:
    """The next object of the pickle stream."""
    try:
        return _Unpickler(file, adapter, fetch).load()
    except (PullbackError, zipfile.BadZipFile):
        raise
    except Exception as error:  # a malformed pickle fails in as many ways as there are opcodes
        raise FormatError(f"its pickle cannot be read ({type(error).__name__}: {error})") from error


@dataclass(frozen=True, slots=True)
class _Function:
    """All that REDUCE may call. It has no attributes that a file could set."""

    call: Callable[..., Any]


@dataclass(slots=True, eq=False)
class _Unbuilt:
    """A NumPy array whose contents follow as its BUILD state."""


class _Unpickler(pickle._Unpickler):  # the one in Python: its opcodes can be chosen
    stack: list[Any]
    memo: dict[int, Any]

    def __init__(self, file: BinaryIO, adapter: Adapter, fetch: Fetch) -> None:
        super().__init__(file, encoding="utf-8")
        self.adapter = adapter
        self.fetch = fetch
        functions: dict[str, Callable[..., Any]] = {
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": self.tensor_of,
            "torch._utils._rebuild_parameter": self.parameter,
            "torch._utils._rebuild_parameter_with_state": self.parameter,
            "torch._tensor._rebuild_from_type_v2": self.with_attributes,
            "torch.Size": lambda sizes=(): adapter.size(tuple(int(n) for n in sizes)),
            "torch.device": lambda kind, index=None: adapter.device(kind if index is None else f"{kind}:{index}"),
            "collections.OrderedDict": OrderedDict,
            "collections.Counter": Counter,
            "builtins.set": set,
            "builtins.frozenset": frozenset,
            "builtins.complex": complex,
            "builtins.bytes": lambda: b"",  # any other is encoded
            "_codecs.encode": _latin1,
            "numpy.dtype": _numpy_dtype,
            "numpy._core.multiarray.scalar": lambda dtype, data: _numpy_array((), dtype, False, data)[()],
            "numpy._core.multiarray._reconstruct": lambda *_: _Unbuilt(),
        }
        self.functions = {name: _Function(call) for name, call in functions.items()}

    def persistent_load(self, pid: Any) -> Array:
        """The storage that a persistent id names."""
        return self.fetch(pid)

    def find_class(self, module: str, name: str) -> Any:
        """The meaning of a name: one of the functions above, or plain data."""
        module = {"__builtin__": "builtins"}.get(module, module).replace("numpy.core.", "numpy._core.")
        full = f"{module}.{name}"
        if full in self.functions:
            return self.functions[full]
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return ELEMENTS[STORAGES[name]]
        if module == "torch" and name in ELEMENTS:
            return self.adapter.dtype_from_name(name)
        if full in ("numpy.ndarray", "torch.Tensor", "torch.nn.parameter.Parameter"):
            return full  # only ever an argument
        raise RefusedError(
            f"the file asks for {full}, which is not a tensor or plain data and could run code, so it was not loaded. "
            "If you trust the file, load it with PyTorch and save a state_dict of what you need"
        )

    def tensor(
        self,
        storage: Array,
        offset: int,
        size: Any,
        stride: Any,
        requires_grad: bool = False,
        hooks: Any = None,
        bits: Any = None,
    ) -> Any:
        """A tensor on a storage; offset and stride count elements."""
        if bits:
            raise FormatError(f"a tensor is marked {bits}, conjugated or negated lazily; save tensor.clone() instead")
        item, block = storage.itemsize, _block(storage)
        array = strided(block, storage.dtype, tuple(size), tuple(n * item for n in stride), offset * item)
        return self.adapter.from_array(array, bool(requires_grad), False)

    def tensor_of(
        self,
        storage: Array,
        offset: int,
        size: Any,
        stride: Any,
        requires_grad: bool,
        hooks: Any,
        dtype: Any,
        bits: Any = None,
    ) -> Any:
        """A tensor on untyped bytes."""
        element = ELEMENTS[str(self.adapter.dtype_name(dtype))]
        return self.tensor(typed(_block(storage), element), offset, size, stride, requires_grad, hooks, bits)

    def parameter(self, data: Any, requires_grad: bool, hooks: Any = None, attributes: Any = None) -> Any:
        """A Parameter on a tensor's memory."""
        if not self.adapter.is_tensor(data):
            raise FormatError(f"a Parameter is made of a {type(data)}, which is not a tensor")
        return self.adapter.from_array(self.adapter.to_array(data), bool(requires_grad), True)

    def with_attributes(self, function: _Function, kind: str, args: Any, attributes: Any) -> Any:
        """A tensor with Python attributes, which are left out."""
        if not isinstance(function, _Function):
            raise FormatError(f"{function!r} does not make a tensor")
        return function.call(*args)

    def load_reduce(self) -> None:
        """REDUCE calls a function."""
        args = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, _Function):
            raise FormatError(f"its pickle calls {function!r}, which is not a function")
        self.stack[-1] = function.call(*args)

    def load_build(self) -> None:
        """BUILD sets an object's state, which only NumPy's arrays and types need."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, _Unbuilt):
            _, shape, dtype, fortran, data = state
            self.stack[-1] = array = _numpy_array(shape, dtype, fortran, data)
            self.memo.update({key: array for key, value in self.memo.items() if value is target})
        elif isinstance(target, np.dtype):
            if state[1] == ">":
                raise FormatError("a NumPy array in it is big-endian; save it in native byte order")
        elif isinstance(target, OrderedDict):  # a state_dict's `_metadata`: versions of PyTorch's own modules
            pass
        else:
            raise RefusedError(
                f"its pickle sets the attributes of a {type(target)}, which could run code, so it was not loaded"
            )

    def load_other(self) -> None:
        """Every opcode not listed."""
        raise RefusedError(
            "its pickle makes objects in a way torch.save does not, which could run code, so it was not loaded"
        )

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **dict.fromkeys(range(256), load_other),
        **{code: run for code, run in pickle._Unpickler.dispatch.items() if code in ALLOWED},
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
    }


def _block(storage: Any) -> Array:
    """The bytes of a storage."""
    if not isinstance(storage, np.ndarray):
        raise FormatError(f"a tensor is made on a {type(storage)}, which is not a storage")
    return storage.reshape(-1).view(np.uint8)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """How pickles of protocol 2 spell bytes."""
    return text.encode("latin1")


def _numpy_dtype(name: str, *_: Any) -> np.dtype[Any]:
    if name not in NUMPY_TYPES:
        raise FormatError(f"a NumPy array of {name!r} cannot be loaded; save numbers")
    return np.dtype(name)


def _numpy_array(shape: tuple[int, ...], dtype: np.dtype[Any], fortran: bool, data: bytes) -> Array:
    block = np.frombuffer(bytearray(data), np.uint8)
    return typed(block, dtype).reshape(shape, order="F" if fortran else "C")
