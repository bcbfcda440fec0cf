"""What the values of a Program are: as eager has them, in float64, and how far rounding moves them.

Three runs side by side. `narrow` is the Program as it is. `wide` is the same in float64; what is discrete (integers,
booleans, random draws) it takes from `narrow`, so that both go the same way. `shaken` is `wide` with every op's
operands and results off by a rounding error of their own dtype: a difference that rounding can make is no mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import BF16, F16, F32, F64, FLOATS, dtype
from ...ops.create import cast
from ...ops.record import Op, comparison, elementwise, floating, free, promoting, same
from ..capture.replay import ends_of
from ..program import Instruction, Program, Value, contiguous

Known = dict[Value, Any]
Visit = Callable[[Instruction, list[Any], dict[str, Any]], None]

# What a result may be off by, relative to its largest element, beside 4 times what eager is off by.
FLOOR = {F64: 1e-12, F32: 1e-5, F16: 4e-3, BF16: 3e-2}
ROUNDING = {F64: 2.0**-52, F32: 2.0**-23, F16: 2.0**-10, BF16: 2.0**-7}  # the distance from 1 to the next number
TINY = {F64: 2.0**-1022, F32: 2.0**-126, F16: 2.0**-14, BF16: 2.0**-126}  # below, precision is lost


class Truth(NamedTuple):
    """What one value is."""

    eager: Any
    wide: Any
    shaken: Any

    @property
    def scale(self) -> float:
        """The largest finite element."""
        return largest(np.abs(self.reference))

    @property
    def reference(self) -> Any:
        """float64's elements; where they are not finite, eager's."""
        return np.where(np.isfinite(self.wide), self.wide, self.eager)

    def error(self, x: Any) -> float:
        """How far x is from the truth: the largest difference; of what is not floating point, how many differ."""
        x = np.asarray(x)
        if x.dtype != self.eager.dtype or x.shape != self.eager.shape:
            return float("inf")
        if x.dtype not in FLOATS:
            return float(np.count_nonzero(x != self.eager))
        equal = (x == self.eager) | ((x != x) & (self.eager != self.eager))
        truth, x = self.reference, x.astype(F64)
        finite = np.isfinite(x) & np.isfinite(truth)
        with np.errstate(invalid="ignore"):
            return float(np.where(finite, np.abs(x - truth), np.where(equal, 0.0, np.inf)).max(initial=0.0))

    @property
    def noise(self) -> float:
        """What rounding makes of it."""
        with np.errstate(invalid="ignore"):
            return largest(np.abs(self.shaken - self.wide)) if self.eager.dtype in FLOATS else 0.0

    @property
    def tolerance(self) -> float:
        """The error that is allowed."""
        d = self.eager.dtype
        if d not in FLOATS:
            return 0.0
        return 4 * max(self.error(self.eager), self.noise) + FLOOR[d] * self.scale + TINY[d]

    def holds(self, x: Any) -> bool:
        """Is x right?"""
        return self.error(x) <= self.tolerance


def largest(x: Any) -> float:
    return float(np.where(np.isfinite(x), x, 0.0).max(initial=0.0))


def replay(
    program: Program, inputs: Sequence[Any], wanted: Any = None, visit: Visit | None = None
) -> dict[Value, Truth]:
    """The truth of a Program's results, or of the values wanted (`...`: all).

    `visit` sees each instruction, its operands in float64 and its parameters.
    """
    narrow = begin(program, inputs)
    wide = {value: widened(x) for value, x in narrow.items()}
    shaken, random = dict(wide), np.random.default_rng(0)
    keep = set(program.results) if wanted is None else wanted
    found: dict[Value, Truth] = {}

    def note(value: Value) -> None:
        if keep is ... or value in keep:
            found[value] = Truth(np.asarray(narrow[value]), np.asarray(wide[value]), np.asarray(shaken[value]))

    for value in narrow:
        note(value)
    for instruction, done in zip(program.instructions, ends_of(program), strict=True):
        op, outputs = instruction.op, instruction.outputs
        operands, exact, rough = [
            [known[x] if type(x) is Value else x for x in instruction.inputs] for known in (narrow, wide, shaken)
        ]
        params = {name: in_double(x) for name, x in instruction.params.items()}
        if visit is not None:
            visit(instruction, exact, params)
        outs = several(op(*operands, **instruction.params))
        narrow.update(zip(outputs, outs, strict=True))
        if draws(op) or decides(op) or not any(out.dtype in FLOATS for out in outs):
            wide.update(zip(outputs, map(widened, outs), strict=True))
            shaken.update(zip(outputs, map(widened, outs), strict=True))
        else:
            shake = shaking(instruction, operands, random)
            rough = [shake(x, old) for x, old in zip(rough, operands, strict=True)]
            for known, given in ((wide, exact), (shaken, rough)):
                results = several(op(*as_floats(op, given), **params))
                for value, out, result in zip(outputs, outs, results, strict=True):
                    known[value] = result.astype(F64, copy=False) if out.dtype in FLOATS else out
            for value in outputs:
                if rounds(instruction, value):
                    shaken[value] = shaken_by(shaken[value], value.dtype, random)
        for value in outputs:
            note(value)
        for value in done:
            for known in (narrow, wide, shaken):
                known.pop(value, None)
    return found


def begin(program: Program, inputs: Sequence[Any]) -> Known:
    """What is known before the first instruction, in the host's memory."""
    given = [np.asarray(x) if hasattr(x, "dtype") else x for x in inputs]
    return {**program.constants, **dict(zip([i.value for i in program.inputs], given, strict=True))}


def run(instruction: Instruction, known: Known) -> None:
    """Add what an instruction gives."""
    out = instruction.op(*[known[x] if type(x) is Value else x for x in instruction.inputs], **instruction.params)
    known.update(zip(instruction.outputs, several(out), strict=True))


def several(out: Any) -> tuple[Any, ...]:
    return out if type(out) is tuple else (out,)


def draws(op: Op) -> bool:
    """Does it draw random numbers?"""
    return op.family == "random" and op.inputs[0] == "state"


def decides(op: Op) -> bool:
    """Does rounding decide how often it does something?"""
    return op.name == "repeat"


# -- in float64 --------------------------------------------------------------------------------------------------------


def widened(x: Any) -> Any:
    """Floating point arrays in float64."""
    return x.astype(F64) if getattr(x, "dtype", None) in FLOATS else x


def as_floats(op: Op, operands: list[Any]) -> list[Any]:
    """Integers that an op makes floats of, which would else have the default dtype."""
    if any(getattr(x, "dtype", None) in FLOATS for x in operands) or op.dtypes not in (promoting, floating):
        return operands
    return [x.astype(F64) if isinstance(x, np.ndarray) else x for x in operands]


def in_double(x: Any) -> Any:
    """A parameter: floating dtypes become float64, also in Programs that are parameters."""
    if isinstance(x, Program):
        return program_in_double(x)
    if isinstance(x, dtype):
        return dtype.by_numpy[F64] if x.is_floating_point else x
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
        return F64 if np.dtype(x) in FLOATS else x
    return type(x)(map(in_double, x)) if type(x) in (tuple, list) else x


def program_in_double(program: Program) -> Program:
    """The body of a loop or a branch, in float64; random numbers are drawn as before, and cast."""
    new: Known = {}

    def twin(value: Value) -> Value:
        if value not in new:
            d = F64 if value.dtype in FLOATS else value.dtype
            new[value] = Value(value.id, value.shape, d, contiguous(value.shape, d.itemsize), value.weak)
        return new[value]

    instructions: list[Instruction] = []
    for i in program.instructions:
        operands = [twin(x) if type(x) is Value else x for x in i.inputs]
        if draws(i.op) and i.outputs[0].dtype in FLOATS:
            (old,) = i.outputs
            drawn = Value(old.id, old.shape, old.dtype)
            instructions.append(i.changed(inputs=operands, outputs=(drawn,)))
            instructions.append(i.changed(op=cast, inputs=(drawn,), params={"dtype": F64}, outputs=(twin(old),)))
        else:
            params = {name: in_double(x) for name, x in i.params.items()}
            instructions.append(i.changed(inputs=operands, params=params, outputs=[twin(v) for v in i.outputs]))
    return program.replaced(
        inputs=[given._replace(value=twin(given.value)) for given in program.inputs],
        constants={twin(value): widened(array) for value, array in program.constants.items()},
        instructions=instructions,
        outputs=[twin(value) for value in program.outputs],
        writes=[write._replace(value=twin(write.value)) for write in program.writes],
    )


# -- with rounding errors ----------------------------------------------------------------------------------------------


def shaken_by(x: Any, d: Any, random: np.random.Generator) -> Any:
    """x (1 + r), r up to the rounding error of a dtype."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(x * (1 + ROUNDING[d] * random.uniform(-1, 1, np.shape(x))))


def shaking(instruction: Instruction, narrow: list[Any], random: np.random.Generator) -> Callable[[Any, Any], Any]:
    """What an op's operands become: where many are summed up, each counts with an error of its own."""
    op = instruction.op
    if op.infer in (elementwise, same, comparison) or op.flops is free:
        return lambda x, old: x

    def shake(x: Any, old: Any) -> Any:
        d = getattr(old, "dtype", None)
        return shaken_by(x, d, random) if d in FLOATS else x

    return shake


def rounds(instruction: Instruction, value: Value) -> bool:
    """Does an op round this result?"""
    if value.dtype not in FLOATS:
        return False
    if instruction.op is cast:
        given = instruction.inputs[0].dtype
        return given not in FLOATS or ROUNDING[given] < ROUNDING[value.dtype]
    return instruction.op.flops is not free or instruction.op.family == "control"


__all__ = ["FLOOR", "Truth", "replay"]
