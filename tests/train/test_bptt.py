"""Truncated backpropagation through time."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as torch
from pullback.train import detach, windows


def test_windows_are_slices_in_order() -> None:
    x, y = torch.arange(14).view(7, 2), torch.arange(7)
    seen = list(windows(x, y, length=3))
    assert [(a.tolist(), b.tolist()) for a, b in seen] == [
        ([[0, 1], [2, 3], [4, 5]], [0, 1, 2]),
        ([[6, 7], [8, 9], [10, 11]], [3, 4, 5]),
        ([[12, 13]], [6]),
    ]
    assert [w.tolist() for w in windows(x.t(), length=5, dim=-1)] == [x.t()[:, :5].tolist(), x.t()[:, 5:].tolist()]
    assert [w.shape for w in windows(x, length=100)] == [(7, 2)]


def test_windows_refuse_what_has_no_meaning() -> None:
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="length must be at least 1"):
        windows(x, length=0)
    with pytest.raises(ValueError, match=r"\[4, 2\] steps in dimension 0"):
        windows(x, x.t(), length=2)
    with pytest.raises(ValueError, match="no sequences"):
        windows(length=2)


def test_detach_keeps_values_and_nest() -> None:
    a = torch.ones(2, requires_grad=True) * 3
    state = {"layers": [(a, a + 1)], "steps": 5, "none": None}
    cut = detach(state)
    assert cut["layers"][0][1].tolist() == [4, 4] and cut["steps"] == 5 and cut["none"] is None
    assert not any(t.requires_grad for t in cut["layers"][0]) and a.requires_grad
    assert detach(None) is None and not detach(a).requires_grad


def test_the_gradient_is_that_of_each_window_by_itself() -> None:
    """h_t = w h_(t-1) + x_t, loss = sum of h_t; by hand, dh_t/dw = h_(t-1) + w dh_(t-1)/dw, which restarts at 0."""
    xs, w0, length = np.array([1.0, -2.0, 0.5, 3.0, 1.5]), 0.7, 2
    expected, h, slope = 0.0, 0.0, 0.0
    full, full_slope = 0.0, 0.0
    for t, x in enumerate(xs):
        slope = 0.0 if t % length == 0 else slope
        slope, full_slope, h = h + w0 * slope, h + w0 * full_slope, w0 * h + x
        expected, full = expected + slope, full + full_slope

    for n, gradient in ((length, expected), (len(xs), full)):
        w = torch.tensor(w0, dtype=torch.float64, requires_grad=True)
        state = torch.zeros((), dtype=torch.float64)
        for window in windows(torch.tensor(xs), length=n):
            state, loss = detach(state), 0.0
            for x in window:
                state = w * state + x
                loss = loss + state
            loss.backward()
        assert w.grad.item() == pytest.approx(gradient, rel=1e-14)
        assert state.item() == pytest.approx(h, rel=1e-14)
    assert expected != pytest.approx(full, rel=0.1)
