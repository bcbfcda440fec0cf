"""Hooks on modules, and what a module refuses."""

from __future__ import annotations

from typing import Any

import pytest

import pullback as torch
from pullback import nn


class Scale(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, x: Any, twice: bool = False) -> Any:
        return x * self.by * (2 if twice else 1)


def test_forward_hooks_see_and_replace() -> None:
    m, seen = Scale(3.0), []
    first = m.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    m.register_forward_hook(lambda module, args, out: seen.append((module, args[0].item(), out.item())))
    last = m.register_forward_hook(lambda module, args, out: out * 10)
    assert m(torch.tensor(1.0)) == 60 and seen == [(m, 2.0, 6.0)]
    first.remove()
    last.remove()
    assert m(torch.tensor(1.0)) == 3


def test_hooks_with_keywords_and_their_order() -> None:
    m, order = Scale(3.0), []
    m.register_forward_pre_hook(lambda module, args, kwargs: (args, {"twice": True}), with_kwargs=True)
    m.register_forward_hook(lambda module, args, kwargs, out: order.append(kwargs), with_kwargs=True)
    m.register_forward_hook(lambda module, args, out: order.append("first"), prepend=True)
    assert m(torch.tensor(1.0)) == 6 and order == ["first", {"twice": True}]


def test_backward_hooks_see_and_replace() -> None:
    m, seen = Scale(3.0), []
    handle = m.register_full_backward_hook(lambda module, before, after: seen.append((before, after)))
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (m(x) * 5).sum().backward()
    assert [t[0].tolist() for t in seen[0]] == [[15.0, 15.0], [5.0, 5.0]] and x.grad.tolist() == [15.0, 15.0]
    handle.remove()
    m.register_full_backward_hook(lambda module, before, after: (before[0] * 2,))
    x.grad = None
    m(x).sum().backward()
    assert x.grad.tolist() == [6.0, 6.0] and len(seen) == 1


def test_a_backward_hook_where_the_input_wants_no_gradient() -> None:
    m, seen = Scale(3.0), []
    m.register_full_backward_hook(lambda module, before, after: seen.append((before, after[0].item())))
    m(torch.tensor(2.0), True).backward()
    assert seen == [((None, None), 1.0)] and m.by.grad == 4


def test_a_replaced_parameter_keeps_its_place() -> None:
    m = nn.Module()
    m.a, m.b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    m.a = nn.Parameter(torch.zeros(2))
    assert list(m.state_dict()) == ["a", "b"]


def test_what_is_refused() -> None:
    m = Scale(1.0)

    class Hasty(nn.Module):
        def __init__(self) -> None:
            self.w = nn.Parameter(torch.ones(1))

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) first"):
        Hasty()
    with pytest.raises(NotImplementedError, match="define forward"):
        nn.Module()(1)
    with pytest.raises(TypeError, match=r"assign a Parameter.*copy_\(\) inside no_grad"):
        m.by = torch.ones(1)
    with pytest.raises(TypeError, match="cannot register Tensor as 'w', a parameter"):
        m.register_parameter("w", torch.ones(1))
    with pytest.raises(TypeError, match="a child module"):
        m.add_module("q", 3)
    with pytest.raises(KeyError, match="already exists"):
        m.register_buffer("by", torch.ones(1))
    with pytest.raises(KeyError, match="dot"):
        m.register_parameter("a.b", None)
    for ask in (m.get_submodule, m.get_parameter, m.get_buffer):
        with pytest.raises(AttributeError, match="has no"):
            ask("nowhere")


class Several(nn.Module):
    def forward(self, x: Any, name: str, y: Any = None) -> Any:
        return x * 2, name, {"y": y}


def test_backward_hooks_see_none_for_what_is_no_tensor() -> None:
    m, seen = Several(), []
    m.register_full_backward_pre_hook(lambda module, after: (after[0] * 3, *after[1:]))
    m.register_full_backward_hook(lambda module, before, after: seen.append((before, after)))
    x = torch.tensor(1.0, requires_grad=True)
    m(x, "a")[0].backward()
    assert seen == [((6, None), (3, None, None))] and x.grad == 6


def test_backward_hooks_wait_for_gradients_of_the_results() -> None:
    class Holder(nn.Module):
        def forward(self, x: Any) -> Any:
            self.kept = x * 2
            return x * 3

    m, seen = Holder(), []
    m.register_full_backward_hook(lambda module, before, after: seen.append(after))
    x = torch.tensor(1.0, requires_grad=True)
    m(x)
    m.kept.backward()
    assert x.grad == 2 and not seen


@pytest.mark.parametrize(
    ("kind", "returned", "wants", "said"),
    [
        ("full_backward_hook", (None, None), True, "hook returned an invalid number of grad_input, got 2"),
        ("full_backward_pre_hook", (None, None), True, "pre hook returned an invalid number of grad_output, got 2"),
        ("full_backward_hook", (torch.tensor(1.0),), False, "none of whose inputs wants a gradient"),
    ],
)
def test_what_backward_hooks_may_return(kind: str, returned: Any, wants: bool, said: str) -> None:
    m = Scale(3.0)
    getattr(m, f"register_{kind}")(lambda *args: returned)
    with pytest.raises(RuntimeError, match=said):
        m(torch.tensor(2.0, requires_grad=wants)).backward()
