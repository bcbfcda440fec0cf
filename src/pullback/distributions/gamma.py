"""Gamma, and the distributions made from gamma variates: chi-squared, beta, Dirichlet, Student's t."""

from __future__ import annotations

import math
from typing import Any

import pullback as pb

from ..function import Function, once_differentiable
from ..functions.variates import gamma_slope, standard_gamma
from ..special import xlog1py
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all


class StandardGamma(Function):
    """Gamma variates z of scale 1. With the place in the distribution fixed, z is a function of alpha: its slope is
    -(dP/dalpha) / p, P the distribution function and p the density.
    """

    @staticmethod
    def forward(ctx: Any, alpha: Tensor) -> Tensor:
        z = standard_gamma(alpha)
        ctx.save_for_backward(alpha, z)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * gamma_slope(*ctx.saved_tensors)


class Gamma(Distribution):
    """rate^a x^(a-1) exp(-rate x) / gamma(a), a the concentration"""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate**2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return StandardGamma.apply(self.concentration.expand(shape)) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        x, a = self._checked(value), self.concentration
        return pb.xlogy(a, self.rate) + pb.xlogy(a - 1, x) - self.rate * x - a.lgamma()

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()


class Chi2(Gamma):
    """The sum of squares of df standard normal numbers."""

    arg_constraints = {"df": constraints.positive}  # noqa: RUF012

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        (self.df,) = broadcast_all(df)
        super().__init__(self.df * 0.5, 0.5, validate_args)


class Beta(Distribution):
    """x^(a-1) (1-x)^(b-1) gamma(a+b) / (gamma(a) gamma(b)), a = concentration1 and b = concentration0"""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}  # noqa: RUF012
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        return Dirichlet(pb.stack([self.concentration1, self.concentration0], -1)).mode[..., 0]

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total**2 * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        x, y = (StandardGamma.apply(c.expand(shape)) for c in (self.concentration1, self.concentration0))
        return x / (x + y)

    def log_prob(self, value: Tensor) -> Tensor:
        x, a, b = self._checked(value), self.concentration1, self.concentration0
        return pb.xlogy(a - 1, x) + xlog1py(b - 1, -x) - _log_beta(a, b)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        together = (a + b - 2) * (a + b).digamma()
        return _log_beta(a, b) - (a - 1) * a.digamma() - (b - 1) * b.digamma() + together


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


class Dirichlet(Distribution):
    """prod of x_i^(a_i - 1) gamma(sum of a) / prod of gamma(a_i), for x that sum to 1"""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}  # noqa: RUF012
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.ndim < 1:
            raise constraints.ConstraintError("Dirichlet: concentration needs a dimension of classes")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self) -> Tensor:
        above = (self.concentration - 1).clamp(min=0)
        mode = above / above.sum(-1, keepdim=True)
        spiked = (self.concentration < 1).all(-1, keepdim=True)  # all mass in the corners: the likeliest of them
        corner = self.concentration.argmax(-1, keepdim=True) == pb.arange(
            self.concentration.shape[-1], device=self.concentration.device
        )
        return pb.where(spiked, corner.to(mode.dtype), mode)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        z = StandardGamma.apply(self.concentration.expand(self._extended_shape(sample_shape)))
        return z / z.sum(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        a = self.concentration
        powers = pb.xlogy(a - 1, self._checked(value)).sum(-1)
        return powers + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        a, total = self.concentration, self.concentration.sum(-1)
        spread = (total - a.shape[-1]) * total.digamma() - ((a - 1) * a.digamma()).sum(-1)
        return a.lgamma().sum(-1) - total.lgamma() + spread


class StudentT(Distribution):
    """loc + scale N / sqrt(chi-squared(df) / df)"""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc.masked_fill(self.df <= 1, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        finite = self.df > 2
        safe = pb.where(finite, self.df, pb.full_like(self.df, 3.0))
        v = (self.scale**2 * safe / (safe - 2)).masked_fill(~finite, math.inf)
        return v.masked_fill(self.df <= 1, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        n = pb.randn(self._extended_shape(sample_shape), dtype=self.df.dtype, device=self.df.device)
        z = Chi2(self.df, validate_args=False).rsample(sample_shape)
        return self.loc + self.scale * n * (z / self.df).rsqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        y, df = (self._checked(value) - self.loc) / self.scale, self.df
        log_z = self.scale.log() + 0.5 * df.log() + _log_beta(0.5 * df, pb.full_like(df, 0.5))
        return -0.5 * (df + 1) * (y**2 / df).log1p() - log_z

    def entropy(self) -> Tensor:
        df, up = self.df, 0.5 * (self.df + 1)
        slopes = up * (up.digamma() - (0.5 * df).digamma())
        return self.scale.log() + slopes + 0.5 * df.log() + _log_beta(0.5 * df, pb.full_like(df, 0.5))
