"""Replay: a Program run again by calling its ops on whatever it is given.

On arrays it computes; on Tensors it is recorded on the tape; on symbols its instructions are noted once more, by the
recorder that is at work, with the lines and modules that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ...modes import MODES
from ...ops.control import PLAY
from ...ops.record import Op
from ...tensor import Tensor
from ..program import Instruction, Program, Value
from .symbol import Symbol

# How an op that holds Programs runs on Tensors; `control` puts its ops in here.
CONTROL: dict[Op, Callable[[Instruction, Sequence[Any]], Any]] = {}
ENDS: WeakKeyDictionary[Program, list[list[Value]]] = WeakKeyDictionary()


def replay(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """What the Program gives for these inputs: its outputs, then its writes."""
    known: dict[Value, Any] = dict(zip([given.value for given in program.inputs], inputs, strict=True))
    symbolic = any(type(x._array if isinstance(x, Tensor) else x) is Symbol for x in inputs)
    for value, array in program.constants.items():
        known[value] = MODES.capture.symbol_of(array) if symbolic else array
    ends = ENDS.get(program)
    if ends is None:
        ends = ENDS[program] = ends_of(program)
    for instruction, done in zip(program.instructions, ends, strict=True):
        out = again(instruction, [known[x] if type(x) is Value else x for x in instruction.inputs])
        if len(instruction.outputs) == 1:
            known[instruction.outputs[0]] = out
        else:
            known.update(zip(instruction.outputs, out, strict=True))
        for value in done:
            del known[value]
    return [known[value] for value in program.results]


def again(instruction: Instruction, operands: Sequence[Any]) -> Any:
    """One instruction. The recorder knows this function by its name: what is noted below it keeps line and module."""
    if instruction.op in CONTROL and any(isinstance(x, Tensor) for x in operands):
        return CONTROL[instruction.op](instruction, operands)
    return instruction.op(*operands, **instruction.params)


def ends_of(program: Program) -> list[list[Value]]:
    """For each instruction, the values that nobody reads after it."""
    last = program.last_uses()
    ends: list[list[Value]] = [[] for _ in program.instructions]
    for i, instruction in enumerate(program.instructions):
        for value in dict.fromkeys([*instruction.values, *instruction.outputs]):
            if last.get(value, i) == i:
                ends[i].append(value)
    return ends


PLAY.append(replay)
