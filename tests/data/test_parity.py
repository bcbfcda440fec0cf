"""The same as PyTorch, wherever no random number is drawn."""

from __future__ import annotations

import inspect
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import pullback

pytestmark = pytest.mark.parity

Point = namedtuple("Point", "x y")


@pytest.fixture(scope="module")
def libraries():
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch.utils.data")
    return torch, pullback


def both(libraries, f) -> None:
    """f(library) is the same for both: values and kinds; or ours is an error of PyTorch's kind."""
    theirs, ours = (outcome(f, library) for library in libraries)
    if isinstance(theirs, Exception):
        kind = next(k for k in (TypeError, ValueError, IndexError, RuntimeError) if isinstance(theirs, k))
        assert isinstance(ours, kind), f"{kind.__name__} there, {ours!r} here"
    else:
        assert ours == theirs


def outcome(f, library) -> object:
    try:
        return plain(f(library), library)
    except Exception as error:
        return error


def plain(obj: object, library) -> object:
    if isinstance(obj, library.Tensor):
        return "tensor", str(obj.dtype), tuple(obj.shape), obj.tolist()
    if isinstance(obj, dict):
        return type(obj).__name__, [(key, plain(value, library)) for key, value in obj.items()]
    if isinstance(obj, (list, tuple)):
        return type(obj).__name__, [plain(part, library) for part in obj]
    return obj.tolist() if isinstance(obj, np.ndarray) else obj


SAMPLES = [
    lambda t: [1, 2],
    lambda t: [1.5, 2],
    lambda t: [True, False],
    lambda t: ["a", "b"],
    lambda t: [t.ones(2), t.zeros(2)],
    lambda t: [t.ones(2), t.zeros(3)],
    lambda t: [np.ones((2, 3), np.float32)] * 2,
    lambda t: [np.float32(1), np.float32(2)],
    lambda t: [np.array(["a"])],
    lambda t: [np.str_("a")],
    lambda t: [(1, "a", t.ones(1)), (2, "b", t.ones(1))],
    lambda t: [[1, (2, 3)], [4, (5, 6)]],
    lambda t: [[1], [1, 2]],
    lambda t: [{"a": 1, "b": [1.0]}, {"a": 2, "b": [2.0]}],
    lambda t: [OrderedDict(a=1), OrderedDict(a=2)],
    lambda t: [Point(1, t.ones(2)), Point(2, t.ones(2))],
    lambda t: [range(3), range(3)],
    lambda t: [None],
    lambda t: [{1, 2}],
    lambda t: [b"a"],
]


@pytest.mark.parametrize("samples", SAMPLES, ids=range(len(SAMPLES)))
def test_collate_and_convert(libraries, samples) -> None:
    both(libraries, lambda t: t.utils.data.default_collate(samples(t)))
    both(libraries, lambda t: t.utils.data.default_convert(samples(t)))


@pytest.mark.parametrize("n", [1, 2, 7, 10, 12])
@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
@pytest.mark.parametrize("drop_last", [False, True])
def test_shares(libraries, n: int, replicas: int, drop_last: bool) -> None:
    def shares(t):
        samplers = [
            t.utils.data.DistributedSampler(range(n), replicas, rank, shuffle=False, drop_last=drop_last)
            for rank in range(replicas)
        ]
        return [(list(sampler), len(sampler), sampler.total_size) for sampler in samplers]

    both(libraries, shares)


@pytest.mark.parametrize("n", [1, 3, 10, 11])
@pytest.mark.parametrize("lengths", [[0.5, 0.5], [0.3, 0.3, 0.4], [0.9, 0.1], [1.0], [5, 5], [4, 7], [0.5, 0.4]])
@pytest.mark.filterwarnings("ignore:Length of split")
def test_lengths_of_splits(libraries, n: int, lengths: list[float]) -> None:
    both(libraries, lambda t: [len(part) for part in t.utils.data.random_split(range(n), lengths)])


@pytest.mark.parametrize("batch_size", [1, 3, 4, None])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_batches(libraries, batch_size: int | None, drop_last: bool, workers: int) -> None:
    def batches(t):
        class Stream(t.utils.data.IterableDataset):
            def __iter__(self):
                info = t.utils.data.get_worker_info()
                return iter(range(10) if info is None else range(info.id, 10, 2 + info.id))

        data = t.utils.data.TensorDataset(t.arange(20).reshape(10, 2), t.arange(10))
        options = {"batch_size": batch_size, "drop_last": drop_last, "num_workers": workers}
        loader = t.utils.data.DataLoader(data, **options)
        return list(loader), len(loader), list(t.utils.data.DataLoader(Stream(), **options))

    both(libraries, batches)


WRONG = [
    {"num_workers": -1},
    {"timeout": -1},
    {"prefetch_factor": 1},
    {"persistent_workers": True},
    {"shuffle": True, "sampler": [0]},
    {"batch_sampler": [[0]], "batch_size": 3},
    {"batch_sampler": [[0]], "drop_last": True},
    {"batch_size": None, "drop_last": True},
    {"batch_size": 0},
    {"batch_size": 1.5},
    {"multiprocessing_context": "fork"},
    {"multiprocessing_context": "spoon", "num_workers": 1},
    {"multiprocessing_context": 3, "num_workers": 1},
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_kinds_of_errors(libraries, options) -> None:
    both(libraries, lambda t: t.utils.data.DataLoader([1, 2], **options) and "accepted")


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d.RandomSampler([]),
        lambda d: d.RandomSampler([1], replacement=1),
        lambda d: d.RandomSampler([1], num_samples=0),
        lambda d: d.WeightedRandomSampler([1.0], 0),
        lambda d: d.WeightedRandomSampler([[1.0]], 1),
        lambda d: d.BatchSampler([1], 0, False),
        lambda d: d.BatchSampler([1], 1, 0),
        lambda d: d.DistributedSampler([1], 2, 2),
        lambda d: d.StackDataset(),
        lambda d: d.StackDataset([1], [1, 2]),
        lambda d: d.ConcatDataset([[1]])[1],
        lambda d: d.ConcatDataset([[1]])[-2],
    ],
    ids=range(12),
)
def test_kinds_of_other_errors(libraries, make) -> None:
    both(libraries, lambda t: make(t.utils.data) and "accepted")


NAMES = [
    "DataLoader",
    "TensorDataset",
    "StackDataset",
    "Subset",
    "ConcatDataset",
    "ChainDataset",
    "random_split",
    "SequentialSampler",
    "RandomSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
    "BatchSampler",
    "DistributedSampler",
    "default_convert",
]


@pytest.mark.parametrize("name", NAMES)
def test_arguments(libraries, name: str) -> None:
    """Names, order, kinds and defaults."""
    theirs, ours = (
        [(p.name, p.kind, p.default) for p in inspect.signature(getattr(t.utils.data, name)).parameters.values()]
        for t in libraries
    )
    if name == "random_split":  # the default generator, by itself there and as None here
        theirs, ours = theirs[:-1], ours[:-1]
    assert ours == theirs
