"""Eager ops on large arrays: which of them NumPy is slow at, and who runs them instead.

NumPy is good at a pass over memory, and at products of matrices that are not too large. It is poor at what needs many
passes (a normalisation, a gelu and its slope), at windows (convolution, pooling), and at adding up at indices. Where
such an op would take NumPy 0.3 ms or more, the native engine's kernel runs it, if there is a C compiler. Nothing but
shapes decides, so that the same program gives the same numbers each time.

`Op.large` is the size from which on an op asks at all: small ops pay one look at it. This file loads quickly; the
native engine is loaded by the first large op.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError, fail
from ..modes import MODES
from ..ops.record import LARGE_ARRAYS, LARGE_UPDATES, OPS, Op

LEAST = 300_000  # nanoseconds that NumPy would take: for less, no C is built
FLOOR = 1 << 12  # elements: with fewer in its first input, no op with products in it takes so long

# Nanoseconds that NumPy takes for each element of the largest array (about: they decide who computes, no more).
PASSES: dict[str, float] = {
    **dict.fromkeys(("gelu", "mish"), 6),
    **dict.fromkeys(("gelu_backward", "mish_backward"), 12),
    **dict.fromkeys(
        ("silu_backward", "elu", "elu_backward", "softplus", "logsigmoid", "erf", "erfc", "logaddexp"), 1.5
    ),
    **dict.fromkeys(("silu", "sigmoid", "relu_backward", "leaky_relu", "leaky_relu_backward"), 0.5),
    **dict.fromkeys(("relu", "tanh", "exp"), 0.2),  # two threads are faster than one
    **dict.fromkeys(("hardswish", "hardsigmoid", "softsign", "tanh_backward", "sigmoid_backward"), 0.3),
    **dict.fromkeys(("where", "tril", "triu"), 2),
    "lgamma": 100,
    **dict.fromkeys(("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_gradient"), 1),
    **dict.fromkeys(("softmax_pullback", "log_softmax_pullback", "binary_cross_entropy"), 0.7),
    **dict.fromkeys(("layer_norm", "rms_norm", "batch_norm", "group_norm", "var", "std"), 0.7),
    **dict.fromkeys(("row_norm_gradient", "channel_norm_gradient"), 1.5),
    **dict.fromkeys(("max_pool", "avg_pool"), 1.5),
    **dict.fromkeys(("max_pool_gradient", "avg_pool_gradient"), 0.5),
    **dict.fromkeys(("adaptive_avg_pool", "adaptive_avg_pool_gradient"), 0.3),
    **dict.fromkeys(("interpolate", "interpolate_gradient"), 2),
    **dict.fromkeys(("lay_at", "unembed", "put_at"), 2),
    **dict.fromkeys(("gather", "scatter_add", "cumsum", "cumprod"), 4),
    "sort": 60,
    "bernoulli": 10,
    **dict.fromkeys(("uniform", "integers"), 0.3),  # 10; but what is drawn once is not worth a compiler
}
# Ops whose cost is that of the products in them: operations in a nanosecond.
PRODUCTS: dict[str, float] = {
    **dict.fromkeys(("matmul", "linear"), 50),
    **dict.fromkeys(("conv", "conv_transpose", "conv_weight_gradient", "attention", "attention_gradient"), 20),
    **dict.fromkeys(("rnn", "lstm", "gru", "rnn_gradient", "lstm_gradient", "gru_gradient"), 20),
}

UPDATES = {"sgd": 0.4, "adam": 1.5}  # nanoseconds for each parameter
CALL = 10_000  # nanoseconds that NumPy would take to update a parameter: for less, no C is called
# Ops whose first input tells nothing: a generator's state, one cotangent for all.
SMALL_FIRST = ("uniform", "bernoulli", "integers", "cross_entropy_gradient", "adaptive_avg_pool_gradient")
ENGINES = ("numpy", "native")


def run(op: Op, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
    """What a large op gives, in the native engine; NotImplemented if NumPy is to run it."""
    if MODES.plain:
        return NotImplemented
    from .native import eager

    if not eager.usable():
        use("numpy")  # there is no compiler: nobody has to ask again
        return NotImplemented
    return eager.run(op, arrays, params)


def update(op: Op, rows: Sequence[Any], params: dict[str, Any]) -> Sequence[Any]:
    """Write an optimizer's update over the first arrays of each row; the rows that NumPy is left to do."""
    if MODES.plain or sum([row[0].size for row in rows]) < op.large:
        return rows
    from .native import eager

    return eager.update(op, rows, params) if eager.usable() else rows


def worthwhile(op: Op, arrays: Sequence[Any], params: dict[str, Any], results: Sequence[Any]) -> bool:
    """Would NumPy take long? All are known by shape and dtype."""
    if rate := PRODUCTS.get(op.name):
        out = results[0] if len(results) == 1 else results
        return op.flops(arrays, {**op.defaults, **params}, out) >= LEAST * rate
    sizes = [math.prod(x.shape) for x in (*arrays, *results) if hasattr(x, "shape")]
    return max(sizes) * PASSES[op.name] >= LEAST


def use(name: str) -> None:
    """Let this engine run large eager ops: "native" or "numpy". Others than the first input may be larger than that."""
    if name not in ENGINES:
        fail(ArgumentError, f"there is no engine {name!r} for eager ops", f"use one of: {', '.join(ENGINES)}")
    for op, cost in PASSES.items():
        OPS[op].large = 0 if name == "numpy" else 1 if op in SMALL_FIRST else max(1, int(LEAST / cost / 4))
    for op, cost in UPDATES.items():
        OPS[op].large = int(LEAST / cost) if name == "native" else 0
    for op in PRODUCTS:
        OPS[op].large = FLOOR if name == "native" else 0


def used() -> str:
    """Which engine runs large eager ops."""
    return ENGINES[OPS["conv"].large > 0]


def asked_for() -> str:
    """What PULLBACK_EAGER says; else what PULLBACK_ENGINE says of compiled steps, if that is NumPy."""
    name = os.environ.get("PULLBACK_EAGER") or ""
    return name or ("numpy" if os.environ.get("PULLBACK_ENGINE") == "numpy" else "native")


def begin() -> None:
    """Once, when the package is loaded."""
    LARGE_ARRAYS.append(run)
    LARGE_UPDATES.append(update)
    use(asked_for())


__all__ = ["CALL", "PASSES", "PRODUCTS", "UPDATES", "begin", "use", "used", "worthwhile"]
