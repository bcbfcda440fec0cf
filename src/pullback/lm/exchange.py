"""Models in Hugging Face's layout, so that transformers and whatever reads its files can run what is trained here.

config.json                   what the model is made of; `families` translates it
model.safetensors             its weights, or parts of them, model-00001-of-00002.safetensors, with an index
generation_config.json        which tokens begin and end a text
tokenizer.json and its kin    the tokenizer's own
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..dtypes import as_dtype, dtype
from ..errors import ArgumentError, DTypeError, fail
from ..functions import PUBLIC
from ..functions.files import adapter
from ..io import FormatError, safetensors
from ..io.binary import writing
from ..modes import no_grad
from ..random import fork_rng
from ..tensor import Tensor
from . import families
from .families import FAMILIES, Family
from .model import LanguageModel

cat, equal, load = (PUBLIC[name] for name in ("cat", "equal", "load"))
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")  # what saving may leave in a folder
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
COMPUTED = re.compile(r"(\.rotary_emb\.inv_freq|\.attn\.(masked_)?bias)$")  # in old files: what is not learned

Folder = str | os.PathLike[str]


# -- saving ------------------------------------------------------------------------------------------------------------


def save_pretrained(
    model: LanguageModel,
    folder: Folder,
    tokenizer: Any = None,
    max_shard_size: int | str = "5GB",
    dtype: Any = None,
) -> None:
    """Write the model to a folder, with weights converted to `dtype` if one is given.

    With a tokenizer its files are written, too, and the tokens that begin, end and pad a text are noted.
    """
    said, kind = families.write(model.config), None if dtype is None else _floating(dtype)
    limit, root = _bytes(max_shard_size), Path(folder)
    root.mkdir(parents=True, exist_ok=True)

    held = _held(model, FAMILIES[said["architectures"][0]])
    sizes = {
        name: sum(part.numel() for part in parts) * (kind or parts[0].dtype).itemsize for name, parts in held.items()
    }
    shards = _shards(sizes, limit)
    files = [WEIGHTS] if len(shards) == 1 else [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in _count(shards)]
    with no_grad():
        for file, names in zip(files, shards, strict=True):
            arrays = {name: adapter().to_array(_joined(name, held[name], kind)) for name in names}
            safetensors.write(root / file, arrays, {"format": "pt"})
    if len(shards) > 1:
        where = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        _write(root / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": where})
        files.append(INDEX)
    for entry in root.iterdir():  # of a model saved here before
        if OURS.fullmatch(entry.name) and entry.name not in files:
            entry.unlink()

    tokens = {f"{role}_token_id": getattr(tokenizer, f"{role}_id", None) for role in ("bos", "eos", "pad")}
    name = (kind or next(model.parameters()).dtype).name
    _write(root / "config.json", {**said, **tokens, "dtype": name})
    _write(root / "generation_config.json", {key: token for key, token in tokens.items() if token is not None})
    if tokenizer is not None:
        tokenizer.save(folder)


def _bytes(size: int | str) -> int:
    """A size like "5GB" in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMG]?I?B)", str(size).strip().upper())
    n = size if isinstance(size, int) else int(float(match[1]) * UNITS[match[2]]) if match and match[2] in UNITS else 0
    if n < 1:
        fail(ArgumentError, f"max_shard_size is {size!r}", 'give bytes, or a text like "500MB" or "2GiB"')
    return n


def _shards(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Names in their order, file by file; what is larger than the limit gets a file of its own."""
    shards: list[list[str]] = [[]]
    room = limit
    for name, size in sizes.items():
        if size > room and shards[-1]:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def _joined(name: str, parts: list[Tensor], kind: dtype | None) -> Tensor:
    """The tensor of the file that the model's tensors make."""
    whole = cat(parts) if len(parts) > 1 else parts[0]
    return (whole.t() if _turned(name, whole) else whole).to(kind or whole.dtype)


def _write(path: Path, said: Mapping[str, Any]) -> None:
    with writing(path) as file:
        file.write((json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode())


# -- loading -----------------------------------------------------------------------------------------------------------


def from_pretrained(folder: Folder, *, dtype: Any = None, **changes: Any) -> LanguageModel:
    """The model in a folder, ready to be used: call train() before training it.

    Weights become float32, whatever they are in the files, or `dtype`. Other arguments change fields of the Config.
    """
    kind, root = None if dtype is None else _floating(dtype), Path(folder)
    if not root.is_dir():
        what = f"there is no folder {str(folder)!r}"
        fail(ArgumentError, what, "pullback downloads nothing; `hf download NAME --local-dir FOLDER` does")
    files = _files(root)
    family, config = families.read(_read(root / "config.json"), changes)
    with fork_rng():  # the weights drawn here are all replaced
        model = LanguageModel(config)
    if kind is not None:
        model.to(kind)
    _fill(
        model, family, {name: tensor for file, names in files.items() for name, tensor in _tensors(root / file, names)}
    )
    return model.eval()


def _files(root: Path) -> dict[str, list[str] | None]:
    """The files of weights, with the names that each should hold, if that is said."""
    if (root / WEIGHTS).is_file():
        return {WEIGHTS: None}
    if (root / INDEX).is_file():
        files: dict[str, list[str] | None] = {}
        where = _read(root / INDEX).get("weight_map")
        if not isinstance(where, dict) or not where:
            fail(FormatError, f"{root / INDEX} has no weight_map", "get the folder again")
        for name, file in where.items():
            if not isinstance(file, str) or os.path.basename(file) != file or not file.endswith(".safetensors"):
                fail(FormatError, f"{root / INDEX} puts {name} into {file!r}, which is no file of weights beside it")
            names = files.setdefault(file, [])
            assert names is not None
            names.append(name)
        return files
    pickles = sorted(entry.name for entry in root.glob("pytorch_model*.bin"))
    if pickles:
        what = f"{root} holds its weights as a pickle, {pickles[0]}, which could run code"
        todo = "if you trust it, convert it with transformers: AutoModelForCausalLM.from_pretrained(folder)"
        fail(FormatError, what, todo + ".save_pretrained(other_folder)")
    fail(FormatError, f"{root} holds neither {WEIGHTS} nor {INDEX}", "is it the folder of a model, and complete?")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        fail(FormatError, f"{path.parent} holds no {path.name}", "is it the folder of a model, and complete?")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        fail(FormatError, f"{path} is not valid JSON: {error}", "get the file again")
    if not isinstance(said, dict):
        fail(FormatError, f"{path} does not hold a JSON object", "get the file again")
    return said


def _tensors(path: Path, names: list[str] | None) -> Iterable[tuple[str, Tensor]]:
    """The tensors of a file; their values are read when they are used."""
    if not path.is_file():
        fail(FormatError, f"{path.parent} holds no {path.name}, which {INDEX} names", "get it, too")
    found = load(path, mmap=True)
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        fail(FormatError, f"{path} does not hold named tensors")
    if names is not None and found.keys() != set(names):
        what = f"{path} does not hold what {INDEX} says: {_some(found.keys() ^ set(names))}"
        fail(FormatError, what, "get the folder again")
    return found.items()


@no_grad()
def _fill(model: LanguageModel, family: Family, found: dict[str, Tensor]) -> None:
    """Copy a file's tensors into the model."""
    held, base = _held(model, family), family.modules["embed"].partition(".")[0] + "."
    found = {name if name in held else base + name if base + name in held else name: found[name] for name in found}
    head, embed = (family.modules[part] + ".weight" for part in ("head", "embed"))
    if model.config.tie_word_embeddings and head in found and embed in found:
        if not equal(found[head], found[embed]):
            what = f"{head} differs from {embed}, and config.json says that they are tied"
            fail(FormatError, what, "from_pretrained(folder, tie_word_embeddings=False) takes both")
        del found[head]

    faults = []
    if missing := held.keys() - found.keys():
        faults.append(f"it lacks {_some(missing)}")
    if unexpected := {name for name in found.keys() - held.keys() if not COMPUTED.search(name)}:
        faults.append(f"no part of the model is {_some(unexpected)}")
    for name in held.keys() & found.keys():
        rows, rest = sum(part.shape[0] for part in held[name]), tuple(held[name][0].shape[1:])
        shape = (rows, *rest) if not _turned(name, held[name][0]) else (*rest, rows)
        if tuple(found[name].shape) != shape:
            faults.append(f"{name} has shape {tuple(found[name].shape)}, not {shape}")
        elif not found[name].dtype.is_floating_point:
            faults.append(f"{name} is of type {found[name].dtype}, which no weight is")
    if faults:
        what = f"the weights do not fit a {type(model).__name__} of this config.json: " + "; ".join(sorted(faults)[:5])
        fail(FormatError, what, "are both files of one model?")

    for name, parts in held.items():
        whole = found[name].t() if _turned(name, parts[0]) else found[name]
        for part, values in zip(parts, whole.split([part.shape[0] for part in parts]), strict=True):
            part.copy_(values)


# -- names -------------------------------------------------------------------------------------------------------------


def _held(model: LanguageModel, family: Family) -> dict[str, list[Tensor]]:
    """The tensors of the file, each as the parameters, or parts of them, that it holds one under another."""
    held: dict[str, list[Tensor]] = {}
    for name, p in model.named_parameters():
        match = re.fullmatch(r"(?:layers\.(\d+)\.)?(.+?)(?:\.(weight|bias))?", name)
        assert match is not None
        layer, module, kind = match.groups()
        start = "" if layer is None else f"{family.modules['layers']}.{layer}."
        theirs = f"{start}{family.modules[module]}.{kind or 'weight'}"
        experts = enumerate(p.detach()) if "{}" in theirs else [(0, p.detach())]
        for expert, part in experts:
            held.setdefault(theirs.format(expert), []).append(part)
    return held


def _turned(name: str, x: Tensor) -> bool:
    """GPT-2's layers called c_ have their weights transposed."""
    return x.ndim == 2 and ".c_" in name


def _floating(kind: Any) -> dtype:
    found = dtype.by_name[kind] if isinstance(kind, str) and kind in dtype.by_name else as_dtype(kind)
    if not found.is_floating_point:
        fail(DTypeError, f"weights cannot be {found}", "choose float32, bfloat16, float16 or float64")
    return found


def _count(items: list[Any]) -> range:
    return range(1, len(items) + 1)


def _some(names: Iterable[str]) -> str:
    """A few of many names."""
    listed = sorted(names)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
