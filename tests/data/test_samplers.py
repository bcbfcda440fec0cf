"""Orders of indices."""

from __future__ import annotations

import pytest

import pullback as torch
from pullback.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from pullback.errors import ArgumentError, KindError, PullbackError


def test_in_order() -> None:
    sampler = SequentialSampler("abcd")
    assert list(sampler) == [0, 1, 2, 3] and len(sampler) == 4


def test_random_order_has_every_index_once_and_another_order_next_time() -> None:
    torch.manual_seed(0)
    sampler = RandomSampler(range(50))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50)) and first != second
    torch.manual_seed(0)
    assert list(RandomSampler(range(50))) == first


def test_more_samples_than_there_are_come_in_rounds() -> None:
    sampler = RandomSampler(range(4), num_samples=10, generator=torch.Generator().manual_seed(3))
    order = list(sampler)
    assert len(order) == len(sampler) == 10
    assert sorted(order[:4]) == sorted(order[4:8]) == [0, 1, 2, 3] and len(set(order[8:])) == 2


def test_with_replacement() -> None:
    order = list(RandomSampler(range(3), replacement=True, num_samples=200, generator=torch.Generator()))
    assert len(order) == 200 and set(order) == {0, 1, 2}


def test_subset_and_weights() -> None:
    torch.manual_seed(0)
    assert sorted(SubsetRandomSampler([7, 5, 9])) == [5, 7, 9]
    order = list(WeightedRandomSampler([0.0, 1.0, 3.0], 4000))
    assert order.count(0) == 0 and 0.7 < order.count(2) / 4000 < 0.8
    assert sorted(WeightedRandomSampler([1.0, 1.0, 1.0], 3, replacement=False)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("drop_last", "batches"), [(False, [[0, 1, 2], [3, 4, 5], [6]]), (True, [[0, 1, 2], [3, 4, 5]])]
)
def test_batches(drop_last: bool, batches: list[list[int]]) -> None:
    sampler = BatchSampler(SequentialSampler(range(7)), 3, drop_last)
    assert list(sampler) == batches and len(sampler) == len(batches)


@pytest.mark.parametrize(
    ("n", "replicas", "drop_last", "expected"),
    [
        (10, 3, False, [[0, 3, 6, 9], [1, 4, 7, 0], [2, 5, 8, 1]]),
        (10, 3, True, [[0, 3, 6], [1, 4, 7], [2, 5, 8]]),
        (2, 5, False, [[0], [1], [0], [1], [0]]),
        (2, 5, True, [[], [], [], [], []]),
        (6, 2, True, [[0, 2, 4], [1, 3, 5]]),
    ],
)
def test_shares_of_processes(n: int, replicas: int, drop_last: bool, expected: list[list[int]]) -> None:
    shares = [DistributedSampler(range(n), replicas, rank, False, drop_last=drop_last) for rank in range(replicas)]
    assert [list(share) for share in shares] == expected
    assert [len(share) for share in shares] == [len(part) for part in expected]


def test_shares_are_parts_of_one_order_that_changes_by_epoch() -> None:
    shares = [DistributedSampler(range(8), 2, rank, seed=5) for rank in range(2)]
    orders = []
    for epoch in range(2):
        for share in shares:
            share.set_epoch(epoch)
        orders.append([list(share) for share in shares])
        assert sorted(i for share in orders[-1] for i in share) == list(range(8))
    assert orders[0] != orders[1]


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(ArgumentError, match="num_samples=0"):
        RandomSampler([])
    with pytest.raises(KindError, match="replacement=1"):
        RandomSampler([1], replacement=1)
    with pytest.raises(ArgumentError, match="1d sequence"):
        WeightedRandomSampler([[1.0]], 1)
    with pytest.raises(ArgumentError, match="num_samples=True"):
        WeightedRandomSampler([1.0], True)
    with pytest.raises(ArgumentError, match="batch_size=0"):
        BatchSampler([1], 0, False)
    with pytest.raises(ArgumentError, match="drop_last=None"):
        BatchSampler([1], 1, None)
    with pytest.raises(ArgumentError, match=r"interval \[0, 1\]"):
        DistributedSampler([1], 2, 2)
    with pytest.raises(PullbackError, match="give num_replicas and rank"):
        DistributedSampler([1])
    with pytest.raises(NotImplementedError, match="Sampler does not define __iter__"):
        iter(Sampler())


def test_the_order_of_an_epoch_does_not_depend_on_who_else_draws() -> None:
    class Lazy(Sampler):
        """Draws for each index, when it is asked for it."""

        def __iter__(self):
            for _ in range(20):
                yield int(torch.randint(0, 1000, ()).item())

        def __len__(self):
            return 20

    def epoch(busy: bool) -> tuple[list[int], float]:
        torch.manual_seed(0)
        seen = []
        for i in DataLoader(range(1000), batch_size=None, sampler=Lazy()):
            seen.append(i)
            if busy:
                torch.rand(3)
        return seen, None if busy else torch.rand(()).item()

    alone, after = epoch(False)
    assert epoch(True)[0] == alone
    torch.manual_seed(0)
    list(DataLoader(range(3)))
    assert torch.rand(()).item() == after  # one seed was drawn, however long the epoch is
