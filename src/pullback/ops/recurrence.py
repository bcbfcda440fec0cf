"""Layers that go through time, one layer and direction as one op; the kernels' file has the formulas.

Composed, each is a scan of its cell; so is its gradient, in the other direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..dtypes import F32
from ..engines.numpy import recurrence as kernels
from .activation import relu as relu_
from .arithmetic import add, mul, sub
from .compare import gt
from .create import cast, full_like
from .joining import cat, split
from .loop import scan
from .matmul import matmul, transpose
from .pointwise import sigmoid, tanh
from .record import Sample, Spec, matching, op, same
from .reduction import sum as sum_
from .samples import between, randn
from .shape import reshape, slice_

# The state is (B, H), x (T, B, gates * H).


def _before(first: Any, states: Any, reverse: bool) -> Any:
    """The state that each step starts from."""
    first, n = reshape(first, shape=(1, *first.shape)), states.shape[0]
    key = (slice(1, None) if reverse else slice(0, n - 1),)
    return cat(*((slice_(states, key=key), first) if reverse else (first, slice_(states, key=key))), dim=0)


def _parts(x: Any, n: int) -> Any:
    """n equal parts of the last dimension."""
    return split(x, sizes=(x.shape[-1] // n,) * n, dim=len(x.shape) - 1)


def _joined(*parts: Any) -> Any:
    return cat(*parts, dim=len(parts[0].shape) - 1)


def _weight_gradient(da: Any, h: Any) -> Any:
    a, b = (reshape(v, shape=(math.prod(v.shape[:2]), v.shape[2])) for v in (da, h))
    return matmul(transpose(a), b)


def _or_zero(g: Any, like: Any) -> Any:
    return full_like(like, value=0.0) if g is None else g


def _slope(s: Any) -> Any:
    """s (1 - s), the derivative of a sigmoid"""
    return mul(s, sub(1.0, s))


def _slope_of_tanh(s: Any) -> Any:
    return sub(1.0, mul(s, s))


# -- rnn ---------------------------------------------------------------------------------------------------------------


def _rnn_in_steps(x: Any, h0: Any, w: Any, relu: bool = False, reverse: bool = False) -> Any:
    act = relu_ if relu else tanh

    def cell(state: Any, now: Any) -> Any:
        h = act(add(now[0], matmul(state[0], transpose(w))))
        return (h,), (h,)

    return scan(cell, (h0,), (x,), x.shape[0], reverse)[1][0]


def _rnn_gradient_in_steps(g: Any, h0: Any, w: Any, hs: Any, relu: bool = False, reverse: bool = False) -> Any:
    slopes = cast(gt(hs, 0.0), dtype=_dtype(hs)) if relu else _slope_of_tanh(hs)

    def back(state: Any, now: Any) -> Any:
        g_t, slope = now
        da = mul(add(state[0], g_t), slope)
        return (matmul(da, w),), (da,)

    (dh,), (da,) = scan(back, (full_like(h0, value=0.0),), (g, slopes), g.shape[0], not reverse)
    return da, dh, _weight_gradient(da, _before(h0, hs, reverse))


def _dtype(x: Any) -> Any:
    return x.npdtype if hasattr(x, "npdtype") else x.dtype


# -- lstm --------------------------------------------------------------------------------------------------------------


def _lstm_in_steps(x: Any, h0: Any, c0: Any, w: Any, reverse: bool = False) -> Any:
    def cell(state: Any, now: Any) -> Any:
        h, c = state
        i, f, g, o = _parts(add(now[0], matmul(h, transpose(w))), 4)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = add(mul(f, c), mul(i, g))
        h = mul(o, tanh(c))
        return (h, c), (h, c, _joined(i, f, g, o))

    return scan(cell, (h0, c0), (x,), x.shape[0], reverse)[1]


def _lstm_gradient_in_steps(
    g_h: Any, g_c: Any, g_gates: Any, h0: Any, c0: Any, w: Any, hs: Any, cs: Any, gates: Any, reverse: bool = False
) -> Any:
    i, f, g, o = _parts(gates, 4)
    slopes = _joined(_slope(i), _slope(f), _slope_of_tanh(g), _slope(o))
    tanh_c = tanh(cs)
    factors = mul(slopes, _joined(g, _before(c0, cs, reverse), i, tanh_c))
    direct = mul(slopes, _or_zero(g_gates, gates))
    to_c = mul(o, _slope_of_tanh(tanh_c))

    def back(state: Any, now: Any) -> Any:
        dh, dc = state
        gh_t, gc_t, factor, direct_t, to_c_t, f_t = now
        dh = add(dh, gh_t)
        dc = add(add(dc, gc_t), mul(dh, to_c_t))
        da = add(mul(factor, _joined(dc, dc, dc, dh)), direct_t)
        return (matmul(da, w), mul(dc, f_t)), (da,)

    state = full_like(h0, value=0.0), full_like(c0, value=0.0)
    along = _or_zero(g_h, hs), _or_zero(g_c, cs), factors, direct, to_c, f
    (dh, dc), (da,) = scan(back, state, along, gates.shape[0], not reverse)
    return da, dh, dc, _weight_gradient(da, _before(h0, hs, reverse))


# -- gru ---------------------------------------------------------------------------------------------------------------


def _gru_in_steps(x: Any, h0: Any, w: Any, b: Any, reverse: bool = False) -> Any:
    def cell(state: Any, now: Any) -> Any:
        (h,) = state
        hidden = matmul(h, transpose(w))
        hidden = hidden if b is None else add(hidden, b)
        (x_r, x_z, x_n), (h_r, h_z, m) = _parts(now[0], 3), _parts(hidden, 3)
        r, z = sigmoid(add(x_r, h_r)), sigmoid(add(x_z, h_z))
        n = tanh(add(x_n, mul(r, m)))
        h = add(n, mul(z, sub(h, n)))
        return (h,), (h, _joined(r, z, m, n))

    return scan(cell, (h0,), (x,), x.shape[0], reverse)[1]


def _gru_gradient_in_steps(g_h: Any, g_gates: Any, h0: Any, w: Any, hs: Any, gates: Any, reverse: bool = False) -> Any:
    r, z, m, n = _parts(gates, 4)
    before = _before(h0, hs, reverse)

    def through(to_r: Any, to_z: Any, to_m: Any, to_n: Any) -> Any:
        """Cotangents of (r, z, m, n) as those of what went into them."""
        a_n = mul(to_n, _slope_of_tanh(n))
        return _joined(mul(add(to_r, mul(a_n, m)), _slope(r)), mul(to_z, _slope(z)), add(to_m, mul(a_n, r)), a_n)

    zero = full_like(r, value=0.0)
    factors = through(zero, sub(before, n), zero, sub(1.0, z))
    direct = through(*_parts(_or_zero(g_gates, gates), 4))

    def back(state: Any, now: Any) -> Any:
        g_t, factor, direct_t, z_t = now
        dh = add(state[0], g_t)
        da = add(mul(factor, _joined(dh, dh, dh, dh)), direct_t)
        return (add(mul(dh, z_t), matmul(_joined(*_parts(da, 4)[:3]), w)),), (da,)

    state = (full_like(h0, value=0.0),)
    (dh,), (da,) = scan(back, state, (_or_zero(g_h, hs), factors, direct, z), gates.shape[0], not reverse)
    d_r, d_z, d_m, d_n = _parts(da, 4)
    hidden = _joined(d_r, d_z, d_m)
    return _joined(d_r, d_z, d_n), dh, _weight_gradient(hidden, before), sum_(hidden, dim=(0, 1))


# -- records -----------------------------------------------------------------------------------------------------------


def _forward_flops(arrays: Sequence[Any], params: dict[str, Any], out: Any) -> int:
    x, h = arrays[:2]
    return math.prod(x.shape) * (2 * h.shape[1] + 6)


def _gradient_flops(arrays: Sequence[Any], params: dict[str, Any], out: Any) -> int:
    dx, dh = out[:2]
    return math.prod(dx.shape) * (4 * dh.shape[1] + 8)


def _states(x: Any, h: Any) -> Spec:
    return Spec((*x.shape[:2], h.shape[1]), x.dtype)


def _gate_values(x: Any, h: Any, n: int) -> Spec:
    return Spec((*x.shape[:2], n * h.shape[1]), x.dtype)


def _inputs(t: int, b: int, n: int, h: int, states: int, bias: bool = False, **kind: Any) -> tuple[Any, ...]:
    """x, the first states, W and the bias"""
    firsts = [randn(b, h, seed=i + 1, **kind) for i in range(states)]
    rest = (randn(n * h, seed=5, **kind),) if bias else ()
    w = randn(n * h, h, seed=4, **kind)
    w *= 0.5
    return (randn(t, b, n * h, **kind), *firsts, w, *rest)


def _forward_samples(n: int, states: int, bias: bool = False) -> list[Sample]:
    x, *firsts, w = _inputs(3, 2, n, 3, states)
    rest = (randn(n * 3, seed=5),) if bias else ()
    strided = (
        randn(n * 3, 2, 6).T[::-2],
        *(h.T.copy().T for h in firsts),
        w.T.copy().T,
        *(b.repeat(2)[::2] for b in rest),
    )
    return [
        Sample((x, *firsts, w, *rest)),
        Sample((x, *firsts, w, *rest), {"reverse": True}, note="from the last step to the first"),
        Sample(_inputs(1, 2, n, 1, states, bias), note="one step, one unit"),
        Sample(_inputs(2, 0, n, 3, states, bias), note="empty"),
        Sample(strided, note="strided"),
        Sample(_inputs(4, 3, n, 2, states, bias, dtype=F32), note="float32"),
    ]


def _gradient_samples(n: int, gates: int, states: int) -> list[Sample]:
    def given(t: int, b: int, h: int, **kind: Any) -> tuple[Any, ...]:
        results = [between(-0.9, 0.9, t, b, h, seed=10 + i) for i in range(states)]
        if gates:
            results.append(between(0.1, 0.9, t, b, gates * h))
        cotangents = [randn(*y.shape, seed=20 + i, **kind) for i, y in enumerate(results)]
        return (
            *cotangents,
            *_inputs(t, b, n, h, states, **kind)[1:],
            *(y.astype(cotangents[0].dtype) for y in results),
        )

    usual, strided = given(2, 2, 3), tuple(a.T.copy().T for a in given(3, 2, 2))
    only_h = (usual[0], *[None] * (states - 1 + (gates > 0)), *usual[states + (gates > 0) :])
    return [
        Sample(usual),
        Sample(usual, {"reverse": True}, note="from the last step to the first"),
        Sample(only_h, note="only of h"),
        Sample(given(1, 2, 1), note="one step, one unit"),
        Sample(given(2, 0, 3), note="empty"),
        Sample(strided, note="strided"),
        Sample(given(4, 3, 2, dtype=F32), note="float32"),
    ]


def _and_relu(samples: list[Sample]) -> list[Sample]:
    return [*samples, Sample(samples[0].inputs, {"relu": True}, note="relu")]


rnn = op(
    "rnn", "h_t = act(x_t + h_(t-1) W^T), act is tanh or relu", inputs="x h0 w",
    torch="recurrence.rnn(x, h0, w, relu, reverse)",
    numpy=lambda x, h0, w, relu=False, reverse=False: kernels.rnn(x, h0, w, relu, reverse),
    infer=same, dtypes=matching, flops=_forward_flops,
    vjp_all=lambda g, h0, w, out, relu, reverse: rnn_gradient(g, h0, w, out, relu=relu, reverse=reverse),
    decompose=_rnn_in_steps,
    samples=lambda: _and_relu(_forward_samples(1, 1)),
)  # fmt: skip

rnn_gradient = op(
    "rnn_gradient", "(dx, dh0, dW) of rnn whose results were hs", inputs="g h0 w hs",
    torch="recurrence.rnn_gradient(g, h0, w, hs, relu, reverse)",
    numpy=lambda g, h0, w, hs, relu=False, reverse=False: kernels.rnn_gradient(g, h0, w, hs, relu, reverse),
    infer=lambda g, h0, w, hs, relu=False, reverse=False: (same(hs), same(h0), same(w)), dtypes=matching,
    flops=_gradient_flops,
    decompose=_rnn_gradient_in_steps,
    samples=lambda: _and_relu(_gradient_samples(1, 0, 1)),
)  # fmt: skip


def _pull_lstm(g: Any, h0: Any, c0: Any, w: Any, out0: Any, out1: Any, out2: Any, reverse: bool) -> Any:
    return lstm_gradient(*g, h0, c0, w, out0, out1, out2, reverse=reverse)


lstm = op(
    "lstm", "h and c of every step of an LSTM, and its gates (i, f, g, o)", inputs="x h0 c0 w",
    torch="recurrence.lstm(x, h0, c0, w, reverse)",
    numpy=lambda x, h0, c0, w, reverse=False: kernels.lstm(x, h0, c0, w, reverse),
    infer=lambda x, h0, c0, w, reverse=False: (_states(x, h0), _states(x, h0), same(x)), dtypes=matching,
    flops=_forward_flops, zeros=False,
    vjp_all=_pull_lstm,
    decompose=_lstm_in_steps,
    samples=lambda: _forward_samples(4, 2),
)  # fmt: skip

lstm_gradient = op(
    "lstm_gradient", "(dx, dh0, dc0, dW) of lstm whose results were hs, cs and gates",
    inputs="g_h g_c g_gates h0 c0 w hs cs gates",
    torch="recurrence.lstm_gradient(g_h, g_c, g_gates, h0, c0, w, hs, cs, gates, reverse)",
    numpy=lambda g_h, g_c, g_gates, h0, c0, w, hs, cs, gates, reverse=False: kernels.lstm_gradient(
        g_h, g_c, g_gates, h0, c0, w, hs, cs, gates, reverse
    ),
    infer=lambda g_h, g_c, g_gates, h0, c0, w, hs, cs, gates, reverse=False: (same(gates), same(h0), same(c0), same(w)),
    dtypes=matching, flops=_gradient_flops,
    decompose=_lstm_gradient_in_steps,
    samples=lambda: _gradient_samples(4, 4, 2),
)  # fmt: skip


def _pull_gru(g: Any, h0: Any, w: Any, out0: Any, out1: Any, reverse: bool, needed: tuple[bool, ...]) -> Any:
    pulled = gru_gradient(*g, h0, w, out0, out1, reverse=reverse)
    return pulled if needed[3:] == (True,) else pulled[:3]


gru = op(
    "gru", "h of every step of a GRU, and its gates (r, z, m, n); b is added to h W^T", inputs="x h0 w b",
    torch="recurrence.gru(x, h0, w, b, reverse)",
    numpy=lambda x, h0, w, b, reverse=False: kernels.gru(x, h0, w, b, reverse),
    infer=lambda x, h0, w, b, reverse=False: (_states(x, h0), _gate_values(x, h0, 4)), dtypes=matching,
    flops=_forward_flops, zeros=False,
    vjp_all=_pull_gru,
    decompose=_gru_in_steps,
    samples=lambda: [
        *_forward_samples(3, 1, bias=True),
        Sample((*_inputs(3, 2, 3, 3, 1), None), note="no bias"),
    ],
)  # fmt: skip

gru_gradient = op(
    "gru_gradient", "(dx, dh0, dW, db) of gru whose results were hs and gates", inputs="g_h g_gates h0 w hs gates",
    torch="recurrence.gru_gradient(g_h, g_gates, h0, w, hs, gates, reverse)",
    numpy=lambda g_h, g_gates, h0, w, hs, gates, reverse=False: kernels.gru_gradient(
        g_h, g_gates, h0, w, hs, gates, reverse
    ),
    infer=lambda g_h, g_gates, h0, w, hs, gates, reverse=False: (
        _gate_values(hs, h0, 3), same(h0), same(w), Spec(w.shape[:1], w.dtype)
    ),
    dtypes=matching, flops=_gradient_flops,
    decompose=_gru_gradient_in_steps,
    samples=lambda: _gradient_samples(3, 4, 1),
)  # fmt: skip
