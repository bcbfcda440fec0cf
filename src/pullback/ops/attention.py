"""Scaled dot-product attention as one op; the kernel's file has the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import BOOL, F32, HALVES
from ..engines.numpy import attention as kernels
from .arithmetic import add, mul, sub
from .compare import eq, where
from .create import full_like
from .extremes import amax
from .matmul import matmul, transpose
from .record import REPLAY, Op, Sample, Spec, matching, op, same
from .reduction import sum as sum_
from .samples import booleans, inf, randn
from .shape import reshape, tril
from .softmax import softmax


def attending(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """One floating type for all but a boolean mask, which comes last; half types are computed in float32."""
    *rest, mask = arrays
    matching(op, rest if mask is None or mask.dtype == BOOL else arrays)
    if rest[0].dtype not in HALVES:
        return arrays, None
    return [a.astype(F32) if a is not None and a.dtype in HALVES else a for a in arrays], rest[0].dtype


# q (..., H, L, E) has as many heads as k (..., K, S, E), or several to each: then G = H / K.


def _heads(q: Any, k: Any) -> tuple[int, int]:
    """(B, G): how many heads of keys there are, and how many heads of queries use each."""
    return math.prod(k.shape[:-2]), math.prod(q.shape[:-2]) // max(1, math.prod(k.shape[:-2]))


def _check(q: Any, k: Any, v: Any) -> None:
    if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1]:
        raise ValueError("query and key must have equal last dimensions, key and value all others")
    if q.shape[:-3] != k.shape[:-3] or (q.shape[:-2] != k.shape[:-2] and q.shape[-3] % max(1, k.shape[-3])):
        raise ValueError("query's number of heads must be a multiple of the key's and value's, and their batches equal")


def _flat(q: Any, k: Any, v: Any, mask: Any) -> tuple[Any, Any, Any, Any]:
    """The kernels' layout; a mask becomes its distinct tables and, for each head, which one it uses."""
    _check(q, k, v)
    batch, group = _heads(q, k)
    if mask is not None:
        table = mask.reshape(math.prod(mask.shape[:-2]), *(1, 1, *mask.shape)[-2:])
        which = np.arange(len(table)).reshape(mask.shape[:-2])
        mask = table, np.broadcast_to(which, q.shape[:-2]).reshape(batch, group)
    return (
        q.reshape(batch, group, *q.shape[-2:]),
        k.reshape(batch, *k.shape[-2:]),
        v.reshape(batch, *v.shape[-2:]),
        mask,
    )


def _attention(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, scale: float = 1.0) -> Any:
    return kernels.forward(*_flat(q, k, v, mask), causal, scale).reshape(*q.shape[:-1], v.shape[-1])


def _attention_gradient(
    g: Any, q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, scale: float = 1.0
) -> Any:
    flat = _flat(q, k, v, mask)
    dq, dk, dv = kernels.gradient(g.reshape(*flat[0].shape[:3], v.shape[-1]), *flat, causal, scale)
    return dq.reshape(q.shape), dk.reshape(k.shape), dv.reshape(v.shape)


def weights_in_steps(q: Any, k: Any, mask: Any, causal: bool, scale: float) -> Any:
    """softmax(scale q k^T + mask), and zeros where a row has no key to look at."""
    _, group = _heads(q, k)
    length, keys = q.shape[-2], k.shape[-2]
    grouped = reshape(mul(q, scale), shape=(*k.shape[:-2], group * length, q.shape[-1]))
    s = reshape(matmul(grouped, transpose(k)), shape=(*q.shape[:-1], keys))
    if mask is not None:
        boolean = (mask.npdtype if hasattr(mask, "npdtype") else mask.dtype) == BOOL
        s = where(mask, s, -inf) if boolean else add(s, mask)
    if causal:
        s = where(eq(tril(full_like(s, value=1.0, shape=(length, keys))), 0.0), -inf, s)
    if keys == 0 or (mask is None and not causal):
        return softmax(s, dim=len(s.shape) - 1)
    blind = eq(amax(s, dim=(len(s.shape) - 1,), keepdim=True), -inf)
    return where(blind, 0.0, softmax(where(blind, 0.0, s), dim=len(s.shape) - 1))


def attention_in_steps(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    causal: bool = False,
    scale: float = 1.0,
    drop: Callable[[Any], Any] | None = None,
) -> Any:
    """The same from ops; `drop` is applied to the weights."""
    p = weights_in_steps(q, k, mask, causal, scale)
    return _looked_up(p if drop is None else drop(p), v)


def _looked_up(p: Any, v: Any) -> Any:
    grouped = reshape(p, shape=(*v.shape[:-2], math.prod(p.shape[:-1]) // max(1, math.prod(v.shape[:-2])), p.shape[-1]))
    return reshape(matmul(grouped, v), shape=(*p.shape[:-1], v.shape[-1]))


def _gradient_in_steps(
    g: Any, q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, scale: float = 1.0
) -> Any:
    p = weights_in_steps(q, k, mask, causal, scale)

    def grouped(x: Any) -> Any:
        return reshape(
            x, shape=(*k.shape[:-2], math.prod(x.shape[:-1]) // max(1, math.prod(k.shape[:-2])), x.shape[-1])
        )

    dv = matmul(transpose(grouped(p)), grouped(g))
    dp = reshape(matmul(grouped(g), transpose(v)), shape=p.shape)
    ds = mul(mul(p, sub(dp, sum_(mul(dp, p), dim=(len(p.shape) - 1,), keepdim=True))), scale)
    dq = reshape(matmul(grouped(ds), k), shape=q.shape)
    return dq, matmul(transpose(grouped(ds)), grouped(q)), dv


def _rule(g: Any, q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float, needed: tuple[bool, ...]) -> Any:
    if len(needed) > 3 and needed[3]:  # a learned bias: its gradient is as large as all scores
        return REPLAY[0](attention_in_steps, (q, k, v, mask), {"causal": causal, "scale": scale}, needed, g)
    return attention_gradient(g, q, k, v, mask, causal=causal, scale=scale)


def _flops(products: int) -> Callable[..., int]:
    """So many matrix products of all queries with all keys (masked ones are counted too)."""

    def count(arrays: Sequence[Any], params: dict[str, Any], out: Any) -> int:
        q, k = arrays[len(arrays) - 4], arrays[len(arrays) - 3]
        return int(2 * products * math.prod(q.shape) * k.shape[-2])

    return count


_HALF = {"scale": 0.5}


def _samples() -> list[Sample]:
    return [
        Sample((randn(2, 3, 4, 5), randn(2, 3, 6, 5), randn(2, 3, 6, 7), None), _HALF),
        Sample((randn(3, 5), randn(4, 5), randn(4, 2), None), _HALF, note="one head"),
        Sample(
            (randn(2, 5, 3), randn(2, 5, 3, seed=1), randn(2, 5, 3, seed=2), None),
            {"causal": True, "scale": 0.5},
            note="causal",
        ),
        Sample(
            (randn(2, 6, 3), randn(2, 4, 3), randn(2, 4, 3, seed=2), None),
            {"causal": True, "scale": 1.0},
            note="causal, fewer keys",
        ),
        Sample((randn(2, 3, 4, 3), randn(2, 3, 5, 3), randn(2, 3, 5, 2), booleans(2, 1, 4, 5)), _HALF, note="mask"),
        Sample((randn(2, 3, 4, 3), randn(2, 3, 5, 3), randn(2, 3, 5, 2), randn(3, 4, 5)), _HALF, note="bias"),
        Sample(
            (randn(2, 4, 3, 2), randn(2, 2, 5, 2), randn(2, 2, 5, 3), booleans(2, 1, 1, 5)),
            _HALF,
            note="grouped heads, key padding",
        ),
        Sample((randn(3, 4), randn(5, 4), randn(5, 2), np.arange(3)[:, None] != 1), _HALF, note="a row sees nothing"),
        Sample((randn(5, 4, 3, 2).T, randn(5, 6, 3, 2).T, randn(7, 12, 3, 2)[:, ::-2].T, None), _HALF, note="strided"),
        Sample((randn(0, 3, 4), randn(0, 5, 4), randn(0, 5, 4), None), _HALF, note="empty"),
        Sample((randn(2, 3, 4), randn(2, 0, 4), randn(2, 0, 4), None), _HALF, note="no keys"),
        Sample(
            (randn(3, 4, dtype=F32), randn(5, 4, dtype=F32), randn(5, 2, dtype=F32), None),
            _HALF,
            note="float32",
        ),
    ]


_MATH = (
    "F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=q.shape[:-2] != "
    "k.shape[:-2])"
)

attention = op(
    "attention", "softmax(scale q k^T + mask) v", inputs="q k v mask", torch=_MATH,
    numpy=_attention,
    infer=lambda q, k, v, mask=None, causal=False, scale=1.0: Spec((*q.shape[:-1], v.shape[-1]), q.dtype),
    dtypes=attending, flops=_flops(2),
    vjp_all=_rule, decompose=attention_in_steps,
    samples=_samples,
)  # fmt: skip

attention_gradient = op(
    "attention_gradient", "(dq, dk, dv) of attention", inputs="g q k v mask",
    torch=f"torch.func.vjp(lambda q, k, v: {_MATH}, q, k, v)[1](g)",
    numpy=_attention_gradient,
    infer=lambda g, q, k, v, mask=None, causal=False, scale=1.0: (same(q), same(k), same(v)),
    dtypes=attending, flops=_flops(5),
    decompose=_gradient_in_steps,
    samples=lambda: [
        Sample((randn(*s.inputs[0].shape[:-1], s.inputs[2].shape[-1], dtype=s.inputs[0].dtype), *s.inputs), *s[1:])
        for s in _samples()
    ],
)  # fmt: skip
