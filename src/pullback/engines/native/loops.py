"""Elementwise instructions as loops in C: many instructions in one loop over the elements of one shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import BF16, F16, F32, F64
from ...program.program import Instruction, Shape
from .place import ARENA, Place
from .plan import Step

C = {F32: "float", F64: "double", F16: "f16", BF16: "bf16"} | {
    np.dtype(t): c for t, c in (("b1", "uint8_t"), ("u1", "uint8_t"), ("i1", "int8_t"), ("i2", "int16_t"), ("u2", "uint16_t"),
                                ("i4", "int32_t"), ("u4", "uint32_t"), ("i8", "int64_t"), ("u8", "uint64_t"))}  # fmt: skip
GRAIN = 1 << 14  # elements: for fewer, it does not pay to wake another thread


class Load(NamedTuple):
    """A variable that is read from memory."""

    name: str
    place: Place


class Store(NamedTuple):
    """A variable that is written to memory."""

    name: str
    place: Place


class Loop(Step):
    """for each element of a shape: load, compute, store."""

    in_place = True

    def __init__(self, shape: Shape, loads: Sequence[Load], lines: Sequence[str], stores: Sequence[Store],
                 instructions: Sequence[Instruction] = ()) -> None:  # fmt: skip
        self.shape, self.loads, self.lines, self.stores = shape, list(loads), list(lines), list(stores)
        self.instructions = list(instructions)
        self.reads = [load.place.memory for load in self.loads]
        self.writes = [store.place.memory for store in self.stores]

    @property
    def idle(self) -> bool:
        """Does it only copy what is there already, as state that is written in part?"""
        if self.lines or [x.name for x in self.loads] != [x.name for x in self.stores]:
            return False
        a, b = self.loads[0].place, self.stores[0].place
        same = a.memory is b.memory or (a.memory.kind == b.memory.kind != ARENA and a.memory.index == b.memory.index)
        return same and (a.offset, a.strides, a.shape) == (b.offset, b.strides, b.shape)

    def source(self, name: str) -> tuple[str, list[Any]]:
        """The C function, whose text does not depend on sizes, and its arguments."""
        places = [x.place for x in (*self.loads, *self.stores)]
        shape, strides = collapsed(self.shape, [p.strides for p in places])
        outer, inner = shape[:-1], shape[-1]
        head, arguments = [], list[Any]()
        for x in (*self.stores, *self.loads):
            const = "" if isinstance(x, Store) else "const "
            head.append(f"{const}{C[x.place.dtype]} *{'o' if isinstance(x, Store) else 'i'}_{x.name}")
            arguments.append(x.place)
        rank = len(shape)
        head += [f"i64 n{d}" for d in range(rank)]
        arguments += shape
        row, steps = dict[str, list[str]](), dict[str, str]()
        for x, stride in zip((*self.loads, *self.stores), strides, strict=True):
            pointer = f"{'o' if isinstance(x, Store) else 'i'}_{x.name}"
            moving = []
            for d, s in enumerate(stride):
                if s == 0 or (d == rank - 1 and s == 1):
                    continue
                head.append(f"i64 {pointer}_s{d}")
                arguments.append(s)
                if d < rank - 1:
                    moving.append(f"a{d} * {pointer}_s{d}")
            row[pointer] = moving
            steps[pointer] = "0" if stride[-1] == 0 else "b" if stride[-1] == 1 else f"b * {pointer}_s{rank - 1}"
        text = [f"static KERNEL void {name}(T *t, {', '.join(head)}) {{"]
        body: list[str] = []
        pointers = {p: f"{p} + {' + '.join(moving)}" if moving else p for p, moving in row.items()}
        for x in (*self.stores, *self.loads):
            p = f"{'o' if isinstance(x, Store) else 'i'}_{x.name}"
            const = "" if isinstance(x, Store) else "const "
            if row[p]:
                body.append(f"{const}{C[x.place.dtype]} *{p}_row = {pointers[p]};")
                pointers[p] = f"{p}_row"
        at = {p: f"{pointers[p]}[{steps[p]}]" for p in pointers}
        inside = [f"{kind(x.place.dtype)} {x.name} = {get(x.place.dtype, at[f'i_{x.name}'])};" for x in self.loads]
        inside += self.lines
        inside += [f"{at[f'o_{x.name}']} = {put(x.place.dtype, x.name)};" for x in self.stores]
        text.append("    i64 first, last;")
        if rank == 1:
            text += [f"    share(t, n0, {GRAIN}, &first, &last);", "    LANES", "    for (i64 b = first; b < last; b++) {",
                     *[f"        {line}" for line in inside], "    }"]  # fmt: skip
        else:
            rows = " * ".join(f"n{d}" for d in range(rank - 1))
            text += [f"    i64 rows = {rows};", f"    share(t, rows, {GRAIN} / (n{rank - 1} + 1) + 1, &first, &last);",
                     "    for (i64 row = first; row < last; row++) {"]  # fmt: skip
            left = "row"
            for d in reversed(range(1, rank - 1)):
                text.append(f"        i64 a{d} = {left} % n{d}, r{d} = {left} / n{d};")
                left = f"r{d}"
            text.append(f"        i64 a0 = {left};")
            text += [f"        {line}" for line in body]
            text += ["        LANES", f"        for (i64 b = 0; b < n{rank - 1}; b++) {{", *[f"            {line}" for line in inside],
                     "        }", "    }"]  # fmt: skip
        text.append("}")
        return "\n".join(text), arguments


def collapsed(shape: Shape, strides: Sequence[Shape]) -> tuple[list[int], list[list[int]]]:
    """As few dimensions as say the same; the last is the one along which results lie one after the other."""
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


def copy(x: Place, to: Place, instruction: Instruction | None = None) -> Loop:
    """The same elements in other memory."""
    return Loop(
        to.shape, [Load("x", x.broadcast(to.shape))], [], [Store("x", to)], [instruction] if instruction else []
    )
