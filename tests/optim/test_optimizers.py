"""Each optimizer: the values of PyTorch, state that can be saved, steps that are skipped, other dtypes."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
from tests.goldens import store
from tests.ops.harness import assert_same_result, random

import pullback as torch
from pullback import optim
from pullback.tensor import wrap

from . import cases
from .cases import CLOSURES, MATRICES, OPTIMIZERS, OURS, RUN, gradients, leaves, names, state_of

RULES = [*OPTIMIZERS, *MATRICES, "Lion(ps)", "Lion(groups, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1)"]
each = pytest.mark.parametrize("case", [*OPTIMIZERS, *CLOSURES])
each_rule = pytest.mark.parametrize("case", RULES)


def made(case: str, dtype: Any = np.float64) -> tuple[list[Any], Any]:
    ps = leaves(OURS, dtype)
    return ps, eval(case, names(OURS, ps))


def run(ps: list[Any], optimizer: Any, first: int, last: int) -> None:
    for step in range(first, last):
        gradients(OURS, ps, step)
        optimizer.step()


def assert_equal(actual: list[Any], expected: list[Any]) -> None:
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@each
def test_fifty_steps_are_pytorchs(case: str) -> None:
    golden = store.family("optim")[case]
    assert golden.stamp == cases.stamp(case), "the case has changed; run `make goldens`"
    assert_same_result(RUN[case](OURS, case), golden.result)


@pytest.mark.parity
@each
def test_fifty_steps_are_pytorchs_live(case: str) -> None:
    pytest.importorskip("torch")
    assert_same_result(RUN[case](OURS, case), RUN[case](cases.theirs(), case))


@pytest.mark.parity
@pytest.mark.parametrize("case", MATRICES)
def test_muon_is_pytorchs(case: str) -> None:
    """Up to bfloat16's precision, which Newton and Schulz use, of a few steps' length."""
    pytest.importorskip("torch")
    ours, theirs = (cases.optimized(library, case) for library in (OURS, cases.theirs()))
    lr = 0.02 if "lr" in case else 0.001
    for a, b in zip(ours.outs, theirs.outs, strict=True):
        assert np.abs(a - b).max() <= 0.4 * lr and a.shape == b.shape


def test_muon_makes_momentum_orthogonal() -> None:
    for shape in (6, 3), (3, 6), (4, 4):
        p = torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
        p.grad = wrap(random("muon", shape))
        optim.Muon([p], lr=1.0, weight_decay=0.0, nesterov=False, ns_steps=8).step()
        sizes = np.linalg.svd(p.detach().numpy(), compute_uv=False) / max(1, shape[0] / shape[1]) ** 0.5
        assert np.all((sizes > 0.6) & (sizes < 1.3))
        assert float((p * p.grad).sum()) < 0


def test_lion_by_hand() -> None:
    p = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    optimizer = optim.Lion([p], lr=0.5, betas=(0.5, 0.75), weight_decay=0.25)
    p.grad = torch.tensor([4.0, -8.0, 0.0])
    optimizer.step()  # p (1 - 1/8) - sign(g) / 2
    assert p.tolist() == [0.875 - 0.5, -1.75 + 0.5, 2.625]
    assert optimizer.state[p]["exp_avg"].tolist() == [1.0, -2.0, 0.0]
    p.grad = torch.tensor([-0.5, 4.0, 0.0])
    optimizer.step()  # c = m / 2 + g / 2 = [0.25, 1, 0]
    assert p.tolist() == [0.375 * 0.875 - 0.5, -1.25 * 0.875 - 0.5, 2.625 * 0.875]


# -- state -----------------------------------------------------------------------------------------------------------


@each_rule
def test_state_goes_through_a_file(case: str) -> None:
    ps, optimizer = made(case)
    run(ps, optimizer, 0, 7)
    file = io.BytesIO()
    torch.save({"ps": ps, "state": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file)
    run(ps, optimizer, 7, 15)
    others, other = made(case)
    with torch.no_grad():
        for p, q in zip(others, saved["ps"], strict=True):
            p.copy_(q)
    other.load_state_dict(saved["state"])
    run(others, other, 7, 15)
    assert_equal(state_of(OURS, other), state_of(OURS, optimizer))


@pytest.mark.parametrize("case", CLOSURES)
def test_closures_state_can_be_copied(case: str) -> None:
    ps, optimizer = made(case)

    def closure(ps: list[Any], optimizer: Any) -> Any:
        optimizer.zero_grad()
        loss = sum((p**4).sum() + (p * p).sum() for p in ps)
        loss.backward()
        return loss

    optimizer.step(lambda: closure(ps, optimizer))
    others, other = copy.deepcopy((ps, optimizer))
    optimizer.step(lambda: closure(ps, optimizer))
    other.step(lambda: closure(others, other))
    assert_equal([p.detach().numpy() for p in others], [p.detach().numpy() for p in ps])


@pytest.mark.parity
@pytest.mark.parametrize("case", [*OPTIMIZERS, *MATRICES])
def test_state_goes_to_pytorch_and_back(case: str) -> None:
    real = pytest.importorskip("torch")
    theirs = cases.theirs()
    their_ps = leaves(theirs)
    their = eval(case, names(theirs, their_ps))
    for step in range(5):
        gradients(theirs, their_ps, step)
        their.step()
    file = io.BytesIO()
    real.save(their.state_dict(), file)
    file.seek(0)
    ps, optimizer = made(case)
    with torch.no_grad():
        for p, q in zip(ps, their_ps, strict=True):
            p.copy_(torch.tensor(q.detach().numpy()))
    optimizer.load_state_dict(torch.load(file))
    ours, theirs_now = optimizer.state_dict(), their.state_dict()
    assert list(ours["state"]) == list(theirs_now["state"])
    for k, state in theirs_now["state"].items():
        assert set(ours["state"][k]) == set(state)
        for name, value in state.items():
            assert list(ours["state"][k][name].shape) == list(value.shape)
    numbers = [
        {k: v for k, v in g.items() if not hasattr(v, "shape")} for sd in (ours, theirs_now) for g in sd["param_groups"]
    ]
    assert numbers[: len(numbers) // 2] == numbers[len(numbers) // 2 :]
    if case not in MATRICES:
        run(ps, optimizer, 5, 9)
        for step in range(5, 9):
            gradients(theirs, their_ps, step)
            their.step()
        for p, q in zip(ps, their_ps, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-7, 1e-9)


# -- steps that are skipped ------------------------------------------------------------------------------------------


@each_rule
def test_found_inf_keeps_everything(case: str) -> None:
    ps, optimizer = made(case)
    run(ps, optimizer, 0, 3)
    before = state_of(OURS, optimizer)
    optimizer.found_inf = torch.ones(1)
    for p in ps:
        p.grad = torch.full_like(p, float("nan"))
    optimizer.step()
    assert_equal(state_of(OURS, optimizer)[: len(before)], before)
    optimizer.found_inf = torch.zeros(1)
    run(ps, optimizer, 3, 6)
    others, other = made(case)
    run(others, other, 0, 6)
    assert_equal(state_of(OURS, optimizer), state_of(OURS, other))


@each_rule
def test_a_skipped_first_step_leaves_no_trace(case: str) -> None:
    ps, optimizer = made(case)
    gradients(OURS, ps, 0)
    optimizer.found_inf = torch.tensor(1.0)
    for p in ps:
        p.grad = None if p.grad is None else p.grad * float("inf")
    optimizer.step()
    optimizer.found_inf = torch.tensor(0.0)
    run(ps, optimizer, 0, 4)
    others, other = made(case)
    run(others, other, 0, 4)
    assert_equal(state_of(OURS, optimizer), state_of(OURS, other))


@each_rule
def test_gradients_are_unscaled(case: str) -> None:
    ps, optimizer = made(case)
    others, other = made(case)
    optimizer.grad_scale = torch.tensor([64.0])
    for step in range(4):
        gradients(OURS, others, step)
        for p, q in zip(ps, others, strict=True):
            p.grad = None if q.grad is None else q.grad * 64
        optimizer.step()
        other.step()
    assert_equal(state_of(OURS, optimizer), state_of(OURS, other))


# -- what is computed with -------------------------------------------------------------------------------------------


DTYPES = [
    (case, dtype)
    for case in RULES
    for dtype in (torch.float32, torch.bfloat16, torch.float16)
    if dtype is not torch.float16 or case.startswith("SGD") or "eps=1e-3" in case  # else squares underflow
]


@pytest.mark.parametrize(("case", "dtype"), DTYPES)
def test_other_dtypes(case: str, dtype: Any) -> None:
    """As in float64, up to the precision of the type; parameters and state keep it."""
    shapes = cases.SHAPES
    ps = [torch.tensor(random(f"optim/{s}", s)).to(dtype).requires_grad_() for s in shapes]
    exact = [p.detach().double().requires_grad_() for p in ps]
    optimizer, reference = (eval(case, names(OURS, x)) for x in (ps, exact))
    moved = 0.0
    for step in range(3):
        for p, q in zip(ps, exact, strict=True):
            g = torch.tensor(random(f"g/{step}", p.shape)).to(dtype)
            p.grad, q.grad = g, g.double()
        before = [q.detach().clone() for q in exact]
        optimizer.step()
        reference.step()
        moved = max([moved, *(float((q - b).abs().max()) for q, b in zip(exact, before, strict=True))])
    near = {torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float16: 0.01}[dtype]
    assert moved > 0
    for p, q in zip(ps, exact, strict=True):
        assert p.dtype is dtype
        assert all(s.dtype is dtype for k, s in optimizer.state.get(p, {}).items() if s.ndim)
        np.testing.assert_allclose(p.detach().double().numpy(), q.detach().numpy(), near, near * 2)


@pytest.mark.parametrize("case", [case for case in RULES if "groups" not in case])
def test_layout_does_not_matter(case: str) -> None:
    """Transposed and strided parameters and gradients, 0-d and empty parameters."""
    plain = [random("a", (6, 4)), random("b", (4,)), random("c", ()), random("d", (0, 3))]
    if "Muon" in case:
        plain = plain[:1]
    ps = [torch.tensor(a).requires_grad_() for a in plain]
    odd = [wrap(np.asfortranarray(a)[..., ::-1][..., ::-1] if a.ndim > 1 else a.copy()) for a in plain]
    for p in odd:
        p.requires_grad = True
    first, second = (eval(case, names(OURS, x)) for x in (ps, odd))
    for step in range(3):
        for p, q in zip(ps, odd, strict=True):
            g = random(f"{step}/{p.shape}", p.shape)
            p.grad = torch.tensor(g)
            q.grad = wrap(np.repeat(g, 2, axis=-1)[..., ::2] if g.ndim else g.copy())
        first.step()
        second.step()
    for p, q in zip(ps, odd, strict=True):
        np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), 1e-12)


# -- differentiating through a step ----------------------------------------------------------------------------------

DIFFERENTIABLE = [
    case for case in RULES if not any(part in case for part in ("Adafactor", "Muon", "groups", "lr=torch"))
]
# PyTorch cuts the gradient at SGD's first momentum, and overwrites what its backward needs in others.
LIVE = "Adam(ps)", "AdamW(ps)", "NAdam", "RAdam", "RMSprop(ps)", "Adagrad", "Adadelta", "ASGD"


def stepped(library: Any, case: str, raw: list[Any]) -> list[Any]:
    """Parameters after three steps, as functions of parameters and gradients."""
    ps = [p.clone() for p in raw[:3]]
    optimizer = eval(case[:-1] + ", differentiable=True)", names(library, ps))
    for step in range(3):
        for p, g in zip(ps, raw[3:], strict=True):
            p.grad = g * (step + 1)
        optimizer.step()
    return ps


def differentiated(library: Any, case: str) -> list[Any]:
    raw = leaves(library) + [library.tensor(random(f"diff/{s}", s)).requires_grad_() for s in cases.SHAPES]
    ps = stepped(library, case, raw)
    loss = sum((p * library.tensor(random(f"w/{tuple(p.shape)}", tuple(p.shape)))).sum() for p in ps)
    grads = library.torch.autograd.grad(loss, raw)
    return [library.array(g) for g in grads]


@pytest.mark.parity
@pytest.mark.parametrize("case", [case for case in DIFFERENTIABLE if case.startswith(LIVE)])
def test_differentiable_steps_are_pytorchs(case: str) -> None:
    pytest.importorskip("torch")
    for a, b in zip(differentiated(OURS, case), differentiated(cases.theirs(), case), strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-7)


@pytest.mark.parametrize("case", DIFFERENTIABLE)
def test_differentiable_steps_agree_with_finite_differences(case: str) -> None:
    grads = differentiated(OURS, case)

    def loss(t: float) -> float:
        raw = leaves(OURS) + [torch.tensor(random(f"diff/{s}", s)).requires_grad_() for s in cases.SHAPES]
        raw = [(x + t * torch.tensor(random(f"u/{i}", x.shape))).detach() for i, x in enumerate(raw)]
        ps = stepped(OURS, case, raw)
        return float(sum((p * torch.tensor(random(f"w/{tuple(p.shape)}", p.shape))).sum() for p in ps))

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert slope == pytest.approx(sum(float((g * random(f"u/{i}", g.shape)).sum()) for i, g in enumerate(grads)), 1e-4)


def test_a_learning_rate_can_be_learned() -> None:
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    p = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    q = p.clone()
    optimizer = optim.SGD([q], lr=lr, differentiable=True)
    q.grad = torch.tensor([3.0, 5.0], dtype=torch.float64)
    optimizer.step()
    (q * q).sum().backward()
    assert lr.grad.item() == pytest.approx(-2 * (0.7 * 3 + 1.5 * 5))
