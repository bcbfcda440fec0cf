"""Programs built by hand: each op runs on arrays as it is noted, which gives true shapes, strides and dtypes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pullback.dtypes import BF16, F16, F32, F64
from pullback.ops import OPS
from pullback.program.passes import Pass
from pullback.program.program import BACKWARD, FORWARD, Input, Instruction, Program, Value, Write

nan, inf = float("nan"), float("inf")
SPECIAL = (nan, inf, -inf, 0.0, -0.0, 1.0, -1.0, 0.1, -2.5, 3e38, 1e-40)
BITS = {F64: np.uint64, F32: np.uint32, F16: np.uint16, BF16: np.uint16}

Env = dict[Value, Any]
Rewrite = Callable[["Builder"], Value]


def special(*shape: int, dtype: Any = F64, seed: int = 0) -> Any:
    """An array of nan, inf, -0.0 and the like, and ordinary numbers."""
    rng = np.random.default_rng(seed)
    numbers = np.where(rng.random(shape) < 0.5, rng.choice(SPECIAL, shape), rng.standard_normal(shape))
    with np.errstate(all="ignore"):
        return numbers.astype(dtype)


class Builder:
    """A Program that grows. Calling it with an op's name notes an instruction."""

    def __init__(self) -> None:
        self.env: Env = {}
        self.inputs: list[Input] = []
        self.constants: Env = {}
        self.instructions: list[Instruction] = []
        self.region, self.phase = 0, FORWARD

    def new(self, array: Any, weak: bool = False) -> Value:
        shaped = np.asarray(array)
        value = Value(len(self.env), shaped.shape, shaped.dtype, shaped.strides, weak)
        self.env[value] = array
        return value

    def input(self, array: Any, kind: str = "argument") -> Value:
        """An array, or a number that may differ from call to call."""
        value = self.new(array, weak=not isinstance(array, np.ndarray))
        self.inputs.append(Input(value, kind, f"x{value.id}"))
        return value

    def constant(self, array: Any) -> Value:
        value = self.new(np.asarray(array))
        self.constants[value] = self.env[value]
        return value

    def __call__(self, name: str, *operands: Any, **params: Any) -> Any:
        out = OPS[name](*[self.env[x] if type(x) is Value else x for x in operands], **params)
        outputs = [self.new(array) for array in (out if type(out) is tuple else (out,))]
        self.instructions.append(
            Instruction(OPS[name], operands, params, outputs, phase=self.phase, region=self.region)
        )
        return outputs[0] if type(out) is not tuple else tuple(outputs)

    @contextlib.contextmanager
    def again(self, region: int) -> Iterator[None]:
        """Inside, instructions belong to a checkpointed region that is computed again."""
        outside, self.region = self.region, region
        yield
        self.region = outside

    def backward(self) -> None:
        self.phase = BACKWARD

    def program(self, *outputs: Value, writes: tuple[Write, ...] = ()) -> Program:
        return Program("built", self.inputs, dict(self.constants), self.instructions, outputs, writes).check()

    @property
    def given(self) -> list[Any]:
        """The inputs it was built with."""
        return [self.env[given.value] for given in self.inputs]


def interpret(program: Program, given: list[Any]) -> Env:
    """Every value of a Program, computed instruction by instruction."""
    env: Env = dict(program.constants)
    env.update(zip([i.value for i in program.inputs], given, strict=True))
    for i in program.instructions:
        out = i.op(*[env[x] if type(x) is Value else x for x in i.inputs], **i.params)
        env.update(zip(i.outputs, out if type(out) is tuple else (out,), strict=True))
    return env


def same_bits(a: Any, b: Any) -> bool:
    """Equal shape, dtype and bits; any nan equals any other of its sign."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype in BITS:
        a, b = [(np.isnan(x), np.signbit(x), np.where(np.isnan(x), 0, x).astype(x.dtype)) for x in (a, b)]
        return all(map(np.array_equal, (*a[:2], a[2].view(BITS[a[2].dtype])), (*b[:2], b[2].view(BITS[b[2].dtype]))))
    return np.array_equal(a, b)


def check(change: Pass, program: Program, given: list[Any]) -> Program:
    """The changed Program, having seen that it and every value that is still there are what they were."""
    changed = change(program).check()
    before, after = interpret(program, given), interpret(changed, given)
    assert changed.inputs == program.inputs and len(changed.writes) == len(program.writes)
    for old, new in zip(program.results, changed.results, strict=True):
        assert same_bits(before[old], after[new]), f"{old} was {before[old]}, and is now {new} {after[new]}"
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
    for value in changed.values():
        assert value in before, f"{value} is new"
        assert same_bits(before[value], after[value]), f"{value} was {before[value]}, and is now {after[value]}"
    for instruction in changed.instructions:
        for value in instruction.outputs:
            assert (value.shape, value.dtype) == (after[value].shape, after[value].dtype)
    for old, new in zip(program.writes, changed.writes, strict=True):
        assert (old.name, old.input) == (new.name, new.input)
    return changed


def names(program: Program) -> list[str]:
    """The ops that are left."""
    return [i.op.name for i in program.instructions]


def peak(program: Program) -> int:
    """The most bytes that instructions' results take up at once, each from its making to its last use."""
    last, makers = program.last_uses(), program.makers()
    live = most = 0
    for n, i in enumerate(program.instructions):
        live += sum(v.nbytes for v in i.outputs)
        most = max(most, live)
        done = dict.fromkeys([*i.values, *i.outputs])
        live -= sum(v.nbytes for v in done if v in makers and last.get(v, n) == n)
    return most
