"""Connectionist temporal classification: how likely a sequence of labels is, whatever its timing."""

from __future__ import annotations

from typing import Any

from ...dtypes import float32, float64
from ...errors import ArgumentError, DTypeError, PullbackError, ShapeError, fail
from ...functions.conversion import known
from ...functions.creation import arange, tensor
from ...functions.joining import cat, stack
from ...functions.rearranging import pad
from ...ops.compare import clamp, where
from ...tensor import Tensor
from .losses import reduction_of

NEVER = -1e30  # the logarithm of no probability at all: finite, so that its gradient is 0


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the sum over all alignments of targets, with blanks between them, to log_probs (time, batch, classes).

    `targets` is (batch, length), or all of them in a row. The mean is one of losses divided by target lengths. The
    gradient is the formula's; PyTorch's is meant to go through log_softmax at once, and after it they are the same.
    """
    reduction = reduction_of(reduction)
    if alone := log_probs.ndim == 2:
        log_probs, targets = log_probs.unsqueeze(1), targets.reshape(1, -1)
    steps, batch, classes = _sizes(log_probs, blank)
    lengths, counts = (
        _lengths(name, given, batch, log_probs)
        for name, given in (("input", input_lengths), ("target", target_lengths))
    )
    targets = _rectangle(targets.to(log_probs.device), counts, batch)
    inside = arange(targets.shape[1], device=log_probs.device) < counts.unsqueeze(1)
    _check(targets, inside, lengths, counts, steps, classes)

    # labels with a blank before, between and behind: (batch, states)
    labels = where(inside, targets, blank)
    blanks = labels.new_full(labels.shape, blank)
    states: Any = cat([stack([blanks, labels], 2).reshape(batch, -1), labels.new_full((batch, 1), blank)], 1)
    n = states.shape[1]
    may_skip = (states != blank) & (states != pad(states, (2, 0), value=blank)[:, :n])
    emit: Any = clamp(log_probs.gather(2, states.expand(steps, batch, n)), NEVER, None)

    # alpha[s]: log of the probability to have arrived at state s, from s itself, s - 1 or s - 2
    state: Any = arange(n, device=log_probs.device)
    started = (lengths > 0).unsqueeze(1)
    alpha = where(started, where(state < 2, emit[0], NEVER), where(state == 0, 0.0, NEVER))
    for t in range(1, steps):
        one, two = (pad(alpha, (k, 0), value=NEVER)[:, :n] for k in (1, 2))
        moved = stack([alpha, one, where(may_skip, two, NEVER)]).logsumexp(0) + emit[t]
        alpha = where((t < lengths).unsqueeze(1), moved, alpha)

    last = (2 * counts).unsqueeze(1)
    label = where(last > 0, alpha.gather(1, clamp(last - 1, 0, None)), NEVER)
    loss: Any = -cat([alpha.gather(1, last), label], 1).logsumexp(1)
    loss = where(loss > -NEVER / 10, 0.0 if zero_infinity else float("inf"), loss)
    if reduction == "mean":
        return (loss / clamp(counts, 1, None)).mean()
    total: Tensor = loss.sum() if reduction == "sum" else loss.squeeze(0) if alone else loss
    return total


def _sizes(log_probs: Tensor, blank: int) -> Any:
    if log_probs.ndim != 3 or not log_probs.shape[0]:
        fail(ShapeError, f"ctc_loss: log_probs must be (time, batch, classes), not {list(log_probs.shape)}")
    if log_probs.dtype not in (float32, float64):
        fail(DTypeError, f"ctc_loss: log_probs must be float32 or float64, not {log_probs.dtype}")
    if not 0 <= blank < log_probs.shape[2]:
        fail(ArgumentError, f"ctc_loss: blank {blank} must be one of the {log_probs.shape[2]} classes")
    return log_probs.shape


def _lengths(name: str, given: Any, batch: int, like: Tensor) -> Any:
    lengths = (given if isinstance(given, Tensor) else tensor(given)).to(like.device).long().reshape(-1)
    if lengths.shape != (batch,):
        fail(ShapeError, f"ctc_loss: {name}_lengths must have one length for each of {batch} sequences")
    return lengths


def _rectangle(targets: Tensor, counts: Tensor, batch: int) -> Tensor:
    """Targets as one row a sequence."""
    if targets.ndim == 2 and targets.shape[0] == batch:
        return targets
    if targets.ndim != 1:
        fail(ShapeError, f"ctc_loss: targets must be ({batch}, length), or in a row, not {list(targets.shape)}")
    if not known(counts):
        fail(
            PullbackError,
            "ctc_loss: where targets in a row end depends on the values of target_lengths, which are not known while a "
            "step is being captured",
            "pad the targets to (batch, longest), or pass target_lengths as a list",
        )
    ends = counts.cumsum(0)
    longest = max(counts.tolist(), default=0)
    places = (ends - counts).unsqueeze(1) + arange(longest, device=counts.device)
    if known(ends) and batch and ends[-1].item() != targets.shape[0]:
        fail(ShapeError, f"ctc_loss: targets in a row must be as many as target_lengths add up to, {ends[-1].item()}")
    row: Tensor = targets[clamp(places, None, targets.shape[0] - 1)] if longest else places
    return row


def _check(targets: Any, inside: Any, lengths: Any, counts: Any, steps: int, classes: int) -> None:
    """What can only be checked where values are known."""
    if not known(targets) or not known(lengths) or not known(counts) or not counts.numel():
        return
    if ((lengths < 0) | (lengths > steps)).any():
        fail(ArgumentError, f"ctc_loss: input_lengths must be from 0 to {steps}, but are {lengths.tolist()}")
    if ((counts < 0) | (counts > targets.shape[1])).any():
        fail(ArgumentError, f"ctc_loss: target_lengths must be from 0 to {targets.shape[1]}, but are {counts.tolist()}")
    if (inside & ((targets < 0) | (targets >= classes))).any():
        fail(ArgumentError, f"ctc_loss: targets must be classes from 0 to {classes - 1}")
