"""What all benchmarks share: rounds that alternate between two programs, and a table that knows its bars.

Import this before NumPy and PyTorch: it gives each of them two threads. With THREADS=1 in the environment it is one,
and what is measured is the processor's time: that holds on a machine with others at work, where threads of a team wait
for each other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

THREADS = int(os.environ.get("THREADS", "2"))
CLOCK = time.perf_counter if THREADS > 1 else time.process_time
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))


def seconds(f: Callable[[], Any], calls: int) -> float:
    start = CLOCK()
    for _ in range(calls):
        f()
    return (CLOCK() - start) / calls


def against(ours: Callable[[], Any], theirs: Callable[[], Any], calls: int, rounds: int) -> tuple[float, float, float]:
    """(our median, their median, median of the rounds' ratios): the ratio holds while the machine's speed drifts."""
    ours(), theirs()
    pairs = [(seconds(ours, calls), seconds(theirs, calls)) for _ in range(rounds)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def readable(s: float) -> str:
    """A time in its natural unit."""
    return f"{s * 1e6:.1f} us" if s < 1e-3 else f"{s * 1e3:.2f} ms" if s < 1 else f"{s:.2f} s"


class Table:
    """A Markdown table of figures, each with its bar; `--check` makes the exit status say whether all were met."""

    def __init__(self, description: str | None, theirs: str = "PyTorch") -> None:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
        parser.add_argument("names", nargs="*", help="only the rows whose name contains one of these")
        options = parser.parse_args()
        self.check, self.names, self.missed = options.check, options.names, list[str]()
        print(f"| workload | pullback, {theirs} | ratio | bar | met |\n|---|---|---|---|---|")

    def wants(self, name: str) -> bool:
        return not self.names or any(n in name for n in self.names)

    def row(self, name: str, figures: str, value: float, bar: float | None, least: bool = False) -> None:
        """`least`: the bar is a lower one. Without a bar, the row is for information."""
        if bar is None:
            print(f"| {name} | {figures} | {value:.2f} | | |", flush=True)
            return
        ok = value >= bar if least else value <= bar
        self.missed.extend([] if ok else [name])
        sign = ">=" if least else "<="
        print(f"| {name} | {figures} | {value:.2f} | {sign} {bar:.3g} | {'yes' if ok else 'NO'} |", flush=True)

    def compare(
        self, name: str, ours: Callable[[], Any], theirs: Callable[[], Any], calls: int, rounds: int, bar: float | None
    ) -> None:
        """A row for our time / their time."""
        a, b, ratio = against(ours, theirs, calls, rounds)
        self.row(name, f"{readable(a)}, {readable(b)}", ratio, bar)

    def status(self) -> int:
        if self.check and self.missed:
            print("missed: " + "; ".join(self.missed))
        return 1 if self.check and self.missed else 0
