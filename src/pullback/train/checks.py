"""Settings of a Trainer that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..amp.grad_scaler import keeps_what_it_should
from ..errors import ArgumentError, fail
from ..nn.module import Module
from .callbacks import EarlyStopping
from .checkpoints import Batches

PER = ("step", "epoch", "validation")


def check(trainer: Any) -> None:
    """Refuse them before anything is run."""
    for what, todo in contradictions(trainer):
        fail(ArgumentError, what, todo)


def contradictions(t: Any) -> Iterator[tuple[str, str]]:
    """(what is wrong, what to do)"""
    if isinstance(t.train, Batches):
        given = t.train.batches
        if hasattr(given, "__next__"):
            yield "`train` is an iterator, which can be gone through once only", "give a DataLoader or a list"
        if t.checkpoints is not None and not isinstance(given, (list, tuple)):
            yield (
                f"{type(given).__name__} cannot say where in the data it is, so no run could be resumed",
                "use a DataLoader or a list, or give `train` the methods state_dict() and load_state_dict()",
            )
    plateau = type(t.scheduler).__name__ == "ReduceLROnPlateau"
    if (t.scheduler is None) != (t.scheduler_per is None) or t.scheduler_per not in (None, *PER):
        yield (
            f"scheduler_per={t.scheduler_per!r}: how often is the scheduler stepped?",
            "give both scheduler= and scheduler_per='step', 'epoch' or 'validation'",
        )
    if t.scheduler is not None and plateau != (t.scheduler_per == "validation"):
        yield (
            f"{type(t.scheduler).__name__} is not stepped per {t.scheduler_per}",
            "ReduceLROnPlateau goes with scheduler_per='validation', all others with 'step' or 'epoch'",
        )
    if (plateau or any(isinstance(c, EarlyStopping) for c in t.callbacks)) and t.valid is None:
        yield "early stopping and ReduceLROnPlateau go by the validation, and there is none", "give valid="
    measure, compiled = t.run.measure, t.run.compiled
    if measure.metrics and not isinstance(measure.loss, Module):
        yield (
            "metrics are functions of (model(x), y), which a loss function of (model, batch) does not show",
            "let the function return a dict: {'loss': loss, 'accuracy': ...}",
        )
    if compiled and not keeps_what_it_should(t.optimizer):
        yield (
            f"compiled, an update is left out by `found_inf`, and {type(t.optimizer).__name__}.step() ignores that",
            "make it a RuleOptimizer, or train without compile=",
        )
    if t.on_nonfinite not in ("stop", "skip"):
        yield f"on_nonfinite={t.on_nonfinite!r} means nothing", "use 'stop' or 'skip'"
    if any(n is not None and n < 1 for n in (t.accumulate, t.valid_every, t.checkpoint_every, t.log_every)):
        yield (
            "accumulate, valid_every, checkpoint_every and log_every are numbers from 1",
            "leave valid_every and checkpoint_every out for once an epoch",
        )
