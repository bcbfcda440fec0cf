"""Where in one arena each piece of memory lies: known before the first run, and with it the peak."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

from .place import ALIGNMENT, Memory


def lay_out(pieces: Iterable[Memory]) -> int:
    """Give each piece an offset, such that no two that live at the same time overlap; returns the arena's size.

    The largest come first; each goes into the smallest gap that fits between those that live beside it.
    """
    placed: list[Memory] = []
    total = 0
    for piece in sorted(pieces, key=lambda m: (-m.nbytes, m.first)):
        size = rounded(piece.nbytes)
        best = end = 0
        slack = None
        for other in placed:  # in the order of their offsets
            if other.last < piece.first or other.first > piece.last:
                continue
            gap = other.offset - end
            if gap >= size and (slack is None or gap < slack):
                best, slack = end, gap
            end = max(end, other.offset + rounded(other.nbytes))
        piece.offset = best if slack is not None else end
        total = max(total, piece.offset + size)
        insort(placed, piece, key=lambda m: m.offset)
    return total


def rounded(nbytes: int) -> int:
    return max(1, -(-nbytes // ALIGNMENT)) * ALIGNMENT
