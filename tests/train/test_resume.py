"""A run that is killed and started again ends bit by bit as one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pullback
import pullback as torch
from pullback import nn
from pullback.data import DataLoader, Dataset
from pullback.optim import SGD
from pullback.train import Trainer, read

SCRIPT = Path(__file__).with_name("resume_script.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(pullback.__file__).parents[1])}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


def run(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, folder, *map(str, args)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


def whole(folder: Path, workers: int) -> str:
    done = run(folder, workers)
    assert done.returncode == 0, done.stderr
    return done.stdout


def log(folder: Path) -> list[tuple]:
    return [(record["step"], record.get("loss"), record.get("valid_loss")) for record in read(folder / "log.jsonl")]


def killed(folder: Path, kills: list[tuple[str, int]], workers: int) -> str:
    """What the run ends with after these kills; the log has each step once, and no half file is left."""
    for event, count in kills:
        done = run(folder, workers, event, count)
        assert done.returncode == -signal.SIGKILL, done.stderr
    found = whole(folder, workers)
    steps = [step for step, loss, _ in log(folder) if loss is not None]
    assert steps == list(range(1, max(steps) + 1))
    assert not list(folder.glob(".*.tmp"))
    return found


@pytest.mark.slow
def test_two_kills_without_workers(tmp_path) -> None:
    expected = whole(tmp_path / "whole", 0)
    assert killed(tmp_path / "killed", [("step", 14), ("fsync", 3)], 0) == expected
    assert log(tmp_path / "killed") == log(tmp_path / "whole")


@pytest.mark.slow
def test_ten_kills_with_two_workers(tmp_path) -> None:
    expected = whole(tmp_path / "whole", 2)
    assert expected == whole(tmp_path / "one", 1)  # as many workers as one likes
    dice = random.Random(0)
    kills = [("step", dice.randint(2, 7)) for _ in range(6)]
    kills += [("fsync", 1), ("fsync", 4), ("replace", 2), ("replace", 1)]
    dice.shuffle(kills)
    assert killed(tmp_path / "killed", kills, 2) == expected
    assert log(tmp_path / "killed") == log(tmp_path / "whole")


@pytest.mark.slow
def test_ten_kills_at_random_moments(tmp_path) -> None:
    expected = whole(tmp_path / "whole", 2)
    dice = random.Random(1)
    folder = tmp_path / "killed"
    command = [sys.executable, SCRIPT, folder, "2"]
    for _ in range(10):
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.wait(dice.uniform(0.5, 3.0))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    assert killed(folder, [], 2) == expected


class Faulty(Dataset):
    def __init__(self, bad: int | None) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 24

    def __getitem__(self, i: int):
        if i == self.bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.full((2,), i / 24), torch.tensor([1.0])


def test_a_worker_that_dies_stops_the_run_and_leaves_the_checkpoint(tmp_path) -> None:
    def make(bad: int | None) -> Trainer:
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        loader = DataLoader(Faulty(bad), batch_size=4, num_workers=1)
        optimizer = SGD(model.parameters(), lr=0.1)
        return Trainer(
            model, optimizer, nn.MSELoss(), loader, epochs=1, checkpoint_every=1, folder=tmp_path, progress=False
        )

    import multiprocessing

    trainer = make(bad=17)
    with pytest.raises(RuntimeError, match="worker") as caught:
        trainer.fit()
    assert "killed" in str(caught.value).lower() or "died" in str(caught.value).lower()
    assert not multiprocessing.active_children()
    assert trainer.checkpoints.latest() in (3, 4)  # the worker may die with its last batch still in hand
    again = make(bad=None)
    again.fit()
    assert again.step == 6 and [record["step"] for record in read(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5, 6]
