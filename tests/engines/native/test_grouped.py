"""Products of groups in C, and a mixture of experts made of them: no step of it is left to NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import TOLERANCE, Case, check, close, program_of

import pullback as torch
import pullback.nn.functional as F
from pullback import nn
from pullback.dtypes import F32, F64
from pullback.engines.native import engine
from pullback.errors import PullbackError
from pullback.ops.record import OPS


def test_samples() -> None:
    check(["grouped_mm"], host=False)


# -- the product -------------------------------------------------------------------------------------------------------


def array(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def forms(ends: np.ndarray[Any, Any], sizes: tuple[int, int, int], dtype: Any, turned: bool) -> list[Case]:
    """Rows, columns and terms in the same groups; with `turned`, all matrices lie column by column."""
    (n, k, m), groups = sizes, len(ends)

    def matrix(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
        if turned:
            return array(*shape[:-2], shape[-1], shape[-2], dtype=dtype, seed=seed).swapaxes(-1, -2)
        return array(*shape, dtype=dtype, seed=seed)

    given = [
        (matrix(m, k), matrix(groups, k, n, seed=1)), (matrix(groups, n, k), matrix(k, m, seed=1)),
        (matrix(k, m), matrix(m, n, seed=1)),
    ]  # fmt: skip
    return [Case(OPS["grouped_mm"], (*pair, ends), {}, f"{sizes} {ends.tolist()} {turned}") for pair in given]


GROUPS = [
    ((37, 20, 300), [7, 7, 150, 299]),
    ((300, 20, 37), [1, 2, 3, 37]),  # some groups of one row
    ((130, 515, 97), [97, 97, 97]),
    ((64, 64, 256), [0, 100, 100, 130]),  # some rows in none
    ((1, 40, 50), [3, 50]),
    ((40, 1, 50), [3, 50]),
    ((3, 2, 9), list(range(1, 10))),
    ((600, 260, 40), []),
]


@pytest.mark.parametrize("dtype", [F32, F64])
def test_sizes_and_strides(dtype: Any) -> None:
    """As NumPy to rounding, and the same bits for any number of threads."""
    some = [c for sizes, ends in GROUPS for turned in (False, True)
            for c in forms(np.array(ends, np.int32), sizes, dtype, turned)]  # fmt: skip
    program, arrays = program_of(some)
    made = engine.build(program)
    assert not made.plan.report
    results = []
    for count in (1, 2, 3):
        for piece in made.tables:
            piece.threads = count  # type: ignore[union-attr]
        results.append(made(arrays))
    for k, case in enumerate(some):
        close(case.expected[0], results[0][k], case.note, {**TOLERANCE, "float32": 1e-5})
        assert all(results[0][k].tobytes() == other[k].tobytes() for other in results[1:]), case.note


def test_other_groups_are_the_same_step() -> None:
    x, w = torch.randn(12, 5), torch.randn(3, 5, 6)
    run = torch.compile(lambda offs: F.grouped_mm(x, w, offs=offs), engine="native")
    for ends in ([4, 8, 12], [0, 12, 12], [0, 0, 0], [1, 2, 3]):
        offs = torch.tensor(ends, dtype=torch.int32)
        np.testing.assert_allclose(run(offs).numpy(), F.grouped_mm(x, w, offs=offs).numpy(), rtol=1e-5, atol=1e-6)
    assert len(run._entries) == 1


@pytest.mark.parametrize("wrong", [[4, 3, 12], [4, 8, 13], [-1, 8, 12], [2**31 - 1, 0, 12], [-(2**31), 8, 12]])
def test_ends_that_do_not_rise(wrong: list[int]) -> None:
    """It is an error before anything is written, and what comes next is right again."""
    x, w, count = torch.randn(12, 5), torch.randn(3, 5, 6), torch.zeros(())

    def step(offs: Any) -> Any:
        made = F.grouped_mm(x, w, offs=offs)
        count.add_(1)
        return made.sum() + F.grouped_mm(x, w * 2, offs=offs).sum()

    run = torch.compile(step, engine="native")
    good = torch.tensor([4, 8, 12], dtype=torch.int32)
    expected = run(good).item()
    with pytest.raises(PullbackError, match=r"they have to rise, from 0 or more to 12 or less\n  at .*test_grouped"):
        run(torch.tensor(wrong, dtype=torch.int32))
    assert run(good).item() == expected and count.item() == 2


# -- a mixture of experts ----------------------------------------------------------------------------------------------


class Mixture(nn.Module):
    """Each token goes through the k experts that the router finds likeliest, weighted; none is dropped."""

    def __init__(self, width: int, inner: int, experts: int, k: int) -> None:
        super().__init__()
        self.experts, self.k = experts, k
        self.router = nn.Parameter(torch.randn(width, experts) / width**0.5)
        self.gate = nn.Parameter(torch.randn(experts, width, inner) / width**0.5)
        self.up = nn.Parameter(torch.randn(experts, width, inner) / width**0.5)
        self.down = nn.Parameter(torch.randn(experts, inner, width) / inner**0.5)

    def ends(self, chosen: Any, kind: str) -> Any:
        """Where each expert's rows end, in one of the ways in which that can be written."""
        flat, n = chosen.flatten(), self.experts
        if kind == "one_hot":
            return F.one_hot(flat, n).sum(0).cumsum(0).int()
        if kind == "scatter_add":
            return torch.zeros(n, dtype=torch.int64).scatter_add(0, flat, torch.ones_like(flat)).cumsum(0).int()
        if kind == "histc":
            return torch.histc(flat.float(), bins=n, min=0, max=n - 1).cumsum(0).int()
        return torch.searchsorted(flat.sort().values, torch.arange(n), right=True).int()

    def forward(self, x: Any, kind: str = "one_hot") -> Any:
        weight, chosen = F.softmax(x @ self.router, -1).topk(self.k, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        order = chosen.flatten().argsort(stable=True)
        rows, ends = order // self.k, self.ends(chosen, kind)
        h = x[rows]
        h = F.silu(F.grouped_mm(h, self.gate, offs=ends)) * F.grouped_mm(h, self.up, offs=ends)
        h = F.grouped_mm(h, self.down, offs=ends) * weight.flatten()[order][:, None]
        return torch.zeros_like(x).index_add(0, rows, h)


def layer(experts: int = 4, k: int = 2, width: int = 16, inner: int = 24) -> Mixture:
    torch.manual_seed(0)
    return Mixture(width, inner, experts, k)


def training(model: Mixture, kind: str = "one_hot") -> Any:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def step(x: Any, y: Any) -> Any:
        loss = ((model(x, kind) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.mark.parametrize("kind", ["one_hot", "scatter_add", "histc", "searchsorted"])
def test_a_training_step_leaves_nothing_to_numpy(kind: str) -> None:
    torch.manual_seed(1)
    x, y = torch.randn(30, 16), torch.randn(30, 16)
    eager, native = training(layer(), kind), torch.compile(training(layer(), kind), engine="native")
    for _ in range(4):
        np.testing.assert_allclose(native(x, y).item(), eager(x, y).item(), rtol=1e-5)
    assert "nothing is run by NumPy" in native.compile_report()


def test_the_program_is_as_long_for_more_tokens_or_experts() -> None:
    lengths = set()
    for tokens, experts in ((64, 4), (200, 4), (64, 16)):
        run = torch.compile(training(layer(experts)), engine="native")
        run(torch.randn(tokens, 16), torch.randn(tokens, 16))
        made = run._entries[0].run
        lengths.add((len(made.program), len(made.plan.program.instructions), len(made.plan.steps)))
    assert len(lengths) == 1


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("idle", [False, True], ids=["", "one expert has no token"])
def test_as_a_loop_over_experts_in_pytorch(dtype: str, idle: bool) -> None:
    """Values and gradients of all parameters and of the tokens."""
    pytorch = pytest.importorskip("torch")
    model = layer().to(getattr(torch, dtype))
    x = np.random.default_rng(3).standard_normal((40, 16)).astype(dtype)
    if idle:  # the first feature is one for all, and speaks against an expert
        x[:, 0] = 1
        with torch.no_grad():
            model.router[0, 1] = -50
    g = np.random.default_rng(4).standard_normal(x.shape).astype(dtype)
    names = ["router", "gate", "up", "down"]

    def step(x: Any, g: Any) -> Any:
        tokens = x.detach().requires_grad_()
        out = model(tokens)
        grads = torch.autograd.grad((out * g).sum(), [tokens, *[getattr(model, name) for name in names]])
        return out.detach(), *grads

    run = torch.compile(step, engine="native")
    ours = run(torch.from_numpy(x), torch.from_numpy(g))
    assert "nothing is run by NumPy" in run.compile_report()

    tokens, *parameters = (pytorch.tensor(np.array(a)).requires_grad_()
                           for a in (x, *[getattr(model, name).detach().numpy() for name in names]))  # fmt: skip
    router, gate, up, down = parameters
    weight, chosen = (tokens @ router).softmax(-1).topk(2, -1)
    weight = weight / weight.sum(-1, keepdim=True)
    out = pytorch.zeros_like(tokens)
    counts = []
    for e in range(4):
        rows, place = (chosen == e).nonzero(as_tuple=True)
        counts.append(len(rows))
        h = pytorch.nn.functional.silu(tokens[rows] @ gate[e]) * (tokens[rows] @ up[e])
        out = out.index_add(0, rows, (h @ down[e]) * weight[rows, place][:, None])
    assert (0 in counts) == idle
    grads = pytorch.autograd.grad((out * pytorch.tensor(g)).sum(), [tokens, *parameters])
    near = 1e-5 if dtype == "float32" else 1e-10
    for name, a, b in zip(["out", "x", *names], ours, [out, *grads], strict=True):
        expected = b.detach().numpy()
        np.testing.assert_allclose(a.numpy(), expected, near, near * max(1, abs(expected).max()), err_msg=name)
