"""Every message says what happened, at which line of the user's, and what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pullback
from pullback.utils.checkpoint import checkpoint

FILE = Path(__file__).name


def leaf(*values: float) -> Any:
    return pullback.tensor(list(values), requires_grad=True)


class Wrong(pullback.autograd.Function):
    """Returns one gradient too few."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        return x * y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


class Twisted(Wrong):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return pullback.ones(3), g


class Untyped(Wrong):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 1.0, g


# Each makes one mistake. `# <label>` marks the lines that the message has to name under that label.


def second_backward() -> None:
    y = leaf(1.0).exp()  # shared node built at
    y.backward()
    y.backward()  # at


def overwritten() -> None:
    y = leaf(1.0).exp()  # saved at
    y.add_(1)  # written at
    y.backward()  # at


def overwritten_before_recomputing() -> None:
    x = leaf(1.0) * 2
    y = checkpoint(lambda x: x.exp(), x)  # saved at
    x.add_(1)  # written at
    y.backward()  # at


def not_a_scalar() -> None:
    leaf(1.0, 2.0).backward()  # at


def nothing_requires_grad() -> None:
    pullback.ones(1).backward()  # at


def cotangent_of_another_shape() -> None:
    leaf(1.0, 2.0).backward(pullback.ones(3))  # at


def unused_input() -> None:
    pullback.autograd.grad(leaf(1.0), leaf(1.0))  # at


def no_target() -> None:
    pullback.autograd.grad(leaf(1.0), pullback.ones(1))  # at


def leaf_written() -> None:
    leaf(1.0).add_(1)  # at


def flag_of_computed() -> None:
    y = leaf(1.0) * 2  # made
    y.requires_grad = False  # at


def integer_leaf() -> None:
    pullback.tensor([1], requires_grad=True)  # at


def hook_of_another_shape() -> None:
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: g[:1])
    (x * 2).sum().backward()  # at


def too_few_gradients() -> None:
    y = Wrong.apply(leaf(1.0), leaf(1.0))  # forward ran at
    y.backward()


def gradient_of_another_shape() -> None:
    y = Twisted.apply(leaf(1.0, 2.0), leaf(1.0, 2.0))  # forward ran at
    y.sum().backward()


def gradient_of_another_type() -> None:
    y = Untyped.apply(leaf(1.0), leaf(1.0))  # forward ran at
    y.backward()


def detached_view() -> None:
    leaf(1.0, 2.0)[:1].detach_()  # at


def hook_without_gradient() -> None:
    pullback.ones(1).register_hook(print)  # at


MISTAKES: list[tuple[Callable[[], None], str, str]] = [
    (second_backward, "second time: what ExpBackward0 saved has been freed", "retain_graph=True"),
    (overwritten, "ExpBackward0 saved it, and it was written after that", "clone() the tensor"),
    (overwritten_before_recomputing, "modified by an inplace operation", "clone() the tensor"),
    (not_a_scalar, "only for scalar outputs; this one has shape [2]", "y.sum().backward()"),
    (nothing_requires_grad, "does not require grad and does not have a grad_fn", "why_grad()"),
    (cotangent_of_another_shape, "the cotangent has shape [3]", "they must be equal"),
    (unused_input, "not have been used in the graph: inputs[0], of shape [1]", "allow_unused=True"),
    (no_target, "one of the differentiated tensors does not require grad", "requires_grad_()"),
    (leaf_written, "a leaf Variable that requires grad", "no_grad()"),
    (flag_of_computed, "leaf variables; this tensor was computed", "x.detach()"),
    (integer_leaf, "only Tensors of floating point dtype can require gradients", "x.float()"),
    (
        hook_of_another_shape,
        "a hook returned a gradient of shape [1] for one of shape [2]",
        "return a tensor of the same shape",
    ),
    (
        too_few_gradients,
        "WrongBackward returned an incorrect number of gradients (expected 2, got 1)",
        "return one for each argument",
    ),
    (gradient_of_another_shape, "TwistedBackward returned an invalid gradient at index 0", "the shape of the input"),
    (gradient_of_another_type, "UntypedBackward returned float as gradient 0; expected a Tensor or None", "wrap it"),
    (detached_view, "can't detach views in-place", "use detach() instead"),
    (hook_without_gradient, "doesn't require gradient", "requires_grad_()"),
]


@pytest.mark.parametrize(("mistake", "what", "todo"), MISTAKES, ids=[m[0].__name__ for m in MISTAKES])
def test_messages(mistake: Callable[[], None], what: str, todo: str) -> None:
    with pytest.raises(pullback.errors.PullbackError) as caught:
        mistake()
    text = str(caught.value)
    assert what in text
    assert todo in text
    source, first = inspect.getsourcelines(mistake)
    marked = [
        (number, line.partition("  # ")[2].strip()) for number, line in enumerate(source, first) if "  # " in line
    ]
    assert marked
    for number, label in marked:
        assert any(f"{label} " in line and f"{FILE}:{number}:" in line for line in text.splitlines()), (
            label,
            number,
            text,
        )
