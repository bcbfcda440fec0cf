"""How distributions take their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pullback as pb

from ..dtypes import finfo, get_default_dtype
from ..functions.conversion import known
from ..functions.creation import tensor
from ..modes import enable_grad
from ..tensor import Tensor
from .constraints import ConstraintError


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Numbers and tensors as tensors of one shape; numbers take the tensors' dtype."""
    like = next((v for v in values if isinstance(v, Tensor)), None)
    dtype, device = (get_default_dtype(), None) if like is None else (like.dtype, like.device)
    return pb.broadcast_tensors(
        *[v if isinstance(v, Tensor) else tensor(v, dtype=dtype, device=device) for v in values]
    )


def refuted(test: Tensor) -> bool:
    """Is it false somewhere? Of values that are not known, as while a step is captured, nothing is said."""
    return known(test) and not bool(test.all())


def one_of(owner: object, probs: Any, logits: Any) -> Any:
    """The one of the two that is given."""
    if (probs is None) == (logits is None):
        name = type(owner).__name__
        raise ConstraintError(f"{name}: exactly one of probs and logits must be given\n  write {name}(logits=...)")
    return logits if probs is None else probs


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1 by the dtype's eps."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(eps, 1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """log p, or for one of two outcomes log(p / (1 - p))."""
    p = clamp_probs(probs)
    return p.log() - (-p).log1p() if is_binary else p.log()


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """The inverse of probs_to_logits."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x)"""
    return pb.logaddexp(x, pb.zeros_like(x))


def sum_rightmost(x: Tensor, dims: int) -> Tensor:
    """The sum over the last `dims` dimensions."""
    return x.sum(tuple(range(-dims, 0))) if dims else x


class lazy_property:  # noqa: N801 (PyTorch's name)
    """An attribute that is computed, with gradients, when first asked for, unless it has been set."""

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.compute(instance)
        setattr(instance, self.compute.__name__, value)
        return value
