"""Writes, views, and gradients through both."""

from __future__ import annotations

from typing import Any

import pytest

import pullback


def leaf(torch: Any, *values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=True)


def test_in_place_ops_are_recorded(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * 1
    y.mul_(3).add_(1)
    (y * y).sum().backward()
    assert x.grad.tolist() == [2 * 7.0 * 3]


def test_writing_part_of_a_tensor(torch: Any) -> None:
    x, v = leaf(torch, 1.0, 2.0, 3.0), leaf(torch, 10.0)
    y = x * 1
    y[1:2] = v * 2
    (y * torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 100.0]
    assert v.grad.tolist() == [20.0]


def test_a_view_sees_writes_to_its_base(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0)
    base = x * 1
    view = base[:1]
    base.mul_(3)
    view.sum().backward()
    assert view.tolist() == [3.0]
    assert x.grad.tolist() == [3.0, 0.0]


def test_a_base_sees_writes_through_its_view(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0)
    base = x * 1
    base[:1].mul_(3)
    base.sum().backward()
    assert x.grad.tolist() == [3.0, 1.0]


def test_views_of_views(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0, 3.0, 4.0)
    base = x * 1
    base.view(2, 2)[0].mul_(5)
    base.sum().backward()
    assert x.grad.tolist() == [5.0, 5.0, 1.0, 1.0]


def test_writing_what_is_not_needed_is_fine(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x + 1
    y.mul_(3)
    y.sum().backward()
    assert x.grad.tolist() == [3.0]


def test_overwriting_a_saved_value_is_an_error(torch: Any) -> None:
    x = leaf(torch, 2.0)
    y = x * 1
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_overwriting_a_saved_result_is_an_error(torch: Any) -> None:
    y = leaf(torch, 2.0).exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_overwriting_through_a_view_or_detached_is_an_error(torch: Any) -> None:
    for write in (lambda y: y[:1].add_(1), lambda y: y.detach().add_(1)):
        y = leaf(torch, 2.0) * 1
        z = y * y
        write(y)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.sum().backward()


def test_leaves_are_not_written(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x[0] = 5.0
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[:1].mul_(2)
    with torch.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0]


def test_writing_a_gradient_into_a_plain_tensor(torch: Any) -> None:
    x, y = leaf(torch, 2.0), torch.zeros(1, dtype=torch.float64)
    y.copy_(x * 3)
    assert y.requires_grad and not y.is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [3.0]


def test_a_view_made_without_recording_is_not_written_with(torch: Any) -> None:
    base = leaf(torch, 1.0, 2.0) * 1
    with torch.no_grad():
        view = base[:1]
    with pytest.raises(RuntimeError, match="no_grad mode"):
        view.mul_(2)


def test_versions_count_writes(torch: Any) -> None:
    x = torch.ones(2)
    assert x._version == 0
    x.add_(1)
    x[:1].mul_(2)
    assert x._version == 2
    assert x.detach()._version == 2


def square(torch: Any) -> Any:
    return torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("write", ["view", "base"])
def test_views_from_before_a_transposition_in_place(write: str) -> None:
    """They no longer know their way: an error, where PyTorch works with strides."""
    x = square(pullback)
    y = x * 1
    view = y[0]
    y.t_()
    assert pullback.autograd.grad(view.sum(), x, retain_graph=True)[0].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    if write == "base":
        y.mul_(2)
    with pytest.raises(pullback.errors.GradientError, match="another shape or other memory"):
        view.mul_(2)


def test_a_view_transposed_in_place_is_written(torch: Any) -> None:
    x = square(torch)
    y = x * 1
    view = y[:, :1]
    inner = view[0]
    view.t_()
    view.mul_(torch.tensor([[2.0, 3.0]]))
    inner.mul_(5)
    y.sum().backward()
    assert x.grad.tolist() == [[10.0, 1.0], [3.0, 1.0]]


def test_transposing_in_place_without_recording(torch: Any) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    y = x * 2
    with torch.no_grad():
        x.t_()
        y.squeeze_()
    assert x.is_leaf and list(x.shape) == [3, 1]
    assert y.requires_grad and list(y.shape) == [3]


def test_a_view_of_memory_that_was_replaced() -> None:
    x = square(pullback)
    y = x * 1
    view = y[0]
    y.data = y.data.t()
    with pytest.raises(pullback.errors.GradientError, match="another shape or other memory"):
        view.mul_(2)


def test_a_view_of_what_was_detached_and_written(torch: Any) -> None:
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    view = y[:1]
    y.detach_()
    y.mul_(5)
    w = leaf(torch, 3.0)
    (view * w).sum().backward()
    assert x.grad is None
    assert w.grad.tolist() == [10.0]


def test_a_view_that_is_a_leaf_is_not_written(torch: Any) -> None:
    view = torch.zeros(3)[:2].requires_grad_()
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        view.add_(1)


def test_overlapping_views_are_not_written() -> None:
    y = leaf(pullback, 1.0, 2.0, 3.0) * 1
    with pytest.raises(pullback.errors.GradientError, match="lie in the same memory"):
        y.unfold(0, 2, 1).mul_(2)
    y.unfold(0, 2, 2).mul_(2)
    assert y.tolist() == [2.0, 4.0, 3.0]


def test_strided_views_are_written(torch: Any) -> None:
    x = square(torch)
    y = x * 1
    y.as_strided((2,), (2,), 1).mul_(3)
    y.sum().backward()  # the cotangent that arrives has strides of its own
    assert x.grad.tolist() == [[1.0, 3.0], [1.0, 3.0]]


def test_strides_of_a_detached_view_start_at_its_own_memory(torch: Any) -> None:
    row = torch.arange(6.0).reshape(3, 2)[1].detach()
    assert row.as_strided((2,), (1,)).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("shape", [(2,), (1, 3)])
def test_copying_what_does_not_fit(torch: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError):
        torch.zeros(3).copy_(torch.ones(shape))


def test_an_integer_result_does_not_go_into_a_boolean(torch: Any) -> None:
    with pytest.raises(RuntimeError, match="can't be cast"):
        torch.tensor([True]).add_(1)


def test_a_view_a_function_returned_after_its_base_was_written(torch: Any) -> None:
    class Head(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            return x[:1]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return None, g

    x, w = torch.ones(2), torch.ones(1, requires_grad=True)
    head = Head.apply(x, w)
    x.mul_(2)
    with pytest.raises(RuntimeError, match=r"modified in ?place"):
        head.sum().backward()


def test_a_leaf_given_another_shape_before_backward() -> None:
    x = pullback.ones(3, requires_grad=True)
    loss = (x * pullback.tensor([1.0, 2.0, 3.0])).sum()
    x.data = pullback.ones(1)
    with pytest.raises(RuntimeError, match=r"mul used has been given another shape since(.|\n)*test_inplace.py"):
        loss.backward()
    assert x.grad is None
