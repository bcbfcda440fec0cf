"""autograd.Function: ops with a pullback of the user's own."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import pullback


def leaf(torch: Any, *values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=True)


def cube(torch: Any) -> Any:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, scale: float = 1.0) -> Any:
            ctx.save_for_backward(x)
            ctx.scale = scale
            return x * x * x * scale

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 3 * x * x * ctx.scale, None

    return Cube


def test_forward_and_backward(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = cube(torch).apply(x, 10.0)
    assert (y.tolist(), y.grad_fn.name()) == ([80.0], "CubeBackward")
    y.sum().backward()
    assert x.grad.tolist() == [120.0]


def test_all_orders(torch: Any) -> None:
    x = leaf(torch, 2.0)
    (g,) = torch.autograd.grad(cube(torch).apply(x).sum(), x, create_graph=True)
    (gg,) = torch.autograd.grad(g.sum(), x, create_graph=True)
    (ggg,) = torch.autograd.grad(gg.sum(), x)
    assert (g.tolist(), gg.tolist(), ggg.tolist()) == ([12.0], [12.0], [6.0])


def test_without_recording_there_is_no_node(torch: Any) -> None:
    with torch.no_grad():
        assert not cube(torch).apply(leaf(torch, 2.0)).requires_grad
    assert not cube(torch).apply(torch.ones(1)).requires_grad


def test_forward_itself_is_not_recorded(torch: Any) -> None:
    seen = []

    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            seen.append((x.requires_grad, torch.is_grad_enabled(), (x * 2).requires_grad))
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            seen.append(torch.is_grad_enabled())
            return g * 2

    x = leaf(torch, 1.0)
    F.apply(x).sum().backward()
    torch.autograd.grad(F.apply(x).sum(), x, create_graph=True)
    assert seen == [(True, False, False), False, (True, False, False), True]


def test_setup_context_and_keywords(torch: Any) -> None:
    class F(torch.autograd.Function):
        @staticmethod
        def forward(x: Any, y: Any, scale: float = 2.0) -> Any:
            return x * y * scale

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, y, ctx.scale = inputs
            ctx.save_for_backward(x, y)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            return g * y * ctx.scale, g * x * ctx.scale, None

    x, y = leaf(torch, 2.0), leaf(torch, 3.0)
    F.apply(x, y).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([6.0], [4.0])
    x.grad = None
    F.apply(x, y, scale=10.0).sum().backward()
    assert x.grad.tolist() == [30.0]


def test_needs_input_grad(torch: Any) -> None:
    seen = []

    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any, k: int) -> Any:
            seen.append(ctx.needs_input_grad)
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            seen.append(ctx.needs_input_grad)
            return g, g, None

    F.apply(leaf(torch, 1.0), torch.ones(1, dtype=torch.float64), 3).sum().backward()
    assert seen == [(True, False, False)] * 2


def test_several_outputs(torch: Any) -> None:
    seen = []

    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2, x * 3, "text"

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any, none: Any) -> Any:
            seen.append((g.tolist(), h.tolist(), none))
            return g * 2 + h * 3

    x = leaf(torch, 1.0)
    a, b, text = F.apply(x)
    assert text == "text"
    a.sum().backward(retain_graph=True)
    (a + b).sum().backward()
    assert seen == [([1.0], [0.0], None), ([1.0], [1.0], None)]
    assert x.grad.tolist() == [7.0]


def test_gradients_need_not_be_materialized(torch: Any) -> None:
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            assert g is None
            return h * 3

    x = leaf(torch, 1.0)
    F.apply(x)[1].sum().backward()
    assert x.grad.tolist() == [3.0]


def test_non_differentiable_outputs(torch: Any) -> None:
    class Largest(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            mask = (x == x.max()).to(x.dtype)
            ctx.mark_non_differentiable(mask)
            ctx.save_for_backward(mask)
            return x * mask, mask

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            assert h.tolist() == [0.0, 0.0]
            return g * ctx.saved_tensors[0]

    x = leaf(torch, 1.0, 5.0)
    y, mask = Largest.apply(x)
    assert (y.requires_grad, mask.requires_grad) == (True, False)
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


def test_dirty_inputs(torch: Any) -> None:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(torch, 1.0, 2.0)
    y = x * 1
    z = Double.apply(y)
    assert z is y
    (y * 5).sum().backward()
    assert x.grad.tolist() == [10.0, 10.0]
    base = x * 1
    Double.apply(base[:1])
    x.grad = None
    base.sum().backward()
    assert x.grad.tolist() == [2.0, 1.0]
    with pytest.raises(RuntimeError, match="leaf"):
        Double.apply(x)


def test_an_input_returned_is_another_tensor(torch: Any) -> None:
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return -g

    x = leaf(torch, 1.0)
    y = Same.apply(x)
    assert y is not x and x.is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [-1.0]


def test_saved_outputs_can_be_differentiated(torch: Any) -> None:
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(y, None)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            y, none = ctx.saved_tensors
            assert none is None
            return g * y

    x = leaf(torch, 0.0)
    (g,) = torch.autograd.grad(Exp.apply(x).sum(), x, create_graph=True)
    (gg,) = torch.autograd.grad(g.sum(), x, create_graph=True)
    assert torch.autograd.grad(gg.sum(), x)[0].tolist() == [1.0]


def test_saved_values_are_guarded_and_freed(torch: Any) -> None:
    x = leaf(torch, 2.0)
    h = x * 1
    y = cube(torch).apply(h)
    h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = cube(torch).apply(x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_broadcast_gradients_are_summed(torch: Any) -> None:
    class Add(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x + y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, g

    x, y = leaf(torch, 1.0), leaf(torch, 1.0, 2.0, 3.0)
    Add.apply(x, y).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([3.0], [1.0, 1.0, 1.0])


def test_hooks_and_retain_grad(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = cube(torch).apply(x)
    y.retain_grad()
    y.register_hook(lambda g: g * 2)
    y.sum().backward()
    assert (y.grad.tolist(), x.grad.tolist()) == ([2.0], [24.0])


def test_once_differentiable(torch: Any) -> None:
    from importlib import import_module

    once = import_module(f"{torch.__name__}.autograd.function").once_differentiable

    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        @once
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(torch, 1.0)
    F.apply(x).sum().backward()
    assert x.grad.tolist() == [2.0]
    y = F.apply(x)
    v = torch.ones(1, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(y, x, v, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_a_backward_that_runs_backward(torch: Any) -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            with torch.enable_grad():
                ctx.x = x.detach().requires_grad_()
                ctx.y = ctx.x * ctx.x
            return ctx.y.detach()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return torch.autograd.grad(ctx.y, ctx.x, g)

    x = leaf(torch, 3.0)
    Square.apply(x).sum().backward()
    assert x.grad.tolist() == [6.0]


def bad(torch: Any, gradients: Any) -> Any:
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, k: int) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return gradients(torch, g)

    return Bad.apply(leaf(torch, 1.0, 2.0), 3).sum()


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (lambda t, g: g, r"incorrect number of gradients \(expected 2, got 1\)"),
        (lambda t, g: (g, None, g), r"incorrect number of gradients \(expected 2, got 3\)"),
        (lambda t, g: (g, g), "different than None at position 2"),
        (lambda t, g: (t.ones(3, dtype=t.float64), None), "invalid gradient at index 0"),
    ],
)
def test_wrong_gradients_are_refused(torch: Any, gradients: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        bad(torch, gradients).backward()


def test_further_none_is_allowed(torch: Any) -> None:
    bad(torch, lambda t, g: (g, None, None)).backward()


def test_undefined_methods_are_named(torch: Any) -> None:
    class Empty(torch.autograd.Function):
        pass

    class OneWay(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

    with pytest.raises((RuntimeError, NotImplementedError), match="must implement the forward"):
        Empty.apply(leaf(torch, 1.0))
    with pytest.raises((RuntimeError, NotImplementedError), match="must implement either the backward or vjp"):
        OneWay.apply(leaf(torch, 1.0)).sum().backward()


def test_saving_an_output_makes_no_cycle() -> None:
    class Twice(pullback.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            a, b = x * 2, x * 3
            ctx.save_for_backward(x, a, b)
            return a, b

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return g * 2 + h * 3

    gc.collect()
    gc.disable()
    try:
        a, b = Twice.apply(pullback.tensor([1.0], requires_grad=True))
        node = weakref.ref(a.grad_fn.next_functions[0][0])
        assert node() is not None
        del a, b
        assert node() is None
    finally:
        gc.enable()


def test_misuse_is_refused() -> None:
    class F(pullback.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, *, y: Any = None, way: str = "") -> Any:
            if way == "list":
                return [x * 2]
            if way == "save":
                ctx.save_for_backward(3.0)
            if way == "dirty":
                ctx.mark_dirty(x)
                return x * 2
            return x * 2

    x = pullback.tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="list of tensors"):
        F.apply(x, way="list")
    with pytest.raises(RuntimeError, match="only save tensors"):
        F.apply(x, way="save")
    with pytest.raises(RuntimeError, match="not returned as output"):
        F.apply(x * 1, way="dirty")
    with pytest.raises(RuntimeError, match="keyword-only argument 'y' requires grad"):
        F.apply(x, y=x)
    with pytest.raises(RuntimeError, match="not instantiated"):
        F()
