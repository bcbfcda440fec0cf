"""Layers that are random in training: what they keep, how it is scaled, and that it can be repeated."""

from __future__ import annotations

from typing import Any

import pytest

import pullback as torch
from pullback import nn


def near(share: float, expected: float, of: int) -> bool:
    """Within four standard deviations of a binomial share."""
    return abs(share - expected) < 4 * (expected * (1 - expected) / of) ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_zeroes_a_share_and_scales_the_rest(p: float) -> None:
    torch.manual_seed(1)
    x = torch.rand(100, 200) + 1
    x.requires_grad = True
    y = nn.Dropout(p)(x)
    kept = y != 0
    assert near(kept.double().mean().item(), 1 - p, 20000)
    assert torch.allclose(y[kept], (x / (1 - p))[kept])
    y.sum().backward()
    assert torch.allclose(x.grad, kept.float() / (1 - p))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dropout1d, (40, 50, 6)),
        (nn.Dropout1d, (2000, 6)),
        (nn.Dropout2d, (40, 50, 3, 2)),
        (nn.Dropout3d, (40, 50, 1, 3, 2)),
        (nn.Dropout3d, (2000, 1, 3, 2)),
    ],
)
def test_whole_channels_are_dropped(layer: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    y = layer(0.3)(torch.ones(shape))
    by_channel = y.flatten(1 if shape[0] == 2000 else 2)
    assert ((by_channel == 0).all(-1) | (by_channel == 1 / 0.7).all(-1)).all()
    assert near((by_channel[..., 0] != 0).double().mean().item(), 0.7, 2000)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    torch.manual_seed(3)
    y = nn.AlphaDropout(0.4)(torch.randn(400, 500, dtype=torch.float64))
    assert abs(y.mean().item()) < 0.02 and abs(y.var().item() - 1) < 0.02
    low = -1.7580993408473766  # selu's limit
    a = (0.6 * (1 + 0.4 * low**2)) ** -0.5
    dropped = torch.isclose(y, torch.tensor(a * low - a * 0.4 * low, dtype=torch.float64))
    assert near(dropped.double().mean().item(), 0.4, 200000)


def test_feature_alpha_dropout_drops_channels() -> None:
    torch.manual_seed(4)
    y = nn.FeatureAlphaDropout(0.5)(torch.randn(30, 40, 5, dtype=torch.float64))
    same = (y == y[..., :1]).all(-1)
    assert near(same.double().mean().item(), 0.5, 1200)


def test_rrelu_draws_slopes_between_its_bounds() -> None:
    torch.manual_seed(5)
    x = -torch.ones(10000, dtype=torch.float64)
    x[0] = 3.0
    y = nn.RReLU(0.2, 0.6)(x)
    slopes = -y[1:]
    assert y[0] == 3 and slopes.min() >= 0.2 and slopes.max() <= 0.6
    assert abs(slopes.mean().item() - 0.4) < 0.01 and abs(slopes.std().item() - 0.4 / 12**0.5) < 0.01


@pytest.mark.parametrize("n", [2, 3])
def test_fractional_pooling_gives_the_size_asked_for_with_steps_that_vary(n: int) -> None:
    torch.manual_seed(6)
    x = torch.arange(20.0**n).reshape(1, 1, *(20,) * n).expand(2, 3, *(20,) * n)
    pool = getattr(nn, f"FractionalMaxPool{n}d")
    y, places = pool(2, output_ratio=0.7, return_indices=True)(x)
    assert y.shape == (2, 3, *(14,) * n) and torch.equal(y.long(), places)
    rows = places[..., 0].reshape(2, 3, -1)
    assert (rows.diff() > 0).all() and not torch.equal(rows[0, 0], rows[1, 2])
    assert places[..., -1].flatten()[-1] == 20**n - 1  # the last window ends with the input


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout2d(), nn.AlphaDropout(), nn.RReLU()], ids=repr)
def test_a_seed_repeats_it(layer: nn.Module) -> None:
    x = torch.randn(3, 4, 5, 2)
    torch.manual_seed(7)
    first, second = layer(x), layer(x)
    torch.manual_seed(7)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)


def test_a_probability_of_one_leaves_zeros() -> None:
    x = torch.ones(3, 4, requires_grad=True)
    y = nn.Dropout(1.0)(x)
    y.sum().backward()
    assert not y.any() and not x.grad.any()
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)
