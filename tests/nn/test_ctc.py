"""CTC against the sum over all alignments, written out."""

from __future__ import annotations

import itertools
import math

import pytest

import pullback as torch
import pullback.nn.functional as F


def collapsed(path: tuple[int, ...]) -> list[int]:
    """What an alignment says: repeats merged, then blanks (0) left out."""
    return [label for label, _ in itertools.groupby(path) if label != 0]


def probability(p: list[list[float]], target: list[int]) -> float:
    """Of all alignments that say the target."""
    paths = itertools.product(range(len(p[0])), repeat=len(p))
    return sum(math.prod(row[c] for row, c in zip(p, path, strict=True)) for path in paths if collapsed(path) == target)


@pytest.mark.parametrize("target", [[], [1], [2, 1], [1, 1], [1, 2, 1]])
def test_the_loss_sums_over_all_alignments(target: list[int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3, dtype=torch.float64).log_softmax(1).requires_grad_()
    loss = F.ctc_loss(x, torch.tensor(target, dtype=torch.int64), (5,), (len(target),), reduction="sum")
    expected = probability(x.exp().tolist(), target)
    assert loss.item() == pytest.approx(-math.log(expected), rel=1e-12)
    loss.backward()
    step = 1e-6
    for t, c in itertools.product(range(5), range(3)):
        bent = x.detach().exp()
        bent[t, c] *= math.exp(step)
        slope = (math.log(expected) - math.log(probability(bent.tolist(), target))) / step
        assert x.grad[t, c].item() == pytest.approx(slope, abs=1e-5)


def test_what_cannot_be_said_in_time_has_no_probability() -> None:
    x = torch.zeros(2, 2, 3, requires_grad=True)
    targets = torch.tensor([[1, 1], [1, 2]])
    loss = F.ctc_loss(x, targets, (2, 2), (2, 2), reduction="none")
    assert loss.tolist() == [math.inf, 0]
    loss = F.ctc_loss(x, targets, (2, 2), (2, 2), reduction="sum", zero_infinity=True)
    loss.backward()
    assert loss == 0 and not x.grad[:, 0].any() and x.grad[:, 1].sum() == -2


def test_nan_is_not_taken_for_infinity() -> None:
    x = torch.zeros(2, 1, 3)
    x[1, 0, 1] = math.nan
    assert F.ctc_loss(x, torch.tensor([[1]]), (2,), (1,), zero_infinity=True).isnan()


def test_certain_classes_have_finite_gradients() -> None:
    x = torch.full((3, 1, 3), -math.inf)
    x[0, 0, 1] = x[1, 0, 0] = x[2, 0, 1] = 0.0
    x.requires_grad = True
    loss = F.ctc_loss(x, torch.tensor([[1, 1]]), (3,), (2,))
    loss.backward()
    assert loss == 0 and x.grad.isfinite().all()


def test_halves_are_refused() -> None:
    with pytest.raises(TypeError, match="float32 or float64"):
        F.ctc_loss(torch.zeros(2, 1, 3).half(), torch.tensor([[1]]), (2,), (1,))
