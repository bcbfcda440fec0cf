"""What is computed twice is computed once: the same op, on the same operands, with the same parameters.

A checkpointed region that is computed again does what it did before, and must not be merged with it: then everything
would be kept that checkpointing was to drop. So instructions are only compared within their region.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import Any

import numpy as np

from ...dtypes import dtype
from ..program import Instruction, Program, Value, renamed

SMALL = 1 << 12  # bytes: arrays up to here are compared by content, larger ones by identity
PLAIN = frozenset({int, bool, str, bytes, type(None), type(...)})
DTYPES = (np.dtype, dtype, type)


def share(program: Program) -> Program:
    """With one instruction in place of several equal ones, and one constant likewise."""
    new: dict[Value, Value] = {}
    held: dict[Hashable, Value] = {}
    for value, array in program.constants.items():
        first = held.setdefault((value.weak, key(array)), value)
        if first is not value:
            new[value] = first
    made: dict[Hashable, tuple[Value, ...]] = {}
    kept = []
    for instruction in program.instructions:
        if not new.keys().isdisjoint(instruction.values):
            instruction = instruction.changed(inputs=renamed(instruction.inputs, new))
        outputs = instruction.outputs
        try:
            earlier = made.setdefault(likeness(instruction), outputs)
        except TypeError:  # a parameter that cannot be compared
            earlier = outputs
        if earlier is outputs:
            kept.append(instruction)
        else:
            new.update(zip(outputs, earlier, strict=True))
    return program.replaced(
        constants={value: array for value, array in program.constants.items() if value not in new},
        instructions=kept,
        outputs=renamed(program.outputs, new),
        writes=[write._replace(value=new.get(write.value, write.value)) for write in program.writes],
    )


def likeness(instruction: Instruction) -> Hashable:
    """Equal for instructions that give the same results; their dtype may depend on the default dtype."""
    return (
        instruction.op,
        instruction.region,
        tuple([x if type(x) is Value else key(x) for x in instruction.inputs]),
        key(instruction.params),
        tuple([value.dtype for value in instruction.outputs]),
    )


def key(x: Any) -> Hashable:
    """Equal for things that are the same to the last bit: 0.0 is not -0.0, 1 is neither 1.0 nor True, nan is nan."""
    kind: Any = type(x)
    if kind in PLAIN:
        return kind, x
    if kind is float:
        return kind, struct.pack("d", x)
    if kind is tuple or kind is list:
        return kind, *map(key, x)
    if kind is dict:
        return kind, *[(key(k), key(v)) for k, v in x.items()]
    if kind is slice:
        return kind, key(x.start), key(x.stop), key(x.step)
    if kind is np.ndarray and x.dtype != object:
        return kind, x.dtype, x.shape, x.strides, x.tobytes() if x.nbytes <= SMALL else id(x)
    if isinstance(x, np.generic):
        return kind, x.tobytes()
    if isinstance(x, DTYPES) or kind.__hash__ is object.__hash__:  # each exists once: types, functions, Programs
        return kind, x
    raise TypeError(f"{kind.__name__} cannot be compared")
