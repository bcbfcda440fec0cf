"""A folder of checkpoints: each whole or not there, checksummed, the last few and the best of them kept."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import PullbackError, fail
from . import files
from .adapter import Adapter
from .binary import TEMPORARY, FormatError, reading
from .checksums import SEAL
from .safetensors import read_header

NAME = "step-{:08d}.safetensors"
PATTERN = re.compile(r"step-(\d{8,})\.safetensors")
SHOWN = 10  # differences that an error lists


class CheckpointError(PullbackError):
    """A checkpoint cannot be written, or is missing, damaged, or of something else."""


class Checkpoints:
    """Checkpoints in a folder that one run writes to; any file in it can also be read with `pullback.load`.

    The last `keep` stay, and the one with the best metric: the lowest, or with `mode="max"` the highest.
    """

    def __init__(
        self, folder: str | os.PathLike[str], keep: int = 3, *, mode: str = "min", adapter: Callable[[], Adapter]
    ) -> None:
        if keep < 1 or mode not in ("min", "max"):
            fail(
                CheckpointError,
                f"cannot keep {keep} checkpoints and the one of {mode} metric",
                "use keep >= 1 and mode='min' or 'max'",
            )
        self.folder, self.keep, self.mode = Path(folder), keep, mode
        self._adapter = adapter
        self._metrics: dict[int, float | None] = {}  # of the files that were looked into

    def __repr__(self) -> str:
        return f"Checkpoints({str(self.folder)!r}, keep={self.keep}): steps {self.steps()}"

    # -- what there is ---------------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """The steps there are checkpoints of, in order."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return sorted(int(found[1]) for name in names if (found := PATTERN.fullmatch(name)))

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / NAME.format(step)

    def latest(self) -> int | None:
        """The last step there is a checkpoint of."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step whose metric is best; of several equals, the first."""
        sign = 1 if self.mode == "min" else -1
        found = [(sign * metric, step) for step in self.steps() if (metric := self.metric(step)) is not None]
        return min(found)[1] if found else None

    def metric(self, step: int) -> float | None:
        """The metric that a step was saved with."""
        if step not in self._metrics:
            try:
                with reading(self.path(step)) as file:
                    text = read_header(file)[1].get("metric")
                self._metrics[step] = float(text) if text else None
            except (ValueError, OSError):  # load() says what is wrong with it
                self._metrics[step] = None
        return self._metrics[step]

    # -- writing ---------------------------------------------------------------------------------------------------

    def save(self, step: int, state: Any, metric: float | None = None) -> Path:
        """Write a nest of state_dicts, numbers and tensors; then remove what is no longer to be kept."""
        latest = self.latest()
        if latest is not None and step < latest:
            fail(
                CheckpointError,
                f"{self.folder} has a checkpoint of step {latest}, which one of step {step} cannot follow",
                f"save in another folder, or remove the later ones with rewind({step})",
            )
        metric = None if metric is None or math.isnan(metric) else float(metric)
        facts = {"step": str(step)} if metric is None else {"step": str(step), "metric": repr(metric)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            files.save(state, self.path(step), adapter=self._adapter(), facts=facts)
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {self.folder.absolute()}: {error}\n"
                f"  what is there of earlier steps is intact: {self.steps() or 'nothing'}\n"
                "  make room, then go on from the latest one"
            ) from error
        self._metrics[step] = metric
        kept = {*self.steps()[-self.keep :], self.best()}
        self._remove(old for old in self.steps() if old not in kept)
        return self.path(step)

    def rewind(self, step: int) -> None:
        """Remove the checkpoints of later steps."""
        self._remove(later for later in self.steps() if later > step)

    def _remove(self, steps: Any) -> None:
        for step in list(steps):
            self.path(step).unlink(missing_ok=True)
            self._metrics.pop(step, None)

    def _clean(self) -> None:
        """Remove what a killed run was in the middle of writing."""
        for name in os.listdir(self.folder):
            if re.fullmatch(rf"\.[0-9a-f]{{16}}{re.escape(TEMPORARY)}", name):
                (self.folder / name).unlink(missing_ok=True)

    # -- reading ---------------------------------------------------------------------------------------------------

    def load(self, which: str | int = "latest") -> Any:
        """What was saved: "latest", "best", or that of a step. A damaged file is refused, never replaced silently."""
        step = self.find(which)
        try:
            return self._read(step)
        except (FormatError, OSError) as error:
            raise CheckpointError(f"a damaged checkpoint: {error}\n  {self._instead(step)}") from error

    def find(self, which: str | int) -> int:
        """The step that "latest" or "best" stands for."""
        known = {"latest": self.latest, "best": self.best}
        step = known[which]() if isinstance(which, str) and which in known else which
        if not isinstance(step, int) or step not in self.steps():
            what = "" if which == "latest" else f" {which!r}"
            fail(
                CheckpointError,
                f"there is no checkpoint{what} in {self.folder.absolute()}",
                f"there are those of steps {self.steps()}" if self.steps() else "it holds none at all",
            )
        return step

    def _read(self, step: int) -> Any:
        path = self.path(step)
        with reading(path) as file:
            if SEAL not in read_header(file)[1]:
                raise FormatError(f"{path}: it has no checksums, so it was not written as a checkpoint")
        return files.load(path, adapter=self._adapter())

    def _instead(self, step: int) -> str:
        """Which earlier checkpoint can be loaded."""
        for earlier in [s for s in reversed(self.steps()) if s < step]:
            try:
                self._read(earlier)
            except (FormatError, OSError):
                continue
            return (
                f"the last good one before it is of step {earlier}: "
                f"load({earlier}), or fit(resume={earlier}) in a Trainer, goes on from there"
            )
        return "no earlier one can be read either: train anew, or bring back a copy"


def check_names(saved: Mapping[str, Any], present: Mapping[str, Any], what: str) -> None:
    """Refuse tensors that are not, by name, shape and dtype, those they are to be copied into."""
    wrong = [f"missing in the checkpoint: {name} {_kind(t)}" for name, t in present.items() if name not in saved]
    wrong += [f"only in the checkpoint: {name} {_kind(t)}" for name, t in saved.items() if name not in present]
    wrong += [
        f"{name}: {_kind(saved[name])} in the checkpoint, {_kind(t)} here"
        for name, t in present.items()
        if name in saved and _kind(saved[name]) != _kind(t)
    ]
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        fail(
            CheckpointError,
            f"the checkpoint is not of this {what}:\n    " + "\n    ".join([*wrong[:SHOWN], *more]),
            f"make the {what} as it was when the checkpoint was written, or use another folder",
        )


def _kind(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if hasattr(value, "shape") else repr(value)
