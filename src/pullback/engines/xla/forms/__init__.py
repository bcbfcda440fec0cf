"""How each op is written in JAX. A file here has the ops of the file of the same name in `pullback.ops`.

A form is given what the record's `numpy` would be given: arrays in the dtypes that the record's dtype rule chose (half
types widened to float32), Python numbers, None, and the parameters. An op without a form runs its decomposition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ....dtypes import F32, HALVES
from ....errors import PullbackError, fail
from ....ops.record import IMPLEMENTATIONS, Op
from ..weak import Weak, settled, stood_in

Array = Any  # mypy does not know JAX's
FORMS: dict[str, Callable[..., Any]] = {}
HALF: dict[str, Callable[..., Any]] = {}  # forms that take half types as they are, and accumulate in float32

HINTS: dict[str, Callable[..., dict[str, Any]]] = {}  # more parameters for a form, from how its inputs were made
AHEAD: dict[str, tuple[tuple[int, ...], Callable[..., list[dict[str, Any]]]]] = {}  # ... for all at once


def form(name: str, *, half: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter the form of an op."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        (HALF if half else FORMS)[name] = function
        return function

    return enter


def hint(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter what an op's form can be told when the instructions are known that made its inputs (None: none did)."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        HINTS[name] = function
        return function

    return enter


def ahead(name: str, *needs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter what can be computed for all instructions of an op at once, from the inputs at these positions."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        AHEAD[name] = needs, function
        return function

    return enter


def run(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """An op on JAX's arrays, in the dtypes that its record asks for."""
    if op.name in HALF and getattr(inputs[0], "dtype", F32) in HALVES:
        return HALF[op.name](*inputs, **params)
    function = FORMS.get(op.name)
    if function is None:
        if op.decompose is None:
            fail(PullbackError, f"{op.name} cannot run on XLA", "run it eagerly, or on the numpy engine")
        given = [jnp.asarray(x) if hasattr(x, "shape") else x for x in inputs]
        arrays, restore = op.dtypes(op, stood_in(given))
        return _restored(op.decompose(*settled(op, given, arrays), **{**op.defaults, **params}), restore)
    given = [jnp.asarray(x) if hasattr(x, "shape") else x for x in inputs]
    arrays, restore = op.dtypes(op, stood_in(given))
    return _restored(function(*settled(op, given, arrays), **params), restore)


def _restored(out: Any, restore: Any) -> Any:
    if type(out) is tuple:
        return tuple(_restored(o, restore) for o in out)
    return out.astype(restore) if restore is not None and out.dtype == F32 else out


def register() -> None:
    """Let ops run on JAX's arrays and on those that jax.jit traces with."""
    IMPLEMENTATIONS[jax.Array] = IMPLEMENTATIONS[jax.core.Tracer] = IMPLEMENTATIONS[Weak] = run


from . import (  # noqa: E402
    activation,
    along,
    arithmetic,
    attention,
    compare,
    control,
    convolution,
    counting,
    create,
    decompositions,
    extremes,
    folding,
    grouped,
    indexing,
    joining,
    losses,
    matmul,
    normalization,
    norms,
    pointwise,
    pooling,
    random,
    recurrence,
    reduction,
    resampling,
    scan,
    shape,
    softmax,
    sorting,
    special,
    strided,
    updates,
)
from .indexing import DYNAMIC  # noqa: E402
