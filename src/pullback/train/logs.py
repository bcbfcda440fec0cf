"""Logs: a line of JSON for each step, always; TensorBoard's event files on request."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..utils.tensorboard import SummaryWriter
from .callbacks import Callback


def line(record: dict[str, Any]) -> str:
    """A record as JSON on one line: numbers as float32 needs them; "nan" and "inf", which JSON lacks, as text."""
    plain = {name: _plain(value) if isinstance(value, float) else value for name, value in record.items()}
    return json.dumps({**plain, "time": round(time.time(), 3)}, ensure_ascii=False) + "\n"


def _plain(value: float) -> Any:
    return float(f"{value:.8g}") if math.isfinite(value) else str(value)


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a log. A last line that a killed run left unfinished is not one."""
    text = Path(path).read_text(encoding="utf-8")
    return [json.loads(part) for part in text[: text.rfind("\n") + 1].splitlines()]


class JsonLog(Callback):
    """Writes log.jsonl: a line every `every` steps, with all that their logs have, and for each validation.

    After a restart no step is in it twice.
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path, self.every = Path(path), every
        self.position: int | None = None  # bytes that the checkpoint knows of
        self.file: BinaryIO | None = None

    def on_fit_start(self, trainer: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.position is None:
            self.position = 0 if trainer.step == 0 else self.path.stat().st_size if self.path.exists() else 0
        if self.path.exists() and self.path.stat().st_size > self.position:  # steps that will be done again
            os.truncate(self.path, self.position)
        self.file = self.path.open("ab")

    def on_step_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        if trainer.step % self.every == 0:
            self.write(logs)

    def on_validation_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        self.write(logs)

    def on_skip(self, trainer: Any, reason: str) -> None:
        self.write({"step": trainer.step, "skipped": reason})

    def write(self, record: dict[str, Any]) -> None:
        """One line, handed to the system at once, so that it survives this process."""
        if self.file is None:
            return
        try:
            self.file.write(line(record).encode())
            self.file.flush()
        except OSError as error:
            file, self.file = self.file, None
            with suppress(OSError):  # it would try once more
                file.close()
            raise OSError(error.errno, f"the log cannot be written: {error.strerror}", str(self.path)) from error
        self.position = self.file.tell()

    def close(self, trainer: Any) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.position = state_dict["position"]


class TensorBoardLog(Callback):
    """Writes what JsonLog writes as scalars of TensorBoard; look at them with `tensorboard --logdir FOLDER`."""

    def __init__(self, folder: str | os.PathLike[str], every: int = 1) -> None:
        self.folder, self.every = folder, every
        self.writer: SummaryWriter | None = None

    def on_fit_start(self, trainer: Any) -> None:
        self.writer = SummaryWriter(self.folder, purge_step=trainer.step + 1 if trainer.step else None)

    def on_step_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        if trainer.step % self.every == 0:
            values = {name: value for name, value in logs.items() if name not in ("step", "epoch")}
            self.write("train", values, trainer.step)

    def on_validation_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        values = {name.removeprefix("valid_"): value for name, value in logs.items() if name.startswith("valid_")}
        self.write("valid", values, trainer.step)

    def write(self, group: str, values: dict[str, float], step: int) -> None:
        assert self.writer is not None
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step)

    def on_checkpoint(self, trainer: Any, path: Any) -> None:
        if self.writer is not None:
            self.writer.flush()

    def close(self, trainer: Any) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None
