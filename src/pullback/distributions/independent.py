"""Batches read as parts of one event, and mixtures."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError, fail
from ..tensor import Size, Tensor
from . import constraints
from .categorical import Categorical
from .constraints import Constraint
from .distribution import Distribution
from .utils import sum_rightmost


class Independent(Distribution):
    """`base_dist` with its last batch dimensions counted as event dimensions."""

    def __init__(
        self, base_distribution: Any, reinterpreted_batch_ndims: int, validate_args: bool | None = None
    ) -> None:
        n, batch = reinterpreted_batch_ndims, base_distribution.batch_shape
        if n > len(batch):
            fail(ShapeError, f"Independent: the base has {len(batch)} batch dimensions, so {n} cannot be taken")
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, n
        cut = len(batch) - n
        super().__init__(batch[:cut], (*batch[cut:], *base_distribution.event_shape), validate_args)
        self.has_rsample = base_distribution.has_rsample

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        kept = self._event_shape[: self.reinterpreted_batch_ndims]
        base = self.base_dist.expand((*batch_shape, *kept))
        return Independent(base, self.reinterpreted_batch_ndims, validate_args=False)

    @property
    def support(self) -> Constraint:
        return constraints.independent(self.base_dist.support, self.reinterpreted_batch_ndims)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamily(Distribution):
    """One of the last batch dimension's distributions, chosen by a Categorical."""

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Any, validate_args: bool | None = None
    ) -> None:
        mixture, component = mixture_distribution, component_distribution
        if not isinstance(mixture, Categorical):
            fail(ShapeError, "MixtureSameFamily: the mixture must be a Categorical")
        if mixture.param_shape[-1:] != component.batch_shape[-1:]:
            shapes = f"{list(mixture.param_shape)} and {list(component.batch_shape)}"
            fail(
                ShapeError, f"MixtureSameFamily: as many components as classes are needed, but the shapes are {shapes}"
            )
        self.mixture_distribution, self.component_distribution = mixture, component
        super().__init__(component.batch_shape[:-1], component.event_shape, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        component = self.component_distribution.expand((*batch_shape, self.component_distribution.batch_shape[-1]))
        return MixtureSameFamily(self.mixture_distribution.expand(batch_shape), component, validate_args=False)

    @property
    def support(self) -> Constraint:
        return self.component_distribution.support

    def _weights(self) -> Tensor:
        """The classes' probabilities, beside the components' events."""
        p = self.mixture_distribution.probs
        return p.reshape(*p.shape, *(1,) * len(self._event_shape))

    def _over_components(self, x: Tensor) -> Tensor:
        return (self._weights() * x).sum(-1 - len(self._event_shape))

    @property
    def mean(self) -> Tensor:
        return self._over_components(self.component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        component, dim = self.component_distribution, -1 - len(self._event_shape)
        return self._over_components(component.variance + (component.mean - self.mean.unsqueeze(dim)) ** 2)

    def log_prob(self, value: Tensor) -> Tensor:
        dim = -1 - len(self._event_shape)
        each = self.component_distribution.log_prob(self._checked(value).unsqueeze(dim))
        return (each + self.mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def cdf(self, value: Tensor) -> Tensor:
        each = self.component_distribution.cdf(self._checked(value).unsqueeze(-1 - len(self._event_shape)))
        return (each * self.mixture_distribution.probs).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        chosen = self.mixture_distribution.sample(sample_shape)
        drawn = self.component_distribution.sample(sample_shape)
        rank = len(self._event_shape)
        index = chosen.reshape(*chosen.shape, 1, *(1,) * rank).expand(Size((*chosen.shape, 1, *self._event_shape)))
        return drawn.gather(drawn.ndim - rank - 1, index).squeeze(drawn.ndim - rank - 1)

    def __repr__(self) -> str:
        return f"MixtureSameFamily({self.mixture_distribution}, {self.component_distribution})"
