"""backward() and grad(): accumulation, fan-out, seeds, targets, kept and released graphs, depth."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import pullback


def leaf(torch: Any, *values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=True)


def test_chain_rule(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0, 3.0)
    ((x * x + 1) * 2).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]


def test_fan_out_adds_up(torch: Any) -> None:
    x = leaf(torch, 3.0)
    y = x * 2
    (y * y + y + x).sum().backward()
    assert x.grad.tolist() == [2 * 12.0 + 2 + 1]


def test_the_same_tensor_twice(torch: Any) -> None:
    x = leaf(torch, 3.0)
    (x * x).sum().backward()
    assert x.grad.tolist() == [6.0]


def test_broadcasting_is_undone(torch: Any) -> None:
    x, y = leaf(torch, 1.0, 2.0), torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    assert y.grad.tolist() == [[1.0, 2.0]] * 3


def test_gradients_accumulate_until_cleared(torch: Any) -> None:
    x = leaf(torch, 1.0)
    for _ in range(3):
        (x * 2).sum().backward()
    assert x.grad.tolist() == [6.0]
    x.grad = None
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0]


def test_accumulation_keeps_the_gradient_tensor(torch: Any) -> None:
    x = leaf(torch, 1.0)
    (x * 2).sum().backward()
    first = x.grad
    (x * 2).sum().backward()
    assert x.grad is first
    assert first.tolist() == [4.0]


def test_a_gradient_shares_memory_with_nothing(torch: Any) -> None:
    x, y = leaf(torch, 1.0), leaf(torch, 2.0)
    g = torch.ones(1, dtype=torch.float64)
    (x + y).backward(g)
    x.grad.add_(5)
    assert y.grad.tolist() == [1.0]
    assert g.tolist() == [1.0]


def test_explicit_cotangent(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0)
    (x * x).backward(torch.tensor([1.0, 10.0], dtype=torch.float64))
    assert x.grad.tolist() == [2.0, 40.0]


def test_several_roots(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0)
    torch.autograd.backward([x.sum(), (x * x)], [None, torch.ones(2, dtype=torch.float64)])
    assert x.grad.tolist() == [3.0, 5.0]


def test_retain_graph(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_a_graph_that_saved_nothing_can_be_walked_again(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = (x + x).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [4.0]


def test_inputs_restrict_accumulation(torch: Any) -> None:
    x, y = leaf(torch, 2.0), leaf(torch, 3.0)
    (x * y).sum().backward(inputs=[x])
    assert x.grad.tolist() == [3.0]
    assert y.grad is None


def test_inputs_may_be_computed(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward(inputs=[y])
    assert y.grad is not None
    assert x.grad is None


def test_grad_returns_and_touches_nothing(torch: Any) -> None:
    x, y = leaf(torch, 2.0), leaf(torch, 3.0)
    gx, gy = torch.autograd.grad((x * y).sum(), (x, y))
    assert (gx.tolist(), gy.tolist()) == ([3.0], [2.0])
    assert x.grad is None and y.grad is None
    assert not gx.requires_grad


def test_grad_by_a_computed_tensor_leaves_what_is_below_alone(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * x
    (g,) = torch.autograd.grad((y * y).sum(), y)
    assert g.tolist() == [8.0]
    y.sum().backward()  # its node was not walked, so nothing of it is freed
    assert x.grad.tolist() == [4.0]


def test_grad_by_one_result_of_several(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0, 3.0, 4.0)
    a, b = (x * x).chunk(2)
    (g,) = torch.autograd.grad((a * b).sum(), a)
    assert g.tolist() == [9.0, 16.0]


def test_unused_inputs(torch: Any) -> None:
    x, y = leaf(torch, 2.0), leaf(torch, 3.0)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(x.sum(), (x, y))
    assert torch.autograd.grad(x.sum(), (x, y), allow_unused=True)[1] is None
    assert torch.autograd.grad(x.sum(), (x, y), materialize_grads=True)[1].tolist() == [0.0]


def test_batched_cotangents(torch: Any) -> None:
    x = leaf(torch, 2.0, 3.0)
    (g,) = torch.autograd.grad(x * x, x, torch.eye(2, dtype=torch.float64), is_grads_batched=True)
    assert g.tolist() == [[4.0, 0.0], [0.0, 6.0]]


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
def test_second_and_third_order(torch: Any) -> None:
    x = leaf(torch, 2.0)
    (g,) = torch.autograd.grad((x * x * x).sum(), x, create_graph=True)
    (gg,) = torch.autograd.grad(g.sum(), x, create_graph=True)
    (ggg,) = torch.autograd.grad(gg.sum(), x)
    assert (g.tolist(), gg.tolist(), ggg.tolist()) == ([12.0], [12.0], [6.0])
    (x * x).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    x.grad = None


def test_gradient_penalty(torch: Any) -> None:
    w, x = leaf(torch, 3.0), leaf(torch, 2.0)
    (g,) = torch.autograd.grad((w * x * x).sum(), x, create_graph=True)
    ((g * g).sum()).backward()  # (2 w x)^2
    assert w.grad.tolist() == [2 * 12.0 * 4.0]


def test_leaves_and_nodes(torch: Any) -> None:
    x, c = leaf(torch, 1.0), torch.ones(1)
    y = x * 2
    assert (x.is_leaf, c.is_leaf, y.is_leaf) == (True, True, False)
    assert x.grad_fn is None and c.grad_fn is None
    assert y.grad_fn.name() == "MulBackward0"
    assert y.requires_grad
    assert not (c * 2).requires_grad


def test_integers_cut_the_graph(torch: Any) -> None:
    x = leaf(torch, 1.5)
    assert not x.long().requires_grad
    assert not (x > 1).requires_grad


def test_tbptt(torch: Any) -> None:
    w, h = leaf(torch, 0.5), torch.ones(1, dtype=torch.float64)
    for _ in range(3):
        h = (h * w).detach() * w
    h.sum().backward()
    assert w.grad.tolist() == [0.5**5]


def test_double_use_of_one_graph_part(torch: Any) -> None:
    x = leaf(torch, 2.0)
    h = x * x
    (h * 2).sum().backward(retain_graph=True)
    (h * 3).sum().backward()
    assert x.grad.tolist() == [20.0]


@pytest.mark.slow
def test_a_million_nodes() -> None:
    """No recursion anywhere, and nothing is left behind."""
    x = pullback.tensor([1.0], requires_grad=True)
    gc.collect()
    y, watched = x, []
    for k in range(1_000_000):
        y = y + 1.0
        if k % 50_000 == 0:
            watched.append(weakref.ref(y.grad_fn))
    y.backward()
    assert x.grad is not None and x.grad.tolist() == [1.0]
    del y
    assert not [ref for ref in watched if ref() is not None]


def test_nodes_are_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        x = pullback.tensor([1.0, 2.0], requires_grad=True)
        y = (x.exp() * x).sum()
        node = weakref.ref(y.grad_fn)
        y.backward()
        del y
        assert node() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("written", ["leaf", "result"])
def test_what_a_second_derivative_needs_is_guarded(torch: Any, written: str) -> None:
    x = leaf(torch, 1.0, 2.0)
    y = x * 1 if written == "result" else x
    (g,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
    with torch.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        g.sum().backward()


def test_a_result_among_several_has_one_place(torch: Any) -> None:
    """The pullback of qr uses q: the derivative by q sees that, and so does a hook on it."""
    x = torch.tensor([[2.0, 1.0], [0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    q, r = torch.linalg.qr(x)
    (g,) = torch.autograd.grad((r**2).sum(), x, create_graph=True)
    seen = []
    q.register_hook(lambda h: seen.append(h.shape))
    (by_q,) = torch.autograd.grad(g.sum(), q)
    assert by_q.shape == q.shape and len(seen) == 1


def test_gradients_do_not_share_memory(torch: Any) -> None:
    a, b = (torch.ones(3, requires_grad=True) for _ in range(2))
    g = torch.ones(3)
    (a + b).backward(g, create_graph=True)
    with torch.no_grad():
        g.mul_(5)
        a.grad.mul_(7)
    assert b.grad.tolist() == [1.0, 1.0, 1.0]


def test_a_leaf_that_was_turned_off_gets_no_gradient(torch: Any) -> None:
    x, w = (torch.ones(2, requires_grad=True) for _ in range(2))
    y = (x * w).sum()
    x.requires_grad_(False)
    y.backward()
    assert x.grad is None and w.grad.tolist() == [1.0, 1.0]


def test_an_expanded_gradient_is_not_added_to(torch: Any) -> None:
    x = torch.ones(3, requires_grad=True)
    x.grad = torch.ones(1).expand(3)
    with pytest.raises(RuntimeError, match="single memory location"):
        (x * 2).sum().backward()


def in_threads(work: Callable[[], None]) -> None:
    """Four at a time, with as many changes between them as there can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)


def test_threads_add_to_one_leaf(torch: Any) -> None:
    x = torch.zeros(20_000, requires_grad=True)

    def work() -> None:
        for _ in range(20):
            (x * 2).sum().backward()

    in_threads(work)
    assert x.grad.min() == x.grad.max() == 160.0


def test_threads_draw_different_numbers() -> None:
    drawn: list[Any] = []
    generator = pullback.Generator()
    in_threads(lambda: drawn.extend([tuple(generator.take(1).tolist()) for _ in range(500)]))
    assert len(set(drawn)) == 2000


def test_leaves_do_not_wait_for_their_gradient() -> None:
    """Also those that were used long before this graph was made."""
    weights = [pullback.ones(2, requires_grad=True) for _ in range(3)]
    for _ in range(2):
        h = pullback.ones(2)
        for w in weights:
            h = h * w
        order = pullback.tape.reachable([h.grad_fn], None)
        assert [isinstance(e, pullback.Tensor) for e in order] == [False, True, False, True, False, True]
