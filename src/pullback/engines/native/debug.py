"""PULLBACK_DEBUG=1: each value has memory of its own, with bytes around it that nobody may write.

They are looked at after each run. What was not written before it is read is NaN, or a number that stands out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...errors import PullbackError, fail
from .arena import rounded
from .place import ALIGNMENT, ARENA, OUTPUT, Memory
from .plan import Plan, Step

GUARD = 4 * ALIGNMENT  # bytes before and after each piece
MARK = 0xA5  # what stands in them
UNWRITTEN = 0xFF  # in every byte: NaN, or -1


def apart(pieces: Iterable[Memory]) -> int:
    """Give each piece memory of its own; returns how much that is."""
    total = GUARD
    for piece in pieces:
        piece.offset = total
        total += rounded(piece.nbytes) + GUARD
    return total


class Guards:
    """What surrounds the arena's pieces, and results."""

    def __init__(self, plan: Plan, arena: np.ndarray[Any, Any]) -> None:
        self.plan, self.arena = plan, arena
        self.pieces = {id(m): m for step in plan.steps for m in (*step.reads, *step.writes) if m.kind == ARENA}
        self.results: list[np.ndarray[Any, Any]] = []  # the memory of results, each with what is around it

    def maker(self, shape: Any, strides: Any, dtype: Any) -> Callable[[], np.ndarray[Any, Any]]:
        """What makes a result with guards around it."""
        nbytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))

        def make() -> np.ndarray[Any, Any]:
            block = np.full(nbytes + 2 * GUARD, MARK, np.uint8)
            self.results.append(block)
            inside = block[GUARD : GUARD + nbytes]
            inside[...] = UNWRITTEN
            steps = tuple(s * dtype.itemsize for s in strides)
            return np.ndarray(shape, dtype, inside.data if nbytes else None, 0, steps)

        return make

    def begin(self) -> None:
        """Before a run."""
        self.results.clear()
        self.arena[...] = MARK
        for piece in self.pieces.values():
            self.arena[piece.offset : piece.offset + piece.nbytes] = UNWRITTEN

    def check(self) -> None:
        """After a run: has somebody written where he must not?"""
        for piece in self.pieces.values():
            end = piece.offset + piece.nbytes
            before, after = self.arena[piece.offset - GUARD : piece.offset], self.arena[end : end + GUARD]
            if (before != MARK).any() or (after != MARK).any():
                where = "before" if (before != MARK).any() else "after"
                self.overrun(where, piece.nbytes, {id(piece)})
        for k, block in enumerate(self.results):
            if (block[:GUARD] != MARK).any() or (block[-GUARD:] != MARK).any():
                memories = [m for step in self.plan.steps for m in step.writes]
                mine = {id(m) for m in memories if (m.kind, m.index) == (OUTPUT, k)}
                self.overrun("beside", len(block) - 2 * GUARD, mine)

    def overrun(self, where: str, nbytes: int, memories: set[int]) -> None:
        """Say who wrote there."""
        found = [name(step) for step in self.plan.steps if any(id(m) in memories for m in step.writes)]
        fail(
            PullbackError,
            f"memory was written {where} the {nbytes} bytes of a value, made by {' and '.join(found) or 'nobody'}",
            "its kernel writes where it must not: report this",
        )


def name(step: Step) -> str:
    """A step, and the user's line."""
    ops = ", ".join(dict.fromkeys(i.op.name for i in step.instructions)) or "a copy"
    line = next((i.line for i in step.instructions if i.line), None)
    return f"{getattr(step, 'function', 'a loop')} ({ops}{f' at {line}: {line.text}' if line else ''})"


__all__ = ["Guards", "apart"]
