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
from pullback.engines import native
from pullback.optim import SGD
from pullback.optim.lr_scheduler import ReduceLROnPlateau
from pullback.train import Callback, Trainer, read
from pullback.train.checkpoints import CheckpointError

SCRIPT = Path(__file__).with_name("resume_script.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(pullback.__file__).parents[1])}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


def run(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, folder, *map(str, args)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


def whole(folder: Path, workers: int, *engine: str) -> str:
    done = run(folder, workers, *(("", 0, *engine) if engine else ()))
    assert done.returncode == 0, done.stderr
    return done.stdout


def log(folder: Path) -> list[tuple]:
    return [(record["step"], record.get("loss"), record.get("valid_loss")) for record in read(folder / "log.jsonl")]


def killed(folder: Path, kills: list[tuple[str, int]], workers: int, *engine: str) -> str:
    """What the run ends with after these kills; the log has each step once, and no half file is left."""
    for event, count in kills:
        done = run(folder, workers, event, count, *engine)
        assert done.returncode == -signal.SIGKILL, done.stderr
    found = whole(folder, workers, *engine)
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


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["numpy", "native", pytest.param("xla", marks=pytest.mark.parity)])
def test_kills_of_a_run_whose_steps_are_compiled(tmp_path, engine: str) -> None:
    if engine == "native" and not native.available():
        pytest.skip("there is no C compiler")
    expected = whole(tmp_path / "whole", 0, engine)
    assert killed(tmp_path / "killed", [("step", 1), ("step", 13), ("fsync", 3)], 0, engine) == expected
    assert log(tmp_path / "killed") == log(tmp_path / "whole")


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


@pytest.mark.parametrize("loader", [list, lambda points: DataLoader(points, batch_size=None)])
def test_a_run_stopped_after_the_short_window_at_an_epochs_end_goes_on(tmp_path, loader) -> None:
    torch.manual_seed(3)
    data = [(torch.randn(4, 3), torch.randn(4, 2)) for _ in range(7)]

    def train(folder: str, **kwargs) -> Trainer:
        torch.manual_seed(1)
        model = nn.Linear(3, 2)
        kwargs |= {"accumulate": 3, "checkpoint_every": 1, "folder": tmp_path / folder, "progress": False}
        trainer = Trainer(model, SGD(model.parameters(), lr=0.1), nn.MSELoss(), loader(data), **kwargs)
        trainer.fit()
        return trainer

    expected = train("whole", epochs=3)
    train("parts", steps=3)  # of 3, 3 and 1 batches: the last one has met the end of the data
    found = train("parts", epochs=3)
    assert (found.step, found.epoch) == (expected.step, expected.epoch) == (9, 3)
    assert torch.equal(found.model.weight, expected.model.weight)
    assert log(tmp_path / "parts") == log(tmp_path / "whole")


def test_fit_again_goes_on_in_the_middle_of_the_epoch() -> None:
    def train(*budgets: int) -> Trainer:
        torch.manual_seed(0)
        points = [(torch.randn(3), torch.randn(2)) for _ in range(20)]
        model = nn.Linear(3, 2)
        loader = DataLoader(points, batch_size=4, shuffle=True)
        trainer = Trainer(model, SGD(model.parameters(), lr=0.1), nn.MSELoss(), loader, steps=0, progress=False)
        for trainer.steps in budgets:
            trainer.fit()
        return trainer

    whole, parts = train(13), train(3, 8, 13)
    assert parts.epoch == whole.epoch == 2
    assert torch.equal(parts.model.weight, whole.model.weight)


def test_fit_again_on_other_data_begins_with_it() -> None:
    torch.manual_seed(0)
    first, second = ([(torch.randn(3), torch.randn(2)) for _ in range(n)] for n in (20, 12))
    model = nn.Linear(3, 2)
    loader = DataLoader(first, batch_size=4)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.1), nn.MSELoss(), loader, steps=3, progress=False)
    trainer.fit()
    trainer.train, trainer.steps = DataLoader(second, batch_size=4, shuffle=True), 7
    trainer.fit()
    assert (trainer.step, trainer.epoch) == (7, 1)  # three of the four batches were an epoch


class SavesAndStops(Callback):
    """Asks for a checkpoint at a step, and stops there as a kill would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer, logs) -> None:
        if trainer.step == self.step:
            trainer.save()

    def on_checkpoint(self, trainer, path) -> None:
        if trainer.step == self.step:
            raise KeyboardInterrupt


def plateau(folder: Path, *callbacks: Callback) -> Trainer:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = SGD(model.parameters(), lr=0.1)
    batches = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(4)]
    return Trainer(
        model,
        optimizer,
        nn.MSELoss(),
        batches,
        batches[:1],
        steps=16,
        valid_every=4,
        scheduler=ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
        scheduler_per="validation",
        callbacks=callbacks,
        folder=folder,
        checkpoint_every=100,
        progress=False,
    )


def test_a_checkpoint_that_a_callback_asks_for_has_all_of_its_step(tmp_path) -> None:
    whole = plateau(tmp_path / "whole")
    whole.fit()
    with pytest.raises(KeyboardInterrupt):
        plateau(tmp_path / "part", SavesAndStops(8)).fit()
    resumed = plateau(tmp_path / "part")
    resumed.fit()
    assert torch.equal(resumed.model.weight, whole.model.weight)
    assert log(tmp_path / "part") == log(tmp_path / "whole")


def test_a_folder_has_one_run_at_a_time(tmp_path) -> None:
    holds = "import sys; from pathlib import Path; from pullback.train.checkpoints import Lock\n"
    holds += "lock = Lock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", holds, tmp_path],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(CheckpointError, match="another run is writing"):
            plateau(tmp_path).fit()
        other.kill()
    plateau(tmp_path).fit()
