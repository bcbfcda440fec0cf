"""What nobody reads is not computed."""

from __future__ import annotations

from ..program import Instruction, Program, Value


def prune(program: Program) -> Program:
    """Without the instructions and constants that neither an output nor a write depends on. Inputs stay."""
    needed = set(program.results)
    kept: list[Instruction] = []
    for instruction in reversed(program.instructions):
        if not needed.isdisjoint(instruction.outputs):
            kept.append(instruction)
            needed.update([x for x in instruction.inputs if type(x) is Value])
    constants = {value: array for value, array in program.constants.items() if value in needed}
    return program.replaced(constants=constants, instructions=kept[::-1])
