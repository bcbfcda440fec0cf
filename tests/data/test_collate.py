"""Samples made into batches."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest

import pullback as torch
from pullback.data import DataLoader, default_collate, default_convert, get_worker_info
from pullback.errors import KindError, ShapeError

Point = namedtuple("Point", "x y")


def same(a: object, b: object) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    elif hasattr(a, "items"):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


CASES = [
    ([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])], torch.tensor([[1.0, 2.0], [3.0, 4.0]])),
    ([torch.tensor(1), torch.tensor(2)], torch.tensor([1, 2])),
    ([torch.tensor([1.0], dtype=torch.bfloat16)], torch.tensor([[1.0]], dtype=torch.bfloat16)),
    ([np.ones(2, np.float32), np.zeros(2, np.float32)], torch.tensor([[1.0, 1.0], [0.0, 0.0]])),
    ([np.float64(1.5), np.float64(2)], torch.tensor([1.5, 2.0], dtype=torch.float64)),
    ([np.int32(3)], torch.tensor([3], dtype=torch.int32)),
    ([1.5, 2.0], torch.tensor([1.5, 2.0], dtype=torch.float64)),
    ([1, 2], torch.tensor([1, 2])),
    ([True, False], torch.tensor([True, False])),
    (["a", "b"], ["a", "b"]),
    ([b"a"], [b"a"]),
    ([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], {"a": torch.tensor([1, 2]), "b": ["x", "y"]}),
    ([OrderedDict(a=1), OrderedDict(a=2)], OrderedDict(a=torch.tensor([1, 2]))),
    ([MappingProxyType({"a": 1})], MappingProxyType({"a": torch.tensor([1])})),
    ([Point(1, 2.0), Point(3, 4.0)], Point(torch.tensor([1, 3]), torch.tensor([2.0, 4.0], dtype=torch.float64))),
    ([(1, "a"), (2, "b")], [torch.tensor([1, 2]), ("a", "b")]),
    ([[1, [2]], [3, [4]]], [torch.tensor([1, 3]), [torch.tensor([2, 4])]]),
    ([range(2), range(2)], [torch.tensor([0, 0]), torch.tensor([1, 1])]),
    ([{"a": 1, "more": 2}, {"a": 3, "more": 4, "most": 5}], {"a": torch.tensor([1, 3]), "more": torch.tensor([2, 4])}),
]


@pytest.mark.parametrize(("samples", "batch"), CASES, ids=lambda case: str(case)[:30])
def test_collate(samples: list[object], batch: object) -> None:
    same(default_collate(samples), batch)


def test_a_mapping_keeps_what_else_it_carries() -> None:
    class Sample(dict):
        name = ""

    sample = Sample(a=1)
    sample.name = "first"
    batch = default_collate([sample, Sample(a=2)])
    assert type(batch) is Sample and batch.name == "first" and batch["a"].tolist() == [1, 2]
    assert sample["a"] == 1


def test_gradients_reach_the_samples() -> None:
    x = torch.ones(2, requires_grad=True)
    default_collate([x, x * 2]).sum().backward()
    assert x.grad.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([torch.zeros(2), torch.zeros(2), torch.zeros(3)], ShapeError, r"shape \[2\], sample 2 \[3\]"),
        (
            [{"a": (1, torch.zeros(2))}, {"a": (1, torch.zeros(1))}],
            ShapeError,
            r"\[2\] at sample\['a'\]\[1\], sample 1",
        ),
        ([[1, 2], [1]], ShapeError, "has length 2, sample 1 1"),
        ([{"a": 1, "b": 2}, {"a": 1}], ShapeError, r"\[\"'a'\", \"'b'\"\], sample 1 \[\"'a'\"\]"),
        ([(1,), 2], KindError, "different kinds: int, tuple"),
        ([torch.zeros(1), 2], KindError, "tensors together with <class 'int'>"),
        ([None, None], KindError, "found <class 'NoneType'>"),
        ([{"a": [object()]}], KindError, r"at sample\['a'\]\[0\]"),
        ([np.array(["a"])], KindError, "<U1"),
    ],
)
def test_what_does_not_fit_together_is_named(samples: list[object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        default_collate(samples)


def test_convert() -> None:
    converted = default_convert({"a": np.ones(2), "b": [np.int64(3), "x"], "c": Point(np.zeros(1), 5), "d": (1, None)})
    same(
        converted,
        {
            "a": torch.ones(2, dtype=torch.float64),
            "b": [torch.tensor(3), "x"],
            "c": Point(torch.zeros(1, dtype=torch.float64), 5),
            "d": [1, None],
        },
    )
    names = np.array(["a"])
    assert default_convert(names) is names


def test_an_error_in_collating_names_the_batch() -> None:
    with pytest.raises(ShapeError) as caught:
        list(DataLoader([torch.zeros(n) for n in (1, 1, 1, 2)], batch_size=2))
    assert caught.value.__notes__ == ["while collating batch 1: dataset[2], dataset[3]"]


def test_the_main_process_is_no_worker() -> None:
    assert get_worker_info() is None
