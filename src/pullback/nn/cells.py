"""Cells: one step of a recurrent layer."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ArgumentError, KindError, ShapeError, fail
from ..functions.creation import empty, zeros
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class RNNCellBase(Module):
    """One step; the weights of all gates, `num_chunks` of them, lie one below the other."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """U(-k, k), k = 1 / sqrt(hidden_size), for all."""
        uniform(self, self.hidden_size)

    def extra_repr(self) -> str:
        options = [] if self.bias is True else [f"bias={self.bias}"]
        if self.__dict__.get("nonlinearity", "tanh") != "tanh":
            options.append(f"nonlinearity={self.nonlinearity}")
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *options])

    def _batched(self, input: Tensor, states: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        """Input and states as (batch, size); states that are None are zeros."""
        name = type(self).__name__
        for what, t, size in [("input", input, self.input_size), *(("hidden", s, self.hidden_size) for s in states)]:
            if t is None:
                continue
            if t.ndim not in (1, 2):
                fail(ShapeError, f"{name}: expected {what} to be 1D or 2D, got {t.ndim}D")
            if t.ndim != input.ndim or t.shape[:-1] != input.shape[:-1] or t.shape[-1] != size:
                wanted = (*input.shape[:-1], size)
                fail(ShapeError, f"{name}: expected {what} of shape {list(wanted)}, got {list(t.shape)}")
        x = input if input.ndim == 2 else input.unsqueeze(0)
        filled = [
            zeros(x.shape[0], self.hidden_size, dtype=x.dtype, device=x.device) if s is None else s for s in states
        ]
        return (x, *(s if s.ndim == 2 else s.unsqueeze(0) for s in filled))

    def _from_input(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias_ih)

    def _from_state(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight_hh, self.bias_hh)


def like(input: Tensor, state: Tensor) -> Tensor:
    """A state without its batch dimension, if the input had none."""
    return state if input.ndim == 2 else state.squeeze(0)


class RNNCell(RNNCellBase):
    """h' = act(W_ih x + b_ih + W_hh h + b_hh), act is tanh or relu."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h = self._batched(input, (hx,))
        a = self._from_input(x) + self._from_state(h)
        return like(input, a.tanh() if self.nonlinearity == "tanh" else a.relu())


class LSTMCell(RNNCellBase):
    """One step of an LSTM; its state is (h, c)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2 and all_tensors(hx)):
            fail(KindError, f"LSTMCell: hx must be a tuple of two tensors, (h_0, c_0), but got {described(hx)}")
        x, h, c = self._batched(input, (None, None) if hx is None else (hx[0], hx[1]))
        h, c = lstm_cell(self._from_input(x) + self._from_state(h), c)
        return like(input, h), like(input, c)


class GRUCell(RNNCellBase):
    """One step of a GRU."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h = self._batched(input, (hx,))
        (x_r, x_z, x_n), (h_r, h_z, h_n) = self._from_input(x).chunk(3, 1), self._from_state(h).chunk(3, 1)
        r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
        n = (x_n + r * h_n).tanh()
        return like(input, n + z * (h - n))


# -- what cells and layers share ---------------------------------------------------------------------------------------


def lstm_cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """(h', c') of the four gates before their nonlinearities, and c."""
    i, f, g, o = gates.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def uniform(module: Module, hidden_size: int) -> None:
    """U(-k, k), k = 1 / sqrt(hidden_size), for all parameters."""
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


def all_tensors(parts: Any) -> bool:
    return all(isinstance(part, Tensor) for part in parts)


def described(hx: Any) -> str:
    """What was given for a state."""
    if isinstance(hx, (tuple, list)):
        return f"a {type(hx).__name__} of {', '.join(type(part).__name__ for part in hx)}"
    return f"a {type(hx).__name__}"


def check_nonlinearity(name: str) -> None:
    if name not in ("tanh", "relu"):
        fail(ArgumentError, f"unknown nonlinearity {name!r}", "select from 'tanh' or 'relu'")
