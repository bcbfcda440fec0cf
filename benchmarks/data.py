"""Loading data with pullback and with PyTorch, in one process.

python benchmarks/data.py            the table
python benchmarks/data.py --check    the table, and exit 1 if a bar is missed
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from side_by_side import THREADS, Table  # before NumPy: it sets the number of threads

import pullback
import pullback.utils.data

SAMPLES, FEATURES = 60_000, 784
BAR = 1 / 0.8  # of the time, for 0.8 of the throughput

# -- each is written once, for a module that is PyTorch or pullback ----------------------------------------------------


def epoch_of(loader: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in loader:
            pass

    return run


def in_memory(torch: Any, **options: Any) -> Callable[[], None]:
    data = torch.utils.data
    dataset = data.TensorDataset(torch.randn(SAMPLES, FEATURES), torch.randint(0, 10, (SAMPLES,)))
    return epoch_of(data.DataLoader(dataset, shuffle=True, **options))


def slow_transform(torch: Any) -> Callable[[], None]:
    """300 samples, each of which takes a millisecond, by two workers."""
    data = torch.utils.data
    samples = torch.randn(300, FEATURES)

    class Slow(data.Dataset):
        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, index: int) -> Any:
            time.sleep(1e-3)
            return samples[index], index

    return epoch_of(data.DataLoader(Slow(), batch_size=32, num_workers=2))


def images(torch: Any) -> Callable[[], None]:
    """Batches of 19 MB that come from two workers."""
    data = torch.utils.data
    dataset = data.TensorDataset(torch.randn(512, 3, 224, 224))
    return epoch_of(data.DataLoader(dataset, batch_size=32, num_workers=2))


def dictionaries(torch: Any) -> Callable[[], None]:
    """Samples that are dicts, collated one by one."""
    data = torch.utils.data
    ids, labels = torch.randint(0, 1000, (2000, 64)), torch.randint(0, 2, (2000,))

    class Named(data.Dataset):
        def __len__(self) -> int:
            return len(ids)

        def __getitem__(self, index: int) -> Any:
            return {"ids": ids[index], "label": labels[index], "length": 64}

    return epoch_of(data.DataLoader(Named(), batch_size=32, shuffle=True))


COMPARISONS = [
    # name, workload, rounds, bar
    ("60000 x 784 in memory, batch 64, shuffled", lambda torch: in_memory(torch, batch_size=64), 15, BAR),
    ("60000 x 784 in memory, batch 256, shuffled", lambda torch: in_memory(torch, batch_size=256), 15, BAR),
    ("the same with 2 workers", lambda torch: in_memory(torch, batch_size=256, num_workers=2), 7, BAR),
    ("1 ms transform, 2 workers", slow_transform, 7, BAR),
    ("512 images of 3 x 224 x 224, 2 workers", images, 7, BAR),
    ("2000 samples that are dicts, batch 32", dictionaries, 15, 2.0),
]


def peak_of_an_epoch() -> float:
    """The most memory that one pass takes on top of the dataset's, as a part of the dataset's."""
    run = in_memory(pullback, batch_size=256)
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (SAMPLES * FEATURES * 4)


def main() -> int:
    table = Table(__doc__)
    peak = "memory of a pass over 60000 x 784 / the dataset's"
    if table.wants(peak):
        table.row(peak, "", peak_of_an_epoch(), 0.05)
    import torch
    import torch.utils.data

    torch.set_num_threads(THREADS)
    for name, workload, rounds, bar in COMPARISONS:
        if table.wants(name):
            table.compare(name, workload(pullback), workload(torch), 1, rounds, bar)
    return table.status()


if __name__ == "__main__":
    sys.exit(main())
