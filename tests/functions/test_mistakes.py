"""What people get wrong is answered by an error of PyTorch's kind that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
import pullback.nn.functional as F

MASK = torch.tensor([True, False])

MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: 1 - MASK, RuntimeError, "to invert a mask, use ~mask"),
    (lambda: MASK - MASK, RuntimeError, "bool tensor is not supported"),
    (lambda: torch.ones(2) - MASK, RuntimeError, "convert it first: mask.int()"),
    (lambda: torch.ones(2).sub_(MASK), RuntimeError, "bool tensor is not supported"),
    (lambda: F.gelu(torch.tensor([1])), RuntimeError, "gelu is defined for floating point tensors, but got int64"),
    (lambda: F.elu(torch.tensor([1])), RuntimeError, r"convert it first: x.float\(\)"),
    (lambda: F.logsigmoid(torch.tensor([1])), RuntimeError, "but got int64"),
    (lambda: torch.cat(torch.ones(2, 2)), TypeError, "tuple or list of Tensors, not one Tensor"),
    (lambda: torch.stack([]), RuntimeError, "non-empty"),
    (lambda: torch.ones(3).copy_(torch.ones(4)), RuntimeError, r"shape \[4\] does not broadcast to \[3\]"),
    (lambda: torch.normal(0.0, -1.0, (2,)), RuntimeError, "std >= 0.0, but found std -1.0"),
    (lambda: torch.normal(0.0, torch.tensor([1.0, -1.0])), RuntimeError, "std >= 0.0"),
    (lambda: torch.ones("a"), TypeError, "integer"),
    (lambda: torch.ones(2, 3, 4).fill_diagonal_(1.0), RuntimeError, "write to x.diagonal()"),
    (lambda: f"{torch.ones(2):.2f}", TypeError, "format"),
    (lambda: torch.set_float32_matmul_precision("low"), RuntimeError, "'highest', 'high' or 'medium'"),
    (lambda: torch.nn.Parameter(torch.tensor([1])), RuntimeError, "floating point"),
]


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES)
def test_is_told_what_to_do(mistake: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        mistake()


def test_integers_through_activations_that_take_them() -> None:
    x = torch.tensor([-3, 0, 3])
    assert F.relu(x).tolist() == [0, 0, 3] and F.hardtanh(x, -1.0, 1.0).tolist() == [-1, 0, 1]
    assert F.hardtanh(x).dtype == torch.int64
    assert F.softsign(x).dtype == F.tanhshrink(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("shape", "wrap", "places"),
    [
        ((3, 3), False, [0, 4, 8]),
        ((2, 4), False, [0, 5]),
        ((5, 2), False, [0, 3]),
        ((5, 2), True, [0, 3, 6, 9]),
        ((2, 4), True, [0, 5]),
        ((2, 2, 2), False, [0, 7]),
        ((0, 3), False, []),
    ],
)
def test_fill_diagonal(shape: tuple[int, ...], wrap: bool, places: list[int]) -> None:
    x = torch.zeros(shape)
    assert x.fill_diagonal_(2.0, wrap) is x
    assert x.flatten().nonzero().flatten().tolist() == places and x.sum() == 2 * len(places)


def test_older_types() -> None:
    x = torch.LongTensor([1, 2])
    assert isinstance(x, torch.LongTensor) and isinstance(x, torch.Tensor) and not isinstance(x, torch.FloatTensor)
    assert x.type(torch.FloatTensor).type() == "torch.FloatTensor" == torch.FloatTensor(2, 3).type()
    assert repr(torch.LongTensor) == "<class 'torch.LongTensor'>"


def test_a_size_added_to_a_tuple_is_a_size() -> None:
    shape = torch.ones(2, 3).shape
    assert type((5, *shape)) is tuple and type((5,) + shape) is type(shape + (5,)) is torch.Size  # noqa: RUF005
    assert (5,) + shape == (5, 2, 3)  # noqa: RUF005


def test_results_of_several_tensors_are_picklable() -> None:
    import pickle

    found = pickle.loads(pickle.dumps(torch.tensor([3.0, 1.0]).sort()))
    assert found.values.tolist() == [1, 3] and repr(found).startswith("torch.return_types.sort(\nvalues=")


def test_writing_to_an_empty_tensor_writes_nothing() -> None:
    x = torch.zeros(0, 3)  # whose strides NumPy makes 0
    x.add_(1).copy_(torch.ones(0, 3)).zero_()
    x[:] = 1
    assert x.shape == (0, 3) and x._version == 4


@pytest.mark.parametrize(
    "call", [torch.sum, torch.exp, torch.matmul, torch.reshape, F.relu, F.linear, F.mse_loss], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("data", [np.ones((2, 2)), [[1.0, 2.0]]], ids=["ndarray", "list"])
def test_functions_take_tensors(call, data):
    with pytest.raises(TypeError, match=r"argument 'input' must be Tensor(.|\n)*make it a tensor first"):
        call(data, data)


@pytest.mark.parametrize(
    "mistake",
    [lambda: torch.ones(3)[5], lambda: F.embedding(torch.tensor([7]), torch.ones(3, 2))],
    ids=["brackets", "embedding"],
)
def test_an_index_out_of_range_says_where_to_look(mistake):
    with pytest.raises(IndexError, match=r"out of bounds(.|\n)*test_mistakes.py(.|\n)*every index must lie in"):
        mistake()
