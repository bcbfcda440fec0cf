"""Distributions against closed forms, their own samples, and what they refuse."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import distributions as d

VECTOR, PROBS = torch.tensor([1.0, -1.0]), torch.tensor([0.2, 0.3, 0.5])
COVARIANCE = torch.tensor([[2.0, 0.5], [0.5, 1.0]])

# distribution, value, log_prob there, entropy
KNOWN: list[tuple[Any, Any, float, float]] = [
    (d.Normal(1.0, 2.0), 2.0, -1.7370857, 2.1120857),
    (d.LogNormal(0.0, 1.0), 1.0, -0.9189385, 1.4189385),
    (d.Uniform(1.0, 3.0), 2.0, -math.log(2), math.log(2)),
    (d.Bernoulli(0.25), 1.0, math.log(0.25), 0.5623351),
    (d.Categorical(PROBS), 2, math.log(0.5), 1.0296530),
    (d.OneHotCategorical(PROBS), [0.0, 1.0, 0.0], math.log(0.3), 1.0296530),
    (d.Multinomial(2, PROBS), [1.0, 0.0, 1.0], math.log(0.2), 2 * 1.0296530 - 0.62 * math.log(2)),
    (d.Binomial(3, 0.5), 1.0, math.log(3 / 8), 3 * math.log(2) - 0.75 * math.log(3)),
    (d.Geometric(0.5), 2.0, math.log(0.125), 2 * math.log(2)),
    (d.Poisson(2.0), 3.0, math.log(8 / 6) - 2, math.nan),
    (d.Exponential(2.0), 1.0, math.log(2) - 2, 1 - math.log(2)),
    (d.Laplace(0.0, 1.0), 1.0, -math.log(2) - 1, 1 + math.log(2)),
    (d.Cauchy(0.0, 1.0), 1.0, -math.log(2 * math.pi), math.log(4 * math.pi)),
    (d.Gumbel(0.0, 1.0), 0.0, -1.0, 1.5772157),
    (d.Beta(2.0, 2.0), 0.5, math.log(1.5), -0.1250928),
    (d.Gamma(2.0, 1.0), 1.0, -1.0, 1.5772157),
    (d.Chi2(2.0), 2.0, -math.log(2) - 1, 1 + math.log(2)),
    (d.Dirichlet(torch.ones(3)), [0.2, 0.3, 0.5], math.log(2), -math.log(2)),
    (d.StudentT(1.0), 1.0, -math.log(2 * math.pi), math.log(4 * math.pi)),
    (d.MultivariateNormal(VECTOR, COVARIANCE), [1.0, -1.0], -math.log(2 * math.pi * math.sqrt(1.75)), 3.1176850),
    (d.Independent(d.Normal(VECTOR, 1.0), 1), [1.0, -1.0], -1.8378771, 2.8378771),
]
names = [type(p).__name__ for p, *_ in KNOWN]


@pytest.mark.parametrize(("p", "value", "log_prob", "entropy"), KNOWN, ids=names)
def test_log_prob_and_entropy(p: Any, value: Any, log_prob: float, entropy: float) -> None:
    assert p.log_prob(torch.tensor(value)).item() == pytest.approx(log_prob, abs=1e-5)
    if math.isnan(entropy):
        with pytest.raises(NotImplementedError, match="Poisson has no entropy"):
            p.entropy()
    else:
        assert p.entropy().item() == pytest.approx(entropy, abs=1e-5)


@pytest.mark.parametrize("p", [p for p, *_ in KNOWN], ids=names)
def test_samples_have_the_moments_and_the_support(p: Any) -> None:
    torch.manual_seed(5)
    x = p.sample((20000,))
    assert x.shape == (20000, *p.batch_shape, *p.event_shape) and not x.requires_grad
    assert bool(p.support.check(x).all()) and bool(p.log_prob(x[:50]).isfinite().all())
    if bool(p.variance.isfinite().all()):
        spread = p.stddev.numpy()
        np.testing.assert_allclose(x.mean(0).numpy(), p.mean.numpy(), atol=0.05 * spread.max())
        np.testing.assert_allclose(x.std(0).numpy(), spread, rtol=0.12)


def test_samples_that_have_no_moments() -> None:
    torch.manual_seed(5)
    for p in d.Cauchy(0.0, 1.0), d.StudentT(1.0):
        quartiles = np.quantile(p.sample((20000,)).numpy(), [0.25, 0.5, 0.75])
        np.testing.assert_allclose(quartiles, [-1.0, 0.0, 1.0], atol=0.08)
    counts = d.Categorical(PROBS).sample((20000,)).bincount() / 20000
    np.testing.assert_allclose(counts.numpy(), PROBS.numpy(), atol=0.02)


def test_the_same_seed_gives_the_same_samples() -> None:
    for p, *_ in KNOWN:
        torch.manual_seed(3)
        first = p.sample((4,))
        second = p.sample((4,))
        torch.manual_seed(3)
        assert torch.equal(first, p.sample((4,)))
        assert (
            p.event_shape
            or not torch.equal(first, second)
            or type(p).__name__ in ("Bernoulli", "Categorical", "Geometric")
        )


@pytest.mark.parametrize(
    ("make", "mean"),
    [
        (lambda a: d.Gamma(a, 2.0), lambda a: a / 2),
        (lambda a: d.Beta(a, 3.0), lambda a: a / (a + 3)),
        (lambda a: d.Chi2(a), lambda a: a),
        (lambda a: d.Dirichlet(torch.stack([a, torch.full_like(a, 2.0)], -1)), lambda a: a / (a + 2)),
        (lambda a: d.Exponential(a), lambda a: 1 / a),
        (lambda a: d.Normal(a, 1.0), lambda a: a),
        (lambda a: d.Gumbel(0.0, a), lambda a: a * 0.5772157),
        (lambda a: d.Uniform(0.0, a), lambda a: a / 2),
    ],
)  # fmt: skip
def test_reparameterised_gradients(make: Any, mean: Any) -> None:
    """The average gradient of samples is the gradient of the mean."""
    torch.manual_seed(0)
    a = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    x = make(a).rsample((20000,))
    x = x[:, 0] if x.ndim == 2 else x
    (slope,) = torch.autograd.grad(x.mean(), a)
    (expected,) = torch.autograd.grad(mean(a), a)
    assert slope.item() == pytest.approx(expected.item(), rel=0.05)


def test_gamma_slope_is_minus_the_slope_of_the_distribution_function_over_the_density() -> None:
    a, z = 3.0, 2.0
    points = (np.arange(100000) + 0.5) / 100000 * z

    def below(a: float) -> float:
        return float(np.mean(points ** (a - 1) * np.exp(-points)) * z / math.gamma(a))

    density = z ** (a - 1) * math.exp(-z) / math.gamma(a)
    slope = -(below(a + 1e-4) - below(a - 1e-4)) / 2e-4 / density
    found = torch.functions.variates.gamma_slope(
        torch.tensor([a], dtype=torch.float64), torch.tensor([z], dtype=torch.float64)
    )
    assert found.item() == pytest.approx(slope, rel=1e-5)


def test_second_order_through_gamma_samples_is_refused() -> None:
    a = torch.tensor([2.0], requires_grad=True)
    (slope,) = torch.autograd.grad(d.Gamma(a, 1.0).rsample().sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        slope.sum().backward()


def test_discrete_samples_carry_no_gradient() -> None:
    p = d.Categorical(logits=torch.zeros(3, requires_grad=True))
    with pytest.raises(NotImplementedError, match="Categorical has no rsample"):
        p.rsample()
    (-p.log_prob(p.sample((8,))).mean()).backward()
    assert p.logits.requires_grad
    hot = d.OneHotCategoricalStraightThrough(torch.tensor([0.2, 0.8], requires_grad=True))
    assert hot.rsample((2,)).requires_grad


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: d.Normal(0.0, -1.0), "Normal: scale, of shape .*, must be greater than 0"),
        (lambda: d.Normal(math.nan, 1.0), "loc, .* must be a number"),
        (lambda: d.Bernoulli(1.5), "probs, .* must be between 0.0 and 1.0"),
        (lambda: d.Bernoulli(), "exactly one of probs and logits"),
        (lambda: d.Categorical(probs=PROBS, logits=PROBS), "exactly one of probs and logits"),
        (lambda: d.Categorical(torch.tensor(1.0)), "dimension of classes"),
        (lambda: d.Uniform(2.0, 1.0), "low must be below high"),
        (lambda: d.MultivariateNormal(VECTOR, -COVARIANCE), "must be symmetric and positive definite"),
        (lambda: d.MultivariateNormal(VECTOR), "exactly one of covariance_matrix"),
        (lambda: d.MultivariateNormal(VECTOR, scale_tril=COVARIANCE), "lower triangular"),
        (lambda: d.Beta(1.0, 1.0).log_prob(torch.tensor(2.0)), "values must be between 0.0 and 1.0"),
        (lambda: d.Poisson(1.0).log_prob(torch.tensor(0.5)), "non-negative integer"),
        (lambda: d.Dirichlet(torch.ones(3)).log_prob(torch.ones(2) / 2), "does not end in the event shape"),
        (lambda: d.Multinomial(torch.tensor(3), PROBS), "one integer"),
        (lambda: d.Independent(d.Normal(0.0, 1.0), 1), "0 batch dimensions"),
        (lambda: d.Geometric(0.0), "above 0"),
    ],
)  # fmt: skip
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_validation_can_be_left_out() -> None:
    assert d.Normal(0.0, -1.0, validate_args=False).stddev.item() == -1.0
    d.Distribution.set_default_validate_args(False)
    try:
        d.Bernoulli(1.5)
    finally:
        d.Distribution.set_default_validate_args(True)


def test_kl_divergence_by_sampling() -> None:
    torch.manual_seed(1)
    pairs: list[tuple[Any, Any]] = [
        (d.Normal(0.0, 1.0), d.Normal(1.0, 2.0)),
        (d.Gamma(2.0, 1.0), d.Gamma(3.0, 2.0)),
        (d.Beta(2.0, 3.0), d.Beta(1.0, 1.0)),
        (d.Laplace(0.0, 1.0), d.Laplace(1.0, 2.0)),
        (d.Poisson(2.0), d.Poisson(3.0)),
        (d.Categorical(PROBS), d.Categorical(logits=torch.zeros(3))),
        (d.MultivariateNormal(VECTOR, COVARIANCE), d.MultivariateNormal(-VECTOR, torch.eye(2))),
        (d.LogNormal(0.0, 1.0), d.LogNormal(1.0, 2.0)),
        (d.Independent(d.Normal(VECTOR, 1.0), 1), d.Independent(d.Normal(-VECTOR, 2.0), 1)),
    ]
    for p, q in pairs:
        x = p.sample((20000,))
        assert d.kl_divergence(p, q).item() == pytest.approx((p.log_prob(x) - q.log_prob(x)).mean().item(), rel=0.08)


def test_kl_divergence_can_be_extended() -> None:
    class Mine(d.Normal):
        pass

    assert d.kl_divergence(Mine(0.0, 1.0), Mine(0.0, 1.0)).item() == 0.0

    @d.register_kl(Mine, d.Normal)
    def _mine(p: Mine, q: d.Normal) -> Any:
        return torch.tensor(7.0)

    assert d.kl_divergence(Mine(0.0, 1.0), d.Normal(0.0, 1.0)).item() == 7.0
    with pytest.raises(NotImplementedError, match="no kl_divergence of Normal from Poisson"):
        d.kl_divergence(d.Normal(0.0, 1.0), d.Poisson(1.0))


def test_gradients_of_arguments_given_the_other_way() -> None:
    probs = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        p = d.Bernoulli(probs)
        p.logits  # noqa: B018 (computed here, its history must not be lost)
    (g,) = torch.autograd.grad(p.log_prob(torch.ones(2, dtype=torch.float64)).sum(), probs)
    np.testing.assert_allclose(g.numpy(), [5.0, 1 / 0.7])


def test_repr_and_pickle() -> None:
    p = d.Normal(0.0, torch.tensor([1.0, 2.0]))
    assert repr(p) == f"Normal(loc: {p.loc.shape}, scale: {p.scale.shape})"
    assert repr(d.Gamma(1.0, 2.0)) == "Gamma(concentration: 1.0, rate: 2.0)"
    assert repr(d.Gamma(torch.ones(1), 2.0)) == "Gamma(concentration: tensor([1.]), rate: tensor([2.]))"
    assert torch.equal(pickle.loads(pickle.dumps(p)).scale, p.scale)


def test_it_is_loaded_when_asked_for() -> None:
    script = "import sys, pullback\nassert 'pullback.distributions' not in sys.modules\npullback.distributions.Normal"
    subprocess.run([sys.executable, "-c", script], check=True)
