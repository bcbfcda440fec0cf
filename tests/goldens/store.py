"""The golden files: what PyTorch gave for every sample, one file for each family of ops.

A file is an .npz of two members, `index` (JSON) and `data` (the bytes of all arrays in the order of the index), and has
the same bytes whenever it holds the same results.
"""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tests.ops.harness import Result

from pullback.dtypes import dtype

FOLDER = Path(__file__).parent
UNKNOWN = Result([], [], [])  # PyTorch has no such op in this dtype


class Golden(NamedTuple):
    """The result of one sample, and the stamp of the sample it was made for."""

    stamp: str
    result: Result


def pack(goldens: dict[str, Golden]) -> bytes:
    """The file's bytes."""
    index: dict[str, Any] = {}
    data: list[bytes] = []

    def put(x: np.ndarray[Any, Any] | None) -> Any:
        if x is None:
            return None
        data.append(x.tobytes())
        return [dtype.by_numpy[x.dtype].name, *x.shape]

    for key, (stamp, (outs, requires, grads)) in goldens.items():
        index[key] = [stamp, [put(x) for x in outs], requires, [put(x) for x in grads]]
    text = json.dumps(index, separators=(",", ":")).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in ("index", text), ("data", b"".join(data)):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.frombuffer(content, np.uint8))
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue(), zipfile.ZIP_DEFLATED
            )
    return file.getvalue()


def unpack(path: Path) -> dict[str, Golden]:
    """What `pack` packed."""
    if not path.exists():
        return {}
    with np.load(path) as archive:
        index, data = json.loads(archive["index"].tobytes()), archive["data"].tobytes()
    at = 0

    def take(described: Any) -> Any:
        nonlocal at
        if described is None:
            return None
        name, *shape = described
        array = np.frombuffer(data, dtype.by_name[name].numpy, int(np.prod(shape, dtype=int)), at).reshape(shape)
        at += array.nbytes
        return array

    return {
        key: Golden(stamp, Result([take(x) for x in outs], requires, [take(x) for x in grads]))
        for key, (stamp, outs, requires, grads) in index.items()
    }


@cache
def family(name: str) -> dict[str, Golden]:
    """All goldens of a family."""
    return unpack(FOLDER / f"{name}.npz")
