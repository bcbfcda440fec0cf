"""The loader in one process: batches, arguments, errors."""
# ruff: noqa: NPY002 - transforms do draw from NumPy's global generator

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

import pullback as torch
from pullback.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset
from pullback.errors import ArgumentError, KindError, PullbackError


class Numbers(Dataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        return index


class Stream(IterableDataset):
    def __init__(self, n: int = 7) -> None:
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


class SizedStream(Stream):
    def __len__(self) -> int:
        return self.n


def batches(loader: DataLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


def test_batches_in_order() -> None:
    assert batches(DataLoader(Numbers(), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches(DataLoader(Numbers(), 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batches(DataLoader([5, 6])) == [[5], [6]]
    assert list(DataLoader(Numbers(), None)) == list(range(10))
    assert batches(DataLoader(Numbers(), batch_sampler=[[1], [2, 3]])) == [[1], [2, 3]]
    assert batches(DataLoader(Numbers(), 2, sampler=[9, 8, 7])) == [[9, 8], [7]]


def test_batches_of_an_iterable() -> None:
    assert batches(DataLoader(Stream(), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches(DataLoader(Stream(), 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert list(DataLoader(Stream(2), None)) == [0, 1]
    assert batches(DataLoader(Stream(0), 3)) == []


def test_how_many_batches() -> None:
    assert len(DataLoader(Numbers(), 4)) == 3 and len(DataLoader(Numbers(), 4, drop_last=True)) == 2
    assert len(DataLoader(Numbers(), None)) == 10 and len(DataLoader(Numbers(), batch_sampler=[[1]])) == 1
    assert len(DataLoader(SizedStream(), 3)) == 3 and len(DataLoader(SizedStream(), 3, drop_last=True)) == 2
    assert len(iter(DataLoader(Numbers(), 4))) == 3
    with pytest.raises(TypeError):
        len(DataLoader(Stream(), 3))


def test_shuffled_epochs_differ_and_are_reproducible() -> None:
    def epochs() -> list[list[list[int]]]:
        torch.manual_seed(0)
        loader = DataLoader(Numbers(), 3, shuffle=True)
        return [batches(loader) for _ in range(3)]

    first = epochs()
    assert epochs() == first
    assert all(sorted(i for batch in epoch for i in batch) == list(range(10)) for epoch in first)
    assert first[0] != first[1] != first[2]


def test_a_generator_decides_alone() -> None:
    def epochs() -> list[list[list[int]]]:
        loader = DataLoader(Numbers(), 3, shuffle=True, generator=torch.Generator().manual_seed(4))
        return [batches(loader), batches(loader)]

    torch.manual_seed(0)
    untouched = torch.get_rng_state()
    first = epochs()
    assert torch.equal(torch.get_rng_state(), untouched)
    torch.manual_seed(1)
    assert epochs() == first


def test_samples_draw_from_the_generators_of_this_process() -> None:
    class Noisy(Numbers):
        def __getitem__(self, index):
            return torch.rand(()).item(), random.random(), np.random.rand()

    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    ((a, b, c),) = DataLoader(Noisy(), 10)
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    iter(DataLoader(Numbers()))  # draws the epoch's seed
    expected = [(torch.rand(()).item(), random.random(), np.random.rand()) for _ in range(10)]
    assert [a.tolist(), b.tolist(), c.tolist()] == [list(column) for column in zip(*expected, strict=True)]


def test_a_set_of_tensors_is_taken_in_one_go_and_not_copied() -> None:
    x, y = torch.randn(20000, 50), torch.arange(20000)
    loader = DataLoader(TensorDataset(x, y), batch_size=100, shuffle=True)
    tracemalloc.start()
    seen = []
    for a, b in loader:
        assert torch.equal(a[3], x[int(b[3])])
        seen += b.tolist()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(seen) == list(range(20000))
    assert peak < x.numel() * 4 / 2


def test_another_collate_function_gets_a_list_of_samples() -> None:
    def longest_first(samples):
        samples.sort(key=lambda sample: -int(sample[1]))
        return [int(y) for _, y in samples]

    data = TensorDataset(torch.zeros(4, 2), torch.tensor([3, 1, 4, 2]))
    assert list(DataLoader(data, 3, collate_fn=longest_first)) == [[4, 3, 1], [2]]


def test_samples_without_batches_are_converted() -> None:
    (sample, *_) = DataLoader([np.ones(2)], batch_size=None)
    assert isinstance(sample, torch.Tensor)


class Broken(Numbers):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __getitem__(self, index: int) -> int:
        if index == 5:
            raise self.error("no sample here")
        return index


def test_an_error_keeps_its_kind_and_names_the_sample() -> None:
    batches = iter(DataLoader(Broken(KeyError), 3))
    next(batches)
    with pytest.raises(KeyError) as caught:
        next(batches)
    assert caught.value.__notes__ == ["while fetching dataset[5], sample 2 of batch 1"]
    with pytest.raises(PullbackError, match=r"ended with an error: KeyError.*(\n.*)*new one"):
        next(batches)


def test_an_error_names_the_sample_of_a_stream() -> None:
    class Breaking(IterableDataset):
        def __iter__(self):
            yield from range(4)
            raise OSError("torn")

    with pytest.raises(OSError, match="torn") as caught:
        list(DataLoader(Breaking(), 3))
    assert caught.value.__notes__ == ["while fetching sample 4 of Breaking"]


def test_stop_iteration_does_not_end_the_epoch_in_silence() -> None:
    with pytest.raises(PullbackError, match=r"StopIteration was raised while fetching dataset\[5\]"):
        list(DataLoader(Broken(StopIteration), 3))


def test_an_index_out_of_range_names_the_batch() -> None:
    with pytest.raises(IndexError) as caught:
        list(DataLoader(TensorDataset(torch.zeros(3)), 2, sampler=[0, 1, 2, 3]))
    assert caught.value.__notes__ == ["while fetching batch 1: dataset[2], dataset[3]"]


def test_the_end_stays_the_end() -> None:
    batches = iter(DataLoader([1]))
    assert next(batches).tolist() == [1]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(batches)


def test_more_batches_than_promised_is_a_warning() -> None:
    class Lying(SizedStream):
        def __len__(self):
            return 4

    loader = DataLoader(Lying(), 2)
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="has 2 batches, and now comes another one"):
        assert len(list(loader)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": -1}, "num_workers option should be non-negative"),
        ({"timeout": -1}, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, "prefetch_factor option could only be specified in multiprocessing"),
        ({"prefetch_factor": 0, "num_workers": 1}, "at least 1"),
        ({"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
        ({"shuffle": True, "sampler": [1]}, "sampler option is mutually exclusive with shuffle"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler option is mutually exclusive"),
        ({"batch_sampler": [[1]], "shuffle": True}, "batch_sampler option is mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "disables auto-batching"),
        ({"batch_size": 0}, "batch_size should be a positive integer value, but got batch_size=0"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"multiprocessing_context": "fork"}, "multi-process loading"),
        ({"multiprocessing_context": "spoon", "num_workers": 1}, "there is no start method 'spoon'"),
    ],
)
def test_arguments_that_contradict_each_other(options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        DataLoader(Numbers(), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_an_iterable_has_its_own_order(options: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match="DataLoader with IterableDataset: expected unspecified"):
        DataLoader(Stream(), **options)


def test_other_mistakes() -> None:
    with pytest.raises(KindError, match="but got 3"):
        DataLoader(Numbers(), num_workers=1, multiprocessing_context=3)
    with pytest.raises(ArgumentError, match="num_samples=0"):
        DataLoader([], shuffle=True)
    loader = DataLoader(Numbers(), 4)
    for name in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"):
        with pytest.raises(ArgumentError, match=f"{name} attribute should not be set"):
            setattr(loader, name, None)
    loader.num_workers = 0  # others may


def test_attributes() -> None:
    loader = DataLoader(Numbers(), 4, shuffle=True, pin_memory=True, num_workers=2)
    assert isinstance(loader.sampler, RandomSampler) and loader.batch_sampler.sampler is loader.sampler
    assert (loader.batch_size, loader.prefetch_factor, loader.timeout, loader.in_order) == (4, 2, 0, True)
    assert DataLoader(Numbers(), batch_sampler=[[1]]).batch_size is None


def test_pytorchs_names_of_the_modules() -> None:
    from pullback.utils.data import DataLoader as A
    from pullback.utils.data.dataloader import DataLoader as B
    from pullback.utils.data.dataset import TensorDataset as C
    from pullback.utils.data.distributed import DistributedSampler
    from pullback.utils.data.sampler import RandomSampler as D

    assert A is B is DataLoader and C is TensorDataset and D is RandomSampler
    assert torch.utils.data.DistributedSampler is DistributedSampler
