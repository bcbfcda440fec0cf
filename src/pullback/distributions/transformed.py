"""Distributions of functions of a random number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..modes import no_grad
from ..tensor import Tensor
from . import constraints
from .constraints import Constraint
from .distribution import Distribution
from .transforms import ComposeTransform, Transform
from .utils import sum_rightmost


class TransformedDistribution(Distribution):
    """t(x) for a random x: its log density is that of x minus log |dt/dx|."""

    def __init__(
        self,
        base_distribution: Any,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        self.base_dist = base_distribution
        super().__init__(base_distribution.batch_shape, base_distribution.event_shape, validate_args)
        self.has_rsample = base_distribution.has_rsample

    @property
    def _transform(self) -> Transform:
        return ComposeTransform(self.transforms)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        return new

    @property
    def support(self) -> Constraint:
        if not self.transforms:
            return self.base_dist.support
        return constraints.independent(self.transforms[-1].codomain, len(self._event_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return self._transform(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._transform(self.base_dist.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        y, log_slope = self._checked(value), 0.0
        for t in reversed(self.transforms):
            x = t._inverse(y)
            log_slope = log_slope + sum_rightmost(t.log_abs_det_jacobian(x, y), len(self._event_shape))  # type: ignore[assignment]
            y = x
        return self.base_dist.log_prob(y) - log_slope

    def cdf(self, value: Tensor) -> Tensor:
        t = self._transform
        return self._turned(self.base_dist.cdf(t._inverse(self._checked(value))))

    def icdf(self, value: Tensor) -> Tensor:
        return self._transform(self.base_dist.icdf(self._turned(value)))

    def _turned(self, p: Tensor) -> Tensor:
        """p, and 1 - p where the transform falls."""
        sign = self._transform.sign
        return (p - 0.5) * sign + 0.5
