"""Progress: a bar on a terminal, and plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import Any

from .callbacks import Callback

EVERY = 10.0  # seconds between plain lines
REFRESH = 0.1  # and between drawings of the bar


FORMS = {"loss": "loss {:.4g}", "lr": "lr {:.3g}", "grad_norm": "|g| {:.3g}"}  # how values are shown, in this order
PER_SECOND = "_per_second"


def display(forms: dict[str, str] | None = None) -> Display:
    """The one that suits where standard output goes."""
    if sys.stdout.isatty() and find_spec("rich") is not None:
        return Bar(forms)
    return Lines(forms)


def values(logs: dict[str, Any], forms: dict[str, str] | None = None) -> str:
    """`loss 0.123  lr 0.001  |g| 0.45  1,230 samples/s`, and whatever else there is; `forms` says how, by name."""
    forms = {**FORMS, **(forms or {})}
    names = [*(name for name in FORMS if name in logs), *(name for name in logs if name not in FORMS)]
    return "  ".join(form(name, forms).format(logs[name]) for name in names if name not in ("step", "epoch"))


def form(name: str, forms: dict[str, str]) -> str:
    """How a value is shown."""
    usual = f"{{:,.0f}} {name.removesuffix(PER_SECOND)}/s" if name.endswith(PER_SECOND) else f"{name} {{:.4g}}"
    return forms.get(name, usual)


def clock(seconds: float) -> str:
    """`1:02:03`"""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


class Display(Callback):
    """What both ways have in common: now and then, say how far training is.

    Shown is all that a step's logs have, also what callbacks put there: `forms={"memory": "{:.1f} GiB"}` says how.
    """

    every = EVERY

    def __init__(self, forms: dict[str, str] | None = None) -> None:
        self.forms = forms
        self.began = self.shown = 0.0
        self.first = 0  # the step this fit() started from

    def on_fit_start(self, trainer: Any) -> None:
        self.began = self.shown = time.monotonic()
        self.first = trainer.step

    def on_step_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        if time.monotonic() - self.shown >= self.every:
            self.show(trainer, {**trainer.logs, **logs})

    def on_skip(self, trainer: Any, reason: str) -> None:
        self.say(f"left out: {reason}")

    def on_fit_end(self, trainer: Any) -> None:
        if trainer.stopped:
            self.say(f"stopped at step {trainer.step}: {trainer.stopped}")

    def left(self, trainer: Any) -> str:
        """`; 0:01:30 left`, as far as known."""
        done = trainer.step - self.first
        if not done or trainer.total is None:
            return ""
        return f"  {clock((time.monotonic() - self.began) / done * (trainer.total - trainer.step))} left"

    def show(self, trainer: Any, logs: dict[str, Any]) -> None:
        """Show the values of a step."""
        self.shown = time.monotonic()

    def say(self, text: str) -> None:
        print(text, flush=True)


class Lines(Display):
    """A line every ten seconds, and one for each validation or epoch."""

    def on_fit_start(self, trainer: Any) -> None:
        super().on_fit_start(trainer)
        if trainer.step and not trainer.done:
            self.say(f"going on after step {trainer.step}")
        if sys.stdout.isatty():
            self.say("for a progress bar: pip install 'pullback[train]'")

    def on_epoch_end(self, trainer: Any) -> None:
        self.show(trainer, trainer.logs)

    def on_validation_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        if trainer.valid_every:
            self.show(trainer, trainer.logs)

    def show(self, trainer: Any, logs: dict[str, Any]) -> None:
        super().show(trainer, logs)
        text = values(logs, self.forms)
        total = f"/{trainer.total}" if trainer.total else ""
        self.say(f"epoch {trainer.logs['epoch']}  step {trainer.step}{total}  {text}{self.left(trainer)}")


class Bar(Display):
    """A bar with the latest values, drawn by rich."""

    every = REFRESH

    def on_fit_start(self, trainer: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        super().on_fit_start(trainer)
        columns = [TextColumn("epoch {task.fields[epoch]}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn()]
        last = TextColumn("{task.fields[values]}", table_column=Column())  # it wraps where there is little room
        self.bar = Progress(*columns, last, auto_refresh=False)
        self.task = self.bar.add_task("", total=trainer.total, epoch=trainer.epoch + 1, values="")
        self.bar.start()

    def show(self, trainer: Any, logs: dict[str, Any]) -> None:
        super().show(trainer, logs)
        text = values(logs, self.forms) + self.left(trainer)
        self.bar.update(self.task, completed=trainer.step, epoch=trainer.logs["epoch"], values=text, refresh=True)

    def on_validation_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        self.say(f"epoch {logs['epoch']}  step {trainer.step}  {values(logs, self.forms)}")

    def say(self, text: str) -> None:
        self.bar.console.print(text, highlight=False, markup=False)

    def close(self, trainer: Any) -> None:
        if hasattr(self, "bar"):
            if trainer.logs:
                self.show(trainer, trainer.logs)
            self.bar.stop()
