"""Bernoulli, binomial, geometric: trials that succeed with a probability, given by itself or by its log odds."""

from __future__ import annotations

from typing import Any

import pullback as pb

from ..modes import no_grad
from ..tensor import Tensor
from . import constraints
from .constraints import Constraint, ConstraintError
from .distribution import Distribution, Unsupported
from .utils import (
    broadcast_all,
    clamp_probs,
    lazy_property,
    logits_to_probs,
    one_of,
    probs_to_logits,
    refuted,
    softplus,
)


class Trials(Distribution):
    """One of probs and logits is given; the other follows."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}  # noqa: RUF012

    def _set(self, probs: Any, logits: Any, *others: Any) -> tuple[Tensor, ...]:
        value, *rest = broadcast_all(one_of(self, probs, logits), *others)
        setattr(self, "logits" if probs is None else "probs", value)
        return tuple(rest)

    def _given(self) -> Tensor:
        return vars(self)["probs"] if "probs" in vars(self) else vars(self)["logits"]

    @lazy_property
    def logits(self) -> Tensor:
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        return logits_to_probs(self.logits, is_binary=True)

    def _surprise(self) -> Tensor:
        """The entropy of one trial."""
        return softplus(self.logits) - self.probs * self.logits


class Bernoulli(Trials):
    """1 with probability p, else 0."""

    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._set(probs, logits)
        super().__init__(self._given().shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        mode = (self.probs >= 0.5).to(self.probs.dtype)
        return mode.masked_fill(self.probs == 0.5, float("nan"))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return pb.bernoulli(self.probs.detach().expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked(value) * self.logits - softplus(self.logits)

    def entropy(self) -> Tensor:
        return self._surprise()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._enumerated(pb.arange(2, dtype=self._given().dtype, device=self._given().device), expand)


class Binomial(Trials):
    """The number of successes in total_count trials."""

    arg_constraints = {"total_count": constraints.nonnegative_integer, **Trials.arg_constraints}  # noqa: RUF012
    has_enumerate_support = True

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        (count,) = self._set(probs, logits, total_count)
        self.total_count = count.to(self._given().dtype)
        super().__init__(self.total_count.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return pb.binomial(self.total_count.expand(shape), self.probs.detach().expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        k, n = self._checked(value), self.total_count
        ways = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
        return ways + k * self.logits - n * softplus(self.logits)

    def entropy(self) -> Tensor:
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        count = int(self.total_count.max())
        if int(self.total_count.min()) != count:
            raise Unsupported("Binomial: values cannot be enumerated where total_count differs within the batch")
        return self._enumerated(pb.arange(count + 1, dtype=self._given().dtype, device=self._given().device), expand)


class Geometric(Trials):
    """The number of failures before the first success."""

    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._set(probs, logits)
        super().__init__(self._given().shape, validate_args=validate_args)
        if self._validate_args and probs is not None and refuted(self.probs > 0):
            raise ConstraintError("Geometric: probs must be above 0, or success never comes")

    @property
    def mean(self) -> Tensor:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Tensor:
        return pb.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            u = pb.rand(self._extended_shape(sample_shape), dtype=self._given().dtype, device=self._given().device)
            return ((-u).log1p() / (-clamp_probs(self.probs)).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        k, p = pb.broadcast_tensors(self._checked(value), self.probs)
        sure = pb.where((p == 1) & (k == 0), pb.zeros_like(p), p)  # 0 log 0 is 0
        return k * (-sure).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        return self._surprise() / self.probs
