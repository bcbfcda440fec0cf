"""Distributions over a finite set of classes, given by probabilities or unnormalised log probabilities."""

from __future__ import annotations

import math
from typing import Any

import pullback as pb

from ..dtypes import finfo
from ..functions.creation import tensor
from ..tensor import Size, Tensor
from . import constraints
from .constraints import Constraint, ConstraintError
from .distribution import Distribution
from .trials import Binomial
from .utils import lazy_property, logits_to_probs, one_of, probs_to_logits


class Classes(Distribution):
    """One of probs and logits is given, classes in the last dimension; the other follows."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}  # noqa: RUF012
    total_count = 1

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        given = one_of(self, probs, logits)
        if given.ndim < 1:
            raise ConstraintError(f"{type(self).__name__}: probs and logits need a dimension of classes")
        if probs is not None:
            self.probs = given / given.sum(-1, keepdim=True)
        else:
            self.logits = given - given.logsumexp(-1, keepdim=True)
        self._classes = given.shape[-1]
        super().__init__(given.shape[:-1], self._event(), validate_args)

    def _event(self) -> tuple[int, ...]:
        return (self._classes,)

    @lazy_property
    def logits(self) -> Tensor:
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Tensor:
        return logits_to_probs(self.logits)

    @property
    def param_shape(self) -> Size:
        """The shape of probs and logits."""
        return Size((*self._batch_shape, self._classes))

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """Classes, of shape `shape` + batch_shape."""
        rows = self.probs.detach().reshape(-1, self._classes)
        drawn = pb.multinomial(rows, math.prod(shape), replacement=True)
        return drawn.T.reshape(*shape, *self._batch_shape)

    def _surprise(self) -> Tensor:
        """The entropy of one draw; a class of probability 0 adds nothing."""
        logits = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(logits * self.probs).sum(-1)


class Categorical(Classes):
    """The index of a class."""

    has_enumerate_support = True

    def _event(self) -> tuple[int, ...]:
        return ()

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self._classes - 1)

    @property
    def mean(self) -> Tensor:
        return pb.full(self._batch_shape, math.nan, dtype=self.probs.dtype, device=self.probs.device)

    variance = mean

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._draw(tuple(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        index = self._checked(value).long().unsqueeze(-1)
        index, logits = pb.broadcast_tensors(index, self.logits)
        return logits.gather(-1, index[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        return self._surprise()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._enumerated(pb.arange(self._classes, device=self.probs.device), expand)


class OneHotCategorical(Classes):
    """A vector with 1 at a class and 0 elsewhere."""

    support = constraints.one_hot
    has_enumerate_support = True

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return self._hot(self.probs.argmax(-1))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def _hot(self, index: Tensor) -> Tensor:
        return (index.unsqueeze(-1) == pb.arange(self._classes, device=self.probs.device)).to(self.probs.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._hot(self._draw(tuple(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        index = self._checked(value).argmax(-1, keepdim=True)
        shape = pb.broadcast_shapes(index.shape[:-1], self._batch_shape)
        return self.logits.expand(*shape, self._classes).gather(-1, index.expand(*shape, 1)).squeeze(-1)

    def entropy(self) -> Tensor:
        return self._surprise()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = pb.eye(self._classes, dtype=self.probs.dtype, device=self.probs.device)
        values = values.reshape(self._classes, *(1,) * len(self._batch_shape), self._classes)
        return values.expand(self._classes, *self._batch_shape, self._classes) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """OneHotCategorical whose samples pass gradients to probs as if they were probs."""

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Multinomial(Classes):
    """How often each class comes in total_count draws."""

    total_count: int

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise ConstraintError("Multinomial: total_count must be one integer for the whole batch")
        self.total_count = total_count
        super().__init__(probs, logits, validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs) * self.total_count

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self._draw((self.total_count, *sample_shape)).unsqueeze(-1)
        return (drawn == pb.arange(self._classes, device=self.probs.device)).sum(0).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        logits, k = pb.broadcast_tensors(self.logits, self._checked(value))
        logits = pb.where((k == 0) & (logits == -math.inf), pb.zeros_like(logits), logits)
        ways = (k.sum(-1) + 1).lgamma() - (k + 1).lgamma().sum(-1)
        return ways + (logits * k).sum(-1)

    def entropy(self) -> Tensor:
        n = tensor(self.total_count, dtype=self.probs.dtype)
        each = Binomial(self.total_count, self.probs)
        counts = each.enumerate_support(False)[1:]
        repeats = (each.log_prob(counts).exp() * (counts + 1).lgamma()).sum((0, -1))
        return n * self._surprise() - (n + 1).lgamma() + repeats
