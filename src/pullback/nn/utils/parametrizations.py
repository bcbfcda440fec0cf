"""Parametrizations ready for use: by norm and direction, of spectral norm 1, with orthonormal columns."""

from __future__ import annotations

import functools
from typing import Any

from ...dtypes import finfo
from ...errors import ArgumentError, RangeError, ShapeError, fail
from ...functions.compare import where
from ...functions.creation import eye, ones_like, zeros_like
from ...functions.decompositions import matrix_exp, qr, solve, solve_triangular
from ...functions.joining import cat
from ...modes import no_grad
from ...tensor import Tensor
from ..functional import normalize
from ..module import Module
from .parametrize import register_parametrization

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


# -- g v / |v| ---------------------------------------------------------------------------------------------------------


def norm_except(v: Tensor, dim: int) -> Tensor:
    """The norms of v's slices along `dim`, of a shape that broadcasts with v; dim = -1: the norm of all of v."""
    rest = [d for d in range(v.ndim) if dim == -1 or d != dim % v.ndim]
    return v.norm(2, rest, keepdim=dim != -1) if rest else v.abs()


def normed(g: Tensor, v: Tensor, dim: int) -> Tensor:
    """g v / |v|"""
    return v * (g / norm_except(v, dim))


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return normed(weight_g, weight_v, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """weight = g v / |v|: the norms g (`original0`) and directions v (`original1`) are trained; dim=None: one norm.

    A state_dict of the older torch.nn.utils.weight_norm (weight_g, weight_v) can be loaded too.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module._register_load_state_dict_pre_hook(functools.partial(_rename, name))
    return module


def _rename(name: str, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
    """weight_g and weight_v become what the parametrization calls them."""
    for i, old in enumerate(("g", "v")):
        if f"{prefix}{name}_{old}" in state_dict:
            new = f"{prefix}parametrizations.{name}.original{i}"
            state_dict[new] = state_dict.pop(f"{prefix}{name}_{old}")


# -- weight / sigma ----------------------------------------------------------------------------------------------------


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """Dimension `dim` as rows, everything else as columns."""
    return weight.movedim(dim, 0).flatten(1)


def usual_dim(module: Module) -> int:
    """Where the outputs are counted in the weight of a layer."""
    return 1 if getattr(module, "transposed", False) else 0


@no_grad()
def power_iteration(matrix: Tensor, u: Tensor, v: Tensor, steps: int, eps: float) -> None:
    """Bring u and v nearer to the singular vectors of the largest singular value, in place."""
    for _ in range(steps):
        u.copy_(normalize(matrix.mv(v), dim=0, eps=eps))
        v.copy_(normalize(matrix.t().mv(u), dim=0, eps=eps))


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            fail(RangeError, f"dim {dim} is out of range for a weight of {weight.ndim} dimensions")
        if n_power_iterations <= 0:
            fail(ArgumentError, f"n_power_iterations must be positive, but is {n_power_iterations}")
        self.dim, self.eps, self.n_power_iterations = dim % weight.ndim, eps, n_power_iterations
        if weight.ndim > 1:
            matrix = as_matrix(weight.detach(), self.dim)
            for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
                self.register_buffer(name, normalize(matrix.new_empty(size).normal_(), dim=0, eps=eps))
            power_iteration(matrix, self._u, self._v, 15, eps)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            power_iteration(matrix, self._u, self._v, self.n_power_iterations, self.eps)
        u, v = self._u.clone(), self._v.clone()  # the next iteration writes over them
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """weight / sigma, its largest singular value, which power iteration follows, a step at each training forward."""
    weight = _matrix_of(module, name)
    dim = usual_dim(module) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


def _matrix_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        fail(ArgumentError, f"{type(module).__name__} has no parameter or buffer {name!r}")
    return weight


# -- orthonormal columns -----------------------------------------------------------------------------------------------


def householder_product(v: Tensor, tau: Tensor) -> Tensor:
    """The first columns of H1 H2 ..., H = I - tau v v^T, of vectors v below a diagonal of ones: I - V T V^T.

    T^-1 is upper triangular, with 1/tau on the diagonal and the products v_i . v_j above it.
    """
    n, k = v.shape[-2:]
    v = v.tril(-1) + eye(n, k, dtype=v.dtype, device=v.device)
    inverse = (v.mT @ v).triu(1) + (1 / tau).diag_embed()
    return eye(n, k, dtype=v.dtype, device=v.device) - v @ solve_triangular(inverse, v[..., :k, :].mT, upper=True)


def householder(x: Tensor) -> Tensor:
    """Orthonormal columns from the vectors below the diagonal of x; the diagonal holds signs."""
    below = x.tril(-1)
    tau = 2 / (1 + (below * below).sum(-2))
    return householder_product(below, tau) * x.detach().diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def reflections(matrix: Tensor) -> Tensor:
    """The x of which householder(x) is the Q of a QR decomposition with a positive diagonal of R."""
    r = matrix.clone()
    for j in range(matrix.shape[-1]):
        column, rest = r[..., j:, j : j + 1].clone(), r[..., j:, j + 1 :]
        sign = where(column[..., :1, :] < 0, -1.0, 1.0)
        head = column[..., :1, :] + sign * column.norm(dim=-2, keepdim=True)
        v = cat([ones_like(head), column[..., 1:, :] / head], -2)
        rest.sub_(v @ (v.mT @ rest) * 2 / (v * v).sum(-2, keepdim=True))
        r[..., j:, j : j + 1] = cat([-sign, v[..., 1:, :]], -2)  # R's diagonal element would have the other sign
    return r


def from_square(name: str, x: Tensor) -> Tensor:
    """Orthonormal columns from the skew-symmetric matrix A = tril(x) - tril(x)^T."""
    n, k = x.shape[-2:]
    x = x.tril()
    if n != k:
        x = cat([x, x.new_zeros((*x.shape[:-1], n - k))], -1)
    a = x - x.mT
    one = eye(n, dtype=x.dtype, device=x.device)
    q = matrix_exp(a) if name == "matrix_exp" else solve(one - a / 2, one + a / 2)
    return q[..., :k]


def orthonormal(matrix: Tensor) -> Tensor:
    """Q of a QR decomposition with a positive diagonal of R, so that an orthonormal matrix stays as it is."""
    q, r = qr(matrix)
    return q * r.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    base: Any

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool = True) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        wide = X.shape[-2] < X.shape[-1]
        x = X.mT if wide else X
        q = householder(x) if self.orthogonal_map == "householder" else from_square(self.orthogonal_map, x)
        if self.use_trivialization:
            q = self.base @ q
        return q.mT if wide else q

    @no_grad()
    def right_inverse(self, Q: Tensor) -> Tensor:
        """-I, which all maps take to I, and Q as the base; without a base, what only Householder's map has."""
        if Q.shape != self.shape:
            fail(ShapeError, f"expected a matrix or batch of matrices of shape {list(self.shape)}, got {list(Q.shape)}")
        q = Q.mT if Q.shape[-2] < Q.shape[-1] else Q
        if not self.use_trivialization:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(f"without use_trivialization, {self.orthogonal_map} cannot be assigned to")
            return reflections(q) if q is Q else reflections(q).mT
        n, k = q.shape[-2:]
        if n != k:  # completed at random
            q = orthonormal(cat([q, q.new_empty((*q.shape[:-1], n - k)).normal_()], -1))
        elif not (q.mT @ q).allclose(
            eye(n, dtype=q.dtype, device=q.device).expand(q.shape), atol=10 * n * finfo(q.dtype).eps
        ):
            q = orthonormal(q)
        self.base = q.clone()
        start = zeros_like(Q)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """A weight with orthonormal columns, or rows if they are fewer; with more dimensions, a batch of them.

    `orthogonal_map` is "matrix_exp" (the default for square matrices), "cayley" or "householder" (for all others). With
    `use_trivialization` the map starts at the weight as it is, and the weight can be assigned to.
    """
    weight = _matrix_of(module, name)
    if weight.ndim < 2:
        fail(ArgumentError, f"a matrix or a batch of matrices is needed, but {name!r} has {weight.ndim} dimensions")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        what = f"orthogonal_map {orthogonal_map!r} is not known"
        fail(ArgumentError, what, "use 'matrix_exp', 'cayley' or 'householder'")
    return register_parametrization(module, name, _Orthogonal(weight, orthogonal_map, use_trivialization), unsafe=True)
