"""Any nest of containers, plain values and tensors as JSON plus named arrays, and back.

JSON's own null, true, 7, 0.5, "text" and [list] stand for themselves. Everything else is an object of one key that
says what it is: {"dict": [[key, value], ...]}, {"tuple": [...]}, {"float": "nan"}, {"leaf": 3}. A leaf is a record in
the list beside the tree: which array it is, or which part of one.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from .adapter import Adapter, Array
from .binary import FormatError, extent, strided, typed
from .safetensors import DTYPES, METADATA, NAMES

MAPPINGS: dict[str, type[Any]] = {"dict": dict, "ordered dict": OrderedDict, "counter": Counter}
SEQUENCES: dict[str, type[Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}
MAPPING_NAMES = {kind: name for name, kind in MAPPINGS.items()}
SEQUENCE_NAMES = {kind: name for name, kind in SEQUENCES.items()}
PLAIN = (dict, list, tuple, set, frozenset, str, bytes, int, float)
MAX_DEPTH = 100
SURROGATE = re.compile("[\ud800-\udfff]")  # not text that UTF-8 can hold

Path = tuple[Any, ...]  # keys and positions from the outermost object inwards
MEMBER = object()  # in a Path: some member of a set


def flatten(obj: Any, adapter: Adapter) -> tuple[dict[str, Any], dict[str, Array]]:
    """`obj` as a JSON structure and the arrays it refers to, named by their keys joined with dots.

    Tensors that share memory are stored once and share it again when loaded. Other containers met twice become two.
    """
    writer = _Flattener(adapter)
    tree = writer.encode(obj, ())
    arrays = _store(writer.leaves, writer.unique)
    return {"tree": tree, "leaves": [leaf.record for leaf in writer.leaves]}, arrays


def unflatten(structure: Any, arrays: dict[str, Array], adapter: Adapter) -> Any:
    """The object that `flatten` took apart."""
    try:
        found = [_find(record, arrays) for record in structure["leaves"]]
        records = [(record["kind"], bool(record.get("requires_grad"))) for record in structure["leaves"]]
        tree = structure["tree"]
    except (LookupError, TypeError, AttributeError) as error:
        raise _malformed(error) from None
    leaves = [_leaf(kind, grad, array, adapter) for (kind, grad), array in zip(records, found, strict=True)]
    try:
        return _decode(tree, leaves, adapter)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> FormatError:
    return FormatError(f"the description of its contents is malformed ({type(error).__name__}: {error})")


@dataclass
class _Leaf:
    """An array of the nest, and the record that will describe it."""

    owner: Any  # kept, so that its id stays its own
    array: Array
    name: str
    record: dict[str, Any]


@dataclass
class _Flattener:
    adapter: Adapter
    leaves: list[_Leaf] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)  # id of an owner -> its place in leaves
    names: set[str] = field(default_factory=lambda: {METADATA})

    def encode(self, obj: Any, path: Path) -> Any:
        """`obj` as JSON."""
        kind = type(obj)
        if len(path) > MAX_DEPTH:
            raise ValueError(f"{_spell(path[:3])}...: nested deeper than {MAX_DEPTH} levels; does it contain itself?")
        if kind in (str, int, float, bool, type(None)):
            return _plain(obj)
        if kind is list:
            return [self.encode(item, (*path, i)) for i, item in enumerate(obj)]
        if kind in MAPPING_NAMES:
            return {MAPPING_NAMES[kind]: [[self.key(k, path), self.encode(v, (*path, k))] for k, v in obj.items()]}
        if kind in (set, frozenset):
            return {SEQUENCE_NAMES[kind]: [self.encode(item, (*path, MEMBER)) for item in obj]}
        if kind is tuple or (isinstance(obj, tuple) and hasattr(obj, "_fields")):  # a namedtuple
            return {"tuple": [self.encode(item, (*path, i)) for i, item in enumerate(obj)]}
        if self.adapter.is_tensor(obj):
            requires_grad, is_parameter = self.adapter.flags(obj)
            array = self.adapter.to_array(obj)
            return self.leaf(obj, array, path, "parameter" if is_parameter else "tensor", requires_grad)
        if kind in (np.ndarray, np.memmap):
            return self.leaf(obj, np.asarray(obj), path, "array")
        if kind is bytes:
            return self.leaf(obj, np.frombuffer(obj, np.uint8), path, "bytes")
        if isinstance(obj, np.generic) and obj.dtype in NAMES:
            return {"scalar": [NAMES[obj.dtype], obj.tobytes().hex()]}
        if kind is self.adapter.size:
            return {"size": [int(n) for n in obj]}
        if kind is self.adapter.device:
            return {"device": str(obj)}
        name = self.adapter.dtype_name(obj)
        return {"dtype": name} if name is not None else _refuse(obj, path)

    def key(self, obj: Any, path: Path) -> Any:
        """A dict's key as JSON."""
        if type(obj) is tuple:
            return {"tuple": [self.key(item, path) for item in obj]}
        if type(obj) in (str, int, float, bool, type(None)):
            return _plain(obj)
        raise TypeError(
            f"{_spell(path)}: its key {obj!r}, a {type(obj)}, cannot be saved; "
            "use keys that are strings, numbers, None or tuples of these"
        )

    def leaf(self, owner: Any, array: Array, path: Path, kind: str, requires_grad: bool = False) -> dict[str, int]:
        """A reference to `owner`, which is stored when met first."""
        if id(owner) not in self.seen:
            if array.dtype not in NAMES:
                raise TypeError(f"{_spell(path)}: an array of {array.dtype} cannot be saved; make it one of numbers")
            record = {"kind": kind, "requires_grad": True} if requires_grad else {"kind": kind}
            self.seen[id(owner)] = len(self.leaves)
            name = self.unique(".".join("item" if key is MEMBER else str(key) for key in path) or "tensor")
            self.leaves.append(_Leaf(owner, np.require(array, requirements="A"), name, record))
        return {"leaf": self.seen[id(owner)]}

    def unique(self, base: str) -> str:
        """`base`, or `base.2` ... if that is taken: a plain state dict keeps its own names."""
        base = name = base.encode("utf-8", "backslashreplace").decode()
        number = itertools.count(2)
        while name in self.names:
            name = f"{base}.{next(number)}"
        self.names.add(name)
        return name


def _plain(obj: Any) -> Any:
    """A scalar as JSON: itself, unless JSON would lose something."""
    if type(obj) is int and not -(2**63) <= obj < 2**63:
        return {"int": hex(obj)}
    if type(obj) is float and not math.isfinite(obj):
        return {"float": repr(obj)}
    if type(obj) is str and SURROGATE.search(obj):
        return {"str": obj.encode("utf-8", "surrogatepass").hex()}
    return obj


def _refuse(obj: Any, path: Path) -> NoReturn:
    base = next((base.__name__ for base in PLAIN if isinstance(obj, base)), None)
    if hasattr(obj, "state_dict"):
        todo = "save its state_dict() and call load_state_dict() after loading"
    elif base is not None:
        todo = f"convert it with {base}(...)"
    else:
        todo = "save its parts: tensors, arrays, numbers, text, bytes, None, and dicts, lists, tuples or sets of them"
    raise TypeError(f"{_spell(path)}: a {type(obj)} cannot be saved; {todo}")


def _spell(path: Path) -> str:
    """`obj["model"]["layers"][3]`"""
    names = (json.dumps(key, ensure_ascii=False) if isinstance(key, str) else repr(key) for key in path)
    return "obj" + "".join("{...}" if key is MEMBER else f"[{name}]" for key, name in zip(path, names, strict=True))


def _store(leaves: list[_Leaf], unique: Callable[[str], str]) -> dict[str, Array]:
    """What to write, by name: each leaf by itself or, where leaves overlap in memory, one array that they view."""
    stored: dict[str, Array] = {}
    for group, low, high in _overlapping(leaves):
        wide = max((leaf.array.dtype for leaf in group), key=lambda dtype: dtype.itemsize)  # decides the alignment
        covering = (leaf for leaf in group if _covers(leaf.array, low, high) and leaf.array.itemsize == wide.itemsize)
        whole = group[0] if len(group) == 1 else next(covering, None)
        if whole is not None:
            key, stored[whole.name] = whole.name, whole.array
        else:
            low, high = low - low % wide.itemsize, high + -high % wide.itemsize
            key = unique(f"{group[0].name}.storage")
            stored[key] = _gather(group, low, high).view(wide)
        for leaf in group:
            leaf.record["key"] = key
            if leaf is not whole:
                a = leaf.array
                leaf.record["view"] = [NAMES[a.dtype], list(a.shape), list(a.strides), a.ctypes.data - low]
    return {key: stored[key] for key in dict.fromkeys(leaf.record["key"] for leaf in leaves)}


def _overlapping(leaves: list[_Leaf]) -> list[tuple[list[_Leaf], int, int]]:
    """Leaves grouped by overlapping addresses, with each group's first byte and the one past its last."""
    groups: list[tuple[list[_Leaf], int, int]] = [([leaf], 0, 0) for leaf in leaves if not leaf.array.size]
    spans = []
    for i, leaf in enumerate(leaves):
        a = leaf.array
        if a.size:
            low, high = extent(a.shape, a.strides, a.itemsize)
            spans.append((a.ctypes.data + low, a.ctypes.data + high, i))
    for low, high, i in sorted(spans):
        if groups and low < groups[-1][2]:
            members, first, last = groups[-1]
            members.append(leaves[i])
            groups[-1] = members, first, max(last, high)
        else:
            groups.append(([leaves[i]], low, high))
    return groups


def _covers(array: Array, low: int, high: int) -> bool:
    return array.flags.c_contiguous and array.nbytes == high - low


def _gather(group: list[_Leaf], low: int, high: int) -> Array:
    """The bytes that the leaves show of low to high; what none of them shows is zero and stays out of the file."""
    block = np.zeros(high - low, np.uint8)
    for leaf in group:
        a = leaf.array
        strided(block, a.dtype, a.shape, a.strides, a.ctypes.data - low)[...] = a
    return block


def _find(record: dict[str, Any], arrays: dict[str, Array]) -> Array:
    """The array, or the part of one, that a record describes."""
    array = arrays[record["key"]]
    if "view" not in record:
        return array
    name, shape, strides, offset = record["view"]
    dtype, block = DTYPES[name], array.reshape(-1).view(np.uint8)
    if dtype == np.bool_ and array.dtype != np.bool_:  # NumPy trusts that a bool is 0 or 1
        return np.not_equal(strided(block, np.dtype(np.uint8), shape, strides, offset), 0)
    return strided(block, dtype, shape, strides, offset)


def _leaf(kind: str, requires_grad: bool, array: Array, adapter: Adapter) -> Any:
    """The object that an array was taken from."""
    if kind in ("tensor", "parameter"):
        return adapter.from_array(array, requires_grad, kind == "parameter")
    if kind == "bytes":
        return array.tobytes()
    if kind == "array":
        return array
    raise FormatError(f"the description of its contents has an unknown kind of leaf, {kind!r}")


def _decode(value: Any, leaves: list[Any], adapter: Adapter) -> Any:
    """What `_Flattener.encode` encoded."""
    if isinstance(value, list):
        return [_decode(item, leaves, adapter) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, body),) = value.items()
    if tag in MAPPINGS:
        return MAPPINGS[tag]({_decode(k, leaves, adapter): _decode(v, leaves, adapter) for k, v in body})
    if tag in SEQUENCES:
        return SEQUENCES[tag](_decode(item, leaves, adapter) for item in body)
    if tag == "leaf":
        return leaves[body]
    if tag == "int":
        return int(body, 16)
    if tag == "float":
        return float(body)
    if tag == "str":
        return bytes.fromhex(body).decode("utf-8", "surrogatepass")
    if tag == "scalar":
        name, digits = body
        return typed(np.frombuffer(bytearray.fromhex(digits), np.uint8), DTYPES[name]).reshape(())[()]
    if tag == "size":
        return adapter.size(body)
    if tag == "device":
        return adapter.device(body)
    if tag == "dtype":
        return adapter.dtype_from_name(body)
    raise ValueError(f"unknown tag {tag!r}")
