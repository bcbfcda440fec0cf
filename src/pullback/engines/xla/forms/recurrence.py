"""Layers that go through time, by lax.scan: one product a step; the gradient of W is one product for all steps.

States are carried in float32 where the arrays are half types. The formulas stand in engines/numpy/recurrence.py.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from ....dtypes import F32, HALVES
from . import Array, form
from .matmul import product

sigmoid = lax.logistic


def _wide(x: Array) -> Array:
    return x.astype(F32) if x.dtype in HALVES else x


def _times(x: Array, w: Array) -> Array:
    """x w, where x may be wider than w"""
    return product(x.astype(w.dtype), w)


def _before(first: Array, states: Array, reverse: bool) -> Array:
    """The state that each step starts from."""
    return jnp.concatenate([states[1:], first[None]] if reverse else [first[None], states[:-1]])


def _weight_gradient(da: Array, h: Array) -> Array:
    a, b = (x.reshape(x.shape[0] * x.shape[1], x.shape[2]) for x in (da, h))
    return product(a.T, b).astype(da.dtype)


def _slope(s: Array) -> Array:
    """s (1 - s), the derivative of a sigmoid"""
    return s * (1 - s)


def _slope_of_tanh(s: Array) -> Array:
    return 1 - s * s


def _joined(*parts: Array) -> Array:
    return jnp.concatenate(parts, axis=-1)


def _gates(a: Array, n: int) -> list[Array]:
    return jnp.split(_wide(a), n, axis=-1)


def _plus(x: Array, g: Array | None) -> Array:
    return x if g is None else x + g


# -- rnn ---------------------------------------------------------------------------------------------------------------


@form("rnn")
@form("rnn", half=True)
def _rnn(x: Array, h0: Array, w: Array, relu: bool = False, reverse: bool = False) -> Array:
    def step(h: Array, x_t: Array) -> tuple[Array, Array]:
        a = x_t + _times(h, w.T)
        h = jnp.maximum(a, 0) if relu else jnp.tanh(a)
        return h, h.astype(x.dtype)

    return lax.scan(step, _wide(h0), x, reverse=reverse)[1]


@form("rnn_gradient")
@form("rnn_gradient", half=True)
def _rnn_gradient(g: Array, h0: Array, w: Array, hs: Array, relu: bool = False, reverse: bool = False) -> Any:
    def back(dh: Array, now: Any) -> tuple[Array, Array]:
        g_t, h = now[0], _wide(now[1])
        da = (dh + g_t) * ((h > 0).astype(h.dtype) if relu else _slope_of_tanh(h))
        return _times(da, w), da.astype(g.dtype)

    dh, da = lax.scan(back, jnp.zeros_like(_wide(h0)), (g, hs), reverse=not reverse)
    return da, dh.astype(h0.dtype), _weight_gradient(da, _before(h0, hs, reverse))


# -- lstm --------------------------------------------------------------------------------------------------------------


@form("lstm")
@form("lstm", half=True)
def _lstm(x: Array, h0: Array, c0: Array, w: Array, reverse: bool = False) -> Any:
    def step(state: Any, x_t: Array) -> Any:
        h, c = state
        i, f, g, o = _gates(x_t + _times(h, w.T), 4)
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h.astype(x.dtype), c.astype(x.dtype), _joined(i, f, g, o).astype(x.dtype))

    return lax.scan(step, (_wide(h0), _wide(c0)), x, reverse=reverse)[1]


@form("lstm_gradient")
@form("lstm_gradient", half=True)
def _lstm_gradient(
    g_h: Array | None, g_c: Array | None, g_gates: Array | None,
    h0: Array, c0: Array, w: Array, hs: Array, cs: Array, gates: Array, reverse: bool = False,
) -> Any:  # fmt: skip
    """A cotangent that is None is zero."""

    def back(state: Any, now: Any) -> Any:
        (dh, dc), (gh_t, gc_t, ggates_t, before, c, gates_t) = state, now
        i, f, g, o = _gates(gates_t, 4)
        tanh_c = jnp.tanh(_wide(c))
        dh = _plus(dh, gh_t)
        dc = _plus(dc, gc_t) + dh * o * _slope_of_tanh(tanh_c)
        to_gates = _plus(_joined(dc * g, dc * before, dc * i, dh * tanh_c), ggates_t)
        da = to_gates * _joined(_slope(i), _slope(f), _slope_of_tanh(g), _slope(o))
        return (_times(da, w), dc * f), da.astype(gates.dtype)

    along = g_h, g_c, g_gates, _before(c0, cs, reverse), cs, gates
    zero = jnp.zeros_like(_wide(h0)), jnp.zeros_like(_wide(c0))
    (dh, dc), da = lax.scan(back, zero, along, reverse=not reverse)
    return da, dh.astype(h0.dtype), dc.astype(c0.dtype), _weight_gradient(da, _before(h0, hs, reverse))


# -- gru ---------------------------------------------------------------------------------------------------------------


@form("gru")
@form("gru", half=True)
def _gru(x: Array, h0: Array, w: Array, b: Array | None, reverse: bool = False) -> Any:
    def step(h: Array, x_t: Array) -> Any:
        (x_r, x_z, x_n), (h_r, h_z, m) = _gates(x_t, 3), _gates(_plus(_times(h, w.T), b), 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * m)
        h = n + z * (h - n)
        return h, (h.astype(x.dtype), _joined(r, z, m, n).astype(x.dtype))

    return lax.scan(step, _wide(h0), x, reverse=reverse)[1]


@form("gru_gradient")
@form("gru_gradient", half=True)
def _gru_gradient(
    g_h: Array | None, g_gates: Array | None, h0: Array, w: Array, hs: Array, gates: Array, reverse: bool = False
) -> Any:
    """A cotangent that is None is zero."""

    def back(dh: Array, now: Any) -> Any:
        g_t, ggates_t, before, gates_t = now
        r, z, m, n = _gates(gates_t, 4)
        dh = _plus(dh, g_t)
        zero = jnp.zeros_like(dh)
        to_r, to_z, to_m, to_n = _gates(_plus(_joined(zero, dh * (before - n), zero, dh * (1 - z)), ggates_t), 4)
        a_n = to_n * _slope_of_tanh(n)
        hidden = _joined((to_r + a_n * m) * _slope(r), to_z * _slope(z), to_m + a_n * r)
        return dh * z + _times(hidden, w), (hidden.astype(gates.dtype), a_n.astype(gates.dtype))

    before = _before(h0, hs, reverse)
    along = g_h, g_gates, before, gates
    dh, (hidden, a_n) = lax.scan(back, jnp.zeros_like(_wide(h0)), along, reverse=not reverse)
    dx = _joined(hidden[..., : -a_n.shape[-1]], a_n)
    return dx, dh.astype(h0.dtype), _weight_gradient(hidden, before), _wide(hidden).sum((0, 1)).astype(w.dtype)
