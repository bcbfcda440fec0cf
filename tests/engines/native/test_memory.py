"""Results written over operands: which are, which must not be, and that nobody reads what another has written over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from benchmarks.workloads import WORKLOADS

import pullback as torch
import pullback.nn.functional as F
from pullback import nn
from pullback.engines.native import lower as lowering
from pullback.engines.native.place import ARENA, OUTPUT, Memory
from pullback.engines.native.plan import Plan, Step

pytestmark = pytest.mark.skipif(lowering.debugging(), reason="each value has memory of its own")


def captured(function: Any, *args: Any) -> Any:
    return torch.compile(function, engine="numpy").capture(*args)


def apart(patch: pytest.MonkeyPatch, program: Any) -> Plan:
    """The plan in which nothing is written over operands."""
    with patch.context() as without:
        without.setattr(lowering, "reuse", lambda steps: None)
        return lowering.lower(program)


def where(memory: Memory) -> tuple[str, int, int]:
    return memory.kind, memory.index, memory.offset


def shared(step: Step) -> bool:
    """Does it write over an operand?"""
    read = {where(m) for m in step.reads if m not in step.writes and m.kind in (ARENA, OUTPUT)}
    return any(where(m) in read for m in step.writes)


def intact(plan: Plan) -> None:
    """What a step reads is still there: nothing was written where it lies since it was made."""
    made: dict[int, Memory] = {}
    for k, step in enumerate(plan.steps):
        for memory in step.reads:
            if memory.kind in (ARENA, OUTPUT) and memory not in step.writes:
                assert made.get(id(memory)) is memory, (k, step, memory)
        for memory in step.writes:
            if memory.kind in (ARENA, OUTPUT):
                made = {id(m): m for m in made.values() if not overlap(m, memory)}
                made[id(memory)] = memory


def overlap(a: Memory, b: Memory) -> bool:
    near = a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
    return (a.kind, a.index) == (b.kind, b.index) and (near if a.kind == ARENA else True)


def both(patch: pytest.MonkeyPatch, function: Any, *args: Any) -> list[Any]:
    """Results with memory shared and without are the same to the bit; and on two threads as on one."""

    def run() -> list[bytes]:
        results = torch.compile(function, engine="native")(*args)
        return [x.detach().numpy().tobytes() for x in (results if isinstance(results, tuple) else (results,))]

    first = run()
    with patch.context() as without:
        without.setattr(lowering, "reuse", lambda steps: None)
        assert run() == first
    return first


# -- loops -------------------------------------------------------------------------------------------------------------


def test_a_chain_has_one_piece_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each softmax ends a loop; all of them and the loops between them are made where the result is."""

    def chain(x: Any) -> Any:
        for _ in range(4):
            x = (x * 2 + 1).softmax(-1)
        return x

    x = torch.randn(64, 128)
    program = captured(chain, x)
    plan, plain = lowering.lower(program), apart(monkeypatch, program)
    assert plan.size == 0 and plain.size == 2 * x.nbytes
    assert [shared(step) for step in plan.steps] == [False] + 7 * [True]
    intact(plan)
    both(monkeypatch, chain, x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: ((h := (x @ y)).exp() * 2, h),  # h is a result
        lambda x, y: (h := x @ y).softmax(-1) + h,  # h is read later
        lambda x, y: (h := x @ y).flatten().exp().sum() + (h.t() @ y).sum(),  # ... through a view
        lambda x, y: (h := x @ y) + h.t(),  # h is read in another order in the same loop
        lambda x, y: (h := x @ y)[:8, :8] * h[8:, 8:],  # parts of h
        lambda x, y: (h := x @ y).sum(0) * h,  # one row is spread out
        lambda x, y: (x @ y).double().exp(),  # another type
        lambda x, y: (h := x @ y, h * 1, h.clone()),  # three results
        lambda x, y: torch.cat(((x @ y).tanh(), x)).sin(),
        lambda x, y: (x + 1, y.exp(), x, y.t()),
    ],
)
def test_what_is_needed_stays(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(16, 16), torch.randn(16, 16)
    kept = [x.numpy().copy(), y.numpy().copy()]
    intact(lowering.lower(captured(function, x, y)))
    both(monkeypatch, function, x, y)
    results = torch.compile(function, engine="native")(x, y)
    expected = function(x, y)
    for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (results, expected)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=1e-5)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(kept, (x, y), strict=True))


def test_state_is_written_over_only_by_what_becomes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old state is read after the new one has been computed."""

    def run() -> list[float]:
        torch.manual_seed(0)
        state = torch.randn(16, 16)

        @torch.compile(engine="native")
        def step(x: Any) -> Any:
            h = (state @ x).softmax(-1)
            change = h * 2 - state
            out = (change @ state).log_softmax(-1)
            state.copy_(change.softmax(-1))
            return out.sum()

        return [step(torch.eye(16)).item() for _ in range(3)] + state.flatten().tolist()

    shared_memory = run()
    monkeypatch.setattr(lowering, "reuse", lambda steps: None)
    assert run() == shared_memory


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_what_turns_carry(engine: str) -> None:
    """Memory that lives through the turns of a loop, or a branch, is not taken over in one of them."""
    x = torch.arange(12.0).reshape(3, 4) / 10

    def scanned(x: Any) -> Any:
        table = x @ x.t()

        def turn(c: Any, row: Any) -> Any:
            h = (table @ c).softmax(-1)
            return h.exp() * 0.5 + table.sum(0), (h @ table) + row.sum()

        last, rows = torch.scan(turn, x[:, 0], x)
        return last, rows, torch.cond(last.sum() > 0, lambda t: t.exp() @ t, lambda t: t * 2, (table,))

    expected = scanned(x)
    for got, want in zip(torch.compile(scanned, engine=engine)(x), expected, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5)


# -- kernels -----------------------------------------------------------------------------------------------------------

ROWS = [
    lambda x: x.softmax(-1),
    lambda x: x.softmax(0),
    lambda x: x.log_softmax(-1),
    lambda x: F.cross_entropy(x, torch.arange(len(x)) % 4, reduction="sum"),
    lambda x: F.cross_entropy(x, torch.arange(len(x)) % 4, torch.ones(x.shape[1]).double() / 3, label_smoothing=0.1),
    lambda x: F.layer_norm(x, (x.shape[1],), torch.linspace(0.5, 1.5, x.shape[1]).double()),
    lambda x: F.layer_norm(x[0], (x.shape[1],)),
    lambda x: F.rms_norm(x, (x.shape[1],), torch.linspace(0.5, 1.5, x.shape[1]).double()),
    lambda x: F.group_norm(x.reshape(3, 4, -1), 2),
    lambda x: F.batch_norm(x, None, None, training=True),
]


@pytest.mark.parametrize("shape", [(12, 40), (1, 4), (8, 6), (3, 4)])
@pytest.mark.parametrize("function", ROWS)
def test_rows(function: Any, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of rows are written over what came in, or over x."""
    if shape[0] * shape[1] % 12 and function in ROWS[-2:]:
        shape = (3, 4)
    torch.manual_seed(0)
    weight = torch.randn(shape[1], shape[1]).double()

    def step(x: Any) -> Any:
        x = x.clone().requires_grad_()
        (function(x @ weight) * 3).exp().sum().backward()
        return x.grad

    x = torch.randn(*shape).double()
    intact(lowering.lower(captured(step, x)))
    both(monkeypatch, step, x)
    expected = step(x).numpy()
    atol = 1e-9 * np.abs(expected).max()
    np.testing.assert_allclose(torch.compile(step, engine="native")(x).numpy(), expected, rtol=1e-9, atol=atol)


def test_the_gradient_of_logits_lies_where_they_lay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of a language model: one matrix of (tokens, vocabulary), and no copy of it."""
    tokens, vocabulary, width = 512, 6400, 32
    head = nn.Linear(width, vocabulary, bias=False)

    def step(h: Any, labels: Any) -> Any:
        head.zero_grad()
        logits = head(h).flatten(0, 1).float()
        total = F.cross_entropy(logits, labels.flatten(), ignore_index=-100, reduction="sum")
        loss = total / (labels != -100).sum().clamp(min=1)
        loss.backward()
        return loss, h.grad

    def inputs() -> tuple[Any, Any]:
        torch.manual_seed(0)
        return torch.randn(2, tokens // 2, width, requires_grad=True), torch.randint(0, vocabulary, (2, tokens // 2))

    program = captured(step, *inputs())
    plan, plain = lowering.lower(program), apart(monkeypatch, program)
    logits = 4 * tokens * vocabulary
    assert logits < plan.size < 1.01 * logits
    assert 2 * logits < plain.size < 2.01 * logits
    large = [step for step in plan.steps if any(p.size == tokens * vocabulary for p in step.places)]
    assert [step.instructions[0].op.name for step in large] == [
        "linear",
        "cross_entropy",
        "cross_entropy_gradient",
        "matmul",
        "matmul",
    ]
    intact(plan)


# -- what is added at indices ------------------------------------------------------------------------------------------


def test_tied_embeddings_have_one_gradient() -> None:
    """Tokens' rows are added to the head's gradient, where that is returned."""
    torch.manual_seed(0)
    embed = nn.Embedding(50, 8)

    def step(x: Any, y: Any) -> Any:
        embed.zero_grad()
        loss = F.cross_entropy(F.linear(embed(x).tanh(), embed.weight), y)
        loss.backward()
        return loss

    x, y = torch.tensor([3, 7, 3, 3, 49]), torch.tensor([1, 2, 3, 4, 5])
    expected = step(x, y).item(), embed.weight.grad.numpy().copy()
    compiled = torch.compile(step, engine="native")
    assert compiled(x, y).item() == pytest.approx(expected[0], rel=1e-6)
    np.testing.assert_allclose(embed.weight.grad.numpy(), expected[1], rtol=1e-5, atol=1e-6)
    plan = compiled._entries[0].run.plan
    assert [m for step in plan.steps for m in step.writes if m.kind == ARENA and m.nbytes == embed.weight.nbytes] == []
    assert not any(i.op.name in ("unembed", "add") for step in plan.steps for i in step.instructions)
    with pytest.raises(IndexError, match=r"index 50 is out of range"):
        compiled(torch.tensor([3, 7, 3, 50, 49]), y)
    with pytest.raises(IndexError, match=r"index -1 is out of range"):
        compiled(torch.tensor([3, 7, 3, -1, 49]), y)


@pytest.mark.parametrize(
    "function",
    [
        lambda w, i: w[i].sum() + (w * w).sum(),  # a gradient of its own, to which rows are added
        lambda w, i: (w[i] * w[i + 1]).sum(),  # rows are added to rows
        lambda w, i: (w[:, i].sum() + w[-i].exp().sum()) * w.sum(),  # along both dims, counted from the end
        lambda w, i: F.embedding(i, w, padding_idx=2).exp().sum() + w.sum(),
        lambda w, i: F.embedding(i, w).exp().sum() + w.sum() + F.embedding(i[:2], w, scale_grad_by_freq=True).sum(),
        lambda w, i: w[i].double().sum() + w.double().exp().sum(),
        lambda w, i: w[i, i].sum() * (w @ w.t()).sum(),
    ],
)
@pytest.mark.parametrize("accumulated", [False, True])
def test_rows_are_added_where_the_rest_is(function: Any, accumulated: bool) -> None:
    torch.manual_seed(0)
    index = torch.tensor([2, 0, 2, 3, 2])

    def gradients(engine: str) -> Sequence[Any]:
        torch.manual_seed(1)
        w = torch.randn(6, 6, requires_grad=True)

        @torch.compile(engine=engine)
        def step(index: Any) -> Any:
            if not accumulated:
                w.grad = None
            function(w, index).backward()

        for _ in range(3):
            step(index)
        return w.grad.numpy()

    np.testing.assert_allclose(gradients("native"), gradients("numpy"), rtol=1e-5, atol=1e-5)


# -- whole steps -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "vae", "lstm", "resnet", "transformer"])
def test_workloads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less memory for each of them, and the same bits."""
    torch.manual_seed(0)
    workload = WORKLOADS[name](torch)
    program = captured(workload.run(torch), *workload.batch)
    plan, plain = lowering.lower(program), apart(monkeypatch, program)
    intact(plan), intact(plain)
    assert plan.size <= plain.size * 1.001
    assert any(shared(step) for step in plan.steps) and not any(shared(step) for step in plain.steps)
