"""The updates of SGD and Adam: their formulas, with half types in float32 from the first operation to the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ....dtypes import F32, F64, HALVES
from ....ops import updates as records
from ..weak import Weak
from . import Array, ahead, form


def _wide(x: Any) -> Any:
    return x.astype(F32) if getattr(x, "dtype", None) in HALVES else x


def _number(x: Any) -> Array:
    return jnp.asarray(x.array if type(x) is Weak else x, F64)


@form("sgd")
def _sgd(p: Array, b: Array | None, *others: Any, **flags: Any) -> Any:
    """Each result is rounded once, to the type of what it replaces."""
    assert records.sgd.decompose is not None
    new = records.sgd.decompose(*map(_wide, (p, b, *others)), **flags)
    return new.astype(p.dtype) if b is None else (new[0].astype(p.dtype), new[1].astype(b.dtype))


@ahead("adam", 3, 6, 7, 8)
def _counts(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """t + 1, lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t) of all parameters at once, not in tiny loops for each."""
    alike: dict[Any, list[int]] = {}
    for i, (t, *numbers) in enumerate(rows):
        same = t.shape, t.dtype, *(x if type(x) in (int, float) else id(x) for x in numbers)
        alike.setdefault(same, []).append(i)
    found: list[Any] = [None] * len(rows)
    for members in alike.values():
        t = jnp.stack([rows[i][0] for i in members]) + 1
        lr, beta1, beta2 = map(_number, rows[members[0]][1:])
        n = t.astype(F64)
        parts = t, lr / (1 - beta1**n), 1 / jnp.sqrt(1 - beta2**n)
        for k, i in enumerate(members):
            found[i] = {"counts": [part[k] for part in parts]}
    return found


@form("adam")
def _adam(
    p: Array, m: Array, v: Array, t: Array, peak: Array | None, g: Array,
    lr: Any, beta1: Any, beta2: Any, eps: Any, decay: Any,
    decoupled: bool = False, maximize: bool = False, counts: Any = None,
) -> Any:  # fmt: skip
    """The formula of the record. Numbers are computed with in float64, and rounded where they meet an array."""
    t, pace, scale = counts or _counts([(t, lr, beta1, beta2)])[0]["counts"]
    old = [x.dtype for x in (p, m, v, t, peak) if x is not None]
    p, m, v, peak, g = map(_wide, (p, m, v, peak, g))
    lr, beta1, beta2, eps, decay = map(_number, (lr, beta1, beta2, eps, decay))

    def rounded(x: Array) -> Array:
        return x.astype(p.dtype)

    g = -g if maximize else g
    if decoupled:
        p = p * rounded(1 - lr * decay)
    else:
        g = g + p * rounded(decay)
    m = m + (g - m) * rounded(1 - beta1)
    v = v * rounded(beta2) + g * g * rounded(1 - beta2)
    peak = None if peak is None else jnp.maximum(peak, v)
    p = p - m / (jnp.sqrt(v if peak is None else peak) * rounded(scale) + rounded(eps)) * rounded(pace)
    new = [x for x in (p, m, v, t, peak) if x is not None]
    return tuple(x.astype(dtype) for x, dtype in zip(new, old, strict=True))
