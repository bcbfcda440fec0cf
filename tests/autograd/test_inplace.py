"""Writes, views, and gradients through both."""

from __future__ import annotations

from typing import Any

import pytest


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
