"""Pullback rules against differences of values, at the values that a step has.

Eager and compiled share the rules, so comparing them says nothing about a rule. For a cotangent g and a direction u

    <pullback of g, u>  =  d/dt <g, op(x + t u)>  at t = 0

and the right side needs no rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import F64
from ...errors import PullbackError
from ...gradients import grad
from ...modes import Switch
from ...ops.record import Op
from ...tensor import Tensor, wrap
from ..program import FORWARD, Instruction, Program
from .replay import as_floats, draws, replay, several

STEPS = 1e-5, 1e-7  # relative to the inputs' elements
CLOSE = 1e-4  # relative difference of two slopes that are the same
NOISE = 1e-15  # rounding of a sum of float64 numbers, relative to the sum of their magnitudes

# Where a gradient is by convention another one than the derivative, as in PyTorch.
LEFT_OUT = {"embedding": ("padding_idx", "scale_grad_by_freq"), "svd": ("full",)}  # parameters that make it so
SYMMETRIC = {"cholesky", "eigh", "eigvalsh"}  # of symmetric matrices, which stay symmetric
CONSTANT = {("cross_entropy", "weight"), ("cross_entropy_gradient", "weight")}  # inputs that get none


class Wrong(NamedTuple):
    """A rule that is wrong."""

    instruction: Instruction
    input: str
    expected: float
    got: float

    def __str__(self) -> str:
        i = self.instruction
        at = f" at {i.line}: {i.line.text}" if i.line else ""
        inside = f", in {i.module}" if i.module else ""
        return (
            f"the pullback of {i.op.name} to {self.input}{at}{inside}: "
            f"differences of values give {self.expected:.9g}, the rule gives {self.got:.9g}"
        )


class Rules:
    """Looks at the instructions of a step, each kind once; `wrong` has the rules that fail."""

    def __init__(self) -> None:
        self.seen: set[Hashable] = set()
        self.checked = 0
        self.skipped: dict[str, str] = {}  # op -> why
        self.wrong: list[Wrong] = []

    def visit(self, instruction: Instruction, operands: list[Any], params: dict[str, Any]) -> None:
        """Check the rule of an instruction, on float64 operands."""
        op = instruction.op
        for program, inputs in bodies(op, operands, params):
            replay(program, inputs, (), self.visit)
        if instruction.phase != FORWARD or not op.differentiable or draws(op) or op.family == "control":
            return
        shapes = [(x.shape, x.dtype.kind) if hasattr(x, "shape") else type(x) for x in operands]
        key = op, str(sorted(params.items())), str(shapes)
        if key in self.seen:
            return
        self.seen.add(key)
        xs = as_floats(op, operands)
        params = {name: x for name, x in params.items() if name not in LEFT_OUT.get(op.name, ())}
        for k, x in enumerate(xs):
            name = f"{op.inputs[0]}[{k}]" if op.variadic else op.inputs[k]
            if not is_double(x) or not x.size or (op.name, name) in CONSTANT:
                continue
            verdict = compare(op, xs, params, k)
            if isinstance(verdict, str):
                self.skipped[op.name] = verdict
            else:
                self.checked += 1
                if not verdict[0]:
                    self.wrong.append(Wrong(instruction, name, *verdict[1:]))


def bodies(op: Op, operands: Sequence[Any], params: dict[str, Any]) -> Iterator[tuple[Program, list[Any]]]:
    """The Programs that an op of control flow runs, and what the first step gives them."""
    if op.name == "loop" and params["length"]:
        at, rows = params["carries"], params["rows"]
        first = [np.asarray(x[-1 if params.get("reverse") else 0]) for x in operands[at : at + rows]]
        yield params["body"], [*operands[:at], *first, *operands[at + rows :]]
    elif op.name == "repeat":
        yield params["condition"], list(operands)
        yield params["body"], list(operands)
    elif op.name == "branch":
        yield params["true" if operands[0].item() else "false"], list(operands[1:])


def is_double(x: Any) -> bool:
    return getattr(x, "dtype", None) == F64 and isinstance(x, np.ndarray)


def compare(op: Op, xs: Sequence[Any], params: dict[str, Any], k: int) -> str | tuple[bool, float, float]:
    """(right?, the slope by differences, the slope by the rule) along a direction in input k; or why there is none."""
    with Switch(grad=False, autocast=None, inference=False, pack=None, watch=None):
        random = np.random.default_rng(7)
        outs = several(op(*xs, **params))
        gs = [cotangent(y, random) for y in outs]
        if all(g is None for g in gs):
            return "gives nothing in float64"
        pulled = pull(op, xs, params, k, gs)
        if isinstance(pulled, str):
            return pulled
        finite = all(np.isfinite(x).all() for x in (*xs, *outs) if is_double(x))
        reason = "at a kink or jump"
        for direction in directions(xs[k], random, op.name in SYMMETRIC):
            if not finite:
                direction = np.where(np.isfinite(pulled), direction, 0.0)
            got = dot(pulled, direction)

            def value(t: float, u: Any = direction) -> tuple[float, float]:
                moved = [np.asarray(x + t * u) if i == k else x for i, x in enumerate(xs)]
                try:
                    ys = several(op(*moved, **params))
                except PullbackError:  # out of what it is defined for
                    return math.nan, math.nan
                terms = [np.where(g == 0, 0.0, g * y) for g, y in zip(gs, ys, strict=True) if g is not None]
                return sum(float(t.sum()) for t in terms), sum(float(np.abs(t).sum()) for t in terms)

            with np.errstate(all="ignore"):
                found = [slope(value, h, got) for h in STEPS]
            for right, expected in found:
                if right:
                    return True, expected, got
            smooth = [expected for right, expected in found if right is False]
            if smooth:
                return False, smooth[0], got
        return reason


def slope(value: Callable[[float], tuple[float, float]], h: float, got: float) -> tuple[bool | None, float]:
    """(is `got` the slope at 0?, the slope); None if there is a kink, or no telling."""
    (here, size), half = value(0.0), h / 2
    up, down, nearer_up, nearer_down = [value(t)[0] for t in (h, -h, half, -half)]
    far, near = (up - down) / (2 * h), (nearer_up - nearer_down) / h
    expected = (4 * near - far) / 3  # Richardson: the error is of order h^4
    noise = NOISE * size / h
    allowed = CLOSE * abs(expected) + 8 * noise
    if not np.isfinite(expected):
        return None, expected
    if abs(expected - got) <= allowed:
        return True, expected
    bend, nearer_bend = (up - 2 * here + down) / h, (nearer_up - 2 * here + nearer_down) / half  # right - left slope
    largest = max(abs(expected), abs(got))
    kink = abs(nearer_bend) > max(0.75 * abs(bend), CLOSE * largest, 8 * noise)
    jump = abs(far - near) > CLOSE * largest
    return None if kink or jump or 8 * noise > 0.1 * largest else False, expected


def cotangent(y: Any, random: np.random.Generator) -> Any:
    """A random cotangent, where the result is finite."""
    return np.where(np.isfinite(y), random.standard_normal(y.shape), 0.0) if y.dtype == F64 else None


def directions(x: Any, random: np.random.Generator, symmetric: bool) -> list[Any]:
    """A way to move; and one that leaves zeros where they are, since many functions have a kink there."""
    r = random.standard_normal(x.shape)
    if symmetric:
        r = r + np.swapaxes(r, -1, -2)
    with np.errstate(all="ignore"):
        size = np.where(np.isfinite(x), np.abs(x), 0.0)
        usual = float(np.sqrt(np.mean(np.square(np.minimum(size, 1e6))))) or 1.0
        moved = np.where(np.isfinite(x), r * (size + 0.01 * usual), 0.0)
        return [moved, np.where(size > 0, r * size, 0.0)]


def pull(op: Op, xs: Sequence[Any], params: dict[str, Any], k: int, gs: Sequence[Any]) -> Any:
    """What the op's own rule sends to input k; or why there is nothing."""
    tensors = [wrap(x.copy()) if isinstance(x, np.ndarray) else x for x in xs]
    tensors[k].requires_grad = True
    try:
        with Switch(grad=True):
            outs = several(op(*tensors, **params))
        pairs = [(y, wrap(g)) for y, g in zip(outs, gs, strict=True) if g is not None and y.requires_grad]
        if not pairs:
            return "has no gradient here"
        (pulled,) = grad([y for y, _ in pairs], [tensors[k]], [g for _, g in pairs], allow_unused=True)
    except PullbackError as error:
        return str(error).partition("\n")[0]
    return pulled._array if isinstance(pulled, Tensor) else np.zeros(xs[k].shape)


def dot(x: Any, y: Any) -> float:
    """<x, y>; where y is 0, x does not matter."""
    with np.errstate(all="ignore"):
        return float(np.where(y == 0, 0.0, x * y).sum())


__all__ = ["Rules", "Wrong", "compare"]
