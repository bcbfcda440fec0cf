"""Against PyTorch: log_prob, entropy, moments, cdf, kl and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback
from pullback import distributions as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

R = np.random.default_rng(7)
POSITIVE, REAL, UNIT = R.uniform(0.5, 3, (4, 3)), R.standard_normal((4, 3)), R.uniform(0.1, 0.9, (4, 3))
SIMPLEX = UNIT / UNIT.sum(-1, keepdims=True)
COUNTS = R.integers(0, 5, (4, 3)).astype(float)
SQUARE = R.standard_normal((4, 3, 3))
COVARIANCE = SQUARE @ SQUARE.swapaxes(-1, -2) + np.eye(3)
HOT = np.eye(3)[[0, 2, 1, 1]]
NAN = np.array(np.nan)

# name -> arguments, a value
CASES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "normal": ("Normal", {"loc": REAL, "scale": POSITIVE}, REAL * 2),
    "lognormal": ("LogNormal", {"loc": REAL, "scale": POSITIVE}, POSITIVE),
    "uniform": ("Uniform", {"low": REAL - 2, "high": REAL + 2}, REAL + UNIT),
    "bernoulli": ("Bernoulli", {"probs": UNIT}, (UNIT > 0.4) * 1.0),
    "bernoulli of logits": ("Bernoulli", {"logits": REAL}, (UNIT > 0.4) * 1.0),
    "categorical": ("Categorical", {"probs": UNIT}, np.array([0, 2, 1, 1])),
    "categorical of logits": ("Categorical", {"logits": REAL}, np.array([[0], [2]])),
    "one hot": ("OneHotCategorical", {"probs": UNIT}, HOT),
    "one hot of logits": ("OneHotCategorical", {"logits": REAL}, HOT),
    "multinomial": ("Multinomial", {"total_count": 4, "probs": UNIT}, np.array([1.0, 0.0, 3.0])),
    "multinomial of logits": ("Multinomial", {"total_count": 4, "logits": REAL}, np.array([1.0, 0.0, 3.0])),
    "binomial": ("Binomial", {"total_count": 5, "probs": UNIT}, COUNTS),
    "binomial of logits": ("Binomial", {"total_count": 5, "logits": REAL}, COUNTS),
    "geometric": ("Geometric", {"probs": UNIT}, COUNTS),
    "geometric of logits": ("Geometric", {"logits": REAL}, COUNTS),
    "poisson": ("Poisson", {"rate": POSITIVE}, COUNTS),
    "exponential": ("Exponential", {"rate": POSITIVE}, UNIT),
    "laplace": ("Laplace", {"loc": REAL, "scale": POSITIVE}, REAL * 2),
    "cauchy": ("Cauchy", {"loc": REAL, "scale": POSITIVE}, REAL * 2),
    "gumbel": ("Gumbel", {"loc": REAL, "scale": POSITIVE}, REAL * 2),
    "beta": ("Beta", {"concentration1": POSITIVE, "concentration0": POSITIVE * 2}, UNIT),
    "gamma": ("Gamma", {"concentration": POSITIVE, "rate": POSITIVE * 2}, UNIT),
    "chi2": ("Chi2", {"df": POSITIVE * 2}, UNIT),
    "dirichlet": ("Dirichlet", {"concentration": POSITIVE}, SIMPLEX),
    "student": ("StudentT", {"df": POSITIVE * 2, "loc": REAL, "scale": POSITIVE}, REAL * 2),
    "mvn of covariance": ("MultivariateNormal", {"loc": REAL, "covariance_matrix": COVARIANCE}, REAL * 2),
    "mvn of precision": ("MultivariateNormal", {"loc": REAL, "precision_matrix": COVARIANCE}, REAL * 2),
    "mvn of scale": ("MultivariateNormal", {"loc": REAL, "scale_tril": np.linalg.cholesky(COVARIANCE)}, REAL * 2),
}
WORST = 1e-7


def close(a: Any, b: Any, what: str) -> None:
    assert tuple(a.shape) == tuple(b.shape), f"{what}: {tuple(a.shape)} is not {tuple(b.shape)}"
    assert a.dtype.name == str(b.dtype).removeprefix("torch."), what
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), WORST, WORST, err_msg=what)


def made(module: Any, package: Any, name: str, arguments: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The distribution, and its tensors."""
    tensors = {k: package.tensor(v, requires_grad=True) for k, v in arguments.items() if isinstance(v, np.ndarray)}
    return getattr(module, name)(**{**arguments, **tensors}), list(tensors.values())


def same_gradients(mine: Any, theirs: Any, leaves: list[Any], others: list[Any], what: str) -> None:
    if not theirs.requires_grad:
        return
    g = R.standard_normal(tuple(mine.shape))
    ours_ = pullback.autograd.grad(mine, leaves, pullback.tensor(g), allow_unused=True, retain_graph=True)
    expected = torch.autograd.grad(theirs, others, torch.tensor(g), allow_unused=True, retain_graph=True)
    for i, (a, b) in enumerate(zip(ours_, expected, strict=True)):
        a = pullback.zeros_like(leaves[i]) if a is None else a
        close(a, torch.zeros_like(others[i]) if b is None else b, f"{what}, gradient {i}")


@pytest.mark.parametrize("case", CASES)
def test_everything_that_pytorch_computes(case: str) -> None:
    name, arguments, value = CASES[case]
    p, leaves = made(ours, pullback, name, arguments)
    q, others = made(torch.distributions, torch, name, arguments)
    assert p.batch_shape == q.batch_shape and p.event_shape == q.event_shape and p.has_rsample == q.has_rsample
    assert p.has_enumerate_support == q.has_enumerate_support
    x, y = pullback.tensor(value), torch.tensor(value)
    for what in "log_prob", "cdf", "icdf", "entropy", "perplexity", "mean", "mode", "variance", "stddev", "support":
        given = (
            [(x, y)]
            if what in ("log_prob", "cdf")
            else [(pullback.tensor(UNIT), torch.tensor(UNIT))]
            if what == "icdf"
            else []
        )
        try:
            theirs = getattr(q, what)
            theirs = theirs(*[t for _, t in given]) if callable(theirs) and what != "support" else theirs
        except NotImplementedError:
            continue
        if what == "support":
            close(p.support.check(x), theirs.check(y), what)
            continue
        if (name, what) in {("Gamma", "cdf"), ("Chi2", "cdf")}:  # the incomplete gamma function is not here
            continue
        mine = getattr(p, what)
        mine = mine(*[t for t, _ in given]) if callable(mine) else mine
        close(mine, theirs, what)
        same_gradients(mine, theirs, leaves, others, what)
    if q.has_enumerate_support:
        for expand in False, True:
            np.testing.assert_array_equal(p.enumerate_support(expand).numpy(), q.enumerate_support(expand).numpy())
    wide = p.expand((2, *p.batch_shape))
    reference = q.expand((2, *q.batch_shape))
    assert wide.batch_shape == reference.batch_shape and wide.sample((5,)).shape == reference.sample((5,)).shape
    close(wide.log_prob(x), reference.log_prob(y), "expanded")


PAIRS = [
    *[(a, b) for a in CASES for b in CASES if CASES[a][0] == CASES[b][0] and a <= b],
    ("exponential", "gamma"), ("gamma", "exponential"), ("uniform", "normal"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_kl_divergence(first: str, second: str) -> None:
    swapped = {k: v[::-1].copy() if isinstance(v, np.ndarray) else v for k, v in CASES[second][1].items()}
    p, leaves = made(ours, pullback, *CASES[first][:2])
    q, more = made(ours, pullback, CASES[second][0], swapped)
    t, others = made(torch.distributions, torch, *CASES[first][:2])
    u, others_more = made(torch.distributions, torch, CASES[second][0], swapped)
    try:
        theirs = torch.distributions.kl_divergence(t, u)
    except NotImplementedError:
        with pytest.raises(NotImplementedError):
            ours.kl_divergence(p, q)
        return
    mine = ours.kl_divergence(p, q)
    close(mine, theirs, "kl")
    same_gradients(mine, theirs, leaves + more, others + others_more, "kl")


def test_kl_at_the_edges() -> None:
    edges = np.array([0.0, 0.0, 1.0, 1.0, 0.5, 0.5]), np.array([0.0, 0.5, 1.0, 0.5, 0.0, 1.0])
    a, b = (ours.Bernoulli(pullback.tensor(e)) for e in edges)
    c, d = (torch.distributions.Bernoulli(torch.tensor(e)) for e in edges)
    close(ours.kl_divergence(a, b), torch.distributions.kl_divergence(c, d), "bernoulli")
    rows = np.array([[0.0, 0.5, 0.5], [0.2, 0.8, 0.0]]), np.array([[0.0, 0.1, 0.9], [0.0, 0.5, 0.5]])
    e, f = (ours.Categorical(pullback.tensor(r)) for r in rows)
    g, h = (torch.distributions.Categorical(torch.tensor(r)) for r in rows)
    close(ours.kl_divergence(e, f), torch.distributions.kl_divergence(g, h), "categorical")


def composed(d: Any, package: Any) -> list[tuple[Any, Any]]:
    """(distribution, value): independent, mixed and transformed ones."""
    loc, scale, weights = (package.tensor(a) for a in (REAL, POSITIVE, UNIT))
    normal, vectors = d.Normal(loc, scale), d.Independent(d.Normal(loc.expand(4, 4, 3), 1.0), 1)
    squashed = d.TransformedDistribution(normal, [d.TanhTransform(), d.AffineTransform(loc, scale)])
    return [
        (d.Independent(normal, 1), loc * 2),
        (d.Independent(d.Bernoulli(weights), 2), (weights > 0.4).to(weights.dtype)),
        (d.MixtureSameFamily(d.Categorical(weights), normal), loc[:, 0]),
        (d.MixtureSameFamily(d.Categorical(weights[:, :1].expand(4, 4)), vectors), loc),
        (d.TransformedDistribution(normal, [d.AffineTransform(1.0, -2.0), d.ExpTransform()]), scale),
        (d.TransformedDistribution(normal, d.SigmoidTransform()), weights),
        (squashed, loc + scale * (weights - 0.5)),
        (d.TransformedDistribution(d.Uniform(loc * 0, loc * 0 + 1), d.SigmoidTransform().inv), loc),
        (d.TransformedDistribution(d.Independent(normal, 1), d.transforms.SoftplusTransform()), scale),
    ]  # fmt: skip


@pytest.mark.parametrize("which", range(9))
def test_composed_distributions(which: int) -> None:
    (p, x), (q, y) = composed(ours, pullback)[which], composed(torch.distributions, torch)[which]
    assert p.batch_shape == q.batch_shape and p.event_shape == q.event_shape and p.has_rsample == q.has_rsample
    assert p.sample((5, 2)).shape == q.sample((5, 2)).shape
    assert p.expand((2, *p.batch_shape)).sample().shape == q.expand((2, *q.batch_shape)).sample().shape
    for what in "log_prob", "cdf", "entropy", "mean", "variance":
        given = [(x, y)] if what in ("log_prob", "cdf") else []
        try:
            theirs = getattr(q, what)
            theirs = theirs(*[t for _, t in given]) if callable(theirs) else theirs
        except NotImplementedError:
            continue
        mine = getattr(p, what)
        close(mine(*[t for t, _ in given]) if callable(mine) else mine, theirs, what)


@pytest.mark.parametrize("case", CASES)
def test_single_precision_and_numbers(case: str) -> None:
    name, arguments, value = CASES[case]
    single = {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    p, q = made(ours, pullback, name, single)[0], made(torch.distributions, torch, name, single)[0]
    x = np.asarray(value).astype(np.float32 if np.asarray(value).dtype.kind == "f" else np.int64)
    a, b = p.log_prob(pullback.tensor(x)).detach().numpy(), q.log_prob(torch.tensor(x)).detach().numpy()
    assert a.dtype == b.dtype == np.float32 and p.sample().numpy().dtype == q.sample().numpy().dtype
    np.testing.assert_allclose(a, b, 1e-4, 1e-5)
    if all(np.size(v) == 12 for v in arguments.values()) and p.event_shape == () and name != "Categorical":
        numbers = {k: float(v[0, 0]) for k, v in arguments.items()}
        p, q = getattr(ours, name)(**numbers), getattr(torch.distributions, name)(**numbers)
        assert p.batch_shape == q.batch_shape == () and p.sample((3,)).numpy().dtype == q.sample((3,)).numpy().dtype


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0, 2.5, 40.0])
def test_gradients_of_gamma_samples(alpha: float) -> None:
    p = ours.Gamma(pullback.full((200,), alpha, dtype=pullback.float64, requires_grad=True), 1.0)
    z = p.rsample()
    (slope,) = pullback.autograd.grad(z.sum(), [p.concentration])
    expected = torch._standard_gamma_grad(
        torch.full((200,), alpha, dtype=torch.float64), torch.tensor(z.detach().numpy())
    )
    np.testing.assert_allclose(slope.numpy(), expected.numpy(), 2e-3)
