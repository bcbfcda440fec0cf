"""Control flow: XLA's own loops and branches, over the ops of the bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from ....ops.control import one_or_all
from . import Array, form


def replay(body: Any, inputs: Sequence[Any]) -> list[Array]:
    """What a body gives, run as the engine runs the whole step."""
    from ..engine import replay as run

    return run(body, inputs)


def started(arrays: Sequence[Any], body: Any) -> tuple[Array, ...]:
    """What is carried at first, in the dtypes in which it is carried on."""
    return tuple([jnp.asarray(x, value.dtype) for x, value in zip(arrays, body.outputs, strict=False)])


@form("loop")
def _loop(*arrays: Any, body: Any, length: int, carries: int, rows: int, reverse: bool = False, start: int = 0) -> Any:
    xs, fixed = tuple(arrays[carries : carries + rows]), arrays[carries + rows :]

    def step(carry: Any, x: Any) -> Any:
        out = replay(body, [*carry, *x, *fixed])
        return tuple(out[:carries]), tuple(out[carries:])

    def at(carry: Any, t: Any) -> Any:
        return step(carry, [lax.dynamic_index_in_dim(x, t, keepdims=False) for x in xs])

    first = started(arrays[:carries], body)
    if all(x.shape[0] == length for x in xs):
        last, ys = lax.scan(step, first, xs, length=length, reverse=reverse)
    else:  # some of the steps: by their numbers, so that nothing is copied
        last, ys = lax.scan(at, first, jnp.arange(start, start + length), reverse=reverse)
    return one_or_all([*last, *ys])


@form("repeat")
def _repeat(*arrays: Any, condition: Any, body: Any, carries: int, most: int | None = None) -> Any:
    fixed = arrays[carries:]

    def going(state: Any) -> Any:
        steps, carry = state
        more = replay(condition, [*carry, *fixed])[0].reshape(()) != 0
        return more if most is None else jnp.logical_and(steps < most, more)

    def step(state: Any) -> Any:
        steps, carry = state
        return steps + 1, tuple(replay(body, [*carry, *fixed]))

    return one_or_all(lax.while_loop(going, step, (jnp.zeros((), jnp.int32), started(arrays[:carries], body)))[1])


@form("branch")
def _branch(pred: Array, *arrays: Any, true: Any, false: Any) -> Any:
    def taken(body: Any) -> Any:
        return lambda: tuple(replay(body, arrays))

    return one_or_all(lax.cond(jnp.reshape(pred, ()) != 0, taken(true), taken(false)))
