"""A training script that can be killed at any moment: `python resume_script.py FOLDER WORKERS [EVENT COUNT [ENGINE]]`.

It prints the SHA-256 of all that it ends with. With EVENT and COUNT it kills itself when that is reached: "step" counts
optimizer steps, "fsync" and "replace" are two moments of writing a checkpoint.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
from pathlib import Path

import numpy as np

import pullback as torch
from pullback import nn
from pullback.data import DataLoader, Dataset
from pullback.optim import AdamW
from pullback.optim.lr_scheduler import CosineAnnealingLR
from pullback.train import Callback, Trainer

SAMPLES = 60


class Augmented(Dataset):
    """Points that are shifted at random each time they are asked for, by all three generators."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int):
        x = torch.tensor([i / SAMPLES, (i % 7) / 7, (i % 5) / 5])
        noise = 0.01 * (torch.randn(3) + random.random() + np.random.rand())  # noqa: NPY002
        return x + noise.float(), (x.sum() > 1).long()


class KillAtStep(Callback):
    def __init__(self, count: int) -> None:
        self.count = count

    def on_step_end(self, trainer, logs) -> None:
        self.count -= 1
        if self.count == 0:
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in(name: str, count: int) -> None:
    """Die right before the count-th call of a function of os."""
    call, calls = getattr(os, name), []

    def wrapped(*args, **kwargs):
        calls.append(args)
        if len(calls) == count:
            die()
        return call(*args, **kwargs)

    setattr(os, name, wrapped)


def digest(value, into) -> None:
    """All of a nest goes into the hash."""
    if isinstance(value, dict):
        for key in value:
            into.update(repr(key).encode())
            digest(value[key], into)
    elif isinstance(value, (list, tuple)):
        for part in value:
            digest(part, into)
    elif isinstance(value, (torch.Tensor, np.ndarray)):
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else value
        into.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    else:
        into.update(repr(value).encode())


def main(folder: str, workers: str = "0", event: str = "", count: str = "0", engine: str = "") -> None:
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2))
    optimizer = AdamW(model.parameters(), lr=0.02)
    callbacks = [KillAtStep(int(count))] if event == "step" else []
    if event not in ("", "step"):
        kill_in(event, int(count))
    trainer = Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(),
        DataLoader(Augmented(), batch_size=4, shuffle=True, num_workers=int(workers)),
        DataLoader(Augmented(), batch_size=20),
        epochs=4,
        accumulate=2,
        clip=1.0,
        scheduler=CosineAnnealingLR(optimizer, 40),
        scheduler_per="step",
        patience=3,
        checkpoint_every=3,
        folder=Path(folder),
        callbacks=callbacks,
        progress=False,
        compile=engine or None,
    )
    trainer.fit()
    from pullback.io.generators import get_states

    sha = hashlib.sha256()
    digest([model.state_dict(), optimizer.state_dict(), trainer.scheduler.state_dict(), get_states()], sha)
    print(sha.hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
