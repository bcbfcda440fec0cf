"""Passes make a Program smaller and quicker; each is a function Program -> Program, and can be run alone.

A value that a pass keeps is the same object before and after, and holds the same content, bit for bit. So any two
stages can be compared value by value.
"""

from __future__ import annotations

from collections.abc import Callable

from ..program import Program
from .dead import prune
from .duplicates import share
from .fold import fold
from .loops import slim
from .recompute import recompute
from .simplify import simplify

Pass = Callable[[Program], Program]

PASSES: tuple[Pass, ...] = (prune, fold, simplify, share, prune, slim, prune, recompute)


def optimize(program: Program) -> Program:
    """All passes, each one's Program checked."""
    for change in PASSES:
        program = change(program).check()
    return program


__all__ = ["PASSES", "Pass", "fold", "optimize", "prune", "recompute", "share", "simplify", "slim"]
