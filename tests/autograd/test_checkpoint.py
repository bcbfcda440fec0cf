"""Checkpointing: the same values and gradients, less memory, and no silent differences."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import pullback
from pullback.utils.checkpoint import checkpoint, checkpoint_sequential


def leaf(torch: Any, *values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=True)


def region(torch: Any, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return torch.utils.checkpoint.checkpoint(f, *args, use_reentrant=False, **kwargs)


def gradients(torch: Any, y: Any, *xs: Any, **options: Any) -> Any:
    return [g.tolist() for g in torch.autograd.grad(y.sum(), xs, **options)]


def test_the_same_gradients_also_for_what_closures_reach(torch: Any) -> None:
    x, w = leaf(torch, 0.5, 1.5), leaf(torch, 2.0, 3.0)

    def f(x: Any, scale: float = 1.0) -> Any:
        return ((x * w).exp() * scale).sin()

    assert gradients(torch, region(torch, f, x), x, w) == gradients(torch, f(x), x, w)
    assert gradients(torch, region(torch, f, x, scale=3.0), x, w) == gradients(torch, f(x, scale=3.0), x, w)
    assert gradients(torch, region(torch, f, x.detach()), w) == gradients(torch, f(x), w)


def test_it_runs_twice_and_only_then(torch: Any) -> None:
    runs = []

    def f(x: Any) -> Any:
        runs.append(torch.is_grad_enabled())
        return (x * x).exp()

    x = leaf(torch, 1.0)
    y = region(torch, f, x)
    assert runs == [True]
    y.sum().backward()
    assert runs == [True, True]
    with torch.no_grad():
        assert not region(torch, f, x).requires_grad
    assert runs == [True, True, False]


def test_retain_graph_and_freeing(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = region(torch, lambda x: x * x * x, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [24.0]
    with pytest.raises(RuntimeError):
        y.backward()


def test_second_order(torch: Any) -> None:
    x = leaf(torch, 2.0)
    (g,) = torch.autograd.grad(region(torch, lambda x: (x * x * x).exp(), x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((x * x * x).exp().sum(), x, create_graph=True)
    assert gradients(torch, g, x) == gradients(torch, h, x)


def test_nested(torch: Any) -> None:
    x, w = leaf(torch, 0.1), leaf(torch, 2.0)

    def inner(x: Any) -> Any:
        return (x * w).exp()

    def outer(x: Any) -> Any:
        return region(torch, inner, region(torch, inner, x) * 0.1).sin()

    def plain(x: Any) -> Any:
        return inner(inner(x) * 0.1).sin()

    assert gradients(torch, region(torch, outer, x), x, w) == gradients(torch, plain(x), x, w)


def test_nests_of_arguments_and_results(torch: Any) -> None:
    x, w = leaf(torch, 2.0), leaf(torch, 3.0)

    def f(pair: Any, *, named: Any) -> Any:
        return {"a": pair[0] * named["w"], "b": (pair[1] * 2, "text")}

    out = region(torch, f, (x, 5.0), named={"w": w})
    assert out["b"] == (10.0, "text")
    assert gradients(torch, out["a"] * x, x, w) == [[12.0], [4.0]]


def test_random_numbers_are_drawn_again(torch: Any) -> None:
    torch.manual_seed(0)
    x = torch.ones(50, dtype=torch.float64, requires_grad=True)
    noise = []

    def f(x: Any) -> Any:
        noise.append(torch.rand(50, dtype=torch.float64))
        return x * noise[-1] * x

    y = region(torch, f, x)
    between = torch.get_rng_state()
    y.sum().backward()
    assert torch.equal(noise[0], noise[1])
    assert torch.equal(torch.get_rng_state(), between)
    assert x.grad.tolist() == (2 * noise[0]).tolist()


def test_custom_functions_inside(torch: Any) -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    x = leaf(torch, 3.0)
    assert gradients(torch, region(torch, lambda x: Square.apply(Square.apply(x)), x), x) == [[108.0]]


def test_gradients_taken_inside(torch: Any) -> None:
    def penalty(x: Any) -> Any:
        (g,) = torch.autograd.grad((x * x * x).sum(), x, create_graph=True)
        return g * g  # 9 x^4

    x = leaf(torch, 2.0)
    assert gradients(torch, region(torch, penalty, x), x) == [[288.0]]


def test_sequential(torch: Any) -> None:
    layers = [lambda x: x.sin(), lambda x: x * x, lambda x: x.exp(), lambda x: x * 2, lambda x: x.cos()]
    x = leaf(torch, 0.3)
    y = x
    for layer in layers:
        y = layer(y)
    for segments in (1, 2, 3, 5):
        z = torch.utils.checkpoint.checkpoint_sequential(layers, segments, x, use_reentrant=False)
        assert gradients(torch, z, x) == gradients(torch, y, x, retain_graph=True)


def test_saved_tensors_hooks(torch: Any) -> None:
    x, packed = leaf(torch, 3.0), []

    def pack(t: Any) -> Any:
        packed.append(t.tolist())
        return t.tolist()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda values: torch.tensor(values, dtype=torch.float64)):
        y = x * 5.0
        z = (y * y).sum()
    z.backward()
    assert [15.0] in packed
    assert x.grad.tolist() == [150.0]
    with torch.autograd.graph.save_on_cpu():
        z = (x * x).sum()
    assert gradients(torch, z, x) == [[6.0]]


# -- what differs between the runs is an error -------------------------------------------------------------------------


def test_an_input_overwritten_is_an_error() -> None:
    x = leaf(pullback, 1.0) * 1
    y = checkpoint(lambda x: x + 1.0 + x.exp(), x)
    x.add_(1)
    with pytest.raises(pullback.errors.GradientError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("f", [lambda w, x: (x + w).sin(), lambda w, x: x * w], ids=["unsaved", "saved"])
def test_a_parameter_overwritten_is_an_error(f: Any) -> None:
    x, w = leaf(pullback, 1.0), leaf(pullback, 2.0)
    y = checkpoint(lambda x: f(w, x), x)
    with pullback.no_grad():
        w.add_(1)
    with pytest.raises(pullback.errors.GradientError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_buffer_overwritten_is_an_error() -> None:
    x, buffer = leaf(pullback, 1.0), pullback.ones(1, dtype=pullback.float64)
    y = checkpoint(lambda x: x * buffer, x)
    buffer.add_(1)
    with pytest.raises(pullback.errors.GradientError, match="modified by an inplace operation"):
        y.sum().backward()


def test_doing_something_else_is_an_error() -> None:
    runs: list[int] = []

    def other_op(x: Any) -> Any:
        runs.append(1)
        return x.exp() if len(runs) % 2 else x.sin()

    with pytest.raises(
        RuntimeError, match=r"did something else: exp saved float64\[1\] before, sin saved float64\[1\] now"
    ):
        checkpoint(other_op, leaf(pullback, 1.0)).sum().backward()

    def more_ops(x: Any) -> Any:
        runs.append(1)
        return x.exp() if len(runs) % 2 else x.exp().exp()

    runs.clear()
    with pytest.raises(RuntimeError, match="1 ops saved something in the forward pass, 2 when"):
        checkpoint(more_ops, leaf(pullback, 1.0)).sum().backward()


def test_an_error_in_the_second_run_says_so() -> None:
    runs: list[int] = []

    def f(x: Any) -> Any:
        runs.append(1)
        if len(runs) == 2:
            raise ValueError("no")
        return x.exp()

    with pytest.raises(ValueError, match="no") as caught:
        checkpoint(f, leaf(pullback, 1.0)).sum().backward()
    assert "test_checkpoint.py" in caught.value.__notes__[0]
    assert pullback.is_grad_enabled()


# -- memory ------------------------------------------------------------------------------------------------------------


def peak(run: Callable[[Any], Any], size: int) -> float:
    """Peak memory of forward and backward, in arrays of the chain's size."""
    x = pullback.zeros(size, requires_grad=True)
    tracemalloc.start()
    run(x).sum().backward()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / (4 * size)


def test_memory_of_a_deep_chain_is_sublinear() -> None:
    layers, size = [lambda x: x.tanh()] * 256, 20_000

    def plain(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    whole = peak(plain, size)
    assert 255 < whole < 300
    assert peak(lambda x: checkpoint_sequential(layers, 16, x), size) < whole / 6


def test_nested_regions_drop_their_inputs_too() -> None:
    size = 50_000

    def inner(x: Any) -> Any:
        return x.tanh().tanh().tanh().tanh()

    def outer(x: Any) -> Any:
        for _ in range(16):
            x = checkpoint(inner, x)
        return x

    tracemalloc.start()
    y = checkpoint(outer, pullback.zeros(size, requires_grad=True))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4 * (4 * size)
    y.sum().backward()
