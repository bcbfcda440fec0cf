"""Eager pullback against eager PyTorch, two threads each, in one process.

    python benchmarks/eager.py            the table
    python benchmarks/eager.py --check    the table, and exit 1 if a bar is missed
    python benchmarks/eager.py conv2d     only the rows against PyTorch whose name contains it

Rounds alternate between the two, and the ratio is the median of the rounds' ratios: this holds on a machine whose
speed drifts.
"""

from __future__ import annotations

import gc
import itertools
import os
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from side_by_side import THREADS, Table, against, readable  # before NumPy: it sets the number of threads

import pullback
import pullback.nn.functional
import pullback.utils.checkpoint

# -- the workloads: each is written once, for a module that is PyTorch or pullback -------------------------------------


def product(torch: Any) -> Callable[[], None]:
    x, y = (torch.ones(4, 4, requires_grad=True) for _ in range(2))

    def step() -> None:
        x.grad = y.grad = None
        (x * y).sum().backward()

    return step


def chain(n: int) -> Callable[[Any], Callable[[], None]]:
    def make(torch: Any) -> Callable[[], None]:
        x = torch.full((n, n), 0.5, requires_grad=True)

        def step() -> None:
            x.grad = None
            h = x
            for _ in range(16):  # 64 ops
                h = h * 1.01
                h = h + x
                h = h.tanh()
                h = h - 0.1
            h.sum().backward()

        return step

    return make


def mlp(torch: Any) -> Callable[[], None]:
    functional = torch.nn.functional
    torch.manual_seed(0)
    sizes = (784, 300, 100, 10)
    layers = [
        ((torch.randn(b, a) / a**0.5).requires_grad_(), torch.zeros(b, requires_grad=True))
        for a, b in itertools.pairwise(sizes)
    ]
    parameters = [p for layer in layers for p in layer]
    inputs, labels = torch.randn(128, 784), torch.randint(0, 10, (128,))

    def step() -> None:
        h = inputs
        for i, (w, b) in enumerate(layers):
            h = functional.linear(h, w, b)
            if i < 2:
                h = functional.relu(h)
        for p in parameters:
            p.grad = None
        functional.cross_entropy(h, labels).backward()
        with torch.no_grad():
            for p in parameters:
                p.sub_(p.grad, alpha=0.01)

    return step


def convolution(images: int, channels: int, size: int, filters: int) -> Callable[[Any], Callable[[], None]]:
    """3 x 3, forward and backward."""
    shapes = (images, channels, size, size), (filters, channels, 3, 3)
    return layer(lambda functional, x, w: functional.conv2d(x, w, padding=1), *shapes)


def layer(f: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[Any], Callable[[], None]]:
    """Forward and backward of a function of `nn.functional`, on leaves of these shapes."""

    def make(torch: Any) -> Callable[[], None]:
        torch.manual_seed(0)
        functional, leaves = torch.nn.functional, [torch.randn(*shape, requires_grad=True) for shape in shapes]
        g = torch.randn(*f(functional, *leaves).shape)

        def step() -> None:
            for x in leaves:
                x.grad = None
            f(functional, *leaves).backward(g)

        return step

    return make


def cross_entropy(torch: Any) -> Callable[[], None]:
    torch.manual_seed(0)
    x, y = torch.randn(1024, 8192, requires_grad=True), torch.randint(0, 8192, (1024,))

    def step() -> None:
        x.grad = None
        torch.nn.functional.cross_entropy(x, y).backward()

    return step


def embedding(torch: Any) -> Callable[[], None]:
    torch.manual_seed(0)
    weight, places = torch.randn(20_000, 256, requires_grad=True), torch.randint(0, 20_000, (16, 512))
    g = torch.randn(16, 512, 256)

    def step() -> None:
        weight.grad = None
        torch.nn.functional.embedding(places, weight).backward(g)

    return step


COMPARISONS = [
    # name, workload, calls a round, rounds, bar
    ("(x * y).sum().backward(), 4x4", product, 300, 31, 0.8),
    ("64-op chain, forward and backward, 4x4", chain(4), 20, 31, 1.0),
    ("64-op chain, forward and backward, 64x64", chain(64), 20, 31, 1.1),
    ("MLP 784-300-100-10, batch 128, SGD step", mlp, 10, 21, 1.3),
]
# Forward and backward of one layer each, whose arrays are large enough for the native kernels.
LAYERS = [
    ("conv2d 64x32x32x32 -> 64, 3x3", convolution(64, 32, 32, 64), 1.5),
    ("conv2d 32x32x32x32 -> 64, 3x3", convolution(32, 32, 32, 64), 1.5),
    ("conv2d 8x64x56x56 -> 64, 3x3", convolution(8, 64, 56, 64), 1.5),
    ("conv1d 32x64x1024 -> 64, 5", layer(lambda f, x, w: f.conv1d(x, w), (32, 64, 1024), (64, 64, 5)), 1.5),
    ("max_pool2d 32x64x56x56, 2", layer(lambda f, x: f.max_pool2d(x, 2), (32, 64, 56, 56)), 1.2),
    ("avg_pool2d 32x64x56x56, 2", layer(lambda f, x: f.avg_pool2d(x, 2), (32, 64, 56, 56)), 1.2),
    ("batch_norm 32x64x56x56", layer(lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True),
                                     (32, 64, 56, 56), (64,), (64,)), 1.2),
    ("layer_norm 4096x512", layer(lambda f, x, w, b: f.layer_norm(x, (512,), w, b), (4096, 512), (512,), (512,)), 1.5),
    ("rms_norm 4096x512", layer(lambda f, x, w: f.rms_norm(x, (512,), w), (4096, 512), (512,)), 1.2),
    ("softmax 4096x512", layer(lambda f, x: f.softmax(x, dim=1), (4096, 512)), 1.5),
    ("gelu 4096x512", layer(lambda f, x: f.gelu(x), (4096, 512)), 1.5),
    ("silu 4096x512", layer(lambda f, x: f.silu(x), (4096, 512)), 1.5),
    ("attention 4x8x256x64, causal", layer(lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v, is_causal=True),
                                           *[(4, 8, 256, 64)] * 3), 1.2),
    ("cross_entropy 1024x8192", cross_entropy, 1.2),
    ("embedding 20000x256, 8192 rows of it", embedding, 1.2),
    ("linear 2048x512 -> 2048", layer(lambda f, x, w, b: f.linear(x, w, b), (2048, 512), (2048, 512), (2048,)), 1.2),
]  # fmt: skip


# -- what is only ours -----------------------------------------------------------------------------------------------


def long_chain(n: int) -> tuple[float, int]:
    """(seconds of backward over n nodes, nodes alive afterwards)"""
    x = pullback.ones(1, requires_grad=True)
    h = x
    for _ in range(n):
        h = h * 1.0
    loss = h.sum()
    start = time.perf_counter()
    loss.backward()
    took = time.perf_counter() - start
    del h, loss
    gc.collect()
    return took, sum(issubclass(type(o), pullback.tape.Node) for o in gc.get_objects())


def checkpoint_run(segments: int | None) -> tuple[Callable[[], None], int]:
    """(a step, its peak bytes): forward and backward through 256 layers."""
    pullback.manual_seed(0)
    weights = [(pullback.randn(64, 64) / 8).requires_grad_() for _ in range(256)]

    def layer(w: Any) -> Callable[[Any], Any]:
        return lambda h: (h @ w).tanh()

    layers = [layer(w) for w in weights]
    x = pullback.randn(512, 64).requires_grad_()

    def run() -> None:
        if segments is None:
            h = x
            for f in layers:
                h = f(h)
        else:
            h = pullback.utils.checkpoint.checkpoint_sequential(layers, segments, x, use_reentrant=False)
        h.sum().backward()

    run()  # gradients exist from here on, so that only what is saved makes a difference
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return run, peak


def import_seconds() -> float:
    """Median time of `import pullback` in a fresh interpreter, less that of importing nothing."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def run(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        return time.perf_counter() - start

    run("import pullback")  # compiles it, as an installation would have
    return statistics.median(run("import pullback") - run("pass") for _ in range(9))


def main() -> int:
    table = Table(__doc__)
    if not table.names:
        ours(table)

    import torch  # after what is measured alone: its threads and its heap would be in the way

    torch.set_num_threads(THREADS)
    for name, workload, calls, rounds, bar in COMPARISONS:
        if table.wants(name):
            table.compare(name, workload(pullback), workload(torch), calls, rounds, bar)
    for name, workload, bar in LAYERS:
        if table.wants(name):
            table.compare(name, workload(pullback), workload(torch), 8, 11, bar)
    return table.status()


def ours(table: Table) -> None:
    """Rows that need no peer."""
    (plain, plain_peak), (in_16, peak_16) = checkpoint_run(None), checkpoint_run(16)
    time_16, plain_time, ratio = against(in_16, plain, 1, 21)
    name = "checkpointing 256 layers in 16 segments"
    table.row(
        f"{name}: peak memory / plain", f"{peak_16 >> 10} KiB, {plain_peak >> 10} KiB", peak_16 / plain_peak, 1 / 6
    )
    table.row(f"{name}: time / plain", f"{readable(time_16)}, {readable(plain_time)}", ratio, 1.45)
    runs = [(long_chain(2_000_000), long_chain(1_000_000)) for _ in range(5)]
    two, one = (statistics.median(run[k][0] for run in runs) for k in range(2))
    table.row("backward over 2 M nodes / over 1 M", f"{two:.2f} s, {one:.2f} s", two / one, 2.2)
    alive = max(run[k][1] for run in runs for k in range(2))
    table.row("nodes alive after it", f"{alive}", alive, 0)
    table.row("import pullback, seconds", "", import_seconds(), 0.25)


if __name__ == "__main__":
    sys.exit(main())
