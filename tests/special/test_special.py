"""pullback.special: every name, at values known to many digits, and in the tails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import special

KNOWN: dict[str, tuple[tuple[Any, ...], float]] = {
    "digamma": ((2.0,), 0.4227843350984671),
    "psi": ((2.0,), 0.4227843350984671),
    "entr": ((0.5,), 0.3465735902799727),
    "erf": ((0.5,), 0.5204998778130465),
    "erfc": ((0.5,), 0.4795001221869535),
    "erfcx": ((10.0,), 0.05614099274382259),
    "erfinv": ((0.5,), 0.4769362762044699),
    "exp2": ((3.0,), 8.0),
    "expit": ((0.0,), 0.5),
    "expm1": ((1e-10,), 1.00000000005e-10),
    "gammaln": ((5.0,), 3.1780538303479458),
    "i0": ((1.0,), 1.2660658777520084),
    "i0e": ((1.0,), 0.46575960759364043),
    "i1": ((1.0,), 0.5651591039924851),
    "i1e": ((1.0,), 0.20791041534970847),
    "log1p": ((1e-10,), 9.9999999995e-11),
    "log_ndtr": ((-10.0,), -53.23128515051247),
    "logit": ((0.75,), 1.0986122886681098),
    "multigammaln": ((3.0, 2), 1.5501949939575353),
    "ndtr": ((1.0,), 0.8413447460685429),
    "ndtri": ((0.975,), 1.959963984540054),
    "polygamma": ((1, 2.0), 0.6449340668482264),
    "round": ((2.5,), 2.0),
    "sinc": ((0.5,), 0.6366197723675814),
    "xlog1py": ((2.0, 1.0), 1.3862943611198906),
    "xlogy": ((2.0, 3.0), 2.1972245773362196),
}


def number(x: Any) -> Any:
    return torch.tensor(x, dtype=torch.float64) if isinstance(x, float) else x


@pytest.mark.parametrize("name", KNOWN)
def test_known_values(name: str) -> None:
    arguments, expected = KNOWN[name]
    assert getattr(special, name)(*map(number, arguments)).item() == pytest.approx(expected, rel=1e-12)


def test_every_name_is_tested() -> None:
    assert set(special.__all__) == {*KNOWN, "softmax", "log_softmax", "logsumexp"}
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert torch.equal(special.softmax(x, 1), torch.softmax(x, 1))
    assert torch.equal(special.log_softmax(x, 0), torch.log_softmax(x, 0))
    assert torch.equal(special.logsumexp(x, 1), torch.logsumexp(x, 1))


def test_the_tails_are_exact() -> None:
    x = torch.tensor([-5.0, -12.0, -30.0], dtype=torch.float64)
    np.testing.assert_allclose(special.log_ndtr(x).exp().numpy(), special.ndtr(x).numpy(), 1e-11)
    far = torch.tensor([-8.0, -20.0, 4.0], dtype=torch.float64)
    np.testing.assert_allclose(special.ndtri(special.ndtr(far)).numpy(), far.numpy(), 1e-11)
    np.testing.assert_array_equal(special.ndtri(torch.tensor([0.0, 1.0, 2.0])).numpy(), [-np.inf, np.inf, np.nan])
    np.testing.assert_allclose(special.i0e(torch.tensor([699.9, 700.1])).numpy(), [0.01508237, 0.01508022], 1e-6)
    assert special.entr(torch.tensor([0.0, -1.0])).tolist() == [0.0, -np.inf]


def test_in_place_and_out() -> None:
    x, out = torch.tensor([1.0]), torch.empty(1)
    assert special.ndtr(x, out=out) is out and out.item() == pytest.approx(0.8413447)
    assert x.i0_() is x and x.item() == pytest.approx(1.2660659)
    assert torch.tensor([3.0]).mvlgamma(2).item() == pytest.approx(1.5501950)
    with pytest.raises(RuntimeError, match="at least 1"):
        special.multigammaln(x, 0)


def test_integers_become_floats() -> None:
    assert special.entr(torch.tensor([1, 2])).dtype == torch.float32
