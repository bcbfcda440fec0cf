"""Accumulation: several micro-batches, one optimizer step, and the gradient of one big batch.

The mean over a big batch of N samples (or tokens) is sum_i loss_i / N. Split into micro-batches, N = n_1 + n_2 + ...,
it is (sum of the 1st) / N + (sum of the 2nd) / N + ..., so N has to be known before the first backward(). That is what
a window is: micro-batches together with their total.

    for window in accumulate(loader, 4, count=lambda batch: (batch[1] != -100).sum()):
        for x, y in window:
            loss = window.from_sum(cross_entropy(model(x), y, reduction="sum"))
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..errors import PullbackError, fail
from ..tensor import Tensor


def samples(batch: Any) -> int:
    """How many samples there are: the first size of the first tensor found in the batch."""
    pending = [batch]
    while pending:
        part = pending.pop(0)
        if isinstance(part, Tensor) and part.ndim:
            return part.shape[0]
        if isinstance(part, dict):
            pending[:0] = part.values()
        elif isinstance(part, (tuple, list)):
            pending[:0] = part
    fail(
        PullbackError,
        f"accumulate() cannot tell how many samples there are in a batch of type {type(batch).__name__}",
        "say how: accumulate(loader, steps, count=lambda batch: ...)",
    )


class Window:
    """The micro-batches of one optimizer step; iterate over it once."""

    def __init__(self, batches: list[Any], count: Callable[[Any], Any]) -> None:
        self.batches = batches
        self.counts = [number(count(batch)) for batch in batches]
        self.total = sum(self.counts)  # of all micro-batches
        self.walked = 0  # micro-batches handed out so far

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        if self.walked:
            fail(
                PullbackError,
                "the window is iterated over a second time, which would count its gradients twice",
                "go on to the next window, or zero_grad() and accumulate() anew",
            )
        for batch in self.batches:
            self.walked += 1
            yield batch
        self.walked += 1  # the last one was dealt with, too

    @property
    def parts(self) -> list[tuple[Any, float]]:
        """The micro-batches whose loss has terms, and which part of the window's terms each has."""
        pairs = zip(self.batches, self.counts, strict=True)
        return [(batch, n / self.total) for batch, n in pairs if n != 0]

    def from_sum(self, loss: Tensor) -> Tensor:
        """This micro-batch's part of the window's mean loss, given the *sum* of its losses (or all of them).

        Of a window without any terms it is 0.
        """
        return (loss if loss.ndim == 0 else loss.sum()) / (self.total or 1)

    def from_mean(self, loss: Tensor) -> Tensor:
        """The same, given the *mean* over the micro-batch. With masks prefer the sum: a mean over nothing is NaN."""
        if loss.ndim:
            fail(
                PullbackError,
                f"from_mean() takes the mean loss of a micro-batch, one number, but this has shape {list(loss.shape)}",
                "use reduction='mean', or from_sum() for losses that are not reduced",
            )
        if not 0 < self.walked <= len(self.batches):
            fail(
                PullbackError,
                "from_mean() belongs inside `for batch in window`: it weighs the loss by that batch's count",
            )
        return loss * (self.counts[self.walked - 1] / (self.total or 1))


def number(count: Any) -> float:
    """As a plain number, if it is a tensor."""
    return count.item() if isinstance(count, Tensor) else count


class Windows:
    """Batches taken `steps` at a time; the last window has what is left."""

    def __init__(self, batches: Iterable[Any], steps: int, count: Callable[[Any], Any]) -> None:
        self.batches, self.steps, self.count = batches, steps, count

    def __len__(self) -> int:
        return -(-len(self.batches) // self.steps)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Window]:
        batches = iter(self.batches)
        while taken := list(itertools.islice(batches, self.steps)):
            window = Window(taken, self.count)
            del taken
            yield window
            if 0 < window.walked <= len(window):
                fail(
                    PullbackError,
                    f"a window was left after {window.walked} of its {len(window)} micro-batches: what was accumulated "
                    "is not the gradient of their mean",
                    "go through all of them (`continue` is fine), or break out of both loops",
                )


def accumulate(batches: Iterable[Any], steps: int, count: Callable[[Any], Any] = samples) -> Windows:
    """Windows of `steps` micro-batches each, for one optimizer step a window.

    `count(batch)` is how many terms the batch's loss has: samples unless said otherwise, or tokens that are not masked.
    A window is read ahead, so save the loader's state between windows.
    """
    if steps < 1:
        fail(PullbackError, f"accumulate() takes at least one micro-batch a step, not {steps}")
    return Windows(batches, steps, count)
