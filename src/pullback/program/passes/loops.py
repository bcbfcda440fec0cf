"""Loops and branches give what is read of them, carry what that depends on, and are given what they read.

A loop in a forward pass keeps what its way back needs: where nobody goes back, it need not. A way back adds up
cotangents for every tensor that the body reads: those that nobody asked for need not be added up.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ops.control import branch, loop
from ..program import Instruction, Program, Value
from .dead import prune


def slim(program: Program) -> Program:
    """With smaller loops and branches."""
    needed = set(program.results)
    kept: list[Instruction] = []
    for instruction in reversed(program.instructions):
        if instruction.op in (loop, branch):
            used = [k for k, value in enumerate(instruction.outputs) if value in needed]
            if used:
                instruction = (slim_loop if instruction.op is loop else slim_branch)(instruction, used)
        needed.update(instruction.values)
        kept.append(instruction)
    return program.replaced(instructions=kept[::-1])


def slim_loop(instruction: Instruction, used: Sequence[int]) -> Instruction:
    """A loop with just the results `used`, and the carries that they depend on."""
    params, body = instruction.params, instruction.params["body"]
    n, m = params["carries"], params["rows"]
    live = set(used)
    while True:
        inner = prune(body.replaced(outputs=[body.outputs[k] for k in sorted(live)]))
        read = reads(inner)
        more = {k for k in range(n) if body.inputs[k].value in read} | live
        if more == live:
            break
        live = more
    given = [k for k in range(len(body.inputs)) if (k in live if k < n else body.inputs[k].value in read)]
    if len(live) == len(body.outputs) and len(given) == len(body.inputs):
        return instruction
    return instruction.changed(
        inputs=[instruction.inputs[k] for k in given],
        outputs=[instruction.outputs[k] for k in sorted(live)],
        params={
            **params,
            "body": inner.replaced(inputs=[body.inputs[k] for k in given]),
            "carries": sum(k < n for k in given),
            "rows": sum(n <= k < n + m for k in given),
        },
    )


def slim_branch(instruction: Instruction, used: Sequence[int]) -> Instruction:
    """A branch with just the results `used`."""
    names = ("true", "false")
    inner = [
        prune(p.replaced(outputs=[p.outputs[k] for k in used])) for p in map(instruction.params.__getitem__, names)
    ]
    read = [reads(p) for p in inner]
    given = [
        k for k in range(len(inner[0].inputs)) if any(p.inputs[k].value in r for p, r in zip(inner, read, strict=True))
    ]
    if len(used) == len(instruction.outputs) and len(given) == len(inner[0].inputs):
        return instruction
    return instruction.changed(
        inputs=[instruction.inputs[0], *[instruction.inputs[k + 1] for k in given]],
        outputs=[instruction.outputs[k] for k in used],
        params={name: p.replaced(inputs=[p.inputs[k] for k in given]) for name, p in zip(names, inner, strict=True)},
    )


def reads(program: Program) -> set[Value]:
    """What its instructions read, and what it gives."""
    return {v for i in program.instructions for v in i.values} | set(program.outputs)
