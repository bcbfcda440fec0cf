"""Global switches."""

from __future__ import annotations

import pytest

import pullback as torch
from pullback.engines.numpy import threads


def test_threads() -> None:
    before, limit = torch.get_num_threads(), threads.limit
    try:
        torch.set_num_threads(1)
        assert torch.get_num_threads() == 1 and threads.cores() == 1
        torch.set_num_threads(2)
        assert torch.get_num_threads() == threads.cores() == 2
        with pytest.raises(ValueError, match="positive"):
            torch.set_num_threads(0)
    finally:
        torch.set_num_threads(before)
        threads.limit = limit


def test_the_gradient_of_what_is_no_leaf_is_warned_about() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    with pytest.warns(UserWarning, match="not a leaf"):
        assert y.grad is None
    y.retain_grad()
    y.sum().backward()
    assert y.grad is not None and x.grad is not None
