"""Optimizer steps, pullback against PyTorch's default implementations, two threads each, in one process.

python benchmarks/optim.py            the table
python benchmarks/optim.py --check    the table, and exit 1 if a bar is missed
python benchmarks/optim.py AdamW      only the rows whose name contains it
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from side_by_side import THREADS, Table  # before NumPy: it sets the number of threads

import pullback
import pullback.optim

LARGE = [(100_000,)] * 100
SMALL = [(1000,)] * 100
MLP = [(300, 784), (300,), (100, 300), (100,), (10, 100), (10,)]


def stepping(torch: Any, name: str, shapes: list[tuple[int, ...]], **options: Any) -> Callable[[], Any]:
    torch.manual_seed(0)
    ps = [torch.randn(*shape).requires_grad_() for shape in shapes]
    for p in ps:
        p.grad = torch.randn(*p.shape)
    step: Callable[[], Any] = getattr(torch.optim, name)(ps, **options).step
    return step


COMPARISONS = [
    # name, optimizer, options, shapes, calls a round, rounds, bar
    ("AdamW, 100 tensors of 100 000", "AdamW", {}, LARGE, 1, 31, 1.3),
    ("Adam, 100 tensors of 100 000", "Adam", {}, LARGE, 1, 31, 1.3),
    ("SGD with momentum, 100 tensors of 100 000", "SGD", {"momentum": 0.9}, LARGE, 1, 31, 1.3),
    ("SGD, 100 tensors of 100 000", "SGD", {}, LARGE, 1, 31, 2.0),
    ("AdamW, one tensor of 10 000 000", "AdamW", {}, [(10_000_000,)], 1, 15, 1.3),
    ("AdamW, 100 tensors of 1000", "AdamW", {}, SMALL, 10, 21, 1.0),
    ("SGD with momentum, 100 tensors of 1000", "SGD", {"momentum": 0.9}, SMALL, 10, 21, 1.3),
    ("AdamW, MLP 784-300-100-10", "AdamW", {}, MLP, 50, 21, 1.3),
    ("SGD with momentum, MLP 784-300-100-10", "SGD", {"momentum": 0.9}, MLP, 50, 21, 1.5),
]


def main() -> int:
    table = Table(__doc__)

    import torch

    torch.set_num_threads(THREADS)
    for name, optimizer, options, shapes, calls, rounds, bar in COMPARISONS:
        if table.wants(name):
            ours, theirs = (stepping(library, optimizer, shapes, **options) for library in (pullback, torch))
            table.compare(name, ours, theirs, calls, rounds, bar)
    return table.status()


if __name__ == "__main__":
    sys.exit(main())
