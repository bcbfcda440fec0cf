"""The loops of recurrent layers in PyTorch, and going back through them given what they saved."""

from __future__ import annotations

from typing import Any

import torch


def in_time(reverse: bool, x: Any) -> Any:
    return x.flip(0) if reverse else x


def before(first: Any, states: Any, reverse: bool) -> Any:
    """The state that each step starts from."""
    return torch.cat([states[1:], first[None]]) if reverse else torch.cat([first[None], states[:-1]])


def weight_gradient(da: Any, h: Any) -> Any:
    return torch.einsum("tbg,tbh->gh", da, h)


def given(g: Any, like: Any) -> Any:
    return torch.zeros_like(like) if g is None else g


def rnn(x: Any, h: Any, w: Any, relu: bool, reverse: bool) -> Any:
    act = torch.relu if relu else torch.tanh
    return in_time(reverse, torch.stack([h := act(x_t + h @ w.T) for x_t in in_time(reverse, x)]))


def rnn_gradient(g: Any, h0: Any, w: Any, hs: Any, relu: bool, reverse: bool) -> Any:
    slopes = (hs > 0).to(hs.dtype) if relu else 1 - hs**2
    dh, da = torch.zeros_like(h0), []
    for g_t, slope in zip(in_time(not reverse, g), in_time(not reverse, slopes), strict=True):
        da.append((dh + g_t) * slope)
        dh = da[-1] @ w
    dx = in_time(not reverse, torch.stack(da))
    return dx, dh, weight_gradient(dx, before(h0, hs, reverse))


def lstm(x: Any, h: Any, c: Any, w: Any, reverse: bool) -> Any:
    n, as_it_is, ys = h.shape[1], torch.eye(len(w), dtype=w.dtype), []
    for x_t in in_time(reverse, x):
        a = x_t + h @ w.T
        gates = torch.cat([a[:, : 2 * n].sigmoid(), a[:, 2 * n : 3 * n].tanh(), a[:, 3 * n :].sigmoid()], 1)
        h, c = torch.lstm_cell(x_t, (h, c), as_it_is, w)
        ys.append((h, c, gates))
    return tuple(in_time(reverse, torch.stack(y)) for y in zip(*ys, strict=True))


def lstm_gradient(
    g_h: Any, g_c: Any, g_gates: Any, h0: Any, c0: Any, w: Any, hs: Any, cs: Any, gates: Any, reverse: bool
) -> Any:
    dh, dc, da = torch.zeros_like(h0), torch.zeros_like(c0), []
    along = given(g_h, hs), given(g_c, cs), given(g_gates, gates), before(c0, cs, reverse), cs, gates
    for gh, gc, gg, c_before, c, gate in zip(*[in_time(not reverse, a) for a in along], strict=True):
        i, f, g, o = gate.chunk(4, 1)
        g_i, g_f, g_g, g_o = gg.chunk(4, 1)
        dh, tanh = dh + gh, c.tanh()
        dc = dc + gc + dh * o * (1 - tanh**2)
        d_i, d_f, d_g, d_o = dc * g + g_i, dc * c_before + g_f, dc * i + g_g, dh * tanh + g_o
        da.append(torch.cat([d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g**2), d_o * o * (1 - o)], 1))
        dh, dc = da[-1] @ w, dc * f
    dx = in_time(not reverse, torch.stack(da))
    return dx, dh, dc, weight_gradient(dx, before(h0, hs, reverse))


def gru(x: Any, h: Any, w: Any, b: Any, reverse: bool) -> Any:
    n, as_it_is, ys = h.shape[1], torch.eye(len(w), dtype=w.dtype), []
    nothing = None if b is None else torch.zeros_like(b)
    for x_t in in_time(reverse, x):
        hidden = h @ w.T if b is None else h @ w.T + b
        rz, m = (x_t[:, : 2 * n] + hidden[:, : 2 * n]).sigmoid(), hidden[:, 2 * n :]
        gates = torch.cat([rz, m, (x_t[:, 2 * n :] + rz[:, :n] * m).tanh()], 1)
        h = torch.gru_cell(x_t, h, as_it_is, w, nothing, b)
        ys.append((h, gates))
    return tuple(in_time(reverse, torch.stack(y)) for y in zip(*ys, strict=True))


def gru_gradient(g_h: Any, g_gates: Any, h0: Any, w: Any, hs: Any, gates: Any, reverse: bool) -> Any:
    h_before, dh, dx, hidden = before(h0, hs, reverse), torch.zeros_like(h0), [], []
    along = given(g_h, hs), given(g_gates, gates), h_before, gates
    for gh, gg, h, gate in zip(*[in_time(not reverse, a) for a in along], strict=True):
        r, z, m, n = gate.chunk(4, 1)
        g_r, g_z, g_m, g_n = gg.chunk(4, 1)
        dh = dh + gh
        a_n = (dh * (1 - z) + g_n) * (1 - n**2)
        a_r, a_z = (a_n * m + g_r) * r * (1 - r), (dh * (h - n) + g_z) * z * (1 - z)
        dx.append(torch.cat([a_r, a_z, a_n], 1))
        hidden.append(torch.cat([a_r, a_z, a_n * r + g_m], 1))
        dh = dh * z + hidden[-1] @ w
    of_x, of_h = (in_time(not reverse, torch.stack(d)) for d in (dx, hidden))
    return of_x, dh, weight_gradient(of_h, h_before), of_h.sum((0, 1))
