"""What all distributions have in common."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, NoReturn

import pullback as pb

from ..dtypes import finfo
from ..errors import PullbackError, ShapeError, fail
from ..modes import no_grad
from ..tensor import Size, Tensor
from .constraints import Constraint, ConstraintError
from .utils import broadcast_all, refuted


class Unsupported(PullbackError, NotImplementedError):
    """A distribution has no such thing."""


class Distribution:
    """A batch of distributions over tensors: samples have the shape sample_shape + batch_shape + event_shape."""

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    _validate_args: bool = __debug__

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if not self._validate_args:
            return
        for name, constraint in self.arg_constraints.items():
            value = vars(self).get(name)
            if value is not None and refuted(constraint.check(value)):
                fail(
                    ConstraintError,
                    f"{type(self).__name__}: {name}, of shape {list(value.shape)}, must be {constraint}; it is {value}",
                    "look for NaN and for wrong signs; validate_args=False leaves this check out",
                )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Are arguments and values checked, where validate_args does not say?"""
        Distribution._validate_args = value

    # -- shapes ----------------------------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> Size:
        """The shape of independent distributions, each with arguments of its own."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one sample of one of them."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its arguments broadcast to a larger batch shape."""
        new, rank = copy.copy(self), len(self._batch_shape)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(new, name, value.expand(*batch_shape, *value.shape[rank:]))
        new._batch_shape = Size(batch_shape)
        return new

    # -- what each distribution answers ------------------------------------------------------------------------------

    @property
    def support(self) -> Constraint:
        """What samples satisfy."""
        self._refuse("support")

    @property
    def mean(self) -> Tensor:
        self._refuse("mean")

    @property
    def mode(self) -> Tensor:
        self._refuse("mode")

    @property
    def variance(self) -> Tensor:
        self._refuse("variance")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Random values; no gradient flows through them."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Random values as a differentiable function of the arguments."""
        self._refuse("rsample", "sample() draws without gradients; log_prob() of a sample has them")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability."""
        self._refuse("log_prob")

    def entropy(self) -> Tensor:
        """The mean of -log_prob."""
        self._refuse("entropy", "average -log_prob over samples")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most `value`."""
        self._refuse("cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of cdf."""
        self._refuse("icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution, along a new first dimension."""
        self._refuse("enumerate_support")

    def perplexity(self) -> Tensor:
        """e^entropy"""
        return self.entropy().exp()

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _refuse(self, what: str, todo: str = "") -> NoReturn:
        fail(Unsupported, f"{type(self).__name__} has no {what}", todo)

    def _checked(self, value: Tensor) -> Tensor:
        """A value given to log_prob or cdf."""
        if not self._validate_args:
            return value
        if not isinstance(value, Tensor):
            raise ConstraintError(f"{type(self).__name__}: the value must be a tensor, not {type(value).__name__}")
        rank = len(self._event_shape)
        if rank and value.shape[-rank:] != self._event_shape:
            what = f"{type(self).__name__}: a value of shape {list(value.shape)} does not end in the event shape"
            fail(ShapeError, f"{what} {list(self._event_shape)}")
        if refuted(self.support.check(value)):
            fail(
                ConstraintError,
                f"{type(self).__name__}: values must be {self.support}, but got {value}",
                "validate_args=False leaves this check out",
            )
        return value

    def _enumerated(self, values: Tensor, expand: bool) -> Tensor:
        values = values.reshape(-1, *(1,) * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values

    def __repr__(self) -> str:
        given = {name: vars(self)[name] for name in self.arg_constraints if name in vars(self)}
        said = ", ".join(f"{name}: {v if v.numel() == 1 else v.shape}" for name, v in given.items())
        return f"{type(self).__name__}({said})"


class LocationScale(Distribution):
    """loc + scale * (a random number whose distribution is fixed)."""

    has_rsample = True
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def _standard(self, value: Tensor) -> Tensor:
        return (self._checked(value) - self.loc) / self.scale

    def _uniform(self, sample_shape: Any) -> Tensor:
        """Uniform in (0, 1), both ends excluded."""
        u = pb.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return u.clamp(finfo(u.dtype).tiny, 1 - finfo(u.dtype).eps)
