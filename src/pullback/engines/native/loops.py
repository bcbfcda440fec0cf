"""Elementwise instructions as loops in C: many instructions in one loop over the elements of one shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import BF16, F16, F32, F64
from ...program.program import Instruction, Shape
from .place import Place
from .plan import Step

C = {F32: "float", F64: "double", F16: "f16", BF16: "bf16"} | {
    np.dtype(t): c
    for t, c in (
        *(("b1", "uint8_t"), ("u1", "uint8_t"), ("u2", "uint16_t"), ("u4", "uint32_t"), ("u8", "uint64_t")),
        *(("i1", "int8_t"), ("i2", "int16_t"), ("i4", "int32_t"), ("i8", "int64_t")),
    )
}
GRAIN = 1 << 14  # elements: for fewer, it does not pay to wake another thread


class Access(NamedTuple):
    """A variable that is read from memory or written to it."""

    name: str
    place: Place


class Load(Access):
    """Read."""

    pointer = property(lambda self: f"i_{self.name}")
    type = property(lambda self: f"const {C[self.place.dtype]}")


class Store(Access):
    """Written."""

    pointer = property(lambda self: f"o_{self.name}")
    type = property(lambda self: C[self.place.dtype])


class Loop(Step):
    """for each element of a shape: load, compute, store."""

    def __init__(self, shape: Shape, loads: Sequence[Load], lines: Sequence[str], stores: Sequence[Store],
                 instructions: Sequence[Instruction] = ()) -> None:  # fmt: skip
        self.shape, self.loads, self.lines, self.stores = shape, list(loads), list(lines), list(stores)
        self.instructions = list(instructions)
        self.reads = [load.place.memory for load in self.loads]
        self.writes = [store.place.memory for store in self.stores]
        self.in_place = [store.place for store in self.stores]

    @property
    def places(self) -> list[Place]:
        return [*(x.place for x in self.loads), *(x.place for x in self.stores)]

    @property
    def idle(self) -> bool:
        """Does it only copy what is there already, as state that is written in part?"""
        if self.lines or [x.name for x in self.loads] != [x.name for x in self.stores]:
            return False
        a, b = self.loads[0].place, self.stores[0].place
        here, there = ((x.memory.kind, x.memory.index, x.memory.offset, x.offset, x.strides, x.moving) for x in (a, b))
        return here == there

    def source(self, name: str) -> tuple[str, list[Any]]:
        """The C function, whose text does not depend on sizes, and its arguments."""
        accesses: list[Any] = [*self.loads, *self.stores]
        shape, strides = collapsed(self.shape, [x.place.strides for x in accesses])
        inner = len(shape) - 1
        head = [f"{x.type} *{x.pointer}" for x in accesses] + [f"i64 n{d}" for d in range(len(shape))]
        arguments: list[Any] = [x.place for x in accesses] + shape
        rows: list[str] = []  # pointers to the row that is worked on
        at: dict[str, str] = {}  # the element that is
        for x, steps in zip(accesses, strides, strict=True):
            open_ = [d for d, s in enumerate(steps) if s != 0 and not (d == inner and s == 1)]
            head += [f"i64 {x.pointer}_s{d}" for d in open_]
            arguments += [steps[d] for d in open_]
            moves = [f"a{d} * {x.pointer}_s{d}" for d in open_ if d < inner]
            row = f"{x.pointer}_row" if moves else x.pointer
            if moves:
                rows.append(f"{x.type} *{row} = {x.pointer} + {' + '.join(moves)};")
            along = {0: "0", 1: "b"}.get(steps[inner], f"b * {x.pointer}_s{inner}")
            at[x.pointer] = f"{row}[{along}]"
        body = [f"{kind(x.place.dtype)} {x.name} = {get(x.place.dtype, at[x.pointer])};" for x in self.loads]
        body += self.lines
        body += [f"{at[x.pointer]} = {put(x.place.dtype, x.name)};" for x in self.stores]
        loops = along_rows(inner, rows, body) if inner else along_one(body)
        text = [f"static KERNEL void {name}(T *t, {', '.join(head)}) {{", "    i64 first, last;", *loops, "}"]
        return "\n".join(text), arguments


def along_one(body: list[str]) -> list[str]:
    """One dimension, of which each thread takes a part."""
    return [
        f"    share(t, n0, {GRAIN}, &first, &last);",
        "    LANES",
        "    for (i64 b = first; b < last; b++) {",
        *[f"        {line}" for line in body],
        "    }",
    ]


def along_rows(inner: int, rows: list[str], body: list[str]) -> list[str]:
    """Several dimensions: each thread takes some of the rows, and finds the indices a0, a1 ... of each."""
    indices, left = [], "row"
    for d in reversed(range(1, inner)):
        indices.append(f"i64 a{d} = {left} % n{d}, r{d} = {left} / n{d};")
        left = f"r{d}"
    return [
        f"    i64 rows = {' * '.join(f'n{d}' for d in range(inner))};",
        f"    share(t, rows, {GRAIN} / (n{inner} + 1) + 1, &first, &last);",
        "    for (i64 row = first; row < last; row++) {",
        *[f"        {line}" for line in (*indices, f"i64 a0 = {left};", *rows)],
        "        LANES",
        f"        for (i64 b = 0; b < n{inner}; b++) {{",
        *[f"            {line}" for line in body],
        "        }",
        "    }",
    ]


def collapsed(shape: Shape, strides: Sequence[Shape]) -> tuple[list[int], list[list[int]]]:
    """As few dimensions as say the same; the last is the one along which the last operand lies in order."""
    order = sorted([d for d, n in enumerate(shape) if n != 1], key=lambda d: -strides[-1][d])
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for d in order:
        if sizes and all(s[-1] == stride[d] * shape[d] for s, stride in zip(steps, strides, strict=True)):
            sizes[-1] *= shape[d]
            for s, stride in zip(steps, strides, strict=True):
                s[-1] = stride[d]
        else:
            sizes.append(shape[d])
            for s, stride in zip(steps, strides, strict=True):
                s.append(stride[d])
    if not sizes:
        return [math.prod(shape)], [[0] for _ in strides]
    return sizes, steps


def kind(dtype: Any) -> str:
    """The type that a value is computed in."""
    return "float" if dtype in (F16, BF16) else C[dtype]


def get(dtype: Any, text: str) -> str:
    return f"{'bf16' if dtype == BF16 else 'f16'}_f32({text})" if dtype in (F16, BF16) else text


def put(dtype: Any, text: str) -> str:
    return f"f32_{'bf16' if dtype == BF16 else 'f16'}({text})" if dtype in (F16, BF16) else text
