"""pullback.linalg: known results, gradients by finite differences, and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import linalg

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(3)
A = torch.tensor([[4.0, 1.0], [2.0, 3.0]], dtype=torch.float64)
SYMMETRIC = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)


def same(x: Any, expected: Any) -> None:
    np.testing.assert_allclose(x.detach().numpy(), expected, 1e-12, 1e-12)


def test_known_results() -> None:
    same(linalg.inv(A), [[0.3, -0.1], [-0.2, 0.4]])
    same(linalg.det(A), 10.0)
    same(linalg.solve(A, torch.tensor([6.0, 8.0], dtype=torch.float64)), [1.0, 2.0])
    same(linalg.eigh(SYMMETRIC).eigenvalues, [1.0, 3.0])
    same(linalg.eigh(SYMMETRIC).eigenvectors[:, 1], [0.5**0.5, 0.5**0.5])
    same(linalg.cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]], dtype=torch.float64)), [[2.0, 0.0], [1.0, 2.0]])
    same(linalg.svdvals(torch.tensor([[3.0, 0.0], [0.0, -4.0]], dtype=torch.float64)), [4.0, 3.0])
    same(linalg.matrix_exp(torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)), [[1.0, 1.0], [0.0, 1.0]])
    same(linalg.matrix_power(A, -1), linalg.inv(A).numpy())
    same(linalg.norm(A), 30**0.5)
    assert linalg.norm(A, 1).item() == 6.0 and linalg.norm(A, float("inf")).item() == 5.0
    assert linalg.matrix_rank(torch.tensor([[1.0, 2.0], [2.0, 4.0]])).item() == 1
    assert linalg.slogdet(A).sign.item() == 1.0 and A.logdet().item() == pytest.approx(np.log(10))
    assert A.det().item() == pytest.approx(10.0) and torch.det(A).item() == pytest.approx(10.0)
    line = linalg.lstsq(torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), torch.tensor([[1.0], [3.0], [5.0]]))
    np.testing.assert_allclose(line.solution.numpy(), [[2.0], [1.0]], atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 3, 5), (0, 3), (2, 0)])
def test_factors_multiply_to_the_matrix(shape: tuple[int, ...]) -> None:
    x = torch.tensor(RANDOM.standard_normal(shape))
    q, r = linalg.qr(x)
    same(q @ r, x.numpy())
    q, r = linalg.qr(x, "complete")
    same(q @ r, x.numpy())
    same(linalg.qr(x, mode="r").R, linalg.qr(x).R.numpy())
    for full in False, True:
        u, s, vh = linalg.svd(x, full_matrices=full)
        k = s.shape[-1]
        same((u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :], x.numpy())
        same(u.mT @ u, np.broadcast_to(np.eye(u.shape[-1]), u.mT.shape[:-1] + u.shape[-1:]))
    gram = x @ x.mT + torch.eye(shape[-2], dtype=torch.float64)
    low = linalg.cholesky(gram)
    same(low @ low.mT, gram.numpy())
    same(linalg.cholesky(gram, upper=True), low.mT.numpy())
    w, v = linalg.eigh(gram)
    same(v @ torch.diag_embed(w) @ v.mT, gram.numpy())
    same(torch.cholesky_solve(gram, low), np.broadcast_to(np.eye(shape[-2]), gram.shape))
    same(linalg.pinv(x) @ x @ linalg.pinv(x), linalg.pinv(x).numpy())


def symmetrised(x: Any) -> Any:
    return x + x.mT


def positive(x: Any) -> Any:
    return x @ x.mT + torch.eye(x.shape[-1], dtype=torch.float64)


# functions of a 3 x 3 matrix that do not depend on signs, nor on which triangle is read
SMOOTH: dict[str, Callable[[Any], Any]] = {
    "eigenvalues": lambda x: linalg.eigh(symmetrised(x)).eigenvalues,
    "eigvalsh": lambda x: linalg.eigvalsh(symmetrised(x), "U"),
    "projector on an eigenvector": lambda x: (v := linalg.eigh(symmetrised(x)).eigenvectors[:, :1]) @ v.mT,
    "cholesky": lambda x: linalg.cholesky(positive(x)),
    "upper cholesky": lambda x: linalg.cholesky(positive(x), upper=True),
    "best matrix of rank 1": lambda x: (lambda u, s, vh: u[:, :1] * s[0] @ vh[:1])(*linalg.svd(x)),
    "nuclear norm": lambda x: linalg.matrix_norm(x, "nuc"),
    "spectral norm": lambda x: linalg.matrix_norm(x, 2),
    "condition": lambda x: linalg.cond(x),
    "condition in the 1-norm": lambda x: linalg.cond(x, 1),
    "triangular": lambda x: linalg.solve_triangular(x, x @ x, upper=True, left=False),
    "least squares": lambda x: linalg.lstsq(x[:, :2], x[:, 2:]).solution,
    "log determinant": lambda x: positive(x).logdet(),
    "power": lambda x: linalg.matrix_power(x, -2),
    "cholesky inverse": lambda x: torch.cholesky_inverse(linalg.cholesky(positive(x))),
    "triangular_solve": lambda x: torch.triangular_solve(x, positive(x), upper=False, transpose=True).solution,
    "tensorinv": lambda x: linalg.tensorinv((x + 4 * torch.eye(3, dtype=torch.float64)).reshape(3, 3, 1), ind=1),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_and_their_gradients_agree_with_finite_differences(name: str) -> None:
    x = torch.tensor(RANDOM.standard_normal((3, 3)) + 2 * np.diag([1.0, 2.0, 3.0]), requires_grad=True)
    assert torch.autograd.gradcheck(SMOOTH[name], (x,))
    assert torch.autograd.gradgradcheck(SMOOTH[name], (x,))


def test_coinciding_eigenvalues_have_gradients() -> None:
    x = torch.eye(3, dtype=torch.float64, requires_grad=True)
    for f in (
        lambda: linalg.eigh(x).eigenvalues.sum(),
        lambda: linalg.eigvalsh(x).sum(),
        lambda: linalg.svd(x).S.sum(),
        lambda: linalg.matrix_norm(x, "nuc"),
    ):
        same(torch.autograd.grad(f(), x)[0], np.eye(3))
    (g,) = torch.autograd.grad(linalg.eigh(x).eigenvectors[0, 1], x)
    assert not np.isfinite(g.numpy()).all()  # which vectors these are is arbitrary: there is no slope


def test_the_determinant_of_a_singular_matrix_has_a_gradient() -> None:
    """It is the matrix of cofactors."""
    x = torch.tensor([[[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(linalg.det(x).sum(), x)
    same(g, [[[4.0, -2.0], [-2.0, 1.0]], [[4.0, -3.0], [-2.0, 1.0]]])
    (g,) = torch.autograd.grad(linalg.slogdet(x).logabsdet.sum(), x)
    assert np.isnan(g.numpy()[0]).all()
    same(g[1], np.linalg.inv(x.detach().numpy()[1]).T)


def test_what_the_triangular_solvers_read() -> None:
    x = torch.tensor(RANDOM.standard_normal((4, 4)) + 4 * np.eye(4), requires_grad=True)
    y = linalg.solve_triangular(x, torch.eye(4, dtype=torch.float64), upper=True, unitriangular=True)
    (g,) = torch.autograd.grad(y.sum(), x)
    np.testing.assert_array_equal(g.numpy() != 0, np.triu(np.ones((4, 4)), 1) != 0)
    singular = linalg.solve_triangular(torch.zeros(2, 2), torch.ones(2, 1), upper=True)
    assert not np.isfinite(singular.numpy()).any()  # as in PyTorch, this is no error


def test_cholesky_ex_says_how_far_it_came() -> None:
    good, bad = [[4.0, 2.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 1.0]]
    found = linalg.cholesky_ex(torch.tensor([good, bad, [[-1.0, 0.0], [0.0, 1.0]]]))
    assert found.info.tolist() == [0, 2, 1] and found.info.dtype == torch.int32
    np.testing.assert_array_equal(found.L.numpy()[0], [[2.0, 0.0], [1.0, 2.0]])


@pytest.mark.parametrize("name", ["inv", "cholesky", "solve", "eigh", "svd", "det", "slogdet", "qr", "matrix_exp"])
def test_types_and_shapes_are_checked(name: str) -> None:
    f = getattr(linalg, name)

    def call(x: Any) -> Any:
        return f(x, x) if name == "solve" else f(x)

    for dtype in torch.float16, torch.bfloat16, torch.int64:
        with pytest.raises(RuntimeError, match="expected float32 or float64, but got"):
            call(torch.ones(2, 2, dtype=dtype))
    with pytest.raises(RuntimeError, match="matrices"):
        call(torch.ones(2))
    if name not in ("svd", "qr"):
        with pytest.raises(RuntimeError, match="square"):
            call(torch.ones(2, 3))


def test_singular_matrices_are_named() -> None:
    batch = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]]])
    with pytest.raises(linalg.LinAlgError, match="batch element 1: the matrix is singular"):
        linalg.inv(batch)
    with pytest.raises(linalg.LinAlgError, match=r"linalg\.solve: batch element 1: the matrix is singular"):
        linalg.solve(batch, torch.ones(2, 2))
    with pytest.raises(linalg.LinAlgError, match=r"not positive definite .its leading minor of order 2 is not."):
        linalg.cholesky(batch)
    assert issubclass(linalg.LinAlgError, RuntimeError)
    nan = torch.tensor([[float("nan"), 1.0], [1.0, 1.0]])
    for f in linalg.svd, linalg.svdvals, linalg.eigh, linalg.eigvalsh, linalg.pinv:
        with pytest.raises(linalg.LinAlgError, match="contains NaN or infinity"):
            f(nan)
    assert linalg.inv(nan).isnan().any() and linalg.solve(nan, torch.ones(2)).isnan().any()  # as in PyTorch


def test_what_is_not_here_says_why() -> None:
    with pytest.raises(AttributeError, match="complex; see eigh"):
        linalg.eig  # noqa: B018
    with pytest.raises(RuntimeError, match="no norm 3"):
        linalg.matrix_norm(A, 3)
    with pytest.raises(RuntimeError, match="no gradient for more rows than columns"):
        linalg.qr(torch.ones(3, 2, requires_grad=True), "complete").R.sum().backward()
