"""Counting floating point operations: every op that runs, forward and backward, by its record's own count."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from ..modes import MODES
from ..ops.record import WATCHERS, Op


class FlopCounterMode:
    """Counts inside a `with` block; a multiplication and an addition are two operations."""

    def __init__(self, mods: Any = None, depth: int = 2, display: bool = True, custom_mapping: Any = None) -> None:
        self.display = display
        self.forward: dict[str, int] = defaultdict(int)
        self.backward: dict[str, int] = defaultdict(int)
        self.calls: dict[str, int] = defaultdict(int)

    def __enter__(self) -> FlopCounterMode:
        for counts in (self.forward, self.backward, self.calls):
            counts.clear()
        self._thread = threading.get_ident()
        WATCHERS.append(self._count)
        return self

    def __exit__(self, *error: object) -> None:
        WATCHERS.remove(self._count)
        if self.display:
            print(self.get_table())

    def _count(self, op: Op, arrays: Any, params: dict[str, Any], out: Any) -> None:
        if threading.get_ident() == self._thread:
            self.add(op.name, op.flops(arrays, params, out))

    def add(self, name: str, flops: int) -> None:
        """Enter what one call of an op cost."""
        (self.backward if MODES.backward else self.forward)[name] += flops
        self.calls[name] += 1

    def get_total_flops(self) -> int:
        """All operations, forward and backward."""
        return sum(self.forward.values()) + sum(self.backward.values())

    def get_flop_counts(self) -> dict[str, dict[str, int]]:
        """{"Global": {op: operations}, "forward": ..., "backward": ...}, without the ops that only move data."""
        names = [name for name in self.calls if self.forward[name] + self.backward[name]]
        parts = {"forward": self.forward, "backward": self.backward}
        both = {name: self.forward[name] + self.backward[name] for name in names}
        return {"Global": both, **{part: {n: counts[n] for n in names if counts[n]} for part, counts in parts.items()}}

    def get_table(self, depth: int | None = None) -> str:
        """One line for each op, the costliest first."""
        total = self.get_total_flops()
        cells = [("op", "calls", "forward", "backward", "total", "share")]
        names = sorted(self.calls, key=lambda n: (-self.forward[n] - self.backward[n], n))
        for n in names:
            both = self.forward[n] + self.backward[n]
            cells.append(
                (
                    n,
                    f"{self.calls[n]}",
                    f"{self.forward[n]:,}",
                    f"{self.backward[n]:,}",
                    f"{both:,}",
                    f"{both / (total or 1):.1%}",
                )
            )
        ahead, behind = sum(self.forward.values()), sum(self.backward.values())
        cells.append(("total", f"{sum(self.calls.values())}", f"{ahead:,}", f"{behind:,}", f"{total:,}", "100.0%"))
        widths = [max(len(row[i]) for row in cells) for i in range(6)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in cells
        ]
        return "\n".join(lines)
