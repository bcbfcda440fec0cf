"""Whole training steps, eager pullback against eager PyTorch, two threads each, in one process.

    python benchmarks/training_eager.py            the table
    python benchmarks/training_eager.py --check    the table, and exit 1 if a bar is missed
    python benchmarks/training_eager.py LSTM       only the rows whose name contains it

Each model is written once, as a PyTorch user would write it, for a module that is PyTorch or pullback; a step is
forward, loss, backward, clipping where that is usual, and the optimizer's step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from side_by_side import THREADS, Table  # before NumPy: it sets the number of threads

import pullback
import pullback.nn.functional
import pullback.optim


def mlp(torch: Any) -> Callable[[], None]:
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    x, y = torch.randn(128, 784), torch.randint(0, 10, (128,))

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return step


def lstm(torch: Any) -> Callable[[], None]:
    """A character model: 96 symbols, windows of 64, one layer of 256."""
    nn = torch.nn
    torch.manual_seed(0)

    class CharModel(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(96, 64)
            self.lstm = nn.LSTM(64, 256, batch_first=True)
            self.head = nn.Linear(256, 96)

        def forward(self, x: Any, state: Any) -> Any:
            h, state = self.lstm(self.embed(x), state)
            return self.head(h), state

    model = CharModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randint(0, 96, (32, 64)), torch.randint(0, 96, (32, 64))
    state = (torch.zeros(1, 32, 256), torch.zeros(1, 32, 256))

    def step() -> None:
        optimizer.zero_grad()
        logits, _ = model(x, state)
        nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def transformer(torch: Any) -> Callable[[], None]:
    """A decoder: 4 layers of width 128 with 4 heads, 96 symbols, windows of 64."""
    nn, functional = torch.nn, torch.nn.functional
    torch.manual_seed(0)
    width, heads, length, symbols = 128, 4, 64, 96

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            b, t, _ = x.shape
            q, k, v = (
                part.view(b, t, heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, dim=2)
            )
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(b, t, width))
            return x + self.mlp(self.norm2(x))

    class Decoder(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(symbols, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block() for _ in range(4)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols, bias=False)

        def forward(self, x: Any) -> Any:
            h = self.embed(x) + self.place(torch.arange(x.shape[1]))
            for block in self.blocks:
                h = block(h)
            return self.head(self.norm(h))

    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    x, y = torch.randint(0, symbols, (16, length)), torch.randint(0, symbols, (16, length))

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def cnn(torch: Any) -> Callable[[], None]:
    """Two blocks of convolution, batch norm and pooling for images of 28 x 28."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    x, y = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return step


COMPARISONS = [
    # name, workload, calls a round, rounds, bar
    ("MLP 784-300-100-10, batch 128, SGD with momentum", mlp, 20, 21, 1.0),
    ("LSTM 64-256, 64 steps, batch 32, clipping, Adam", lstm, 1, 15, 1.3),
    ("Transformer, 4 layers of 128, 64 tokens, batch 16, clipping, AdamW", transformer, 1, 15, 1.0),
    ("CNN 1-32-64 with batch norm, 28x28, batch 64, Adam", cnn, 1, 15, 1.3),
]


def main() -> int:
    table = Table(__doc__)

    import torch

    torch.set_num_threads(THREADS)
    for name, workload, calls, rounds, bar in COMPARISONS:
        if table.wants(name):
            table.compare(name, workload(pullback), workload(torch), calls, rounds, bar)
    return table.status()


if __name__ == "__main__":
    sys.exit(main())
