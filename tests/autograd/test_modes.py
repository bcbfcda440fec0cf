"""no_grad and its kin, detach, requires_grad, .data."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import pullback


def leaf(torch: Any, *values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=True)


def test_no_grad(torch: Any) -> None:
    x = leaf(torch, 1.0)
    with torch.no_grad():
        y = x * 2
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            z = x * 2
    assert torch.is_grad_enabled()
    assert (y.requires_grad, z.requires_grad) == (False, True)


def test_as_decorators(torch: Any) -> None:
    x = leaf(torch, 1.0)

    @torch.no_grad()
    def off(x: Any) -> Any:
        return x * 2

    @torch.enable_grad()
    def on(x: Any) -> Any:
        return x * 2

    assert not off(x).requires_grad
    with torch.no_grad():
        assert on(x).requires_grad


def test_generators_keep_their_mode_to_themselves(torch: Any) -> None:
    @torch.no_grad()
    def numbers() -> Any:
        for _ in range(2):
            yield torch.is_grad_enabled()

    for inside in numbers():
        assert not inside
        assert torch.is_grad_enabled()


def test_set_grad_enabled(torch: Any) -> None:
    torch.set_grad_enabled(False)
    assert not torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    with torch.set_grad_enabled(False):
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_modes_are_put_back_after_errors(torch: Any) -> None:
    with pytest.raises(ZeroDivisionError), torch.no_grad():
        _ = 1 / 0
    assert torch.is_grad_enabled()


def test_inference_mode(torch: Any) -> None:
    x = leaf(torch, 1.0)
    with torch.inference_mode():
        assert not (x * 2).requires_grad
        assert torch.is_inference_mode_enabled()


def test_modes_belong_to_a_thread(torch: Any) -> None:
    seen = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_shares_memory(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    d = y.detach()
    assert not d.requires_grad and d.is_leaf
    with torch.no_grad():
        d.mul_(10)
    assert y.tolist() == [20.0, 40.0]


def test_detach_cuts_one_path(torch: Any) -> None:
    x = leaf(torch, 3.0)
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [3.0]


def test_detach_in_place(torch: Any) -> None:
    y = leaf(torch, 1.0, 2.0) * 2
    assert y.detach_() is y
    assert y.is_leaf and not y.requires_grad and y.grad_fn is None
    with pytest.raises(RuntimeError, match="detach views"):
        leaf(torch, 1.0, 2.0)[:1].detach_()


def test_requires_grad_(torch: Any) -> None:
    x = torch.ones(1)
    assert x.requires_grad_() is x
    assert (x * 2).requires_grad
    x.requires_grad_(False)
    assert not (x * 2).requires_grad
    with pytest.raises(RuntimeError, match="leaf"):
        (leaf(torch, 1.0) * 2).requires_grad_(False)
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1]).requires_grad_()


def test_data_is_the_memory_off_the_graph(torch: Any) -> None:
    x = leaf(torch, 1.0)
    assert not x.data.requires_grad
    x.data.add_(5)
    assert x.tolist() == [6.0]


def test_assigning_data_keeps_the_tensor(torch: Any) -> None:
    x = leaf(torch, 1.0)
    new = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    same = x
    x.data = new
    assert same is x and x.requires_grad and x.is_leaf
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    new.mul_(2)
    assert x.tolist() == [2.0, 4.0, 6.0]


def test_assigning_data_leaves_what_was_saved() -> None:
    """PyTorch gives the gradient at the new value here."""
    x = leaf(pullback, 3.0)
    y = (x * x).sum()
    x.data = pullback.tensor([100.0], dtype=pullback.float64)
    y.backward()
    assert x.grad.tolist() == [6.0]


def test_grad_can_be_assigned(torch: Any) -> None:
    x = leaf(torch, 1.0)
    x.grad = torch.tensor([5.0], dtype=torch.float64)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [7.0]
    with pytest.raises(RuntimeError, match="size"):
        x.grad = torch.ones(2, dtype=torch.float64)


def test_output_nr(torch: Any) -> None:
    a, b = leaf(torch, 1.0, 2.0).chunk(2)
    assert (a.output_nr, b.output_nr) == (0, 1)
