"""Some instructions are taken apart before a Program is lowered.

The updates of SGD and Adam become elementwise instructions, so that all of an update, with what was done to the
gradient before, is one loop. Numbers such as 1 - beta1^t are instructions on 0-d values: they are computed once, not
for each element. An op with neither a kernel nor an expression is replaced by the decomposition that its record has, if
that is made of ops that have one. And an array that is one number everywhere is a view of that number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...dtypes import F32, F64, HALVES
from ...errors import PullbackError
from ...modes import Switch
from ...ops.arithmetic import add, div, mul, neg, sub
from ...ops.compare import eq, maximum, where
from ...ops.create import cast, clone
from ...ops.pointwise import pow as power
from ...ops.pointwise import sqrt
from ...ops.record import OPS
from ...program.capture.recorder import Recorder
from ...program.capture.symbol import Buffer, Symbol
from ...program.passes.duplicates import share
from ...program.program import Instruction, Program, Value
from .accumulate import accumulate
from .expressions import is_loop
from .plan import KERNELS

MOST = 64  # instructions that one may become; what takes more is a loop that has been unrolled


def expand(program: Program) -> Program:
    """The same Program in other instructions."""
    recorder = Recorder()
    recorder.constants = dict(program.constants)
    recorder._count = 1 + max((value.id for value in program.values()), default=-1)
    instructions: list[Instruction] = []
    with Switch(capture=recorder):
        for instruction in program.instructions:
            instructions += expanded(recorder, instruction)
    changed = program.replaced(constants=recorder.constants, instructions=instructions)
    return accumulate(share(changed))  # what updates of several parameters have in common is computed once


def expanded(recorder: Recorder, i: Instruction) -> list[Instruction]:
    """What an instruction becomes; itself, if it has to stay."""
    if i.op.name == "full_like":
        return [filled(recorder, i)]
    formula = FORMULAS.get(i.op.name)
    if formula is None:
        if i.op.name in KERNELS or i.op.decompose is None or i.op.family == "control" or is_loop(i):
            return [i]
        if any(type(x) is Value and x.weak for x in i.inputs):
            return [i]
        formula = decomposed
    start = len(recorder.instructions)
    try:
        results = again(i, formula)
    except PullbackError:  # it needs to know values
        return [i]
    finally:
        made = recorder.instructions[start:]
    made = named(recorder, made, i, results)
    if formula is not decomposed:
        return made
    if len(made) > MOST:
        return [i]
    parts = [part for one in made for part in expanded(recorder, one)]
    return parts if all(part.op.name in KERNELS or is_loop(part) for part in parts) else [i]


def again(instruction: Instruction, formula: Callable[[Instruction], Any]) -> Any:
    """Run a formula on symbols. The recorder knows this function by its name: what is noted below it keeps its line."""
    return formula(instruction)


def named(recorder: Recorder, made: list[Instruction], i: Instruction, results: Any) -> list[Instruction]:
    """The recorded instructions, with the old ones' values as results."""
    new: dict[Value, Value] = {}
    last: list[Instruction] = []
    own = {v for one in made if not one.op.view for v in one.outputs}
    for value, x in zip(i.outputs, results if type(results) is tuple else (results,), strict=True):
        result = recorder.operand(x)
        if result in own and result not in new and result.dtype == value.dtype:
            new[result] = value
        else:
            op, params = (clone, {}) if result.dtype == value.dtype else (cast, {"dtype": value.dtype})
            last.append(i.changed(op=op, params=params, inputs=(new.get(result, result),), outputs=(value,)))
    return [
        one.changed(inputs=[new.get(x, x) if type(x) is Value else x for x in one.inputs],
                    outputs=[new.get(x, x) for x in one.outputs]) for one in [*made, *last]
    ] if new else [*made, *last]  # fmt: skip


def symbol(x: Any) -> Any:
    return Symbol(Buffer(x), x) if type(x) is Value else x


def decomposed(i: Instruction) -> Any:
    """The record's decomposition, in the types that its dtype rule asks for."""
    given = [symbol(x) for x in i.inputs]
    wanted, _ = i.op.dtypes(i.op, given)
    operands = [cast(x, dtype=to.dtype) if type(x) is Symbol and x.dtype != to.dtype else x
                for x, to in zip(given, wanted, strict=True)]  # fmt: skip
    assert i.op.decompose is not None
    return i.op.decompose(*operands, **{**i.op.defaults, **i.params})


def filled(recorder: Recorder, i: Instruction) -> Instruction:
    """One number everywhere: a view of it."""
    value = i.outputs[0]
    number = recorder.constant(np.full((), i.params["value"], value.dtype))
    return i.changed(op=OPS["expand"], inputs=(number,), params={"shape": value.shape})


# -- the updates, as their kernels in engines/numpy/updates.py compute them --------------------------------------------


def number(x: Any) -> Any:
    """A number in double precision: itself, or a 0-d symbol."""
    return cast(symbol(x), dtype=F64) if type(x) is Value else float(x)


def as_type(x: Any, dtype: Any) -> Any:
    """An array or a number in another type."""
    return x if type(x) is float or x is None or x.dtype == dtype else cast(x, dtype=dtype)


def product(x: Any, y: Any) -> Any:
    return x * y if type(x) is float and type(y) is float else mul(x, y)


def rest(x: Any) -> Any:
    """1 - x"""
    return 1 - x if type(x) is float else sub(1.0, x)


def total_gradient(g: Any, p: Any, decay: Any, maximize: bool) -> Any:
    """g + decay p, where g's sign is turned to maximize. Without decay nothing is added, not even 0 p."""
    plain = neg(g) if maximize else g
    if type(decay) is float and decay == 0:
        return plain
    total = mul(p, as_type(decay, p.dtype))
    total = sub(total, g) if maximize else add(total, g)
    return total if type(decay) is float else where(eq(decay, 0.0), plain, total)


def sgd(i: Instruction) -> Any:
    p, b, g = [symbol(x) for x in i.inputs[:3]]
    lr, momentum, dampening, decay = [number(x) for x in i.inputs[3:]]
    types, work = [p.dtype, p.dtype if b is None else b.dtype], F32 if p.dtype in HALVES else p.dtype
    p, b, g = as_type(p, work), as_type(b, work), as_type(g, work)
    lr = as_type(lr, work)
    g = total_gradient(g, p, decay, i.params.get("maximize", False))
    if b is None:
        return as_type(sub(p, mul(g, lr)), types[0])
    momentum = as_type(momentum, work)
    added = g if type(dampening) is float and dampening == 0 else mul(g, as_type(rest(dampening), work))
    b = add(mul(b, momentum), added)
    step = add(mul(b, momentum), g) if i.params.get("nesterov", False) else b
    return as_type(sub(p, mul(step, lr)), types[0]), as_type(b, types[1])


def adam(i: Instruction) -> Any:
    p, m, v, t, peak, g = given = [symbol(x) for x in i.inputs[:6]]
    lr, beta1, beta2, eps, decay = [number(x) for x in i.inputs[6:]]
    decoupled, maximize = i.params.get("decoupled", False), i.params.get("maximize", False)
    work = F32 if p.dtype in HALVES else p.dtype
    t = add(t, 1.0)
    n = as_type(t, F64)
    c = sqrt(rest(power(beta2, n)))
    rate = as_type(div(mul(c, lr), rest(power(beta1, n))), work)
    small, rest1, rest2, beta2 = [as_type(x, work) for x in (mul(c, eps), rest(beta1), rest(beta2), beta2)]
    p, m, v, peak, g = [as_type(x, work) for x in (p, m, v, peak, g)]
    if decoupled:
        p = mul(p, as_type(rest(product(lr, decay)), work))
    g = total_gradient(g, p, 0.0 if decoupled else decay, maximize)
    m = add(m, mul(sub(g, m), rest1))
    v = add(mul(v, beta2), mul(mul(g, g), rest2))
    top = v if peak is None else maximum(peak, v)
    p = sub(p, mul(div(m, add(sqrt(top), small)), rate))
    results = [p, m, v, t] if peak is None else [p, m, v, t, top]
    return tuple(as_type(new, old.dtype) for new, old in zip(results, given, strict=False))


FORMULAS: dict[str, Callable[[Instruction], Any]] = {"sgd": sgd, "adam": adam}

__all__: Sequence[str] = ["expand"]
