"""The Program of a step: its record, how it is captured, what can be read from it, and how it is run.

`program` is the record; `show`, `files`, `compare`, `draw`, `cost` and `memory` read it, `passes` improve it.
`capture` makes one from a function, `call` runs it again and again, `control` has branches and loops inside of a step,
and `verify` checks all of that.
"""

from __future__ import annotations

from .call.compiled import Compiled, compile
from .control.functions import cond, scan, while_loop
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
