"""What the arguments and values of distributions must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import PullbackError
from ..tensor import Tensor


class ConstraintError(PullbackError, ValueError):
    """An argument or a value lies outside of what its distribution allows."""


class Constraint:
    """A condition on tensors, whose last `event_dim` dimensions are checked together."""

    def __init__(self, name: str, test: Callable[[Any], Any], event_dim: int = 0, discrete: bool = False) -> None:
        self.name, self.event_dim, self.is_discrete = name, event_dim, discrete
        self._test = test

    def check(self, value: Tensor) -> Tensor:
        """Where the condition holds."""
        return self._test(value)

    def __repr__(self) -> str:
        return self.name


def greater_than(lower: Any) -> Constraint:
    return Constraint(f"greater than {lower}", lambda v: v > lower)


def greater_than_eq(lower: Any) -> Constraint:
    return Constraint(f"at least {lower}", lambda v: v >= lower)


def interval(lower: Any, upper: Any) -> Constraint:
    return Constraint(f"between {lower} and {upper}", lambda v: (v >= lower) & (v <= upper))


def integer_interval(lower: Any, upper: Any) -> Constraint:
    name = f"an integer from {lower} to {upper}"
    return Constraint(name, lambda v: (v % 1 == 0) & (v >= lower) & (v <= upper), discrete=True)


def multinomial(total: Any) -> Constraint:
    return Constraint(
        f"counts that sum to at most {total}", lambda v: (v >= 0).all(-1) & (v.sum(-1) <= total), 1, discrete=True
    )


def independent(base: Constraint, dims: int) -> Constraint:
    """`base`, and the last `dims` dimensions together."""

    def test(v: Any) -> Any:
        held = base.check(v)
        return held.reshape(*held.shape[: held.ndim - dims], -1).all(-1) if dims else held

    return Constraint(base.name, test, base.event_dim + dims, base.is_discrete)


def _is_simplex(v: Any) -> Any:
    return (v >= 0).all(-1) & ((v.sum(-1) - 1).abs() < 1e-6)


def _is_one_hot(v: Any) -> Any:
    return ((v == 0) | (v == 1)).all(-1) & (v.sum(-1) == 1)


def _is_cholesky(v: Any) -> Any:
    return (v.tril() == v).all(-1).all(-1) & (v.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


def _is_positive_definite(v: Any) -> Any:
    from ..linalg import cholesky_ex

    symmetric = v.isclose(v.mT, atol=1e-6).all(-1).all(-1)
    info: Any = cholesky_ex(v.detach()).info
    return symmetric & (info == 0)


real = Constraint("a number", lambda v: v == v)
positive = greater_than(0.0)
nonnegative = greater_than_eq(0.0)
nonnegative_integer = Constraint("a non-negative integer", lambda v: (v % 1 == 0) & (v >= 0), discrete=True)
unit_interval = interval(0.0, 1.0)
boolean = Constraint("0 or 1", lambda v: (v == 0) | (v == 1), discrete=True)
real_vector = independent(real, 1)
simplex = Constraint("probabilities that sum to 1", _is_simplex, 1)
one_hot = Constraint("one 1 among zeros", _is_one_hot, 1, discrete=True)
lower_cholesky = Constraint("lower triangular with a positive diagonal", _is_cholesky, 2)
positive_definite = Constraint("symmetric and positive definite", _is_positive_definite, 2)
