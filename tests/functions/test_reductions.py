"""Reductions, extremes, scans, sorting and counting through the names users call."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as torch
from pullback.errors import PullbackError

nan, inf = float("nan"), float("inf")


def t(*rows):
    return torch.tensor(list(rows), dtype=torch.float64, requires_grad=True)


def gradient(y, x):
    y.sum().backward()
    return x.grad.tolist()


def test_dims_are_named_as_in_pytorch_or_numpy():
    x = torch.ones(2, 3, 4)
    assert x.sum().shape == () and x.sum(-1).shape == (2, 3) and x.sum((0, 2), True).shape == (1, 3, 1)
    assert x.sum(dim=1).shape == x.sum(axis=1).shape == x.mean([1]).shape == (2, 4)
    assert x.sum(axis=1, keepdims=True).shape == x.amax(axis=1, keepdims=True).shape == (2, 1, 4)
    assert x.sum(()).shape == x.amax(()).shape == x.var(()).shape == ()
    assert torch.tensor(3.0).sum(-1).item() == 3.0
    with pytest.raises(IndexError, match="Dimension out of range"):
        x.sum(3)
    with pytest.raises(PullbackError, match="twice"):
        x.sum((0, -3))
    with pytest.raises(TypeError, match="keepdim must be a bool"):
        x.sum(0, 1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        x.sum(along=0)


def test_dtypes():
    whole, truth = torch.tensor([1, 2], dtype=torch.int32), torch.tensor([True, True])
    assert whole.sum().dtype is whole.cumsum(0).dtype is truth.sum().dtype is truth.prod().dtype is torch.int64
    assert whole.sum(dtype=torch.int32).dtype is torch.int32 and whole.mean(dtype=torch.float64).dtype is torch.float64
    assert torch.tensor([1, 0], dtype=torch.uint8).any().dtype is torch.uint8 and whole.all().dtype is torch.bool
    for refuse in (
        lambda: whole.mean(),
        lambda: whole.std(),
        lambda: whole.norm(),
        lambda: whole.softmax(0),
        lambda: truth.argmax(),
    ):
        with pytest.raises(TypeError):
            refuse()


def test_what_nothing_adds_up_to():
    none = torch.ones(0, 3)
    assert none.sum().item() == 0 and none.prod().item() == 1 and not none.any() and none.all()
    assert np.isnan(none.mean().item()) and none.logsumexp(0).tolist() == [-inf] * 3 and none.amax(1).shape == (0,)
    for refuse in (
        lambda: none.max(),
        lambda: none.max(0),
        lambda: none.argmin(),
        lambda: none.amax(0),
        lambda: none.norm(inf),
    ):
        with pytest.raises(RuntimeError):
            refuse()


def test_ties_share_or_go_to_the_first():
    for pick, expected in [
        (lambda x: x.max(), [0, 0.5, 0.5]),
        (lambda x: x.amax(0), [0, 0.5, 0.5]),
        (lambda x: x.max(0).values, [0, 1, 0]),
        (lambda x: x.median(), [0, 0.5, 0.5]),
        (lambda x: x.norm(inf), [0, 0.5, 0.5]),
    ]:
        x = t(1.0, 3.0, 3.0)
        assert gradient(pick(x), x) == expected
    x = t(1.0, nan, nan)
    assert gradient(x.max(), x) == [0, 0.5, 0.5]
    assert torch.tensor([3.0, nan, nan]).argmax().item() == 1


def test_products_with_zeros():
    x = t(1.0, 0.0, 2.0)
    assert gradient(x.prod(), x) == [0, 2, 0]
    x = t(1.0, 0.0, 2.0, 0.0, 3.0)
    assert gradient(x.cumprod(0), x) == [1, 3, 0, 0, 0]
    x = t([0.0, 2.0], [0.0, 0.0])
    assert gradient(x.prod(1), x) == [[2, 0], [0, 0]]


def test_gradients_chosen_at_zero():
    for f in (lambda x: x.std(), lambda x: x.norm(), lambda x: x.norm(3), lambda x: x.norm(0.5), lambda x: x.norm(1)):
        x = t(0.0, 0.0)
        assert gradient(f(x), x) == [0, 0]


def test_masked_softmax():
    x = t([1.0, -inf], [-inf, -inf])
    assert x.softmax(1)[0].tolist() == [1, 0] and all(np.isnan(v) for v in x.softmax(1)[1].tolist())
    assert torch.log_softmax(x, -1)[0].tolist() == [0, -inf]


def test_overloads_of_max_and_var():
    x = torch.tensor([[1.0, 5.0], [4.0, 2.0]])
    values, indices = x.max(1)
    assert values.tolist() == x.max(dim=1).values.tolist() == [5, 4] and indices.tolist() == [1, 0]
    assert (
        torch.max(x, torch.tensor(3.0)).tolist() == torch.max(x, other=torch.tensor(3.0)).tolist() == [[3, 5], [4, 3]]
    )
    low, high = torch.aminmax(x, dim=0)
    assert low.tolist() == [1, 2] and high.tolist() == [4, 5]
    y = torch.tensor([[1.0, 2.0]])
    assert (
        y.var(False).item()
        == y.var(1, False).item()
        == y.var(unbiased=False).item()
        == y.var(correction=0).item()
        == 0.25
    )
    assert torch.var_mean(y, 1, keepdim=True)[1].tolist() == [[1.5]]


def test_scans():
    x = torch.tensor([1.0, 3.0, 3.0, 2.0])
    assert x.cummax(0).indices.tolist() == [0, 1, 2, 2] and x.cumsum(0).tolist() == [1, 4, 7, 9]
    assert x.diff().tolist() == [2, 0, -1] and x.diff(2).tolist() == [-2, -1]
    assert torch.trapezoid(x).item() == 7.5 and torch.cumulative_trapezoid(x, dx=2).tolist() == [4, 10, 15]
    assert torch.tensor([True, False, False]).diff().tolist() == [True, False]


def test_sorting():
    x = torch.tensor([2.0, nan, 1.0, 2.0])
    assert x.sort().indices.tolist() == [2, 0, 3, 1] and x.sort(descending=True).indices.tolist() == [1, 0, 3, 2]
    assert x.topk(2, largest=False).values.tolist() == [1, 2] and x.argsort()[0].item() == 2
    with pytest.raises(PullbackError, match="k = 5 is out of range"):
        x.topk(5)
    values, inverse, counts = torch.tensor([3, 1, 3]).unique(return_inverse=True, return_counts=True)
    assert values.tolist() == [1, 3] and inverse.tolist() == [1, 0, 1] and counts.tolist() == [1, 2]
    assert torch.unique(torch.tensor([[1, 2], [1, 2], [0, 5]]), dim=0).tolist() == [[0, 5], [1, 2]]
    assert torch.unique_consecutive(torch.tensor([1, 1, 2, 1])).tolist() == [1, 2, 1]
    edges = torch.tensor([1.0, 2.0, 3.0])
    assert torch.bucketize(2.0, edges).item() == 1 and torch.bucketize(2.0, edges, right=True).item() == 2
    assert torch.isin(torch.tensor([1, 7]), torch.tensor([7, 9])).tolist() == [False, True]


def test_quantiles():
    x = t(1.0, 2.0, 2.0, 3.0)
    assert x.quantile(0.3).item() == pytest.approx(1.9) and gradient(x.quantile(0.5), x) == [0, 0.5, 0.5, 0]
    y = t([1.0, nan, 3.0])
    assert np.isnan(y.quantile(0.5, dim=1).item()) and y.nanquantile(0.5).item() == 2
    q = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert y.nanquantile(q, dim=1, keepdim=True).shape == (2, 1, 1)
    with pytest.raises(RuntimeError, match="range"):
        x.quantile(1.5)


def test_counting():
    assert torch.tensor([1, 1, 3]).bincount(minlength=5).tolist() == [0, 2, 0, 1, 0]
    assert torch.histc(torch.tensor([1.0, 2.0, 3.0]), 3).tolist() == [1, 1, 1]
    hist, edges = torch.histogram(torch.tensor([1.0, 2.0, 3.0]), 2, range=(0.0, 2.0))
    assert hist.tolist() == [0, 2] and edges.tolist() == [0, 1, 2]
    assert torch.count_nonzero(torch.tensor([[1.0, 0.0], [nan, 2.0]]), dim=0).tolist() == [2, 1]


def test_out():
    x, into, places = torch.tensor([[1.0, 2.0]]), torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    assert torch.sum(x, 1, out=into) is into and into.tolist() == [3]
    torch.max(x, 1, out=(into, places))
    assert into.tolist() == [2] and places.tolist() == [1]


@pytest.mark.parametrize(("shape", "dim"), [((200000, 3), 0), ((40, 5000, 4), 1), ((3000, 7, 5), (0, 1))])
def test_long_sums_in_single_precision(shape, dim):
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    for a, d in ((x, dim), (x.T, tuple(x.ndim - 1 - i for i in ((dim,) if isinstance(dim, int) else dim)))):
        exact = a.sum(d, dtype=np.float64)
        np.testing.assert_allclose(torch.from_numpy(a).sum(d).numpy(), exact, rtol=1e-6)
        np.testing.assert_allclose(torch.from_numpy(a).mean(d).numpy(), exact / (a.size / exact.size), rtol=1e-6)
