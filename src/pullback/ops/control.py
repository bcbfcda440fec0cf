"""Control flow: ops whose parameters are Programs, run many times or not at all.

A body takes all of the op's inputs in their order, of those it goes through one step's, and gives what is carried on,
then what is kept of each step. What it reads from outside comes in as further inputs, the same in every step.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .create import clone
from .loop import scan
from .record import OPS, WATCHERS, Op, Shape, Spec, per_input
from .shape import slice_

PLAY: list[
    Callable[[Any, Sequence[Any]], list[Any]]
] = []  # runs a Program on arrays; put here by program.capture.replay


class Control(Op):
    """An op that runs others: those keep NumPy quiet, each by itself."""

    def compute(self, arrays: Sequence[Any], params: dict[str, Any], given: Sequence[Any]) -> Any:
        out = self.numpy(*arrays, **params)
        for watch in WATCHERS:
            watch(self, arrays, params, out)
        return out


def control(name: str, formula: str, **fields: Any) -> Op:
    """Make a record and enter it in the table. Samples would need Programs, which are made further up: there they are
    tested."""
    fields = {"inputs": "*xs", "torch": "", "dtypes": per_input, "samples": list, **fields}
    OPS[name] = record = Control(name, formula, **fields)
    record.family = "control"
    return record


def one_or_all(outs: Sequence[Any]) -> Any:
    """An op's result: several are a tuple."""
    return outs[0] if len(outs) == 1 else tuple(outs)


def specs(body: Any, length: Sequence[Shape] = ()) -> list[Spec]:
    """What a body gives; the sizes in front of those that are kept of each step."""
    sizes = [*length, *[()] * (len(body.outputs) - len(length))]
    return [Spec((*size, *value.shape), value.dtype) for size, value in zip(sizes, body.outputs, strict=True)]


# -- a number of steps -------------------------------------------------------------------------------------------------


def _loop_specs(
    *arrays: Any, body: Any, length: int, carries: int, rows: int, reverse: bool = False, start: int = 0
) -> Any:
    kept = len(body.outputs) - carries
    return one_or_all(specs(body, [()] * carries + [(length,)] * kept))


def _loop_steps(
    *arrays: Any, body: Any, length: int, carries: int, rows: int, reverse: bool = False, start: int = 0
) -> Any:
    """Step by step, with ops."""
    carry, xs, fixed = arrays[:carries], arrays[carries : carries + rows], arrays[carries + rows :]
    xs = tuple([part(x, start, length) for x in xs])

    def step(carry: Any, x: Any) -> Any:
        out = PLAY[0](body, [*carry, *x, *fixed])
        return tuple(out[:carries]), tuple(out[carries:])

    last, ys = scan(step, carry, xs, length, reverse)
    return one_or_all([*[clone(c) for c in last], *ys])


def part(x: Any, start: int, length: int) -> Any:
    """`length` places of x's first dimension."""
    return x if x.shape[0] == length else slice_(x, key=(slice(start, start + length),))


def _loop(*arrays: Any, body: Any, length: int, carries: int, rows: int, reverse: bool = False, start: int = 0) -> Any:
    """The same, with each y put where it belongs."""
    carry, xs, fixed = arrays[:carries], arrays[carries : carries + rows], arrays[carries + rows :]
    ys = [np.empty((length, *y.shape), y.dtype) for y in body.outputs[carries:]]
    play = PLAY[0]
    for t in builtins.reversed(range(length)) if reverse else range(length):
        out = play(body, [*carry, *[slice_(x, key=(start + t,)) for x in xs], *fixed])
        carry = tuple(out[:carries])
        for y, part in zip(ys, out[carries:], strict=True):
            y[t] = part
    return one_or_all([*[np.array(c) for c in carry], *ys])


loop = control(
    "loop", "carry, y[t] = body(carry, x[start + t], fixed) for each t", numpy=_loop, infer=_loop_specs, decompose=_loop_steps,
)  # fmt: skip


# -- as long as ... ----------------------------------------------------------------------------------------------------


def _repeat(*arrays: Any, condition: Any, body: Any, carries: int, most: int | None = None) -> Any:
    carry, fixed = list(arrays[:carries]), arrays[carries:]
    play, steps = PLAY[0], 0
    while (most is None or steps < most) and play(condition, [*carry, *fixed])[0].item():
        carry = play(body, [*carry, *fixed])
        steps += 1
    return one_or_all([np.array(c) for c in carry])


repeat = control(
    "repeat", "while condition(carry, fixed): carry = body(carry, fixed); `most` so many times",
    numpy=_repeat, infer=lambda *xs, condition, body, carries, most=None: one_or_all(specs(body)),
)  # fmt: skip


# -- one or the other --------------------------------------------------------------------------------------------------


def _branch(*arrays: Any, true: Any, false: Any) -> Any:
    return one_or_all([np.array(y) for y in PLAY[0](true if arrays[0].item() else false, arrays[1:])])


branch = control(
    "branch", "true(xs[1:]) if xs[0] else false(xs[1:])",
    numpy=_branch, infer=lambda *xs, true, false: one_or_all(specs(true)),
)  # fmt: skip
