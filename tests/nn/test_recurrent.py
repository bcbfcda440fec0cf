"""Recurrent layers: against a loop of their cells, packed sequences, dropout, mistakes. Values: tests/nn/layers."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import nn
from pullback.errors import PullbackError
from pullback.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence
from pullback.train import detach, windows

from .layers.harness import tensors

LAYERS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
each_layer = pytest.mark.parametrize("layer", LAYERS)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def make(layer: str, *args: Any, **options: Any) -> nn.RNNBase:
    return getattr(nn, layer)(*args, **options)


def same(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a.numpy(force=True), b.numpy(force=True), rtol=1e-10, atol=1e-12)


def gradients(module: nn.Module, out: torch.Tensor) -> list[torch.Tensor]:
    weights = torch.linspace(-1, 2, out.numel()).view_as(out)
    return list(torch.autograd.grad((out * weights).sum(), list(module.parameters())))


def last_h(state: Any) -> torch.Tensor:
    return state[0] if isinstance(state, tuple) else state


# -- one op for all steps, and the steps one by one --------------------------------------------------------------------


def in_steps(cell: Callable[..., Any], x: torch.Tensor) -> torch.Tensor:
    """The cell in a loop."""
    state, hs = None, []
    for x_t in x:
        state = cell(x_t, state)
        hs.append(last_h(state))
    return torch.stack(hs)


@each_layer
def test_a_layer_is_a_loop_of_its_cell(layer: str) -> None:
    m, cell = make(layer, 3, 4), LAYERS[layer](3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in m.state_dict().items()})
    x = torch.randn(6, 2, 3)
    (out, _), loop = m(x), in_steps(cell, x)
    same(out, loop)
    for a, b in zip(gradients(m, out), gradients(cell, loop), strict=True):
        same(a, b)


def test_a_layer_is_a_scan_of_its_cell() -> None:
    m, cell = nn.GRU(3, 4), nn.GRUCell(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in m.state_dict().items()})
    x = torch.randn(6, 2, 3)

    def body(h: torch.Tensor, x_t: torch.Tensor) -> Any:
        h = cell(x_t, h)
        return h, h

    out, last = m(x)
    h, hs = torch.scan(body, torch.zeros(2, 4), x)
    same(out, hs)
    same(last[0], h)
    for a, b in zip(gradients(m, out), gradients(cell, hs), strict=True):
        same(a, b)


def test_projection_changes_only_what_is_handed_on() -> None:
    """With a projection that keeps the first units, an LSTM whose other units see nothing is an LSTM of the first."""
    small, large = nn.LSTM(3, 2), nn.LSTM(3, 4, proj_size=2)
    gates = torch.arange(16).view(4, 4)[:, :2].flatten()  # rows of the first two units, in each gate
    with torch.no_grad():
        large.weight_hr_l0.copy_(torch.eye(4)[:2])
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(large, name)[gates] = getattr(small, name)
    x = torch.randn(5, 2, 3)
    (a, (h_a, c_a)), (b, (h_b, c_b)) = small(x), large(x)
    same(a, b)
    same(h_a, h_b)
    same(c_a, c_b[:, :, :2])
    assert c_b.shape == (1, 2, 4)


@each_layer
def test_second_derivatives(layer: str) -> None:
    m = make(layer, 2, 3, 2, bidirectional=True)
    parameters = list(m.parameters())

    def f(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        names = [name for name, _ in m.named_parameters()]
        return torch.func.functional_call(m, dict(zip(names, values, strict=True)), (x,))[0].sin()

    x = torch.randn(3, 2, 2, requires_grad=True)
    assert torch.autograd.gradcheck(f, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (x, *parameters), fast_mode=True)


# -- packed sequences --------------------------------------------------------------------------------------------------


@each_layer
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}])
def test_packed_sequences_are_run_one_by_one(layer: str, options: dict[str, Any]) -> None:
    """Outputs, last states and gradients of a pack are those of each sequence by itself."""
    m, lengths = make(layer, 3, 4, **options), [2, 6, 1, 6, 3]
    sequences = [torch.randn(n, 3) for n in lengths]
    out, state = m(pack_sequence(sequences, enforce_sorted=False))
    padded, found = pad_packed_sequence(out)
    assert found.tolist() == lengths
    alone = [m(sequence) for sequence in sequences]
    for i, (own, own_state) in enumerate(alone):
        same(padded[: lengths[i], i], own)
        assert not padded[lengths[i] :, i].any()
        for a, b in zip(*(s if isinstance(s, tuple) else (s,) for s in (state, own_state)), strict=True):
            same(a[:, i], b)
    joint = gradients(m, torch.cat([padded[:n, i].flatten() for i, n in enumerate(lengths)]))
    for a, b in zip(joint, gradients(m, torch.cat([own.flatten() for own, _ in alone])), strict=True):
        same(a, b)


@each_layer
def test_what_stands_in_the_padding_has_no_influence(layer: str) -> None:
    m, x = make(layer, 3, 4, bidirectional=True), torch.randn(4, 2, 3)
    spoilt = x.clone()
    spoilt[2:, 1] = float("nan")
    results = []
    for values in (x, spoilt):
        values.requires_grad_()
        out, state = m(pack_padded_sequence(values, [4, 2]))
        (grad,) = torch.autograd.grad(out.data.square().sum() + last_h(state).sum(), [values])
        results.append((out.data, last_h(state), grad))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b) and b.isfinite().all()


def test_a_pack_keeps_its_order() -> None:
    pack = pack_sequence([torch.randn(n, 3) for n in (1, 3, 2)], enforce_sorted=False)
    out, _ = nn.GRU(3, 4)(pack)
    assert isinstance(out, PackedSequence) and out.data.shape == (6, 4)
    assert out.batch_sizes is pack.batch_sizes and out.unsorted_indices is pack.unsorted_indices


# -- states, dropout, parameters ---------------------------------------------------------------------------------------


@each_layer
def test_a_state_that_is_handed_on_continues_the_sequence(layer: str) -> None:
    m, x = make(layer, 3, 4, 2, batch_first=True), torch.randn(2, 7, 3)
    whole, end = m(x)
    first, state = m(x[:, :3])
    second, state = m(x[:, 3:], state)
    same(whole, torch.cat([first, second], 1))
    same(last_h(end), last_h(state))


@each_layer
def test_truncation_leaves_out_what_came_before_the_window(layer: str) -> None:
    m, x = make(layer, 3, 4), torch.randn(6, 2, 3)
    m.zero_grad()
    state, outs = None, []
    for window in windows(x, length=2):
        out, state = m(window, detach(state))
        out.sum().backward()
        outs.append(out)
    whole, _ = m(x)
    same(torch.cat(outs), whole)
    truncated = [p.grad for p in m.parameters()]
    expected = [torch.zeros_like(p) for p in m.parameters()]
    for start in (0, 2, 4):  # the same by hand: the state before is a constant
        with torch.no_grad():
            before = m(x[:start])[1] if start else None
        own = torch.autograd.grad(m(x[start : start + 2], before)[0].sum(), list(m.parameters()))
        expected = [e + g for e, g in zip(expected, own, strict=True)]
    full = torch.autograd.grad(whole.sum(), list(m.parameters()))
    for a, b, c in zip(truncated, expected, full, strict=True):
        same(a, b)
        assert not torch.allclose(a, c, rtol=1e-3)


def test_dropout_lies_between_layers_and_in_training_only() -> None:
    m, x = nn.GRU(3, 50, 2, dropout=0.5), torch.randn(4, 2, 3)
    plain = copy.deepcopy(m)
    plain.dropout = 0.0
    same(m.eval()(x)[0], plain(x)[0])
    m.train()
    out, state = m(x)
    assert not torch.allclose(out, plain(x)[0])
    assert not torch.equal(out, m(x)[0])  # another mask at each call
    same(state[0], plain(x)[1][0])  # the first layer sees no dropout
    same(state[1], out[-1])  # the last one's results are not dropped
    torch.manual_seed(1)
    a = m(x)[0]
    torch.manual_seed(1)
    assert torch.equal(a, m(x)[0])


def test_dropout_of_a_single_layer_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="dropout=0.3 acts between layers"):
        nn.LSTM(3, 4, dropout=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.LSTM(3, 4, 2, dropout=0.3)


def test_names_and_shapes_of_parameters() -> None:
    m = nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2)
    kinds = {"weight_ih": (20, 3), "weight_hh": (20, 2), "bias_ih": (20,), "bias_hh": (20,), "weight_hr": (2, 5)}
    expected = {
        f"{kind}_l{layer}{direction}": (20, 4) if (kind, layer) == ("weight_ih", 1) else shape
        for layer in (0, 1)
        for direction in ("", "_reverse")
        for kind, shape in kinds.items()
    }
    assert {name: tuple(p.shape) for name, p in m.named_parameters()} == expected
    assert list(expected) == [name for name, _ in m.named_parameters()]
    assert [len(row) for row in m.all_weights] == [5] * 4
    assert all(a is b for a, b in zip(chain(*m.all_weights), m.parameters(), strict=True))
    assert m.flatten_parameters() is None
    bound = 5**-0.5
    assert all(0 < p.abs().max() <= bound for p in m.parameters())


@each_layer
def test_copies_and_other_types(layer: str) -> None:
    m, x = make(layer, 3, 4, 2, bidirectional=True), torch.randn(5, 2, 3)
    out = m(x)[0]
    assert torch.equal(copy.deepcopy(m)(x)[0], out)
    assert torch.equal(pickle.loads(pickle.dumps(m))(x)[0], out)
    narrow = copy.deepcopy(m).float()
    assert narrow(x.float())[0].dtype is torch.float32
    np.testing.assert_allclose(narrow(x.float())[0].numpy(force=True), out.numpy(force=True), atol=1e-5)
    assert m.bfloat16()(x.bfloat16())[0].dtype is torch.bfloat16


# -- autocast ----------------------------------------------------------------------------------------------------------

AUTOCAST = [
    # layer, dtype of the state, dtypes of the results
    ("nn.RNN(3, 4)", "float32", "bfloat16 bfloat16"),
    ("nn.LSTM(3, 4)", "float32", "bfloat16 bfloat16 bfloat16"),
    ("nn.LSTM(3, 4, 2, bidirectional=True)", None, "bfloat16 bfloat16 bfloat16"),
    ("nn.LSTM(3, 4, proj_size=2)", "float32", "bfloat16 bfloat16 float32"),
    ("nn.GRU(3, 4)", "float32", "float32 float32"),
    ("nn.GRU(3, 4)", "bfloat16", "bfloat16 bfloat16"),
    ("nn.GRU(3, 4, bias=False)", None, "float32 float32"),
    ("nn.RNNCell(3, 4)", "float32", "bfloat16"),
    ("nn.LSTMCell(3, 4)", "float32", "float32 float32"),
    ("nn.LSTMCell(3, 4)", "bfloat16", "bfloat16 bfloat16"),
    ("nn.GRUCell(3, 4)", None, "float32"),
]


def types_under_autocast(library: Any, make: str, state: str | None) -> tuple[list[str], Any]:
    """Types of the results of a layer under autocast, and the first result."""
    m = eval(make, {"nn": library.nn}).float()
    cell = "Cell" in make
    numbers = np.linspace(-1, 1, 200)
    with library.no_grad():
        for i, p in enumerate(m.parameters()):
            p.copy_(library.from_numpy(np.sin(numbers * (i + 3))[: p.numel()].reshape(tuple(p.shape))))
    x = library.from_numpy(numbers[: 6 if cell else 30].reshape((2, 3) if cell else (5, 2, 3))).float()
    hx = None
    if state:
        lead = (2,) if cell else (1, 2)
        sizes = [2 if "proj" in make else 4, 4][: 2 if "LSTM" in make else 1]
        parts = [library.ones(*lead, size, dtype=getattr(library, state)) / 2 for size in sizes]
        hx = tuple(parts) if len(parts) > 1 else parts[0]
    with library.autocast("cpu", dtype=library.bfloat16):
        results = m(x, hx)
    flat = list(tensors(results, library.Tensor))
    flat[0].float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in m.parameters())
    return [str(t.dtype).rpartition(".")[2] for t in flat], flat[0].detach().float().numpy()


@pytest.mark.parametrize(("make", "state", "types"), AUTOCAST)
def test_types_under_autocast(make: str, state: str | None, types: str) -> None:
    assert types_under_autocast(torch, make, state)[0] == types.split()


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(("make", "state", "types"), AUTOCAST)
def test_autocast_is_pytorchs(make: str, state: str | None, types: str) -> None:
    reference = pytest.importorskip("torch")
    (ours, a), (theirs, b) = (types_under_autocast(library, make, state) for library in (torch, reference))
    assert ours == theirs == types.split()
    np.testing.assert_allclose(a, b, atol=0.03)


# -- mistakes ----------------------------------------------------------------------------------------------------------


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


MISTAKES = [
    (lambda: nn.LSTM(3, 4)(zeros(5, 2, 2)), "Expected 3, got 2"),
    (lambda: nn.LSTM(3, 4)(zeros(3)), "expected input to be 2D or 3D, got 1D"),
    (lambda: nn.LSTM(3, 4)(zeros(0, 2, 3)), "sequence length to be larger than 0"),
    (lambda: nn.LSTM(3, 4)(zeros(5, 2, 3).float()), r"input dtype \(torch.float32\) does not match weight dtype"),
    (lambda: nn.LSTM(3, 4)(zeros(5, 2, 3), zeros(1, 2, 4)), r"tuple of two tensors, \(h_0, c_0\), but got a Tensor"),
    (lambda: nn.LSTM(3, 4)(zeros(5, 2, 3), (zeros(1, 2, 4), None)), "but got a tuple of Tensor, NoneType"),
    (lambda: nn.LSTM(3, 4)(zeros(5, 2, 3), (zeros(1, 2, 4), zeros(1, 3, 4))), r"expected hidden\[1\] size \(1, 2, 4\)"),
    (lambda: nn.GRU(3, 4)(zeros(5, 2, 3), (zeros(1, 2, 4), zeros(1, 2, 4))), "hx must be one tensor"),
    (lambda: nn.GRU(3, 4, 2)(zeros(5, 2, 3), zeros(1, 2, 4)), r"expected hidden size \(2, 2, 4\), got \[1, 2, 4\]"),
    (lambda: nn.GRU(3, 4)(zeros(5, 2, 3), zeros(1, 2, 4).float()), "hidden has dtype torch.float32"),
    (lambda: nn.GRU(3, 4)(zeros(5, 3), zeros(1, 1, 4)), "for unbatched 2-D input, hx should also be 2-D but got 3-D"),
    (lambda: nn.GRU(3, 4)(zeros(5, 2, 3), zeros(1, 4)), "for batched 3-D input, hx should also be 3-D but got 2-D"),
    (lambda: nn.RNN(3, 4)(PackedSequence(zeros(2, 2, 3), torch.tensor([2]))), "packed input must have 2 dimensions"),
    (lambda: nn.RNN(3, 4, nonlinearity="sin"), "unknown nonlinearity 'sin'"),
    (lambda: nn.RNN(3, 0), "hidden_size must be greater than zero"),
    (lambda: nn.RNN(3.0, 4), "input_size should be of type int, got: float"),  # type: ignore[arg-type]
    (lambda: nn.RNN(3, 4, 0), "num_layers must be greater than zero"),
    (lambda: nn.LSTM(3, 4, proj_size=4), "from 1 to hidden_size - 1, got 4"),
    (lambda: nn.LSTM(3, 4, 1, 1), "bias should be of type bool"),  # type: ignore[arg-type]
    (lambda: nn.LSTM(3, 4, 2, dropout=1.5), r"number in range \[0, 1\]"),
    (lambda: nn.RNNBase("GRU", 3, 4, proj_size=2), "only supported for LSTM"),
    (lambda: nn.RNNBase("MGU", 3, 4), "unknown mode 'MGU'"),
    (lambda: nn.GRUCell(3, 4)(zeros(2, 5)), r"expected input of shape \[2, 3\], got \[2, 5\]"),
    (lambda: nn.GRUCell(3, 4)(zeros(2, 3), zeros(3, 4)), r"expected hidden of shape \[2, 4\], got \[3, 4\]"),
    (lambda: nn.RNNCell(3, 4)(zeros(3), zeros(1, 4)), r"expected hidden of shape \[4\], got \[1, 4\]"),
    (lambda: nn.RNNCell(3, 4)(zeros(1, 2, 3)), "1D or 2D, got 3D"),
    (lambda: nn.LSTMCell(3, 4)(zeros(2, 3), zeros(2, 4)), "tuple of two tensors"),
    (lambda: nn.RNNCell(3, 4, nonlinearity="sin"), "unknown nonlinearity 'sin'"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes_are_explained(mistake: Callable[[], Any], message: str) -> None:
    with pytest.raises((RuntimeError, TypeError, ValueError), match=message) as caught:
        mistake()
    assert isinstance(caught.value, PullbackError)
