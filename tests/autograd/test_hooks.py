"""Hooks on tensors: when they run, in which order, and what they may do."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import pullback


def leaf(torch: Any, *values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=True)


def test_a_hook_sees_the_complete_gradient_once(torch: Any) -> None:
    x, seen = leaf(torch, 2.0), []
    y = x * 1
    y.register_hook(lambda g: seen.append(g.tolist()))
    (y * y + y).sum().backward()
    assert seen == [[5.0]]


def test_what_a_hook_returns_travels_on(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * 3
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert x.grad.tolist() == [30.0]


def test_a_hook_may_write_to_the_gradient(torch: Any) -> None:
    for _ in range(2):
        x = leaf(torch, 2.0)
        loss = (x * 3).sum()
        loss.register_hook(lambda g: g.mul_(2) and None)
        loss.backward()
        assert x.grad.tolist() == [6.0]


def test_writing_in_a_hook_stays_on_its_path() -> None:
    """PyTorch lets such a write leak to the other addend."""
    x, y = leaf(pullback, 1.0), leaf(pullback, 1.0)
    (a := x * 1).register_hook(lambda g: g.mul_(5))
    (a + y * 1).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([5.0], [1.0])


def test_leaf_hooks_come_before_accumulation(torch: Any) -> None:
    x = leaf(torch, 2.0)
    x.register_hook(lambda g: g * 2)
    x.register_hook(lambda g: g + 1)
    (x * 3).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [14.0]


def test_hooks_run_for_grad_too(torch: Any) -> None:
    x = leaf(torch, 2.0)
    x.register_hook(lambda g: g * 2)
    assert torch.autograd.grad((x * 3).sum(), x)[0].tolist() == [6.0]


def test_a_removed_hook_is_gone(torch: Any) -> None:
    x = leaf(torch, 2.0)
    handle = x.register_hook(lambda g: g * 100)
    handle.remove()
    handle.remove()
    with x.register_hook(lambda g: g * 100):
        pass
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0]


def test_a_hook_stays_with_the_value_it_was_put_on(torch: Any) -> None:
    x, seen = leaf(torch, 2.0), []
    y = x * 1
    y.register_hook(lambda g: seen.append(("old", g.tolist())))
    y.mul_(3)
    y.register_hook(lambda g: seen.append(("new", g.tolist())))
    y.sum().backward()
    assert seen == [("new", [1.0]), ("old", [3.0])]


def test_hooks_on_one_result_of_several(torch: Any) -> None:
    x, seen = leaf(torch, 1.0, 2.0), []
    a, _ = (x * 2).chunk(2)
    a.register_hook(lambda g: seen.append(g.tolist()))
    (a * 5).sum().backward()
    assert seen == [[5.0]]
    assert x.grad.tolist() == [10.0, 0.0]


def test_hooks_under_create_graph_see_differentiable_gradients(torch: Any) -> None:
    x, seen = leaf(torch, 2.0), []
    x.register_hook(lambda g: seen.append(g.requires_grad))
    torch.autograd.grad((x * x).sum(), x, create_graph=True)
    assert seen == [True]


def test_retain_grad(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * 3
    assert not y.retains_grad
    y.retain_grad()
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [12.0]
    assert y.retains_grad
    x.retain_grad()
    assert not x.retains_grad


def test_retained_gradients_accumulate(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * 3
    y.retain_grad()
    (y * 2).sum().backward(retain_graph=True)
    (y * 2).sum().backward()
    assert y.grad.tolist() == [4.0]


def test_retain_grad_comes_after_all_hooks(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * 3
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert y.grad.tolist() == [10.0]


def test_retain_grad_follows_writes(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * 1
    y.retain_grad()
    y.mul_(3)
    (y * 5).sum().backward()
    assert y.grad.tolist() == [5.0]
    assert x.grad.tolist() == [15.0]


def test_retain_grad_follows_writes_through_views(torch: Any) -> None:
    base = leaf(torch, 1.0, 2.0) * 1
    view, other = base[0], base[0]
    view.retain_grad()
    other.retain_grad()
    view.mul_(2)
    (view + other).backward()
    assert view.grad.tolist() == 1.0
    assert other.grad.tolist() == 1.0


def test_post_accumulate_hooks_see_the_updated_grad(torch: Any) -> None:
    x, seen = leaf(torch, 2.0), []

    def update(p: Any) -> None:
        seen.append(p.grad.tolist())
        with torch.no_grad():
            p.sub_(p.grad)
        p.grad = None

    handle = x.register_post_accumulate_grad_hook(update)
    (x * 3).sum().backward()
    handle.remove()
    (x * 3).sum().backward()
    assert seen == [[3.0]]
    assert x.tolist() == [-1.0]
    assert x.grad.tolist() == [3.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t.ones(1).register_hook(print), "doesn't require gradient"),
        (lambda t: t.ones(1).retain_grad(), "requires_grad=False"),
        (lambda t: (leaf(t, 1.0) * 2).register_post_accumulate_grad_hook(print), "non-leaf"),
    ],
)
def test_where_there_is_no_gradient_there_are_no_hooks(torch: Any, make: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        make(torch)


def test_a_retaining_tensor_dies_in_time() -> None:
    gc.collect()
    gc.disable()
    try:
        y = pullback.tensor([1.0], requires_grad=True) * 2
        y.retain_grad()
        alive = weakref.ref(y)
        del y
        assert alive() is None
    finally:
        gc.enable()
