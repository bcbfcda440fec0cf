"""All that decides a pretraining run: a Recipe, read from TOML and from flags, and written into the run's folder."""

from __future__ import annotations

import argparse
import json
import tomllib
import types
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..errors import ArgumentError, fail
from .config import Config, preset

ENGINES = ("auto", "native", "xla", "numpy", "eager")


def option(default: Any, text: str) -> Any:
    """A field that is a flag of the same name, explained."""
    if isinstance(default, (list, dict)):
        return field(default_factory=default.copy, metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Recipe:
    """A pretraining run. What is left out has a default that trains a small model on a small machine."""

    folder: str = option("runs/lm", "where all of the run is kept")
    preset: str = option("tiny", "the model's shape: tiny, tiny-moe, minimind2-small, minimind2, minimind-3, ..., gpt2")
    model: dict[str, Any] = option({}, "changes to the preset, as NAME=VALUE")  # noqa: RUF009

    data: list[str] = option(["stdlib"], "JSONL, text or Parquet files, folders; stdlib: Python's own sources")  # noqa: RUF009
    key: str = option("text", "the field of JSONL, or column of Parquet, with the text")
    held_out: int = option(50, "one document in so many is held out for validation")
    tokenizer: str | None = option(None, "a tokenizer.json to use, or its folder; otherwise one is trained on the data")
    tokens: str | None = option(None, "a folder for the tokenised data, to share it between runs; else in the run's")
    length: int = option(256, "tokens in a row of a batch")
    packed: bool = option(True, "documents end to end in rows; otherwise each in rows of its own")
    segments: bool = option(False, "packed documents do not look at each other")

    steps: int = option(1200, "updates of the weights")
    batch: int = option(8, "rows in a batch")
    accumulate: int = option(1, "batches for each update")
    lr: float = option(3e-3, "the highest learning rate")
    warmup: float = option(0.05, "the part of the steps in which it rises from zero")
    final: float = option(0.1, "what is left of it at the end, after a cosine")
    weight_decay: float = option(0.1, "of matrices; norms and biases have none")
    beta1: float = option(0.9, "AdamW's memory of the gradient")
    beta2: float = option(0.95, "and of its square")
    clip: float = option(1.0, "the largest norm of the gradient")
    bf16: bool = option(False, "compute in bfloat16 (autocast)")
    checkpointing: bool = option(False, "recompute layers in backward: less memory, more time")
    engine: str = option("auto", f"what runs the step: {', '.join(ENGINES)}")
    on_nonfinite: str = option("stop", "a step that is not finite ends the run (stop) or is left out (skip)")
    seed: int = option(0, "of weights, order and dropout")

    valid_every: int = option(200, "steps between validations")
    sample_every: int = option(200, "steps between samples; 0: none")
    prompts: list[str] = option(["def", "import", "class"], "what samples start with")  # noqa: RUF009
    checkpoint_every: int = option(200, "steps between checkpoints")
    keep: int = option(2, "checkpoints that are kept")
    log_every: int = option(1, "steps between lines of the log")
    baselines: bool = option(False, "compare with an order-3 model of bytes, and xz; fail if the former is better")

    def __post_init__(self) -> None:
        hints = get_type_hints(Recipe)
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not fits(value, hints[entry.name]):
                what = f"{entry.name} is {value!r}, which is not {plain(hints[entry.name])}"
                fail(ArgumentError, what, f"it is {entry.metadata['help']}")
        if self.engine not in ENGINES:
            fail(ArgumentError, f"there is no engine {self.engine!r}", f"choose from {', '.join(ENGINES)}")
        for name in ("steps", "batch", "accumulate", "length", "valid_every", "checkpoint_every", "keep", "log_every"):
            if getattr(self, name) < 1:
                fail(ArgumentError, f"{name} is {getattr(self, name)}", f"it is {self.help(name)}: at least 1")
        if self.held_out < 2:
            fail(ArgumentError, f"held_out is {self.held_out}", "one document in 2 or more can be held out")
        if not self.data:
            fail(ArgumentError, "there are no data", "name files or folders, or stdlib")
        if self.length > self.shape.max_position_embeddings:
            what = f"rows of {self.length} tokens are longer than the {self.shape.max_position_embeddings} positions"
            fail(
                ArgumentError, f"{what} of {self.preset}", "choose a smaller length, or model max_position_embeddings=N"
            )

    @property
    def shape(self) -> Config:
        """The model, as far as it can be known before the tokenizer is."""
        return preset(self.preset, **self.model, **({"checkpointing": True} if self.checkpointing else {}))

    @classmethod
    def help(cls, name: str) -> str:
        """What a field is."""
        return next(entry.metadata["help"] for entry in fields(cls) if entry.name == name)

    @classmethod
    def read(cls, path: str | Path, **changes: Any) -> Recipe:
        """From a TOML file, with some fields changed."""
        if not Path(path).is_file():
            fail(ArgumentError, f"there is no {path}", "name a TOML file, or leave it out")
        try:
            given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            fail(ArgumentError, f"{path} is not TOML: {error}", "mend that line")
        known = [entry.name for entry in fields(cls)]
        unknown = [name for name in given if name not in known]
        if unknown:
            fail(ArgumentError, f"{path}: a run has no {', '.join(unknown)}", f"its settings are {', '.join(known)}")
        return cls(**(given | changes))

    def write(self, path: Path) -> None:
        """As TOML, which `read` reads, with what each setting is beside it."""
        lines = []
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and entry.name != "model":
                lines.append(f"{entry.name} = {json.dumps(value, ensure_ascii=False)}  # {entry.metadata['help']}")
        lines += ["", "[model]", *(f"{name} = {json.dumps(value)}" for name, value in self.model.items())]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def but(self, **changes: Any) -> Recipe:
        """The same with some fields changed."""
        return replace(self, **changes)

    def asdict(self) -> dict[str, Any]:
        return asdict(self)


def plain(kind: Any) -> str:
    """A type in words."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if kind in words:
        return words[kind]
    return "a list of texts" if get_origin(kind) is list else "a table" if get_origin(kind) is dict else "text or none"


def fits(value: Any, kind: Any) -> bool:
    """Is a value, from TOML or from Python, of this type?"""
    if get_origin(kind) in (Union, types.UnionType):
        return any(fits(value, part) for part in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, (list, tuple)) and all(fits(part, get_args(kind)[0]) for part in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, get_origin(kind) or kind)


# -- flags -------------------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each field; those not given stay out of the result."""
    hints = get_type_hints(Recipe)
    for entry in fields(Recipe):
        kind, name = hints[entry.name], "--" + entry.name.replace("_", "-")
        default = getattr(Recipe(), entry.name)
        said = "" if default is None or default == {} else f" [{' '.join(default) if kind == list[str] else default}]"
        options: dict[str, Any] = {
            "default": argparse.SUPPRESS,
            "help": entry.metadata["help"].replace("%", "%%") + said,
        }
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif get_origin(kind) is list:
            options |= {"nargs": "+", "metavar": entry.name.upper()}
        elif get_origin(kind) is dict:
            options |= {"nargs": "+", "metavar": "NAME=VALUE"}
        else:
            options |= {"type": kind if kind in (int, float) else str, "metavar": entry.name.upper()}
        parser.add_argument(name, **options)


def from_flags(given: dict[str, Any]) -> dict[str, Any]:
    """Fields as flags gave them: NAME=VALUE pairs are read as TOML values, or else as text."""
    if "model" not in given:
        return given
    return given | {"model": dict(pair(text) for text in given["model"])}


def pair(text: str) -> tuple[str, Any]:
    """hidden_size=256"""
    name, equals, value = text.partition("=")
    if not equals:
        fail(ArgumentError, f"{text!r} is not of the form NAME=VALUE", "such as hidden_size=256")
    try:
        return name, tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return name, value
