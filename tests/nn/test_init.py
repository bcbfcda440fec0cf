"""Starting values: the bounds and moments that the formulas give, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import pullback
from pullback import nn

OUT, IN, KERNEL = 60, 40, (3, 5)
FAN_IN, FAN_OUT = IN * 15, OUT * 15


@pytest.fixture(autouse=True)
def _seeded() -> None:
    pullback.manual_seed(3)


def weight() -> Any:
    return nn.Parameter(pullback.full((OUT, IN, *KERNEL), 77.0))


def check(t: Any, mean: float, std: float, low: float = -math.inf, high: float = math.inf) -> None:
    """Mean and deviation within five standard errors, and nothing outside the bounds, which are nearly reached."""
    near = 5 / math.sqrt(t.numel())
    assert abs(t.mean().item() - mean) < near * std and abs(t.std().item() / std - 1) < near
    assert low <= t.min().item() and t.max().item() <= high
    if low > -math.inf:
        assert t.min().item() < low + 0.01 * (high - low) and t.max().item() > high - 0.01 * (high - low)


UNIFORM: dict[str, tuple[Callable[[Any], Any], float]] = {
    "uniform": (lambda w: nn.init.uniform_(w, -0.5, 0.5), 0.5),
    "xavier": (nn.init.xavier_uniform_, math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "xavier with a gain": (lambda w: nn.init.xavier_uniform_(w, gain=3.0), 3 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "kaiming": (nn.init.kaiming_uniform_, math.sqrt(2) * math.sqrt(3 / FAN_IN)),
    "kaiming of a layer": (lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)), 1 / math.sqrt(FAN_IN)),
    "kaiming tanh": (lambda w: nn.init.kaiming_uniform_(w, 0, "fan_out", "tanh"), 5 / 3 * math.sqrt(3 / FAN_OUT)),
}
NORMAL: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "normal": (lambda w: nn.init.normal_(w, 2.0, 0.3), 2.0, 0.3),
    "xavier": (nn.init.xavier_normal_, 0.0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "xavier with a gain": (lambda w: nn.init.xavier_normal_(w, 0.5), 0.0, 0.5 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "kaiming": (nn.init.kaiming_normal_, 0.0, math.sqrt(2 / FAN_IN)),
    "kaiming relu": (
        lambda w: nn.init.kaiming_normal_(w, mode="FAN_OUT", nonlinearity="relu"),
        0,
        math.sqrt(2 / FAN_OUT),
    ),
    "kaiming linear": (lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"), 0, 1 / math.sqrt(FAN_IN)),
}


@pytest.mark.parametrize(("fill", "bound"), UNIFORM.values(), ids=UNIFORM)
def test_uniform_ones(fill: Callable[[Any], Any], bound: float) -> None:
    w = weight()
    assert fill(w) is w and w.is_leaf and w.requires_grad
    check(w, 0.0, bound / math.sqrt(3), -bound, bound)


@pytest.mark.parametrize(("fill", "mean", "std"), NORMAL.values(), ids=NORMAL)
def test_normal_ones(fill: Callable[[Any], Any], mean: float, std: float) -> None:
    w = weight()
    assert fill(w) is w and w.is_leaf
    check(w, mean, std)
    inside = ((w - mean).abs() < std).double().mean().item()
    assert abs(inside - math.erf(1 / math.sqrt(2))) < 0.02


def test_truncated_normal() -> None:
    check(nn.init.trunc_normal_(weight(), std=2.0, a=-2.0, b=2.0), 0.0, 2.0 * 0.53956, -2.0, 2.0)
    # N(0, 1) above 0: mean sqrt(2/pi), variance 1 - 2/pi
    half = nn.init.trunc_normal_(weight(), 0.0, 1.0, 0.0, 100.0)
    check(half, math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi))
    assert half.min() >= 0
    with pytest.warns(UserWarning, match="more than 2 std"):
        far = nn.init.trunc_normal_(weight(), 0.0, 1.0, 3.0, 4.0)
    assert far.min() >= 3 and far.max() <= 4


def test_constants() -> None:
    w = weight()
    assert (nn.init.constant_(w, 0.25) == 0.25).all()
    assert (nn.init.ones_(w) == 1).all() and (nn.init.zeros_(w) == 0).all()
    assert nn.init.eye_(pullback.full((2, 3), 9.0)).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_dirac_passes_channels_on() -> None:
    for shape, groups in [((2, 3, 3), 1), ((4, 2, 3), 2), ((6, 2, 3, 5), 3), ((2, 2, 3, 1, 3), 1)]:
        w = nn.init.dirac_(pullback.full(shape, 9.0), groups)
        x = pullback.randn(1, shape[1] * groups, *(7,) * (len(shape) - 2))
        conv = getattr(nn.functional, f"conv{len(shape) - 2}d")
        y = conv(x, w, padding=tuple(k // 2 for k in shape[2:]), groups=groups)
        for mine, theirs in zip(y.chunk(groups, 1), x.chunk(groups, 1), strict=True):
            n = min(mine.shape[1], theirs.shape[1])
            assert pullback.equal(mine[:, :n], theirs[:, :n]) and not mine[:, n:].any()


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (6, 2, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = nn.init.orthogonal_(pullback.empty(*shape, dtype=pullback.float64), gain=2.0).flatten(1)
    few = min(w.shape)
    product = w @ w.T if w.shape[0] == few else w.T @ w
    assert (product - 4 * pullback.eye(few, dtype=pullback.float64)).abs().max() < 1e-12


def test_orthogonal_is_uniform_over_rotations() -> None:
    first = [nn.init.orthogonal_(pullback.empty(3, 3))[0, 0].item() for _ in range(400)]
    assert abs(sum(first) / 400) < 0.15 and abs(sum(v * v for v in first) / 400 - 1 / 3) < 0.1


def test_sparse() -> None:
    w = nn.init.sparse_(pullback.empty(50, 30), sparsity=0.33, std=0.5)
    assert (w == 0).sum(0).tolist() == [17] * 30
    check(w[w != 0], 0.0, 0.5)
    assert len({tuple(column.tolist()) for column in (w == 0).T}) > 25


def test_a_generator_is_used() -> None:
    named = ["uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_"]
    for name in [*named, "kaiming_normal_", "orthogonal_"]:
        fill, state = getattr(nn.init, name), pullback.get_rng_state()
        a, b = (fill(pullback.empty(4, 4), generator=pullback.Generator().manual_seed(5)) for _ in range(2))
        assert pullback.equal(a, b) and pullback.equal(state, pullback.get_rng_state())
    nn.init.sparse_(pullback.empty(4, 4), 0.5, generator=pullback.Generator().manual_seed(5))
    assert pullback.equal(state, pullback.get_rng_state())


def test_gains() -> None:
    gain = nn.init.calculate_gain
    assert gain("linear") == gain("conv_transpose3d") == gain("sigmoid") == 1
    assert (gain("tanh"), gain("relu"), gain("selu")) == (5 / 3, math.sqrt(2), 3 / 4)
    assert gain("leaky_relu") == math.sqrt(2 / (1 + 1e-4)) and gain("leaky_relu", 1) == 1


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "gain": (lambda: nn.init.calculate_gain("relu6"), "unsupported nonlinearity"),
    "slope": (lambda: nn.init.calculate_gain("leaky_relu", True), "negative_slope True"),
    "mode": (lambda: nn.init.kaiming_normal_(pullback.empty(2, 2), mode="fan"), "mode 'fan'"),
    "vector": (lambda: nn.init.xavier_normal_(pullback.empty(2)), "fewer than 2 dimensions"),
    "eye": (lambda: nn.init.eye_(pullback.empty(2)), "2 dimensions"),
    "sparse": (lambda: nn.init.sparse_(pullback.empty(2, 2, 2), 0.1), "2 dimensions"),
    "dirac": (lambda: nn.init.dirac_(pullback.empty(2, 2)), "3, 4 or 5"),
    "groups": (lambda: nn.init.dirac_(pullback.empty(3, 2, 2), 2), "2 groups"),
    "orthogonal": (lambda: nn.init.orthogonal_(pullback.empty(2)), "2 or more"),
}


@pytest.mark.parametrize(("call", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


def test_nothing_to_fill() -> None:
    for fill in (nn.init.kaiming_uniform_, nn.init.kaiming_normal_):
        with pytest.warns(UserWarning, match="zero-element"):
            assert fill(pullback.empty(0, 3)).shape == (0, 3)
    assert nn.init.orthogonal_(pullback.empty(0, 3)).shape == (0, 3)


def test_older_names_say_that_they_are_old() -> None:
    for old in ("uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"):
        pullback.manual_seed(0)
        with pytest.warns(FutureWarning, match=f"{old}_"):
            filled = getattr(nn.init, old)(pullback.empty(3, 4))
        pullback.manual_seed(0)
        assert pullback.equal(filled, getattr(nn.init, old + "_")(pullback.empty(3, 4)))


@pytest.mark.parity
def test_bounds_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    for name, args in [
        ("kaiming_uniform_", (0.3, "fan_out", "leaky_relu")),
        ("kaiming_normal_", (0, "fan_in", "selu")),
        ("xavier_uniform_", (2.0,)),
        ("trunc_normal_", (0.1, 1.5, -2.0, 1.0)),
    ]:
        ours = getattr(nn.init, name)(weight(), *args)
        theirs = getattr(torch.nn.init, name)(torch.empty(OUT, IN, *KERNEL), *args)
        near = 5 / math.sqrt(ours.numel())
        assert abs(ours.std().item() / theirs.std().item() - 1) < 2 * near, name
        assert abs(ours.mean().item() - theirs.mean().item()) < 2 * near * theirs.std().item(), name
    for kind in [*("linear", "conv1d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")]:
        assert nn.init.calculate_gain(kind) == torch.nn.init.calculate_gain(kind)
