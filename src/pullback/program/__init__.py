"""The Program of a step: its record, how it is captured, what can be read from it, and how it is run.

`program` is the record, `symbol`, `recorder`, `places` and `capture` make one, `compiled` and `bind` call it, `passes`
improve it, `verify` checks all of that; the other files read it: `show`, `files`, `draw`, `cost`, `memory`.
"""

from __future__ import annotations

from .compiled import Compiled, compile
from .control import cond, scan, while_loop
from .program import Input, Instruction, Program, Value, Write
from .verify import verify

__all__ = [
    "Compiled",
    "Input",
    "Instruction",
    "Program",
    "Value",
    "Write",
    "compile",
    "cond",
    "scan",
    "verify",
    "while_loop",
]
