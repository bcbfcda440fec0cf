"""Clipping gradients: all together by their norm, or each element by its value. No value is read in Python."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable, Sequence

from ...errors import Position, PullbackError, fail, users_line
from ...functions.conversion import known
from ...functions.creation import tensor
from ...functions.joining import stack
from ...functions.matrix_norms import vector_norm
from ...modes import no_grad
from ...tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]

Tensors = Tensor | Iterable[Tensor]


def _grads(parameters: Tensors) -> list[Tensor]:
    """The gradients there are."""
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in given if p.grad is not None]


def _note(g: Tensor, line: Position) -> None:
    """GradScaler warns if it finds that gradients were clipped before they were unscaled."""
    g._clipped = g._version, line


@no_grad()
def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all elements of all tensors, as one vector."""
    parts: Sequence[Tensor] = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    order = float(norm_type)
    if not parts:
        return tensor(0.0)
    total: Tensor = vector_norm(stack([vector_norm(part, order) for part in parts]), order)
    if error_if_nonfinite and not known(total):
        fail(
            PullbackError,
            "error_if_nonfinite=True needs the norm's value, which is not known while a step is being captured",
            "leave it out, and look at the norm that a call of the step returns",
        )
    if error_if_nonfinite and not bool(total.isfinite()):
        what = f"the total norm of order {order} is {total.item()}, so that the gradients cannot be clipped"
        fail(PullbackError, what, "find where Inf or NaN comes from, or pass error_if_nonfinite=False")
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """g = g * min(1, max_norm / (total_norm + 1e-6)), in place."""
    scale = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    line = users_line()
    for g in _grads(parameters):
        _note(g.mul_(scale), line)


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients, in place, such that their total norm is at most `max_norm`; returns what it was."""
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not given and isinstance(parameters, types.GeneratorType):
        text = "`parameters` is an empty generator: nothing is clipped. Has it been used up before?"
        warnings.warn(text, stacklevel=2)
    total = get_total_norm(_grads(given), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(given, max_norm, total, foreach)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Every element of every gradient into [-clip_value, clip_value], in place."""
    limit = float(clip_value)
    line = users_line()
    for g in _grads(parameters):
        _note(g.clamp_(-limit, limit), line)


def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The older name of clip_grad_norm_."""
    what = "`clip_grad_norm` is now deprecated in favor of `clip_grad_norm_`."
    warnings.warn(what, FutureWarning, stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)
