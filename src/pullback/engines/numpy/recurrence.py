"""Recurrent layers over all their steps, and the adjoints.

x (T, B, gates * H) holds what the inputs add to each step's gates, W_ih x_t + b: one product for all steps, made by the
caller. Left to the loop is what needs the state before: one product, and elementwise work in place. With s a sigmoid,

    rnn     h' = act(x + W h)
    lstm    i, f, o = s(x + W h), g = tanh(x + W h)      c' = f c + i g                h' = o tanh(c')
    gru     r, z = s(x + W h + b), m = W h + b           n = tanh(x + r m)             h' = n + z (h - n)

where each gate has its own rows of x, W and b. The adjoint is linear in dh' (and dc'): the factors of all steps come
first, the loop back over time multiplies, and the gradient of W is one product at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .normalization import column_sums

Array = np.ndarray[Any, Any]


def _steps(backward: bool, *arrays: Any) -> Iterator[tuple[Array, ...]]:
    """The arrays' entries step by step."""
    return zip(*(a[::-1] for a in arrays) if backward else arrays, strict=True)


def _before(first: Any, states: Any, reverse: bool) -> Array:
    """The state that each step starts from."""
    return np.concatenate([states[1:], first[None]] if reverse else [first[None], states[:-1]])


def _gates(a: Any, n: int) -> Array:
    """(T, B, n * H) as n arrays (T, B, H)."""
    return np.moveaxis(a.reshape(*a.shape[:2], n, a.shape[2] // n), 2, 0)


def _rows(a: Any) -> Array:
    rows: Array = a.reshape(a.shape[0] * a.shape[1], a.shape[2])
    return rows


def _weight_gradient(da: Any, h: Any) -> Array:
    product: Array = _rows(da).T @ _rows(h)
    return product


def _or_zero(g: Any, like: Any) -> Array:
    return np.broadcast_to(np.zeros((), like.dtype), like.shape) if g is None else g


# -- rnn ---------------------------------------------------------------------------------------------------------------


def rnn(x: Any, h: Any, w: Any, relu: bool, reverse: bool) -> Array:
    """h' of every step"""
    hs = np.empty(x.shape, x.dtype)
    for x_t, h_t in _steps(reverse, x, hs):
        np.matmul(h, w.T, out=h_t)
        h_t += x_t
        if relu:
            np.maximum(h_t, 0, out=h_t)
        else:
            np.tanh(h_t, out=h_t)
        h = h_t
    return hs


def rnn_gradient(g: Any, h0: Any, w: Any, hs: Any, relu: bool, reverse: bool) -> tuple[Array, Array, Array]:
    """dx, dh0, dw"""
    da = np.greater(hs, 0).astype(hs.dtype) if relu else 1 - hs * hs
    dh = np.zeros(h0.shape, h0.dtype)
    for g_t, a in _steps(not reverse, g, da):
        dh += g_t
        a *= dh
        np.matmul(a, w, out=dh)
    return da, dh, _weight_gradient(da, _before(h0, hs, reverse))


# -- lstm --------------------------------------------------------------------------------------------------------------


def lstm(x: Any, h: Any, c: Any, w: Any, reverse: bool) -> tuple[Array, Array, Array]:
    """h', c' and (i, f, g, o) of every step"""
    size = h.shape[1]
    gates = np.empty(x.shape, x.dtype)
    hs, cs = (np.empty((*x.shape[:2], size), x.dtype) for _ in range(2))
    by_gate = np.array([[0.5, 0.5, 1, 0.5], [0.5, 0.5, 0, 0.5]], x.dtype)
    scale, shift = np.repeat(np.repeat(by_gate, size, axis=1)[:, None], x.shape[1], axis=1)  # as large as a: faster
    part = np.empty(h.shape, h.dtype)
    for x_t, h_t, c_t, a, i, f, g, o in _steps(reverse, x, hs, cs, gates, *_gates(gates, 4)):
        np.matmul(h, w.T, out=a)
        a += x_t
        a *= scale  # s(x) = tanh(x / 2) / 2 + 1/2: one tanh for all gates
        np.tanh(a, out=a)
        a *= scale
        a += shift
        np.multiply(f, c, out=c_t)
        np.multiply(i, g, out=part)
        c_t += part
        np.tanh(c_t, out=h_t)
        h_t *= o
        h, c = h_t, c_t
    return hs, cs, gates


def lstm_gradient(
    g_h: Any, g_c: Any, g_gates: Any, h0: Any, c0: Any, w: Any, hs: Any, cs: Any, gates: Any, reverse: bool
) -> tuple[Array, Array, Array, Array]:
    """dx, dh0, dc0, dw; a cotangent that is None is zero"""
    i, f, g, o = _gates(gates, 4)
    tanh_c = np.tanh(cs)
    da = _slopes(gates)  # becomes the factors of dc', dc', dc' and dh', and in the loop dx
    np.subtract(1, g * g, out=_gates(da, 4)[2])
    direct = None if g_gates is None else da * g_gates
    for part, factor in zip(_gates(da, 4), (g, _before(c0, cs, reverse), i, tanh_c), strict=True):
        part *= factor
    to_c = o * (1 - tanh_c * tanh_c)
    dh, dc, part = np.zeros(h0.shape, h0.dtype), np.zeros(c0.shape, c0.dtype), np.empty(c0.shape, c0.dtype)
    by_gate = da.reshape(*da.shape[:2], 4, c0.shape[1])
    rest = (direct,) if direct is not None else ()
    for g_t, gc_t, a, a4, factor, f_t, *more in _steps(
        not reverse, _or_zero(g_h, hs), _or_zero(g_c, cs), da, by_gate, to_c, f, *rest
    ):
        dh += g_t
        dc += gc_t
        np.multiply(dh, factor, out=part)
        dc += part
        a4[:, :3] *= dc[:, None]
        a4[:, 3] *= dh
        for d in more:
            a += d
        np.matmul(a, w, out=dh)
        dc *= f_t
    return da, dh, dc, _weight_gradient(da, _before(h0, hs, reverse))


def _slopes(s: Any) -> Array:
    """s (1 - s), the derivative of a sigmoid"""
    slopes: Array = np.subtract(1, s, order="C")
    slopes *= s
    return slopes


# -- gru ---------------------------------------------------------------------------------------------------------------


def gru(x: Any, h: Any, w: Any, b: Any, reverse: bool) -> tuple[Array, Array]:
    """h' and (r, z, m, n) of every step"""
    size = h.shape[1]
    gates = np.empty((*x.shape[:2], 4 * size), x.dtype)
    hs = np.empty((*x.shape[:2], size), x.dtype)
    half = x.dtype.type(0.5)
    for x_t, h_t, a in _steps(reverse, x, hs, gates):
        hidden, rz, n = a[:, : 3 * size], a[:, : 2 * size], a[:, 3 * size :]
        np.matmul(h, w.T, out=hidden)
        if b is not None:
            hidden += b
        rz += x_t[:, : 2 * size]
        rz *= half
        np.tanh(rz, out=rz)
        rz *= half
        rz += half
        np.multiply(a[:, :size], hidden[:, 2 * size :], out=n)
        n += x_t[:, 2 * size :]
        np.tanh(n, out=n)
        np.subtract(h, n, out=h_t)
        h_t *= a[:, size : 2 * size]
        h_t += n
        h = h_t
    return hs, gates


def gru_gradient(
    g_h: Any, g_gates: Any, h0: Any, w: Any, hs: Any, gates: Any, reverse: bool
) -> tuple[Array, Array, Array, Array]:
    """dx, dh0, dw, db; a cotangent that is None is zero"""
    size = h0.shape[1]
    before = _before(h0, hs, reverse)
    r, z, m, n = _gates(gates, 4)
    slope_r, slope_z, slope_n = _slopes(r), _slopes(z), 1 - n * n
    da = np.empty(gates.shape, gates.dtype)  # first the factors of dh'
    of_r, of_z, of_m, of_n = _gates(da, 4)
    np.multiply(slope_n, 1 - z, out=of_n)
    np.multiply(of_n, r, out=of_m)
    np.multiply(of_n, m * slope_r, out=of_r)
    np.multiply(before - n, slope_z, out=of_z)
    rest: tuple[Array, ...] = ()
    if g_gates is not None:
        g_r, g_z, g_m, g_n = _gates(g_gates, 4)
        d_n = g_n * slope_n
        rest = (np.concatenate([(g_r + d_n * m) * slope_r, g_z * slope_z, g_m + d_n * r, d_n], axis=2),)
    dh, part = np.zeros(h0.shape, h0.dtype), np.empty(h0.shape, h0.dtype)
    by_gate = da.reshape(*da.shape[:2], 4, size)
    for g_t, a, a4, z_t, *more in _steps(not reverse, _or_zero(g_h, hs), da, by_gate, z, *rest):
        dh += g_t
        a4 *= dh[:, None]
        for d in more:
            a += d
        np.matmul(a[:, : 3 * size], w, out=part)
        dh *= z_t
        dh += part
    dx = np.concatenate([da[:, :, : 2 * size], da[:, :, 3 * size :]], axis=2)
    flat = _rows(da)[:, : 3 * size]
    return dx, dh, flat.T @ _rows(before), column_sums(flat)
