"""The Trainer: the standard loop. `fit` and `train_step` are all of it; the rest is what they name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from ..amp import GradScaler
from ..errors import ArgumentError, PullbackError, fail
from ..functions import PUBLIC
from ..io.generators import get_states, set_states
from ..modes import inference_mode
from ..nn.module import Module
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor
from .accumulation import Window, accumulate, number, samples
from .callbacks import Callback, EarlyStopping, monitored
from .checkpoints import Batches, Checkpoints, Lock, capture, restore
from .checks import check
from .curves import Curves
from .logs import JsonLog, TensorBoardLog
from .nonfinite import NonFiniteError
from .progress import display
from .step import Measure, Parts, Step, Steps

cat = PUBLIC["cat"]


class Trainer:
    """Trains a model.

    `loss` is a module such as nn.CrossEntropyLoss(), called as loss(model(x), y) on batches (x, y); or a function
    loss(model, batch), which returns the mean loss of the batch, or a dict with it as "loss" and metrics beside it.
    `count(batch)` is how many terms that mean is over: samples, unless said otherwise.

    Training ends after `epochs` or `steps`, whichever comes first. One step is one update by the optimizer, of
    `accumulate` batches. With a `folder` the run is logged, and resumes there when started again.

    With `compile` (True, or the name of an engine) steps and validation are compiled: the same numbers, sooner.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Any,
        loss: Callable[..., Any],
        train: Iterable[Any] | None = None,
        valid: Iterable[Any] | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        accumulate: int = 1,
        count: Callable[[Any], Any] = samples,
        clip: float | None = None,  # the gradient's norm
        clip_value: float | None = None,  # each of its values
        autocast: Any = None,  # such as torch.autocast("cpu", torch.bfloat16)
        scaler: Any = None,
        scheduler: Any = None,
        scheduler_per: str | None = None,  # "step", "epoch", or "validation" for ReduceLROnPlateau
        metrics: dict[str, Callable[[Any, Any], Tensor]] | None = None,  # name -> mean of f(model(x), y)
        valid_every: int | None = None,  # steps; None: each epoch
        monitor: str = "valid_loss",
        mode: str = "min",
        patience: int | None = None,  # validations without improvement before stopping
        callbacks: Sequence[Callback] = (),
        folder: Any = None,
        checkpoint_every: int | None = None,  # steps; None: each epoch
        keep: int = 3,
        log_every: int = 1,
        tensorboard: bool = False,
        progress: bool | Callback = True,
        rate: tuple[str, Callable[[Any], Any]] | None = None,  # such as ("tokens", f): the sum of f(batch) per second
        on_nonfinite: str = "stop",  # or "skip" the step
        compile: bool | str | None = None,  # True, "native", "xla" or "numpy"
    ) -> None:
        self.model, self.optimizer, self.valid = model, optimizer, valid
        self.train: Any = train if train is None or hasattr(train, "state_dict") else Batches(train)
        self.epochs, self.steps = epochs, steps
        self.accumulate, self.count = accumulate, count
        self.autocast = nullcontext() if autocast is None else autocast
        self.scaler = GradScaler(enabled=False) if scaler is None else scaler
        self.scheduler, self.scheduler_per = scheduler, scheduler_per
        measure = Measure(model, loss, metrics or {}, self.autocast)
        self.run = Steps(Step(Parts(measure, self.scaler), optimizer, clip, clip_value), compile)
        self.rate = rate or ("samples" if count is samples else "terms", count)
        self.valid_every, self.checkpoint_every, self.log_every = valid_every, checkpoint_every, log_every
        self.monitor, self.mode, self.on_nonfinite = monitor, mode, on_nonfinite
        self.checkpoints = None if folder is None else Checkpoints(folder, keep, mode=mode)

        self.step = self.epoch = self.skipped = 0  # steps taken, epochs completed, steps left out
        self.stopped: str | None = None  # why training was stopped early
        self.validated: int | None = None  # the step of the last validation
        self.exhausted = False  # has the epoch under way no more batches?
        self.logs: dict[str, Any] = {}  # the latest of each value
        self._saved: Any = None  # the progress that the last checkpoint has
        self._lock: Lock | None = None  # on the folder, during fit()
        self._fitting = self._asked = False  # is fit() running, and has save() been called?
        self._left: Any = None  # the data, and where in an epoch of it fit() ended
        self._ended: int | None = None  # the step at which the last epoch ended
        self._clock, self._rate = time.perf_counter(), 0.0
        self._warm = False  # has there been a step, with all that is made once?

        self.callbacks: list[Callback] = list(callbacks)
        if patience is not None:
            self.callbacks.insert(0, EarlyStopping(patience, monitor, mode=mode))
        if folder is not None:
            self.callbacks += [JsonLog(Path(folder) / "log.jsonl", log_every), Curves(Path(folder))]
        if tensorboard:
            self.callbacks.append(TensorBoardLog(folder, log_every))
        if progress:
            self.callbacks.append(progress if isinstance(progress, Callback) else display())
        check(self)

    # -- the loop --------------------------------------------------------------------------------------------------

    def fit(self, resume: bool | int = True) -> dict[str, Any]:
        """Train; returns the last values logged. With a folder it goes on from the latest checkpoint there, or from
        that of the step given; `resume=False` wants a folder without any."""
        try:
            self._start(resume)
            self._tell("on_fit_start")
            while not self.done:
                self._tell("on_epoch_start")
                self.model.train()
                for window in self._windows():
                    logs = self.train_step(window)
                    self.logs |= logs
                    self._tell("on_step_end", logs)
                    self.logs |= logs  # with what callbacks have put there
                    if self._due(self.valid_every):
                        self._validate()
                    if self._due(self.checkpoint_every) or self._improved() or self._asked:
                        self._save()
                    if self.done:
                        break
                else:
                    self._count_epoch()
                    if self.valid_every is None:
                        self._validate()
                    if self.scheduler_per == "epoch":
                        self.scheduler.step()
                    self._tell("on_epoch_end")
                    if self.checkpoint_every is None or self._improved() or self._asked:
                        self._save()
            self._finish()
            self._tell("on_fit_end")
        finally:
            self._tell("close")
            self._end()
        return self.logs

    def train_step(self, window: Window) -> dict[str, Any]:
        """One update: the gradient of the mean loss over all batches of the window, clipped; then the optimizer."""
        before = get_rng_state(), self.scaler.state_dict()
        logs: dict[str, Any] = {"step": self.step + 1, "epoch": self.epoch + 1, "lr": self._lr()}
        logs |= self.run.take(window.parts, window=self.accumulate > 1 or len(window) > 1)
        self.step += 1
        if self.run.bad(logs):
            self._nonfinite(logs, window, *before)
        logs[f"{self.rate[0]}_per_second"] = self._speed(window)
        if self.scheduler_per == "step":
            self.scheduler.step()
        return logs

    # -- without the loop ------------------------------------------------------------------------------------------

    def learn(self, batch: Any) -> dict[str, Any]:
        """Online learning: one update on one batch, of one sample if you like. Nothing is logged or saved."""
        if not self.model.training:
            self.model.train()
        self.logs |= self.train_step(Window([batch], self.count))
        return self.logs

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Mean loss and metrics over all batches, in eval mode. Training goes on as if this had not been called."""
        sums: dict[str, Any] = {}
        total: Any = 0
        with self._evaluating():
            for batch in batches:
                if n := number(self.count(batch)):
                    names, values = self.run.evaluation(batch)
                    sums[names] = sums.get(names, 0.0) + values * n
                    total += n
        if not sums:
            what = "there was nothing to evaluate: no batch came, or none with terms to count"
            fail(PullbackError, what, "is the data set empty?")
        return {name: value / total for names, s in sums.items() for name, value in zip(names, s.tolist(), strict=True)}

    def predict(self, data: Any, batch_size: int = 256, forward: Callable[[Module, Any], Any] | None = None) -> Any:
        """The model's outputs in eval mode, joined, for a tensor of inputs or for batches: x, or (x, y) as in training.

        `forward(model, batch)` says how to call the model where that is not model(x).
        """
        batches = data.split(batch_size) if isinstance(data, Tensor) else data
        call = forward or (lambda model, batch: model(batch[0] if isinstance(batch, (tuple, list)) else batch))
        with self._evaluating(), self.autocast:
            outputs = [call(self.model, batch) for batch in batches]
        return cat(outputs) if outputs and all(isinstance(out, Tensor) for out in outputs) else outputs

    def save(self) -> Path:
        """Write a checkpoint now; called from a callback, as soon as all of this step is done."""
        if self.checkpoints is None:
            fail(PullbackError, "there is nowhere to save", "give the Trainer a folder")
        self._asked = self._fitting
        if not self._fitting:
            self._save()
        return self.checkpoints.path(self.step)

    def load(self, which: str | int = "latest") -> None:
        """Continue from a checkpoint of the folder: "latest", "best", or that of a step."""
        if self.checkpoints is None:
            fail(PullbackError, "there is nothing to load from", "give the Trainer a folder")
        restore(self, self.checkpoints.load(which))

    def stop(self, reason: str) -> None:
        """End training after this step; callbacks call it."""
        self.stopped = reason

    @property
    def done(self) -> bool:
        """Is there nothing left to do?"""
        limits = ((self.epochs, self.epoch), (self.steps, self.step))
        return self.stopped is not None or any(limit is not None and n >= limit for limit, n in limits)

    @property
    def total(self) -> int | None:
        """How many steps there will be, as far as that is known."""
        limits = [] if self.steps is None else [self.steps]
        if self.epochs is not None:
            with suppress(TypeError):  # data without a length
                limits.append(self.epochs * -(-len(self.train) // self.accumulate))
        return min(limits, default=None)

    # -- what the loop names ---------------------------------------------------------------------------------------

    def _start(self, resume: bool | int) -> None:
        if self.train is None or (self.epochs is None and self.steps is None):
            what = "fit() needs batches to train on and an end"
            fail(ArgumentError, what, "give the Trainer train=, and epochs= or steps=")
        self._fitting = True
        self._lock = None if self.checkpoints is None else Lock(self.checkpoints.folder)
        latest = None if self.checkpoints is None else self.checkpoints.latest()
        if resume is False and latest is not None and self.step == 0:
            fail(
                ArgumentError,
                f"{self.checkpoints} is of an earlier run, and resume=False would write over it",
                "use another folder, or remove this one",
            )
        if type(resume) is int:
            self.load(resume)
            assert self.checkpoints is not None
            self.checkpoints.rewind(resume)
        elif resume and latest is not None and self.step == 0:
            self.load()
        elif self._left is not None and self._left[0] is self.train:  # fit() again goes on in the middle of the epoch
            self.train.load_state_dict(self._left[1])
        self._clock, self._warm, self._ended = time.perf_counter(), False, None

    def _end(self) -> None:
        self._fitting = False
        if self._lock is not None:
            self._lock.close()
        within = self.train is not None and self._ended != self.step
        self._left = (self.train, self.train.state_dict()) if within else None

    def _tell(self, event: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)

    def _windows(self) -> Iterator[Window]:
        """Those left of this epoch. One that is not full has met the end of the data, which then begin anew."""
        if not self.exhausted:
            for window in accumulate(self.train, self.accumulate, self.count):
                self.exhausted = len(window) < self.accumulate
                yield window

    def _count_epoch(self) -> None:
        if self._ended == self.step:
            fail(PullbackError, "a whole epoch gave no batch", "is the data set empty, or smaller than a batch?")
        self._ended, self.exhausted = self.step, False
        self.epoch += 1

    def _due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _nonfinite(self, logs: dict[str, Any], window: Window, generator: Tensor, scale: Any) -> None:
        """This step has been left out: go on, or stop and say which op in which layer is to blame."""
        what = f"the loss is {logs['loss']} and the gradient's norm {logs['grad_norm']} at step {logs['step']}"
        if self.on_nonfinite == "skip":
            self.skipped += 1
            self._tell("on_skip", what)
            return
        self.step -= 1
        self.scaler.load_state_dict(scale)
        set_rng_state(generator)
        lines = self.run.diagnose([batch for batch, _ in window.parts])
        set_rng_state(generator)
        todo = "lower the learning rate, clip (clip=1.0), or leave such steps out with on_nonfinite='skip'"
        raise NonFiniteError("\n  ".join([what, *lines, f"this update was not made; {todo}"]))

    def _lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _speed(self, window: Window) -> float:
        """What `rate` counts per second, smoothed."""
        now = time.perf_counter()
        n = window.total if self.rate[1] is self.count else sum(number(self.rate[1](batch)) for batch in window.batches)
        rate = n / (now - self._clock)
        if self._warm:
            self._rate = 0.9 * self._rate + 0.1 * rate if self._rate else rate
        self._clock, self._warm = now, True
        return self._rate or rate

    def _validate(self) -> None:
        if self.valid is None:
            return
        found = {f"valid_{name}": value for name, value in self.evaluate(self.valid).items()}
        self.logs |= found
        self.validated = self.step
        value = monitored(found, self.monitor)
        self._tell("on_validation_end", {"step": self.step, "epoch": self.logs["epoch"], **found})
        if self.scheduler_per == "validation":
            self.scheduler.step(value)
        self._clock = time.perf_counter()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Eval mode without gradients; afterwards modules and random generators are as they were."""
        generators = get_states()
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with inference_mode():
                yield
        finally:
            for module, training in modes:
                module.training = training
            set_states(generators)

    def _metric(self) -> float | None:
        """The monitored value, if it belongs to this very step."""
        return float(self.logs[self.monitor]) if self.validated == self.step else None

    def _improved(self) -> bool:
        """Is this the best step so far, and not saved?"""
        metric = self._metric()
        if self.checkpoints is None or metric is None or math.isnan(metric):
            return False
        best = self.checkpoints.best()
        if best is None:
            return True
        before = self.checkpoints.metric(best)
        assert before is not None
        return metric < before if self.mode == "min" else metric > before

    def _save(self) -> None:
        if self.checkpoints is not None:
            path = self.checkpoints.save(self.step, capture(self), self._metric())
            self._saved, self._asked = self._progress(), False
            self._tell("on_checkpoint", path)
            self._clock = time.perf_counter()

    def _progress(self) -> Any:
        return self.step, self.epoch, self.stopped, self.validated

    def _finish(self) -> None:
        """The last step is validated and saved, whenever it came."""
        if self.step == 0:
            return
        if self.validated != self.step:
            self._validate()
        if self._saved != self._progress() or self._asked:
            self._save()
