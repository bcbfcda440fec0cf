"""Layers that go through time.

What the inputs add to the gates is one product for all steps; only what needs the state before is left to the loop,
which is one op for a layer and direction (`ops/recurrence.py` has the formulas). Both directions, stacked layers and
sequences of different lengths are composed of that here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import ArgumentError, DTypeError, KindError, ShapeError, fail
from ..functions.creation import empty, zeros
from ..functions.joining import cat, stack
from ..modes import MODES
from ..ops import recurrence
from ..tensor import Tensor
from . import functional as F
from .cells import all_tensors, check_nonlinearity, described, lstm_cell, uniform
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

States = tuple[Tensor, ...]  # (h,), of an LSTM (h, c)

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


class Run(NamedTuple):
    """Steps one after the other with the same sequences in them; `start` is their place in the packed data."""

    start: int
    steps: int
    batch: int


def _runs(batch_sizes: list[int]) -> list[Run]:
    """Steps that have equal batch sizes, together: within a run a packed sequence is an array (steps, batch, ...)."""
    runs: list[Run] = []
    start = 0
    for batch in batch_sizes:
        if runs and runs[-1].batch == batch:
            runs[-1] = runs[-1]._replace(steps=runs[-1].steps + 1)
        else:
            runs.append(Run(start, 1, batch))
        start += batch
    return runs


# -- one layer, one direction, one run: x is what the inputs add to the gates ------------------------------------------


def _rnn(x: Tensor, state: States, w: Tensor, relu: bool, reverse: bool) -> tuple[Tensor, States]:
    hs = recurrence.rnn(x, *state, w, relu=relu, reverse=reverse)
    return hs, (_last(hs, reverse),)


def _lstm(x: Tensor, state: States, w: Tensor, reverse: bool) -> tuple[Tensor, States]:
    hs, cs, _ = recurrence.lstm(x, *state, w, reverse=reverse)
    return hs, (_last(hs, reverse), _last(cs, reverse))


def _projected_lstm(x: Tensor, state: States, w: Tensor, w_hr: Tensor, reverse: bool) -> tuple[Tensor, States]:
    (h, c), hs, steps = state, [], x.unbind(0)
    for x_t in reversed(steps) if reverse else steps:
        h, c = lstm_cell(x_t + F.linear(h, w), c)
        h = F.linear(h, w_hr)
        hs.append(h)
    return stack(hs[::-1] if reverse else hs), (h, c)


def _gru(x: Tensor, state: States, w: Tensor, b: Tensor | None, reverse: bool) -> tuple[Tensor, States]:
    (h,) = state
    given = [t if t is None else t.to(h.dtype) for t in (x, w, b)]  # they differ under autocast only
    hs, _ = recurrence.gru(given[0], h, *given[1:], reverse=reverse)
    return hs, (_last(hs, reverse),)


def _last(states: Tensor, reverse: bool) -> Tensor:
    return states[0 if reverse else -1]


# -- layers ------------------------------------------------------------------------------------------------------------


class RNNBase(Module):
    """One or more layers in one or both directions; `mode` is one of RNN_TANH, RNN_RELU, LSTM and GRU."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if mode not in GATES:
            fail(ArgumentError, f"unknown mode {mode!r}", f"use one of {', '.join(GATES)}")
        _check_sizes(input_size, hidden_size, num_layers, proj_size)
        _check_options(bias, batch_first, dropout)
        if proj_size > 0 and mode != "LSTM":
            fail(ArgumentError, "proj_size argument is only supported for LSTM, not RNN or GRU")
        if dropout > 0 and num_layers == 1:
            what = f"dropout={dropout} acts between layers: with num_layers=1 there is no place for it"
            warnings.warn(what, stacklevel=3)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        self.proj_size = proj_size
        self._all_weights: list[list[str]] = []  # names, for each layer and direction
        gates, out = GATES[mode] * hidden_size, proj_size or hidden_size
        for layer, suffix in self._passes():
            width = input_size if layer == 0 else out * self._directions
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, width), "weight_hh": (gates, out)}
            if bias:
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
            if proj_size > 0:
                shapes |= {"weight_hr": (proj_size, hidden_size)}
            named = {f"{name}_l{layer}{suffix}": shape for name, shape in shapes.items()}
            self._all_weights.append(list(named))
            for name, shape in named.items():
                self.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _passes(self) -> Iterator[tuple[int, str]]:
        """Layer and direction, as in the names of parameters and the order of states."""
        return ((layer, suffix) for layer in range(self.num_layers) for suffix in ("", "_reverse")[: self._directions])

    def reset_parameters(self) -> None:
        """U(-k, k), k = 1 / sqrt(hidden_size), for all."""
        uniform(self, self.hidden_size)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters, for each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing: parameters may lie anywhere."""

    def extra_repr(self) -> str:
        usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        usual |= {"bidirectional": False}
        given = [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *given])

    def forward(self, input: Any, hx: Any = None) -> Any:
        """(outputs of the last layer at every step, last state of every layer)"""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        name = type(self).__name__
        if input.ndim not in (2, 3):
            fail(ShapeError, f"{name}: expected input to be 2D or 3D, got {input.ndim}D input of {list(input.shape)}")
        batched = input.ndim == 3
        x = (input.transpose(0, 1) if self.batch_first else input) if batched else input.unsqueeze(1)
        self._check_input(x)
        steps, batch, _ = x.shape
        if steps == 0:
            fail(ShapeError, f"{name}: expected sequence length to be larger than 0, got input of {list(input.shape)}")
        given = self._given(hx, 3 if batched else 2)
        states = self._states(given if batched or given is None else tuple(s.unsqueeze(1) for s in given), x, batch)
        out, last = self._layers(x.flatten(0, 1), [Run(0, steps, batch)], states)
        out = out.unflatten(0, (steps, batch))
        if not batched:
            return out.squeeze(1), self._returned(tuple(s.squeeze(1) for s in last))
        return out.transpose(0, 1) if self.batch_first else out, self._returned(last)

    def _packed(self, input: PackedSequence, hx: Any) -> Any:
        """The same of a PackedSequence; states are in the order of the sequences before they were sorted."""
        if input.data.ndim != 2:
            fail(ShapeError, f"packed input must have 2 dimensions, got {input.data.ndim}")
        self._check_input(input.data)
        runs = _runs(input.batch_sizes.tolist())
        states = self._states(self._given(hx, 3), input.data, runs[0].batch)
        if hx is not None and input.sorted_indices is not None:
            states = tuple(s.index_select(1, input.sorted_indices) for s in states)
        out, last = self._layers(input.data, runs, states)
        if input.unsorted_indices is not None:
            last = tuple(s.index_select(1, input.unsorted_indices) for s in last)
        return PackedSequence(out, *input[1:]), self._returned(last)

    def _returned(self, states: States) -> Any:
        return states if self.mode == "LSTM" else states[0]

    def _layers(self, x: Tensor, runs: list[Run], states: States) -> tuple[Tensor, States]:
        """Through all layers; x is packed, states are (layers * directions, batch, ...)."""
        firsts, lasts = zip(*(s.unbind(0) for s in states), strict=True), []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            outs = []
            for reverse in (False, True)[: self._directions]:
                weights = self.all_weights[layer * self._directions + reverse]
                out, last = self._one(x, runs, next(firsts), weights, reverse)
                outs.append(out)
                lasts.append(last)
            x = cat(outs, 1) if len(outs) > 1 else outs[0]
        return x, tuple(stack(column) for column in zip(*lasts, strict=True))

    def _one(
        self, x: Tensor, runs: list[Run], first: States, weights: list[Any], reverse: bool
    ) -> tuple[Tensor, States]:
        """One layer in one direction: the outputs, packed, and the state that each sequence ends with."""
        w_ih, w_hh, *rest = weights
        of_input, of_state, *projection = rest if self.bias else (None, None, *rest)
        if self.bias and self.mode != "GRU":
            of_input, of_state = of_input + of_state, None  # both are added to the same gates
        x = F.linear(x, w_ih, of_input)
        outs, ended = [], []
        state = tuple(s[: runs[-1].batch] for s in first) if reverse else first
        for start, steps, batch in reversed(runs) if reverse else runs:
            running = state[0].shape[0]
            if batch > running:  # in reverse, shorter sequences begin later
                state = tuple(cat([s, more[running:batch]]) for s, more in zip(state, first, strict=True))
            elif batch < running:  # and otherwise end earlier
                ended.append(tuple(s[batch:] for s in state))
                state = tuple(s[:batch] for s in state)
            part = x if len(runs) == 1 else x[start : start + steps * batch]
            out, state = self._run(part.unflatten(0, (steps, batch)), state, w_hh, of_state, projection, reverse)
            outs.append(out.flatten(0, 1))
        if ended:
            state = tuple(cat(column) for column in zip(state, *reversed(ended), strict=True))
        return outs[0] if len(outs) == 1 else cat(outs[::-1] if reverse else outs), state

    def _run(
        self, x: Tensor, state: States, w: Tensor, b: Tensor | None, projection: list[Parameter], reverse: bool
    ) -> tuple[Tensor, States]:
        if projection:
            return _projected_lstm(x, state, w, projection[0], reverse)
        if self.mode == "LSTM":
            return _lstm(x, state, w, reverse)
        if self.mode == "GRU":
            return _gru(x, state, w, b, reverse)
        return _rnn(x, state, w, self.mode == "RNN_RELU", reverse)

    # -- what is given ---------------------------------------------------------------------------------------------

    def _check_input(self, x: Tensor) -> None:
        weight = self.all_weights[0][0]
        if x.dtype != weight.dtype and MODES.autocast is None:
            fail(
                DTypeError,
                f"{type(self).__name__}: input dtype ({x.dtype}) does not match weight dtype ({weight.dtype})",
                f"convert one of them: input.to({weight.dtype}), or the model: model.to({x.dtype})",
            )
        if x.shape[-1] != self.input_size:
            what = f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            fail(ShapeError, f"{type(self).__name__}: {what}")

    def _given(self, hx: Any, dims: int) -> States | None:
        """hx as a tuple of tensors, each with so many dimensions."""
        if hx is None:
            return None
        parts = tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        name, count = type(self).__name__, 2 if self.mode == "LSTM" else 1
        if isinstance(hx, (tuple, list)) != (count == 2) or len(parts) != count or not all_tensors(parts):
            wanted = "a tuple of two tensors, (h_0, c_0)" if count == 2 else "one tensor"
            fail(KindError, f"{name}: hx must be {wanted}, but got {described(hx)}")
        for s in parts:
            if s.ndim != dims:
                kind = "batched 3-D" if dims == 3 else "unbatched 2-D"
                fail(ShapeError, f"{name}: for {kind} input, hx should also be {dims}-D but got {s.ndim}-D")
        return parts

    def _states(self, given: States | None, x: Tensor, batch: int) -> States:
        """The first states of all layers: those given, or zeros."""
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)[: 2 if self.mode == "LSTM" else 1]
        shapes = [(self.num_layers * self._directions, batch, size) for size in sizes]
        if given is None:
            return tuple(zeros(shape, dtype=x.dtype, device=x.device) for shape in shapes)
        for i, (s, shape) in enumerate(zip(given, shapes, strict=True)):
            which = f"hidden[{i}]" if len(shapes) > 1 else "hidden"
            if s.shape != shape:
                fail(ShapeError, f"{type(self).__name__}: expected {which} size {shape}, got {list(s.shape)}")
            if s.dtype != x.dtype and MODES.autocast is None:
                what = f"{type(self).__name__}: {which} has dtype {s.dtype}, the input {x.dtype}"
                fail(DTypeError, what, "convert one of them with .to(dtype)")
        return given


class RNN(RNNBase):
    """h' = act(W_ih x + b_ih + W_hh h + b_hh), act is tanh or relu."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_nonlinearity(nonlinearity)
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, *options, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """i, f, o = sigmoid(W x + W_h h + b), g = tanh(W x + W_h h + b); c' = f c + i g; h' = o tanh(c'), then W_hr h'."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", input_size, hidden_size, *options, device, dtype)


class GRU(RNNBase):
    """r, z = sigmoid(W x + W_h h + b); n = tanh(W x + b + r (W_h h + b_h)); h' = (1 - z) n + z h."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("GRU", input_size, hidden_size, *options, device=device, dtype=dtype)


# -- checks of arguments -----------------------------------------------------------------------------------------------


def _check_sizes(input_size: Any, hidden_size: Any, num_layers: int, proj_size: int) -> None:
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            fail(KindError, f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            fail(ArgumentError, f"{name} must be greater than zero, got {size}")
    if num_layers <= 0:
        fail(ArgumentError, f"num_layers must be greater than zero, got {num_layers}")
    if not 0 <= proj_size < hidden_size:
        fail(ArgumentError, f"proj_size must be zero, for none, or from 1 to hidden_size - 1, got {proj_size}")


def _check_options(bias: Any, batch_first: Any, dropout: Any) -> None:
    for name, flag in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(flag, bool):
            fail(KindError, f"{name} should be of type bool, got: {type(flag).__name__}")
    if not isinstance(dropout, (int, float)) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        fail(ArgumentError, f"dropout should be a number in range [0, 1], the probability of a zero, got {dropout!r}")
