"""`save` and `load`: one file for any nest of containers, plain values and tensors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from . import checksums, nest, safetensors, torch_files
from .adapter import Adapter
from .binary import FormatError, Source, is_path, reading

FORMAT = "pullback"
VERSION = "1"

# What people pass by mistake, by its first bytes.
OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull`",
    b"\x93NUMPY": "a NumPy array; read it with numpy.load",
    b"\x89HDF": "an HDF5 file; read it with h5py",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"GGUF": "a GGUF file; get the model as safetensors",
    b"\x80": "a bare pickle, which could run code; load it where it was made and save its parts",
}


def save(obj: Any, f: Source, *, adapter: Adapter, facts: Mapping[str, str] | None = None) -> None:
    """Write `obj` to a path, all at once or not at all, or to a binary file.

    The file is in safetensors format, so that any reader of it finds the tensors under their names. Tensors that share
    memory still do when loaded; only the part of a memory that some tensor shows is written. With `facts`, which are
    put into the metadata, everything is checksummed.
    """
    structure, arrays = nest.flatten(obj, adapter)
    text = json.dumps(structure, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    metadata = {"format": FORMAT, "version": VERSION, "structure": text}
    safetensors.write(f, arrays, metadata if facts is None else checksums.seal(arrays, {**facts, **metadata}))


def load(
    f: Source, map_location: Any = None, *, weights_only: bool = True, mmap: bool | None = None, adapter: Adapter
) -> Any:
    """Read what `save` wrote, any safetensors file (as a dict of tensors), or a file that PyTorch wrote.

    No code in a file is ever run, whatever `weights_only` says. `mmap=True` reads tensors of a safetensors file when
    they are first touched.
    """
    _check_location(map_location)
    name = os.fspath(f) if is_path(f) else getattr(f, "name", type(f).__name__)  # type: ignore[arg-type]
    try:
        with reading(f) as file:
            start = file.tell()
            head = file.read(64)
            file.seek(start)
            if head[8:9] == b"{":
                return _load_safetensors(f if mmap else file, bool(mmap), adapter)
            if torch_files.is_zip(head) or torch_files.is_legacy(head):
                return torch_files.read_pt(file, adapter)
        if not head:
            raise FormatError("the file is empty")
        guess = next((what for magic, what in OTHERS.items() if head.startswith(magic)), "of an unknown format")
        raise FormatError(f"neither safetensors nor a PyTorch file, but {guess}")
    except (FormatError, torch_files.RefusedError) as error:
        raise type(error)(f"{name}: {error}") from error.__cause__


def _load_safetensors(file: Source, mmap: bool, adapter: Adapter) -> Any:
    arrays, metadata = safetensors.read(file, mmap=mmap)
    if checksums.SEAL in metadata and not mmap:
        checksums.verify(arrays, metadata)
    if metadata.get("format") != FORMAT:
        return {name: adapter.from_array(array, False, False) for name, array in arrays.items()}
    if metadata.get("version") != VERSION:
        raise FormatError(
            f"it has version {metadata.get('version')} of the format and {VERSION} can be read; update pullback"
        )
    try:
        structure = json.loads(metadata["structure"])
    except (KeyError, ValueError, RecursionError) as error:
        raise FormatError(f"the description of its contents is damaged ({type(error).__name__}: {error})") from None
    return nest.unflatten(structure, arrays, adapter)


def _check_location(location: Any) -> None:
    """Tensors live on the CPU, so that is where they can be loaded to."""
    places = location.values() if isinstance(location, dict) else [location]
    for place in places:
        if place is not None and not callable(place) and str(place).split(":")[0] != "cpu":
            raise ValueError(f"map_location={location!r}: tensors can be loaded to 'cpu' only")
