"""Curves: the losses and the gradient's norm over the steps, as a picture."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .callbacks import Callback

HINT = "no curves were drawn, for want of matplotlib: pip install 'pullback[train]'"


def draw(log: str | os.PathLike[str], picture: str | os.PathLike[str]) -> None:
    """Draw a log of the Trainer's: losses above, gradient norm below."""
    from matplotlib.figure import Figure

    from .logs import read

    records = read(log)
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, name in ((above, "loss"), (above, "valid_loss"), (below, "grad_norm")):
        points = [(record["step"], float(record[name])) for record in records if name in record]
        steps, values = zip(*points, strict=True) if points else ((), ())
        axes.plot(steps, values, label=name, linewidth=1, marker="o" if len(points) < 30 else "")
        if any(value > 0 for value in values):
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend()
    below.set_xlabel("step")
    figure.savefig(picture, dpi=120)


class Curves(Callback):
    """Saves curves.png beside the log when training ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: Any) -> None:
        if find_spec("matplotlib") is None:
            print(HINT)
        elif (self.folder / "log.jsonl").exists():
            draw(self.folder / "log.jsonl", self.folder / "curves.png")
