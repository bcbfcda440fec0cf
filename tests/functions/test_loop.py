"""scan: a loop over time or layers, one body."""

from __future__ import annotations

import pytest

import pullback
from pullback.autograd import gradcheck


def rnn(w, h0, xs):
    def body(h, x):
        h = (h @ w + x).tanh()
        return h, h

    return pullback.scan(body, h0, xs)


def test_equals_the_loop_written_out():
    pullback.manual_seed(0)
    w, h0, xs = (pullback.randn(*s, dtype=pullback.float64, requires_grad=True) for s in ((3, 3), (2, 3), (5, 2, 3)))
    last, all_of_them = rnn(w, h0, xs)
    h, expected = h0, []
    for x in xs:
        h = (h @ w + x).tanh()
        expected.append(h)
    assert all_of_them.shape == (5, 2, 3)
    assert pullback.equal(last, h)
    assert pullback.equal(all_of_them, pullback.stack(expected))
    ours = pullback.autograd.grad(all_of_them.sum(), (w, h0, xs))
    plain = pullback.autograd.grad(pullback.stack(expected).sum(), (w, h0, xs))
    assert all(pullback.equal(a, b) for a, b in zip(ours, plain, strict=True))


def test_gradients_by_differences():
    pullback.manual_seed(0)
    inputs = tuple(pullback.randn(*s, dtype=pullback.float64, requires_grad=True) for s in ((3, 3), (2, 3), (4, 2, 3)))
    assert gradcheck(lambda w, h, xs: rnn(w, h, xs)[1], inputs)


def test_nests_reverse_and_no_inputs():
    xs = {"a": pullback.tensor([1.0, 2.0, 3.0]), "b": pullback.tensor([10.0, 20.0, 30.0])}
    carry, ys = pullback.scan(lambda c, x: (c + x["a"], (c, x["b"])), pullback.tensor(0.0), xs, reverse=True)
    assert carry.item() == 6
    assert ys[0].tolist() == [5.0, 3.0, 0.0]
    assert ys[1].tolist() == [10.0, 20.0, 30.0]
    carry, ys = pullback.scan(lambda c, x: (c * 2, None), pullback.tensor(1.0), length=10)
    assert carry.item() == 1024
    assert ys is None


def test_a_carry_that_changes_shape_is_an_error():
    with pytest.raises(pullback.errors.ShapeError, match=r"keep its shapes and dtypes; step 0(.|\n)*test_loop.py"):
        pullback.scan(lambda c, x: (pullback.cat([c, c]), None), pullback.ones(2), length=2)
    with pytest.raises(pullback.errors.ShapeError, match="must be one number"):
        pullback.scan(lambda c, x: (c, None), pullback.ones(2), (pullback.ones(2), pullback.ones(3)))
    with pytest.raises(pullback.errors.PullbackError, match="must return"):
        pullback.scan(lambda c, x: c, pullback.ones(2), length=1)
