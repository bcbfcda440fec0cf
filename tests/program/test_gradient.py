"""The gradient of a Program: what it gives, what it keeps, and where its instructions come from."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import pullback as torch
import pullback.nn.functional as F
from pullback.engines.interpreter import Interpreter
from pullback.errors import PullbackError
from pullback.modes import MODES
from pullback.ops.arithmetic import mul
from pullback.ops.pointwise import exp
from pullback.program import Program
from pullback.program.capture.gradient import ProgramNode, Ways, pullback_of
from pullback.program.capture.recorder import Recorder
from pullback.program.capture.replay import replay
from pullback.program.program import BACKWARD, FORWARD
from pullback.tape import edge
from pullback.tensor import wrap

from .build import Builder, network, values_for
from .twins import Bits

Array = np.ndarray[Any, Any]


def captured(function: Callable[..., Any], *arguments: torch.Tensor) -> tuple[Program, list[Array]]:
    """A function's Program, without its gradient, and its inputs in order."""
    program = torch.compile(function, engine="numpy").capture(*arguments)
    names = function.__code__.co_varnames
    return program, [arguments[names.index(given.name)].numpy() for given in program.inputs]


def data(*shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(sum(shape)).standard_normal(shape))


def check(function: Callable[..., Any], *arguments: torch.Tensor) -> Any:
    """Results and cotangents are eager's, to the last bit; the pair."""
    program, arrays = captured(function, *arguments)
    wanted = [i for i, given in enumerate(program.inputs) if given.value.dtype.kind == "f"]
    pair = pullback_of(program, wanted)
    out = Interpreter(pair.forward)(arrays)
    results, residuals = out[: len(program.outputs)], out[len(program.outputs) :]
    gs = [np.random.default_rng(k).standard_normal(v.shape) for k, v in enumerate(program.outputs)]
    pulled = Interpreter(pair.backward)(pair.operands(arrays, residuals, gs))

    xs = [torch.tensor(x) for x in arrays]
    for i in wanted:
        xs[i].requires_grad_()
    names = list(function.__code__.co_varnames)
    given = {program.inputs[i].name: x for i, x in enumerate(xs)}
    ys = function(*[given.get(names[k], arguments[k]) for k in range(len(arguments))])
    ys = ys if isinstance(ys, tuple) else (ys,)
    for y, result in zip(ys, results, strict=True):
        assert Bits(y.detach()._array) == Bits(result)
    live = [k for k, y in enumerate(ys) if y.requires_grad]
    assert live == pair.differentiable
    seeds = [torch.tensor(gs[k]) for k in live]
    expected = torch.autograd.grad([ys[k] for k in live], [xs[i] for i in wanted], seeds, allow_unused=True)
    for e, place in zip(expected, pair.gives, strict=True):
        assert (e is None) == (place is None)
        if e is not None:
            assert Bits(e._array) == Bits(pulled[place])
    return pair


def test_replay_gives_what_the_program_gives() -> None:
    program = network()
    inputs = values_for(program)
    for x, y in zip(replay(program, inputs), Interpreter(program)(inputs), strict=True):
        assert Bits(x) == Bits(y)


def test_replay_on_tensors_is_on_the_tape() -> None:
    program, arrays = captured(lambda x, w: torch.tanh(x @ w), data(2, 3), data(3, 4))
    xs = [torch.tensor(x).requires_grad_() for x in arrays]
    (y,) = replay(program, xs)
    y.sum().backward()
    a, b = (torch.tensor(x).requires_grad_() for x in arrays)
    torch.tanh(a @ b).sum().backward()
    assert all(torch.equal(x.grad, z.grad) for x, z in zip(xs, (a, b), strict=True))


def test_replay_on_symbols_notes_the_same_instructions_again() -> None:
    """With the lines, modules and phases that they had, which a file may have told."""
    program = network()
    recorder = Recorder()
    before, MODES.capture = MODES.capture, recorder
    try:
        inputs: list[Any] = []
        for given in program.inputs:
            value = given.value
            inputs.append(0.1 if value.weak else recorder.symbol(value.shape, value.dtype, value.strides))
        replay(program, inputs)
    finally:
        MODES.capture = before
    fields = [[(i.op, i.line, i.module, i.phase) for i in p] for p in (program.instructions, recorder.instructions)]
    assert fields[0] == fields[1]


def test_a_network() -> None:
    def layers(x: Any, w: Any, v: Any, b: Any, target: Any) -> Any:
        h = F.layer_norm(torch.relu(x @ w), (8,))
        logits = h @ v.T + b
        return F.cross_entropy(logits, target), logits.argmax(1), h

    pair = check(layers, data(5, 4), data(4, 8), data(3, 8), data(3), torch.tensor([0, 1, 2, 1, 0]))
    assert pair.differentiable == [0, 2] and None not in pair.gives


def test_views_and_writes() -> None:
    def writes(x: Any, y: Any) -> Any:
        z = x * 2
        z[1:, ::2] = y.reshape(2, 2).T
        z[:, 0] += y[:3]
        return z.reshape(-1)[3:] * z.T.reshape(-1)[:9], z

    check(writes, data(3, 4), data(4))


def test_loops_and_branches() -> None:
    def loops(xs: Any, h: Any, w: Any) -> Any:
        h, ys = torch.scan(lambda h, x: (torch.tanh(h @ w + x), (h * h).sum()), h, xs)
        z = torch.cond(ys.sum() > 0, lambda a: a * w.sum(), lambda a: torch.sin(a), (h,))
        return z, ys

    pair = check(loops, data(6, 4), data(4), data(4, 4))
    assert [i.op.name for i in pair.backward.instructions if i.op.family == "control"] == ["branch", "loop"]


def test_what_does_not_matter_has_no_cotangent() -> None:
    pair = check(lambda x, n, y: (x * n, (y > 0).sum(), n * 2), data(3), torch.tensor([1, 2, 3]), data(2))
    assert pair.differentiable == [0] and pair.gives == (0, None)


def test_inputs_are_not_kept_and_views_are_looked_at_again() -> None:
    """x w^T: going back takes x and w, which are there anyway."""
    pair = check(lambda x, w: x @ w.T, data(2, 3), data(4, 3))
    assert len(pair.forward.outputs) == 1
    assert {kind for kind, _ in pair.sources} == {"input", "cotangent"}

    def looks(x: Any) -> Any:
        y = x.exp()
        return (y.reshape(6).expand(5, 6) * y.T.reshape(6)).sum()

    pair = check(looks, data(2, 3))
    assert [v.shape for v in pair.forward.outputs[1:]] == [(2, 3)]  # exp(x): not what is looked at in it


def test_constants_are_not_kept() -> None:
    def f(x: Any) -> Any:
        return (x * torch.arange(3.0, dtype=torch.float64)) @ torch.eye(3, dtype=torch.float64)

    assert len(check(f, data(2, 3)).forward.outputs) == 1


def test_the_way_back_stands_at_the_lines_of_the_way_there() -> None:
    program = network()
    there = program.replaced(instructions=[i for i in program.instructions if i.phase == FORWARD], writes=())
    weights = [i for i, given in enumerate(program.inputs) if given.name.startswith("model")]
    pair = pullback_of(there.check(), weights)
    assert {i.phase for i in pair.backward.instructions} == {BACKWARD}
    modules = [i.module for i in pair.backward.instructions]
    assert "fc2" in modules and "fc1" in modules and modules.index("fc2") < modules.index("fc1")
    lines = {str(i.line) for i in pair.backward.instructions}
    assert lines <= {str(i.line) for i in there.instructions}


def test_numbers_that_differ_from_call_to_call() -> None:
    """As factors they are inputs of both; they do not widen what they are computed with."""
    b = Builder()
    x, rate = b.input("argument", "x", 3), b.input("number", "rate", weak=True, dtype=np.float64)
    program = b.program(b(exp, b(mul, x, rate)))
    pair = pullback_of(program, [0])
    assert pair.forward.inputs[1].value.weak and pair.backward.outputs[0].dtype == np.float32
    xs = np.ones(3, np.float32)
    y, *kept = Interpreter(pair.forward)([xs, 0.5])
    (g,) = Interpreter(pair.backward)(pair.operands([xs, 0.5], kept, [np.ones(3, np.float32)]))
    assert g.dtype == np.float32 and np.allclose(g, 0.5 * np.exp(0.5)) and np.allclose(y, np.exp(0.5))


def test_one_node_for_a_whole_program() -> None:
    program, arrays = captured(lambda x, w: (torch.tanh(x @ w), (x * x).sum()), data(2, 3), data(3, 3))
    wanted = list(range(len(program.inputs)))
    ways = Ways(pair := pullback_of(program, wanted), Interpreter)

    def run(arrays: Sequence[Any]) -> list[torch.Tensor]:
        xs = [torch.tensor(x).requires_grad_() for x in arrays]
        out = Interpreter(pair.forward)(arrays)
        n = len(program.outputs)
        node = ProgramNode(program, ways, wanted, [edge(x) for x in xs], arrays, out[n:])
        ys = [wrap(y) for y in out[:n]]
        node.hang(ys)
        return [*xs, *ys]

    def plain(arrays: Sequence[Any]) -> list[torch.Tensor]:
        xs = [torch.tensor(x).requires_grad_() for x in arrays]
        return [*xs, *replay(program, xs)]

    found = []
    for way in (run, plain):
        *xs, y, z = way(arrays)
        first = torch.autograd.grad(y.sum() + z * 2, xs, create_graph=True)
        second = torch.autograd.grad(first[0].pow(3).sum() + first[1].sin().sum(), xs)
        found.append([*first, *second])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)
    *xs, y, z = run(arrays)
    z.backward()  # nothing was sent to y
    assert torch.allclose(xs[0].grad, 2 * xs[0]) or torch.allclose(xs[1].grad, 2 * xs[1])


def test_a_compiled_function_knows_what_was_cut() -> None:
    """The tape's own gradient is taken where there is a tape: detach() holds."""
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    run = torch.compile(lambda x: w * (w.detach() * x), engine="numpy")
    y = run(torch.ones(2))
    y.sum().backward()
    assert w.grad is not None and w.grad.tolist() == [1, 2]


def test_a_tensor_of_a_body_that_is_kept_elsewhere_is_refused() -> None:
    box: Any = queue.SimpleQueue()

    def step(x: torch.Tensor) -> torch.Tensor:
        def body(h: torch.Tensor, _: None) -> Any:
            box.put(h * 2)
            return h, None

        torch.scan(body, x, length=3)
        return box.get() + 1

    with pytest.raises(PullbackError, match="made in the body of a scan, a while_loop or a cond is used outside"):
        torch.compile(step, engine="numpy")(torch.ones(2))
