"""The native engine: a Program compiled for this processor, called once a step."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import PullbackError, RangeError, fail
from ...program.program import Program, Value
from ..numpy import threads
from . import build as builder
from .debug import Guards
from .lower import lower
from .place import ALIGNMENT, ARENA, CONSTANT, INPUT, NUMBER, OUTPUT, Place, fills
from .plan import Host, Plan, microseconds, runs
from .report import report
from .source import Source, write

DONE, OTHER_LAYOUT = -1, -2
RECYCLED = 2**17  # bytes of a result whose memory is kept; less is had from the allocator just as fast
WORTHWHILE = 60  # microseconds of work: for less, a second thread is not woken


class Table(ctypes.Structure):
    """`plan` in c/runtime.c."""

    _fields_ = (
        ("step", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("threads", "places", "inputs", "fault_index")),
        *((name, ctypes.c_void_p) for name in ("table", "source", "offset", "numbers", "layout", "array_type")),
    )


class Executable:
    """A Program in machine code. Calling it gives the outputs, then the writes; state is written in place."""

    def __init__(self, program: Program, recycle: bool = False) -> None:
        self.program = program
        self.plan = plan = lower(program)
        self.source = source = write(plan)
        self.library: Any = builder.load(source.kernels, source.text)
        self.small = sum(n * microseconds(step) for step, n in runs(plan.steps)) < WORTHWHILE
        self.limit = threads.limit  # what set_num_threads() said when `threads` was set
        self.lock = threading.Lock()
        self.arena = aligned(plan.size)
        self.numbers = [k for k, given in enumerate(program.inputs) if given.kind == "number"]
        self.cells = np.zeros(max(len(program.inputs), 1), np.float64)  # a cell for each input that is a number
        self.known: list[Any] = [None] * len(program.inputs)
        self.guards = Guards(plan, self.arena) if builder.debugging() else None
        make = self.guards.maker if self.guards else maker
        makers = [make(home.shape, home.strides, home.dtype) for home in plan.fresh]
        again = recycle and self.guards is None
        self.makers = [
            Recycled(make) if again and home.size * home.dtype.itemsize >= RECYCLED else make
            for make, home in zip(makers, plan.fresh, strict=True)
        ]
        self.tables = [self.table(piece) if isinstance(piece, str) else piece for piece in source.pieces]
        runtime = builder.library("runtime")
        self.run = runtime.pb_call
        self.run.argtypes, self.run.restype = (ctypes.c_void_p, ctypes.py_object, ctypes.py_object), ctypes.c_int64

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run it."""
        inputs = inputs if type(inputs) is list else list(inputs)
        with self.lock:
            if threads.limit is not self.limit:
                self.take_threads()
            for k in self.numbers:
                x = inputs[k]
                if x is not self.known[k]:
                    self.known[k] = x
                    self.cell(k)[...] = x
            if self.guards is not None:
                self.guards.begin()
            outputs = [make() for make in self.makers]
            for table in self.tables:
                if isinstance(table, Host):
                    self.on_host(table, inputs, outputs)
                    continue
                done = self.run(ctypes.addressof(table), inputs, outputs)
                while done <= OTHER_LAYOUT:
                    k = OTHER_LAYOUT - done
                    inputs = list(inputs)
                    inputs[k] = laid_out(inputs[k], self.program.inputs[k].value)
                    done = self.run(ctypes.addressof(table), inputs, outputs)
                if done != DONE:
                    self.fault(done, table.fault_index)
            if self.guards is not None:
                self.guards.check()
        return [outputs[k] if kind == "fresh" else inputs[k] for kind, k in self.plan.results]

    def report(self) -> str:
        """What became of the instructions."""
        return report(self.program, self.plan, self.threads)

    @property
    def threads(self) -> int:
        """How many threads it runs on."""
        return 1 if self.small else threads.cores()

    def take_threads(self) -> None:
        """set_num_threads() was called."""
        self.limit = threads.limit
        for piece in self.tables:
            if isinstance(piece, Table):
                piece.threads = self.threads

    def cell(self, k: int) -> np.ndarray[Any, Any]:
        """Where input k lies, which is a number."""
        return self.cells[k : k + 1].view(self.program.inputs[k].value.dtype)[:1]

    def fault(self, step: int, index: int) -> None:
        """An index was out of range; no state has been written."""
        instruction, complaint = self.plan.steps[step].instructions[0], self.plan.steps[step].complaint
        line = instruction.line
        where = f"\n  at {line}: {line.text}" if line else ""
        if complaint is not None:
            fail(PullbackError, complaint[0] + where, complaint[1])
        fail(RangeError, f"{instruction.op.name}: index {index} is out of range{where}",
             "every index must lie in the dimension that it indexes: print its largest and smallest")  # fmt: skip

    # -- tables --------------------------------------------------------------------------------------------------------

    def table(self, function: str) -> Table:
        """What a part of the step is called with."""
        if not hasattr(self, "pieces"):
            self.pieces = tables(self.plan, self.source, self.arena, self.cells)
        t = Table()
        for name, x in self.pieces.items():
            setattr(t, name, x.ctypes.data if isinstance(x, np.ndarray) else x)
        t.step = ctypes.cast(self.library[function], ctypes.c_void_p)
        t.threads = self.threads
        return t

    def array(self, place: Place, inputs: Sequence[Any], outputs: Sequence[Any]) -> np.ndarray[Any, Any]:
        """A place as an array."""
        memory = place.memory
        base: Any
        if memory.kind == ARENA:
            base = self.arena[memory.offset : memory.offset + memory.nbytes]
        elif memory.kind == NUMBER:
            base = self.cell(memory.index)
        else:
            base = {INPUT: inputs, OUTPUT: outputs, CONSTANT: self.plan.constants}[memory.kind][memory.index]
        size = place.dtype.itemsize
        start = base.__array_interface__["data"][0] + place.offset * size
        return view(start, place, base)

    def on_host(self, step: Host, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        i = step.instructions[0]
        operands = []
        for given, x in zip(i.inputs, step.operands, strict=True):
            if not isinstance(x, Place):
                operands.append(x)
            elif type(given) is Value and given.weak:
                operands.append(self.array(x, inputs, outputs).item())
            else:
                operands.append(self.array(x, inputs, outputs))
        made = i.op(*operands, **i.params)
        for place, x in zip(step.results, made if type(made) is tuple else (made,), strict=True):
            self.array(place, inputs, outputs)[...] = x


def tables(plan: Plan, source: Source, arena: Any, cells: Any) -> dict[str, Any]:
    """The addresses and sizes that the C source leaves open."""
    count = len(plan.program.inputs)
    table = np.zeros(max(len(source.places), 1), np.uintp)
    origin = np.full(max(len(source.places), 1), -1, np.int64)
    offset = np.zeros(max(len(source.places), 1), np.int64)
    for k, place in enumerate(source.places):
        memory, start = place.memory, place.offset * place.dtype.itemsize
        if memory.kind in (INPUT, OUTPUT):
            origin[k], offset[k] = memory.index + (count if memory.kind == OUTPUT else 0), start
        else:
            block, within = {
                ARENA: (arena, memory.offset),
                NUMBER: (cells, 8 * memory.index),
                CONSTANT: (plan.constants[memory.index] if memory.kind == CONSTANT else cells, 0),
            }[memory.kind]
            table[k] = block.ctypes.data + within + start
    layout: list[int] = []
    for given in plan.program.inputs:
        value = given.value
        layout += [-1] if given.kind == "number" else [value.ndim, *value.shape, *value.strides]
    return {"places": len(source.places), "inputs": count, "table": table, "source": origin, "offset": offset,
            "numbers": np.array([*source.numbers, 0], np.int64), "layout": np.array([*layout, 0], np.int64),
            "array_type": id(np.ndarray)}  # fmt: skip


class Window:
    """Memory from an address on, in NumPy's array interface; it keeps what the memory belongs to alive."""

    def __init__(self, start: int, place: Place, base: Any) -> None:
        size = place.dtype.itemsize
        self.base = base
        self.__array_interface__ = {
            "version": 3,
            "shape": place.shape,
            "strides": tuple([s * size for s in place.strides]),
            "typestr": "<u2" if place.dtype.str[1] == "V" else place.dtype.str,  # it has no name for bfloat16
            "data": (start, False),
        }


def view(start: int, place: Place, base: Any) -> np.ndarray[Any, Any]:
    """Memory from an address on, as an array."""
    return np.asarray(Window(start, place, base)).view(place.dtype)


def maker(shape: Any, strides: Any, dtype: Any) -> Any:
    """What makes a new array that lies so."""
    order = sorted(range(len(shape)), key=lambda d: -strides[d]) if fills(shape, strides) else list(range(len(shape)))
    if order == list(range(len(shape))):
        return lambda: np.empty(shape, dtype)
    back, stored = [order.index(d) for d in range(len(shape))], tuple(shape[d] for d in order)
    return lambda: np.empty(stored, dtype).transpose(back)


class Recycled:
    """Makes arrays in memory that the caller has let go of: new memory has to be cleared by the system, page by page.

    A step's gradients need two: the last ones are still there when the next are made.
    """

    def __init__(self, make: Callable[[], np.ndarray[Any, Any]]) -> None:
        self.make, self.kept = make, list[np.ndarray[Any, Any]]()

    def __call__(self) -> np.ndarray[Any, Any]:
        for array in self.kept:
            if sys.getrefcount(array) <= ALONE and (array.base is None or sys.getrefcount(array.base) <= BASE):
                return array
        made = self.make()
        self.kept = [*self.kept[-1:], made]
        return made


def references(arrays: list[np.ndarray[Any, Any]]) -> tuple[int, int]:
    """What getrefcount says, in a loop as above, of an array that only the list has, and of what it is a view of."""
    for array in arrays:
        return sys.getrefcount(array), sys.getrefcount(array.base)
    return 0, 0


ALONE, BASE = references([np.empty((2, 3)).T])


def aligned(nbytes: int) -> np.ndarray[Any, Any]:
    """Memory that begins at a cache line."""
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + nbytes]


def laid_out(x: Any, value: Value) -> np.ndarray[Any, Any]:
    """An input as the Program was captured with: the same elements, with those strides."""
    array = np.asarray(x, value.dtype)
    if array.shape != value.shape:
        raise ValueError(f"{value!r} has shape {value.shape}, but was given {array.shape}")
    strides = tuple(s // value.dtype.itemsize for s in value.strides)
    made = maker(value.shape, strides, value.dtype)() if fills(value.shape, strides) else None
    if made is None:
        span = sum((n - 1) * s for n, s in zip(value.shape, strides, strict=True) if n > 1) + 1
        made = np.lib.stride_tricks.as_strided(np.empty(span, value.dtype), value.shape, value.strides)
    made[...] = array
    return made


def build(program: Program) -> Executable:
    """What `engine="native"` makes of a Program."""
    return Executable(program, recycle=True)


__all__ = ["Executable", "build"]
