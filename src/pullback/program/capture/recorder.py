"""The Recorder notes what runs on symbols: instructions, constants, and where in the user's program each comes from."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from ...errors import PACKAGE, Position, PullbackError, fail, here
from ...modes import MODES
from ...ops.create import full_like
from ...ops.record import Op, Spec
from ...tensor import tick
from ..program import BACKWARD, FORWARD, UPDATE, Instruction, Value
from .layout import kept_strides
from .symbol import Buffer, Number, Symbol

UNIFORM = 1024  # from so many elements on, a constant that is one number everywhere is noted as that


class Assumption(NamedTuple):
    """What the captured step took for granted of a number: that this expression has this value."""

    number: Number
    value: Any


class Origin(NamedTuple):
    """Where an instruction comes from."""

    position: Position | None
    module: Any
    phase: str
    region: int
    replayed: Instruction | None = None  # what is run again; then position and module are its own


class Recorder:
    """What was recorded so far. While it is in MODES.capture, ops on symbols are noted here."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.constants: dict[Value, np.ndarray[Any, Any]] = {}
        self.numbers: dict[str, tuple[Number, Value]] = {}
        self.assumptions: list[Assumption] = []
        self.deferred: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        self.stale: dict[int, Position] = {}  # options that a deferred action will change
        self.check: Callable[[Any], None] = lambda array: None  # refuses arrays of tensors that were not found
        self.check_targets: Callable[[Any], None] = lambda xs: None  # refuses what lies outside of the step
        self.begin: Callable[[Any, Any, Callable[[], Any]], Any]  # of the session that this is a part of
        self.regions: dict[int, int] = {}
        self.keep: list[Any] = []  # whose ids are in use
        self.name_of: Callable[[Any], str] = lambda module: type(module).__name__
        self.differentiated = False  # was there a backward pass?
        self.base = 0
        self._clock: list[int] = []
        self._origins: list[Origin] = []
        self._count = 0

    # -- values --------------------------------------------------------------------------------------------------------

    def new(self, spec: Spec, strides: Any = None, weak: bool = False) -> Value:
        """A value that has not been made yet."""
        self._count += 1
        return Value(self._count - 1, spec.shape, spec.dtype, strides, weak)

    def symbol(
        self, shape: Any, dtype: Any, strides: Any = None, device: str = "cpu", writeable: bool = True
    ) -> Symbol:
        """A symbol for an input."""
        value = self.new(Spec(tuple(shape), dtype), strides)
        buffer = Buffer(value, device, writeable)
        buffer.owner = self
        return Symbol(buffer, value)

    def constant(self, array: np.ndarray[Any, Any]) -> Value:
        """A value that is known; a copy, since the array may be written later."""
        if array.size >= UNIFORM and (array == array.flat[0]).all():
            first = self.constant(array.reshape(-1)[:1].reshape(()).copy())
            spec = Spec(array.shape, array.dtype)
            return self.emit(full_like, (first,), {"value": array.flat[0].item(), "shape": array.shape}, [spec])[0]
        array = np.array(array, order="C")
        value = self.new(Spec(array.shape, array.dtype))
        self.constants[value] = array
        return value

    def symbol_of(self, array: np.ndarray[Any, Any]) -> Symbol:
        """Memory of its own that holds a known array."""
        value = self.constant(array)
        return Symbol(Buffer(value), value)

    def adopt(self, buffer: Buffer) -> None:
        """Another recorder's memory is used here: only the body of a loop may do that, with what is around it."""
        fail(
            PullbackError,
            "a tensor that was made in the body of a scan, a while_loop or a cond is used outside of it",
            "return it from the body",
        )

    def operand(self, x: Any) -> Any:
        """What an instruction reads: a value, a plain number or None."""
        if type(x) is Symbol:
            return x.value()
        if type(x) is Number:
            return self.number(x)
        if isinstance(x, (np.ndarray, np.generic)):
            self.check(x)
            return self.constant(np.asarray(x))
        if hasattr(x, "known"):  # on a device
            self.check(x)
            return self.constant(x.known())
        return x

    def defer(self, action: Any, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Any) -> None:
        """Do this after each run; until then the optimizer's numbers are as they were, and may not be read."""
        self.deferred.append((action, args, kwargs))
        self.stale.update({id(group): here() for group in changes.param_groups})

    def number(self, x: Number) -> Value:
        """The input for a number that is read before each call."""
        self.check_fresh(x)
        known = self.numbers.get(x.source)
        if known is None:
            dtype = np.dtype(np.float64 if isinstance(x.now, float) else np.int64)
            known = self.numbers[x.source] = (x, self.new(Spec((), dtype), weak=True))
        return known[1]

    def check_fresh(self, x: Number) -> None:
        for name, group, *_ in x.leaves.values():
            if id(group) in self.stale:
                fail(
                    PullbackError,
                    f"{name} is read after the schedule's step(), which a captured step takes after each run",
                    "call scheduler.step() last, or outside of the step",
                    scheduler_stepped_at=self.stale[id(group)],
                )

    def assume(self, number: Number, value: Any) -> None:
        """From here on, what is recorded holds only while `number` is `value`."""
        self.check_fresh(number)
        self.assumptions.append(Assumption(number, value))

    # -- instructions --------------------------------------------------------------------------------------------------

    def emit(
        self, op: Op, operands: Sequence[Any], params: dict[str, Any], specs: Sequence[Spec], strides: Any = None
    ) -> list[Value]:
        """Note an instruction; the values it makes."""
        if strides is None:
            strides = [None if op.ordered else kept_strides(operands, spec.shape, spec.dtype) for spec in specs]
        outputs = [self.new(spec, stride) for spec, stride in zip(specs, strides, strict=True)]
        origin = self.origin()
        self._clock.append(tick())
        self._origins.append(origin)
        again = origin.replayed
        module = again.module if again else "" if origin.module is None else self.name_of(origin.module)
        line = again._line if again else None
        self.instructions.append(
            Instruction(op, operands, params, outputs, origin.position, module, origin.phase, origin.region, line)
        )
        return outputs

    def origin(self) -> Origin:
        """The user's line, the innermost module, the phase: read off the stack.

        A gradient's instructions belong to the line and module of the node whose rule is running.
        """
        frame: FrameType | None = sys._getframe(2)
        position: Position | None = None
        module, region, node = None, 0, None
        within = True  # the body of a loop, if this is one: regions around it are the loop's
        while frame is not None:
            code = frame.f_code
            if position is None and not code.co_filename.startswith(PACKAGE):
                position = code, frame.f_lasti
            if code.co_filename.startswith(PACKAGE):
                name = code.co_qualname
                if name == "Module.__call__" and module is None:
                    module = frame.f_locals["self"]
                elif name in ("trace_body", "Body.pull"):
                    within = False
                elif name == "Region.run_again" and not region and within:
                    region = self.region(frame.f_locals["self"])
                elif name == "send" and position is None:
                    node = frame.f_locals["node"]
                    break
                elif name == "again" and position is None:
                    one: Instruction = frame.f_locals["instruction"]
                    return Origin(one.position, None, one.phase, one.region, one)
                elif name == "trace":
                    break
            frame = frame.f_back
        if node is not None:
            self.differentiated = True
            known = self.origin_of(node)
            again = known.replayed if known else None
            position = again.position if again else node.position
            return Origin(position, known.module if known else None, BACKWARD, region, again)
        return Origin(position, module, self.phase(), region)

    def phase(self) -> str:
        if MODES.backward:
            self.differentiated = True
            return BACKWARD
        return UPDATE if self.differentiated and not MODES.grad else FORWARD

    def origin_of(self, node: Any) -> Origin | None:
        """Where the op of a node came from: it ran right before the node was made."""
        i = bisect_left(self._clock, node._id) - 1
        return self._origins[i] if i >= 0 else None

    def region(self, region: Any) -> int:
        """A number for a checkpointed region that is computed again."""
        if id(region) not in self.regions:
            self.keep.append(region)
            self.regions[id(region)] = len(self.regions) + 1
        return self.regions[id(region)]
