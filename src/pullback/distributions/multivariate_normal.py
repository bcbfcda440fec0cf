"""The normal distribution of vectors."""

from __future__ import annotations

import math
from typing import Any

import pullback as pb

from .. import linalg
from ..tensor import Tensor
from . import constraints
from .constraints import ConstraintError
from .distribution import Distribution
from .utils import lazy_property


class MultivariateNormal(Distribution):
    """Given by its mean and one of: the covariance, its inverse (precision), its Cholesky factor L."""

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        matrices = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        given = {name: m for name, m in matrices.items() if m is not None}
        if len(given) != 1:
            raise ConstraintError(f"MultivariateNormal: exactly one of {', '.join(matrices)} must be given")
        ((name, matrix),) = given.items()
        if loc.ndim < 1 or matrix.ndim < 2:
            raise ConstraintError(f"MultivariateNormal: loc must be a vector and {name} a matrix, or batches of them")
        batch = pb.broadcast_shapes(loc.shape[:-1], matrix.shape[:-2])
        self.loc = loc.expand(*batch, loc.shape[-1])
        setattr(self, name, matrix.expand(*batch, *matrix.shape[-2:]))
        super().__init__(batch, loc.shape[-1:], validate_args)

    @lazy_property
    def scale_tril(self) -> Tensor:
        if "covariance_matrix" in vars(self):
            return linalg.cholesky(self.covariance_matrix)
        # with the order of all indices reversed, P = U U^T is a Cholesky factorisation; L = U^-T
        upper = linalg.cholesky(self.precision_matrix.flip(-2, -1)).flip(-2, -1)
        return linalg.solve_triangular(
            upper.mT, pb.eye(upper.shape[-1], dtype=upper.dtype, device=upper.device), upper=False
        )

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        return self.scale_tril @ self.scale_tril.mT

    @lazy_property
    def precision_matrix(self) -> Tensor:
        return pb.cholesky_inverse(self.scale_tril)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        return (self.scale_tril**2).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        eps = pb.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)

    def _half_log_det(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        off = (self._checked(value) - self.loc).unsqueeze(-1)
        distance = (linalg.solve_triangular(self.scale_tril, off, upper=False) ** 2).sum((-2, -1))
        return -0.5 * (distance + self._event_shape[0] * math.log(2 * math.pi)) - self._half_log_det()

    def entropy(self) -> Tensor:
        return self._half_log_det() + 0.5 * self._event_shape[0] * (1 + math.log(2 * math.pi))
