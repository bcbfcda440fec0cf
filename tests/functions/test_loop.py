"""scan: one body for every step."""

from __future__ import annotations

from typing import Any

import pytest

import pullback as torch
from pullback.errors import PullbackError


def running_sum(total: torch.Tensor, x: torch.Tensor) -> Any:
    total = total + x
    return total, total


@pytest.mark.parametrize(("reverse", "sums"), [(False, [1, 3, 6, 10]), (True, [10, 9, 7, 4])])
def test_results_are_in_the_order_of_the_xs(reverse: bool, sums: list[int]) -> None:
    last, sums_found = torch.scan(running_sum, torch.tensor(0), torch.tensor([1, 2, 3, 4]), reverse=reverse)
    assert last.item() == 10 and sums_found.tolist() == sums


def test_carry_xs_and_ys_may_be_nests() -> None:
    def body(carry: dict[str, Any], x: tuple[Any, Any]) -> Any:
        a, (b,) = carry["a"], carry["b"]
        return {"a": a * x[0], "b": [b + x[1]]}, (a, {"b": b})

    init = {"a": torch.tensor(1.0), "b": [torch.zeros(2)]}
    xs = (torch.tensor([2.0, 3.0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    carry, (a, rest) = torch.scan(body, init, xs)
    assert carry["a"].item() == 6 and carry["b"][0].tolist() == [4, 6]
    assert a.tolist() == [1, 2] and rest["b"].tolist() == [[0, 0], [1, 2]]


def test_length_alone_and_nothing_collected() -> None:
    last, ys = torch.scan(lambda h, x: (h * 2, None), torch.tensor(1), length=5)
    assert last.item() == 32 and ys is None
    init = torch.tensor(3)
    assert torch.scan(running_sum, init, length=0) == (init, None)


def test_gradients_go_through() -> None:
    """h_n = w^n h_0: dh_n/dw = n w^(n-1) h_0, and once more n (n - 1) w^(n-2) h_0."""
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    last, hs = torch.scan(lambda h, x: (w * h, h), torch.tensor(2.0, dtype=torch.float64), length=4)
    (first,) = torch.autograd.grad(last, [w], create_graph=True)
    (second,) = torch.autograd.grad(first, [w])
    assert hs.tolist() == [2, 1, 0.5, 0.25]
    assert first.item() == pytest.approx(4 * 0.5**3 * 2) and second.item() == pytest.approx(12 * 0.5**2 * 2)


def test_mistakes_are_explained() -> None:
    x = torch.zeros(3)
    with pytest.raises(PullbackError, match=r"must be one number, but they are \[2, 3\]"):
        torch.scan(running_sum, x[0], (x, x[:2]))
    with pytest.raises(PullbackError, match=r"xs and length must be one number, but they are \[3, 4\]"):
        torch.scan(running_sum, x[0], x, length=4)
    with pytest.raises(PullbackError, match="must be one number"):
        torch.scan(running_sum, x[0])
    with pytest.raises(PullbackError, match=r"the body must return \(carry, y\)"):
        torch.scan(lambda h, x: h, x[0], x)
    with pytest.raises(PullbackError, match="the carry must keep its shapes and dtypes; a step turned"):
        torch.scan(lambda h, x: (h.double(), None), x[0], x, reverse=True)
