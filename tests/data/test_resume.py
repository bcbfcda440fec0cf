"""A loader goes on exactly where its state was taken."""
# ruff: noqa: NPY002 - samplers do draw from NumPy's global generator

from __future__ import annotations

import random

import numpy as np
import pytest

import pullback as torch
from pullback.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)
from pullback.errors import PullbackError
from pullback.io.generators import get_states, set_states

N = 11


class Numbers(Dataset):
    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> int:
        return index


class Noisy(Numbers):
    """Adds random numbers of all three generators."""

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, torch.rand(()).item(), random.random(), np.random.rand()


class PythonShuffled(Sampler):
    def __iter__(self):
        order = list(range(N))
        random.shuffle(order)
        yield from order

    def __len__(self) -> int:
        return N


class NumpyShuffled(Sampler):
    def __iter__(self):
        return iter(np.random.permutation(N).tolist())

    def __len__(self) -> int:
        return N


class Remembered(Sampler):
    """Says itself where it is."""

    def __init__(self) -> None:
        self.at, self.loads = 0, 0

    def __iter__(self):
        while self.at < N:
            self.at += 1
            yield (self.at * 7) % N
        self.at = 0

    def __len__(self) -> int:
        return N

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at, self.loads = state["at"], self.loads + 1


class Shares(IterableDataset):
    """Each worker gives its share, with noise."""

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for i in range(first, N, step):
            yield i, torch.rand(()).item(), random.random(), np.random.rand()


class Remembering(IterableDataset):
    """Goes on by itself from its state."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self):
        while self.at < N:
            self.at += 1
            yield self.at
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


LOADERS = {
    "in order": lambda **o: DataLoader(Numbers(), 3, **o),
    "shuffled": lambda **o: DataLoader(Numbers(), 3, shuffle=True, **o),
    "own generator": lambda **o: DataLoader(Numbers(), 3, shuffle=True, generator=torch.Generator(), **o),
    "drop_last": lambda **o: DataLoader(Numbers(), 3, shuffle=True, drop_last=True, **o),
    "one by one": lambda **o: DataLoader(Numbers(), None, shuffle=True, **o),
    "sampler's generator": lambda **o: DataLoader(
        Numbers(), 3, sampler=RandomSampler(range(N), generator=torch.Generator().manual_seed(3)), **o
    ),
    "with replacement": lambda **o: DataLoader(
        Numbers(), 3, sampler=RandomSampler(range(N), replacement=True, num_samples=20), **o
    ),
    "subset": lambda **o: DataLoader(Numbers(), 2, sampler=SubsetRandomSampler([1, 3, 5, 7]), **o),
    "weighted": lambda **o: DataLoader(Numbers(), 2, sampler=WeightedRandomSampler([1.0] * N, 9), **o),
    "batch sampler": lambda **o: DataLoader(
        Numbers(), batch_sampler=BatchSampler(RandomSampler(range(N)), 4, False), **o
    ),
    "python's random": lambda **o: DataLoader(Numbers(), 3, sampler=PythonShuffled(), **o),
    "numpy's random": lambda **o: DataLoader(Numbers(), 3, sampler=NumpyShuffled(), **o),
    "a sampler with a state": lambda **o: DataLoader(Numbers(), 3, sampler=Remembered(), **o),
    "samples with noise": lambda **o: DataLoader(Noisy(), 3, shuffle=True, **o),
}
STREAMS = {
    "a stream": lambda **o: DataLoader(Shares(), 2, **o),
    "a stream one by one": lambda **o: DataLoader(Shares(), None, **o),
    "a stream with a state": lambda **o: DataLoader(Remembering(), 3, **o),
}


def plain(batch: object) -> object:
    """With lists for tensors and tuples."""
    if isinstance(batch, (list, tuple)):
        return [plain(part) for part in batch]
    return batch.tolist() if isinstance(batch, torch.Tensor) else batch


def seed(k: int) -> None:
    torch.manual_seed(k), random.seed(k), np.random.seed(k)


def train(batch: object) -> object:
    """What a training loop does with a batch: look at it, and draw random numbers."""
    torch.rand(2)
    return plain(batch)


def run(make, position: int, **options) -> tuple[object, object, object, object]:
    """(the loader's state and the generators' after so many batches, the rest of the epoch, the next epoch)"""
    seed(0)
    loader = make(**options)
    for _ in loader:  # an epoch before
        pass
    batches = iter(loader)
    for _ in range(position):
        train(next(batches))
    state, rng = loader.state_dict(), get_states()
    rest = [train(batch) for batch in batches]
    return state, rng, rest, [train(batch) for batch in loader]


def resume(make, state, rng, **options) -> tuple[object, object]:
    """In other surroundings: (the rest of the epoch, the next epoch)."""
    seed(99)
    loader = make(**options)
    loader.load_state_dict(state)
    set_states(rng)
    return [train(batch) for batch in loader], [train(batch) for batch in loader]


def through_a_file(state: object, path: object) -> object:
    torch.save(state, path)
    return torch.load(path)


@pytest.mark.parametrize("make", [*LOADERS.values(), *STREAMS.values()], ids=[*LOADERS, *STREAMS])
def test_at_every_position(make, tmp_path) -> None:
    batches = len(list(make()))
    for position in range(batches + 1):
        state, rng, rest, following = run(make, position)
        assert len(rest) == batches - position
        again = resume(make, through_a_file(state, tmp_path / "state"), rng)
        assert again == (rest, following), position


def test_with_another_number_of_workers() -> None:
    make = LOADERS["shuffled"]
    state, rng, rest, following = run(make, 2, num_workers=2)
    for workers in (0, 1):
        assert resume(make, state, rng, num_workers=workers) == (rest, following)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_with_workers_at_every_position(make, workers: int) -> None:
    for position in range(len(list(make())) + 1):
        state, rng, rest, following = run(make, position, num_workers=2)
        assert resume(make, state, rng, num_workers=workers) == (rest, following), position


@pytest.mark.slow
@pytest.mark.parametrize("persistent_workers", [False, True])
@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_streams_with_workers_at_every_position(make, persistent_workers: bool) -> None:
    options = {"num_workers": 3, "persistent_workers": persistent_workers}
    for position in range(len(list(make(num_workers=3))) + 1):
        state, rng, rest, following = run(make, position, **options)
        assert resume(make, state, rng, **options) == (rest, following), position


@pytest.mark.slow
def test_workers_noise_depends_on_the_batch_alone() -> None:
    def epoch(**options) -> list[object]:
        seed(0)
        return [plain(batch) for batch in LOADERS["samples with noise"](**options)]

    expected = epoch(num_workers=1)
    assert epoch(num_workers=3) == expected and epoch(num_workers=2, prefetch_factor=4) == expected
    assert epoch(num_workers=0) != expected  # in this process: from its own generators


@pytest.mark.slow
def test_batches_that_overtook_others_do_not_come_again() -> None:
    import time

    class Uneven(Numbers):
        def __getitem__(self, index):
            time.sleep(0.3 if index == 0 else 0.01)
            return index

    loader = DataLoader(Uneven(), 1, num_workers=2, in_order=False)
    batches = iter(loader)
    seen = [next(batches).item() for _ in range(5)]
    assert 0 not in seen
    other = DataLoader(Uneven(), 1, num_workers=2, in_order=False)
    other.load_state_dict(loader.state_dict())
    assert sorted(seen + [batch.item() for batch in other]) == list(range(N))


def test_state_between_epochs_and_twice() -> None:
    torch.manual_seed(0)
    loader = DataLoader(Numbers(), 3, shuffle=True, generator=torch.Generator())
    list(loader)
    state = loader.state_dict()
    assert state["place"] is None
    expected = [batch.tolist() for batch in loader]
    other = DataLoader(Numbers(), 3, shuffle=True, generator=torch.Generator())
    other.load_state_dict(state)
    batches = iter(other)
    assert [next(batches).tolist(), next(batches).tolist()] == expected[:2]
    third = DataLoader(Numbers(), 3, shuffle=True, generator=torch.Generator())
    third.load_state_dict(other.state_dict())
    fourth = DataLoader(Numbers(), 3, shuffle=True, generator=torch.Generator())
    fourth.load_state_dict(third.state_dict())  # loaded, not yet used
    assert [batch.tolist() for batch in third] == [batch.tolist() for batch in fourth] == expected[2:]


def test_a_sampler_with_a_state_is_asked_not_replayed() -> None:
    loader = DataLoader(Numbers(), 3, sampler=Remembered())
    batches = iter(loader)
    next(batches)
    other = DataLoader(Numbers(), 3, sampler=Remembered())
    other.load_state_dict(loader.state_dict())
    assert next(iter(other)).tolist() == next(batches).tolist()
    assert other.sampler.loads == 1


def test_a_dataset_that_is_asked_by_index_may_have_a_state() -> None:
    class Counting(Numbers):
        asked = 0

        def __getitem__(self, index):
            self.asked += 1
            return self.asked

        def state_dict(self):
            return {"asked": self.asked}

        def load_state_dict(self, state):
            self.asked = state["asked"]

    loader = DataLoader(Counting(), 3)
    next(iter(loader))
    other = DataLoader(Counting(), 3)
    other.load_state_dict(loader.state_dict())
    assert next(iter(other)).tolist() == [4, 5, 6]


def test_the_epoch_of_a_distributed_sampler_comes_back() -> None:
    def make() -> DataLoader:
        return DataLoader(Numbers(), 2, sampler=DistributedSampler(range(N), 2, 1))

    loader = make()
    loader.sampler.set_epoch(3)
    batches = iter(loader)
    next(batches)
    other = make()
    other.load_state_dict(loader.state_dict())
    assert other.sampler.epoch == 3
    assert [batch.tolist() for batch in other] == [batch.tolist() for batch in batches]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: DataLoader(Numbers(), 4), "batch_size=3; here it is 4"),
        (lambda: DataLoader(Numbers(), 3, drop_last=True), "drop_last=False; here it is True"),
        (lambda: DataLoader(range(5), 3), "length=11; here it is 5"),
        (lambda: DataLoader(Shares(), 3), "iterable=False; here it is True"),
        (lambda: DataLoader(Numbers(), 3, generator=torch.Generator()), "0 generators; here are 1"),
    ],
)
def test_a_state_of_another_loader_is_refused(other, message: str) -> None:
    loader = DataLoader(Numbers(), 3)
    next(iter(loader))
    with pytest.raises(PullbackError, match=message):
        other().load_state_dict(loader.state_dict())


def test_a_stream_needs_as_many_workers() -> None:
    state = DataLoader(Shares(), 3).state_dict()
    with pytest.raises(PullbackError, match="num_workers=0; here it is 2"):
        DataLoader(Shares(), 3, num_workers=2).load_state_dict(state)


def test_a_sampler_that_became_shorter_is_an_error() -> None:
    loader = DataLoader(Numbers(), 1, sampler=list(range(5)))
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    other = DataLoader(Numbers(), 1, sampler=[0, 1])
    other.load_state_dict(loader.state_dict())
    with pytest.raises(PullbackError, match="saved after 4 batches, but its sampler ends after 2"):
        iter(other)
