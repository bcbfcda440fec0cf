"""What a run is at one moment, as a nest that can be saved, and back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import fail
from ..functions.files import adapter
from ..io import checkpoints
from ..io.checkpoints import CheckpointError, check_names
from ..io.generators import get_states, set_states

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


class Checkpoints(checkpoints.Checkpoints):
    """A folder of checkpoints: the last `keep`, and the best by their metric (`mode`: "min" or "max")."""

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3, *, mode: str = "min") -> None:
        super().__init__(folder, keep, mode=mode, adapter=adapter)


class Lock:
    """Held by the one run that writes to a folder; the system lets go of it however the run ends."""

    def __init__(self, folder: Path) -> None:
        self.file: Any = None
        if fcntl is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = open(folder / ".lock", "a")  # noqa: SIM115 (closed by close())
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not inherited by a loader's workers
        except OSError as error:
            self.close()
            taken = isinstance(error, (BlockingIOError, PermissionError)) and self.file is not None
            what = "another run is writing to" if taken else f"cannot write ({error}) to"
            fail(CheckpointError, f"{what} {folder.absolute()}", "wait for it to end, or use another folder")

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class Batches:
    """Batches that always come in the same order (a list, say), with the position that a loader has."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches, self.position = batches, 0

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        for batch in islice(self.batches, self.position, None):
            self.position += 1
            yield batch
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.position = state_dict["position"]


PARTS = {"optimizer": "optimizer", "scheduler": "scheduler", "scaler": "scaler", "loader": "train"}  # key: attribute
PROGRESS = ("step", "epoch", "skipped", "stopped", "validated", "exhausted", "logs")


def capture(trainer: Any) -> dict[str, Any]:
    """All that the next steps depend on."""
    return {
        "model": trainer.model.state_dict(),
        **{key: _part(part) for key, part in _parts(trainer).items()},
        "names": _names(trainer),
        "callbacks": [[type(c).__name__, c.state_dict()] for c in trainer.callbacks],
        "trainer": {name: getattr(trainer, name) for name in PROGRESS},
        "rng": get_states(),
    }


def restore(trainer: Any, state: dict[str, Any]) -> None:
    """Put a captured state back; all of it is compared with what is there before anything is changed."""
    parts = _parts(trainer)
    check_names(state["model"], trainer.model.state_dict(), "model")
    check_names({key: state[key]["class"] for key in parts}, {key: _class(part) for key, part in parts.items()}, "run")
    _check_groups(state["names"], _names(trainer))
    trainer.model.load_state_dict(state["model"])
    for key, part in parts.items():
        if state[key]["state"] is not None:
            part.load_state_dict(state[key]["state"])
    saved = [tuple(pair) for pair in state["callbacks"]]
    for callback in trainer.callbacks:  # those of one class in their order; one that is new starts afresh
        found = next((pair for pair in saved if pair[0] == type(callback).__name__), None)
        if found is not None:
            saved.remove(found)
            callback.load_state_dict(found[1])
    vars(trainer).update(state["trainer"])
    set_states(state["rng"])


def _parts(trainer: Any) -> dict[str, Any]:
    return {key: getattr(trainer, name) for key, name in PARTS.items()}


def _part(part: Any) -> dict[str, Any]:
    return {"class": _class(part), "state": part.state_dict() if hasattr(part, "state_dict") else None}


def _class(part: Any) -> str:
    return type(part).__name__


def _names(trainer: Any) -> list[list[str]]:
    """The model's names of the parameters in each of the optimizer's groups."""
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    return [
        [names.get(id(p), "(not of the model)") for p in group["params"]] for group in trainer.optimizer.param_groups
    ]


def _check_groups(saved: list[list[str]], present: list[list[str]]) -> None:
    """The optimizer numbers its parameters, so they must come in the same order."""
    for i, (was, now) in enumerate(zip(saved, present, strict=False)):
        if was != now:
            place = next((k for k, pair in enumerate(zip(was, now, strict=False)) if pair[0] != pair[1]), None)
            differ = f"{len(was)} and {len(now)} parameters" if place is None else f"{was[place]} and {now[place]}"
            fail(
                CheckpointError,
                f"the optimizer's group {i} differs: in the checkpoint and here it has {differ}",
                "give the optimizer the same parameters in the same order",
            )
    if len(saved) != len(present):
        fail(
            CheckpointError,
            f"the checkpoint's optimizer has {len(saved)} groups of parameters, this one {len(present)}",
            "give the optimizer the same groups",
        )
