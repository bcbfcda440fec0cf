"""Datasets, and how they are put together and split."""

from __future__ import annotations

import pytest

import pullback as torch
from pullback.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    StackDataset,
    Standardize,
    Subset,
    TensorDataset,
    random_split,
)
from pullback.errors import ArgumentError, ShapeError


class Squares(Dataset):
    def __init__(self, n: int, start: int = 0) -> None:
        self.n, self.start = n, start

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.n:
            raise IndexError(index)
        return (self.start + index) ** 2


class Count(IterableDataset):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self):
        yield from range(self.n)

    def __len__(self) -> int:
        return self.n


def columns(n: int = 6) -> TensorDataset:
    return TensorDataset(torch.arange(2 * n).reshape(n, 2), torch.arange(n) * 10)


def test_a_sample_of_tensors_is_a_row_of_each() -> None:
    x, y = columns()[2]
    assert x.tolist() == [4, 5] and y.item() == 20
    assert len(columns()) == 6


def test_rows_taken_at_once_are_the_samples() -> None:
    data = columns()
    rows = data.__getitems__([4, 0, -1])
    assert len(rows) == 3
    assert [[part.tolist() for part in row] for row in rows] == [
        [part.tolist() for part in data[i]] for i in (4, 0, -1)
    ]
    assert [y.item() for _, y in rows[1:]] == [0, 50]


def test_tensors_of_different_lengths_do_not_make_a_dataset() -> None:
    with pytest.raises(ShapeError, match=r"\[3\], \[4, 2\]"):
        TensorDataset(torch.zeros(3), torch.zeros(4, 2))


@pytest.mark.parametrize("base", [TensorDataset, Subset, StackDataset])
def test_a_subclass_with_samples_of_its_own_is_asked_for_them(base: type) -> None:
    class Changed(base):
        def __getitem__(self, index):
            return super().__getitem__(index)[0] + 100

    part = torch.arange(4)
    data = Changed(TensorDataset(part), [3, 2, 1, 0]) if base is Subset else Changed(part)
    expected = [103, 102, 101, 100] if base is Subset else [100, 101, 102, 103]
    (batch,) = DataLoader(data, batch_size=4)
    assert batch.tolist() == expected


def test_side_by_side() -> None:
    data = StackDataset(Squares(3), columns(3))
    assert data[1][0] == 1 and data[1][1][1].item() == 10
    named = StackDataset(a=Squares(3), b=Squares(3, start=1))
    assert named[2] == {"a": 4, "b": 9} and len(named) == 3
    assert named.__getitems__([0, 2]) == [{"a": 0, "b": 1}, {"a": 4, "b": 9}]
    with pytest.raises(ArgumentError, match="Size mismatch"):
        StackDataset(Squares(3), Squares(4))
    with pytest.raises(ArgumentError, match="both"):
        StackDataset(Squares(3), a=Squares(3))
    with pytest.raises(ArgumentError, match="At least one"):
        StackDataset()


def test_a_dataset_that_gives_too_few_samples_is_an_error() -> None:
    class Short(Squares):
        def __getitems__(self, indices):
            return [0]

    with pytest.raises(ArgumentError, match="asked for 2 samples and gave 1"):
        StackDataset(Short(3)).__getitems__([0, 1])


def test_subsets_of_subsets_pass_a_whole_batch_on() -> None:
    asked = []

    class Watched(TensorDataset):
        def __getitems__(self, indices):
            asked.append(list(indices))
            return super().__getitems__(indices)

    data = Subset(Subset(Watched(torch.arange(10) * 10), [9, 7, 5, 3]), [2, 0])
    assert data[0][0].item() == 50 and len(data) == 2
    (batch,) = DataLoader(data, batch_size=2)
    assert batch[0].tolist() == [50, 90] and asked == [[5, 9]]


def test_one_after_the_other() -> None:
    data = Squares(2) + Squares(3, start=10) + Squares(1, start=20)
    assert isinstance(data, ConcatDataset) and data.cumulative_sizes == [5, 6]
    assert [data[i] for i in range(6)] == [0, 1, 100, 121, 144, 400]
    assert [data[-i] for i in (1, 2, 6)] == [400, 144, 0]
    with pytest.raises(ArgumentError, match="absolute value"):
        data[-7]
    with pytest.raises(IndexError):
        data[6]
    with pytest.raises(ArgumentError, match="ChainDataset"):
        ConcatDataset([Count(3)])
    with pytest.raises(ArgumentError, match="empty"):
        ConcatDataset([])


def test_iterables_one_after_the_other() -> None:
    data = Count(2) + Count(3)
    assert isinstance(data, ChainDataset) and list(data) == [0, 1, 0, 1, 2] and len(data) == 5
    with pytest.raises(ArgumentError, match="ConcatDataset"):
        list(ChainDataset([Squares(3)]))


def test_a_split_has_every_sample_once() -> None:
    parts = random_split(Squares(10), [3, 7], torch.Generator().manual_seed(1))
    assert [len(part) for part in parts] == [3, 7]
    assert sorted(i for part in parts for i in part.indices) == list(range(10))
    again = random_split(Squares(10), [3, 7], torch.Generator().manual_seed(1))
    assert [part.indices for part in again] == [part.indices for part in parts]
    other = random_split(Squares(10), [3, 7], torch.Generator().manual_seed(2))
    assert [part.indices for part in other] != [part.indices for part in parts]


@pytest.mark.parametrize(
    ("n", "fractions", "lengths"),
    [(10, [0.5, 0.5], [5, 5]), (11, [0.5, 0.5], [6, 5]), (10, [0.33, 0.33, 0.34], [4, 3, 3]), (3, [1.0], [3])],
)
def test_a_split_by_fractions_rounds_down_and_gives_the_rest_to_the_first(n, fractions, lengths) -> None:
    assert [len(part) for part in random_split(Squares(n), fractions)] == lengths


def test_a_split_that_does_not_add_up_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="9 is not 10"):
        random_split(Squares(10), [4, 5])
    with pytest.raises(ArgumentError, match="index 0 is not between"):
        random_split(Squares(10), [-0.5, 1.5])
    with pytest.warns(UserWarning, match="index 1 is 0"):
        random_split(Squares(1), [0.6, 0.4])


def test_a_dataset_without_samples_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Dataset does not define __getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="IterableDataset does not define __iter__"):
        iter(IterableDataset())


def test_features_have_mean_0_and_deviation_1_and_come_back() -> None:
    x = torch.tensor([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]])
    standardize = Standardize.fit(x)
    assert standardize.mean.tolist() == [2, 20, 5] and standardize.std.tolist() == [1, 10, 1]
    assert standardize(x).tolist() == [[-1, -1, 0], [1, 1, 0]]
    assert standardize.inverse(standardize(x)).tolist() == x.tolist()
    other = Standardize(torch.zeros(3), torch.ones(3))
    other.load_state_dict(standardize.state_dict())
    assert other(x).tolist() == standardize(x).tolist()


def test_images_are_standardized_by_channel() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, 4) * torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1) + 7
    y = Standardize.fit(x, dim=(0, 2, 3))(x)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(y.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
