"""The numpy engine: runs a Program instruction by instruction. The reference, the debugger, the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..modes import MODES
from ..ops.record import Op
from ..program.program import Instruction, Program, Value

Arrays = dict[Value, Any]


class Interpreter:
    """A Program on NumPy. Calling it gives the outputs, then the writes; `steps` stops at each instruction."""

    def __init__(self, program: Program) -> None:
        self.program = program
        last = program.last_uses()
        ends: list[list[Value]] = [[] for _ in range(len(program) + 1)]
        for i, instruction in enumerate(program.instructions):
            for value in dict.fromkeys([*instruction.values, *instruction.outputs]):
                if last.get(value, i) == i and value not in program.constants:
                    ends[i].append(value)
        self.ends = ends
        self.work = [(i.op, i.inputs, i.params, i.outputs, ends[n]) for n, i in enumerate(program.instructions)]

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run it all; values are freed at their last use."""
        known = self.begin(inputs)
        for op, operands, params, outputs, done in self.work:
            out = plainly(op, [known[x] if type(x) is Value else x for x in operands], params)
            if len(outputs) == 1:
                known[outputs[0]] = out
            else:
                known.update(zip(outputs, out, strict=True))
            for value in done:
                del known[value]
        return self.results(known, inputs)

    def begin(self, inputs: Sequence[Any]) -> Arrays:
        """What is known before the first instruction."""
        known: Arrays = dict(self.program.constants)
        known.update(zip([given.value for given in self.program.inputs], inputs, strict=True))
        return known

    def steps(self, inputs: Sequence[Any], keep: bool = True) -> Iterator[tuple[Instruction, Arrays]]:
        """After each instruction: it, and all values that are known; with keep=False, those still needed."""
        known = self.begin(inputs)
        for i, instruction in enumerate(self.program.instructions):
            operands = [known[x] if type(x) is Value else x for x in instruction.inputs]
            out = plainly(instruction.op, operands, instruction.params)
            known.update(zip(instruction.outputs, out if type(out) is tuple else (out,), strict=True))
            yield instruction, known
            if not keep:
                for value in self.ends[i]:
                    known.pop(value, None)

    def value(self, wanted: Value, inputs: Sequence[Any]) -> Any:
        """One intermediate value; nothing after it is run."""
        known = self.begin(inputs)
        if wanted in known:
            return known[wanted]
        for instruction, known in self.steps(inputs, keep=False):
            if wanted in instruction.outputs:
                return known[wanted]
        raise KeyError(f"{self.program.name} does not make {wanted!r}")

    def results(self, known: Arrays, inputs: Sequence[Any]) -> list[Any]:
        """Outputs and writes, each in memory of its own."""
        taken = [x for x in inputs if type(x) is np.ndarray]
        results: list[Any] = []
        seen: set[int] = {id(root(x)) for x in (*taken, *self.program.constants.values())}
        for value in self.program.results:
            array = np.asarray(known[value], value.dtype)
            if id(root(array)) in seen or array.base is not None:
                array = array.copy()
            seen.add(id(root(array)))
            results.append(array)
        return results


def plainly(op: Op, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """Run an op on NumPy, however large its arrays are."""
    before, MODES.plain = MODES.plain, True
    try:
        return op(*operands, **params)
    finally:
        MODES.plain = before


def root(array: Any) -> Any:
    """The array that owns the memory."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


def build(program: Program) -> Interpreter:
    """What `engine="numpy"` makes of a Program."""
    return Interpreter(program)
