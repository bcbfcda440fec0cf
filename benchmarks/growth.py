"""How cost grows: time with the batch and with the depth, attention's memory with the sequence. All are lines.

    python benchmarks/growth.py                 the table
    python benchmarks/growth.py --check         the table, and exit 1 if a bar is missed
    python benchmarks/growth.py --plot FILE     a picture of it

Times are of a small Transformer's whole training step on one thread: medians of rounds, in each of which every size has
a turn, so that the machine's speed, which drifts, is the same for all. A line is fitted to them, and the bar is on the
point that lies farthest from it. Memory is of a layer of attention, forward and backward, in a process of its own for
each length: what the engine has planned, and what the process has grown by. Its exponent is the slope of a line through
the logarithms.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from side_by_side import readable  # before NumPy: it sets the number of threads

import pullback as torch
from pullback import nn
from pullback.lm.config import Config
from pullback.lm.model import LanguageModel

TIMES = (1, 2, 4, 8, 16)
BATCH, DEPTH, TOKENS = 4, 2, 64  # what is multiplied; the other one stays
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
GROWN = 2  # lengths for which the process may not grow: it has freed as much before
WIDTH, HEADS = 128, 2
ROUNDS = 9
FARTHEST, EXPONENT = 0.25, 1.1


# -- time --------------------------------------------------------------------------------------------------------------


def training(batch: int, depth: int) -> Callable[[], Any]:
    """A call is a training step of a Transformer."""
    config = Config(
        vocab_size=512,
        hidden_size=WIDTH,
        num_hidden_layers=depth,
        num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=TOKENS,
    )
    model = LanguageModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    @torch.compile(engine="native")
    def step(tokens: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = model.loss(tokens, labels)
        loss.backward()
        optimizer.step()
        return loss

    tokens, labels = (torch.randint(0, config.vocab_size, (batch, TOKENS)) for _ in range(2))
    return lambda: step(tokens, labels)


def timed(steps: Sequence[Callable[[], Any]]) -> list[float]:
    """The median time of each, in seconds."""
    found: list[list[float]] = [[] for _ in steps]
    for step in steps:
        step()
    for _ in range(ROUNDS):
        for step, times in zip(steps, found, strict=True):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in found]


def line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float]:
    """a and b for which a + b x has the least relative errors (their squares' sum), and the largest of these errors."""
    w = [1 / (y * y) for y in ys]
    mean_x, mean_y = (sum(a * b for a, b in zip(w, values, strict=True)) / sum(w) for values in (xs, ys))
    products = sum(a * (x - mean_x) * (y - mean_y) for a, x, y in zip(w, xs, ys, strict=True))
    b = products / sum(a * (x - mean_x) ** 2 for a, x in zip(w, xs, strict=True))
    a = mean_y - b * mean_x
    return a, b, max(abs(y / (a + b * x) - 1) for x, y in zip(xs, ys, strict=True))


# -- memory ------------------------------------------------------------------------------------------------------------


def attention(length: int) -> tuple[int, int]:
    """Bytes that a layer of attention needs, forward and backward: the engine's, and all that the process grows by."""
    enter, leave = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    @torch.compile(engine="native")
    def step(x: Any) -> Any:
        enter.zero_grad(), leave.zero_grad()
        q, k, v = enter(x).view(1, x.shape[1], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        h = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        loss = leave(h.transpose(1, 2).flatten(2)).square().mean()
        loss.backward()
        return loss

    step(torch.randn(1, 16, WIDTH)).item()  # what is there for every length
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = torch.randn(1, length, WIDTH)
    for _ in range(2):
        step(x).item()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return step._entries[0].run.plan.size, grown * (1 if sys.platform == "darwin" else 1024)


def exponent(lengths: Sequence[int], sizes: Sequence[float]) -> float:
    """size ~ length^exponent"""
    return statistics.linear_regression([math.log(n) for n in lengths], [math.log(y) for y in sizes]).slope


# -- what is shown -----------------------------------------------------------------------------------------------------


def draw(file: str, times: dict[str, Sequence[float]], memory: dict[str, Sequence[float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, ys), color in zip(times.items(), ("tab:blue", "tab:orange"), strict=True):
        a, b, _ = line(TIMES, ys)
        left.plot(TIMES, [1e3 * y for y in ys], "o", color=color, label=name)
        left.plot([0, TIMES[-1]], [1e3 * a, 1e3 * (a + b * TIMES[-1])], "-", color=color, linewidth=1)
    left.set(
        xlabel="times as much",
        ylabel="ms",
        title="a Transformer's training step",
        xlim=(0, None),
        ylim=(0, None),
    )
    for name, sizes in memory.items():
        right.loglog(LENGTHS[-len(sizes) :], [y / 2**20 for y in sizes], "o-", label=name)
    every = [4 * HEADS * n * n / 2**20 for n in LENGTHS]
    right.loglog(LENGTHS, every, ":", color="gray", label="a matrix of all pairs")
    right.set(xlabel="tokens", ylabel="MiB", title="attention, forward and backward")
    right.set_xticks(LENGTHS, map(str, LENGTHS))
    right.minorticks_off()
    left.legend()
    right.legend()
    figure.savefig(file, dpi=80)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--plot", metavar="FILE", help="draw it there")
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.length:
        print(json.dumps(attention(options.length)))
        return 0
    missed: list[str] = []

    def row(name: str, figures: Sequence[str], what: str, value: float, bar: float) -> None:
        missed.extend([name] if value > bar else [])
        print(f"| {name} | {', '.join(figures)} | {what} {value:.2f} | <= {bar:g} | {'NO' if value > bar else 'yes'} |")

    print("| | figures | | bar | met |\n|---|---|---|---|---|")
    # First, as a process starts with the peak of the one that has started it.
    given = [sys.executable, __file__, "--length"]
    found = [json.loads(subprocess.run([*given, str(n)], check=True, capture_output=True).stdout) for n in LENGTHS]
    memory: dict[str, Sequence[float]] = {"planned": [a for a, _ in found]}
    memory["the process"] = [b for _, b in found[GROWN:]]
    both = timed([training(BATCH * n, DEPTH) for n in TIMES] + [training(BATCH, DEPTH * n) for n in TIMES])
    times: dict[str, Sequence[float]] = {"batch": both[: len(TIMES)], "depth": both[len(TIMES) :]}
    for name, ys in times.items():
        first = BATCH if name == "batch" else DEPTH
        row(f"time for a {name} of {', '.join(str(first * n) for n in TIMES)}", [readable(y) for y in ys],
            "farthest from a line", line(TIMES, ys)[2], FARTHEST)  # fmt: skip
    for name, sizes in memory.items():
        lengths = LENGTHS[-len(sizes) :]
        row(f"MiB for {', '.join(map(str, lengths))} tokens, {name}", [f"{size / 2**20:.1f}" for size in sizes],
            "exponent", exponent(lengths, sizes), EXPONENT)  # fmt: skip
    if options.plot:
        draw(options.plot, times, memory)
    if options.check and missed:
        print("missed: " + "; ".join(missed))
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
