from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import TOLERANCE, Case, check, close, program_of

import pullback as torch
import pullback.nn.functional as F
from pullback.engines.native import engine
from pullback.errors import PullbackError
from pullback.ops.record import OPS

REDUCTIONS = ["sum", "mean", "count_nonzero", "prod", "var", "std", "any", "all", "norm"]
EXTREMES = ["amax", "amin", "max", "min", "max_along", "min_along", "argmax", "argmin"]
SOFTMAX = ["softmax", "log_softmax", "softmax_pullback", "log_softmax_pullback", "logsumexp"]
LOSSES = ["cross_entropy", "cross_entropy_gradient", "binary_cross_entropy"]
NORMS = ["layer_norm", "rms_norm", "row_norm_gradient", "batch_norm", "group_norm", "channel_norm_gradient"]


@pytest.mark.parametrize("names", [REDUCTIONS, EXTREMES, SOFTMAX, LOSSES, NORMS, ["cumsum", "cumprod"]])
def test_samples(names):
    check(names, host=False)


def same(calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]], tolerance: dict[str, float] = TOLERANCE) -> None:
    """What is computed natively agrees with NumPy, and does not depend on the number of threads."""
    cases = [Case(OPS[name], inputs, params, f"{[np.shape(x) for x in inputs]} {params}")
             for name, inputs, params in calls]  # fmt: skip
    program, arrays = program_of(cases)
    made = engine.build(program)
    assert not made.plan.report
    results = made(arrays)
    for piece in made.tables:
        piece.threads = 2  # type: ignore[union-attr]
    again = made(arrays)
    expected = [(x, case.note) for case in cases for x in case.expected]
    for (x, note), got, twice in zip(expected, results, again, strict=True):
        assert got.tobytes() == twice.tobytes(), note
        close(x, got, note, tolerance)


def normal(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape).astype(dtype)


SHAPES = [
    ((257, 129), (0,)), ((257, 129), (1,)), ((1025, 67), None), ((70000, 3), (0,)), ((70001, 3), (0,)),
    ((5, 90001), (1,)), ((3, 1000, 70), (1,)), ((33, 5, 17, 19), (0, 2, 3)), ((33, 5, 17, 19), (1, 3)),
    ((7, 9, 11, 13, 3), (0, 2, 4)), ((64, 1300), (0,)), ((200000,), None), ((300, 16), (1,)), ((40, 1, 50), (1,)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes(dtype):
    """All ways to cut a fold into parts."""
    calls = []
    for shape, dim in SHAPES:
        x = normal(*shape, dtype=dtype)
        calls += [(name, (x,), {"dim": dim}) for name in ("sum", "amax", "var", "norm", "any")]
    same(calls, {**TOLERANCE, "float32": 5e-6})


def test_views():
    """Elements in any order, repeated or left out."""
    x = abs(normal(40, 60, 50))
    views = [
        x.transpose(2, 0, 1), x[::-1, ::2], x[:, :, ::3], x[::3, 1:, ::-1], np.broadcast_to(x[:, :1], (40, 7, 50)),
        x.transpose(0, 2, 1)[1:],
    ]  # fmt: skip
    same([(name, (v,), {"dim": dim}) for v in views for name in ("sum", "amin")
          for dim in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), None)], {**TOLERANCE, "float32": 5e-6})  # fmt: skip


def test_sums_are_accurate():
    """At least as near to the exact sum as NumPy's own sum, within an ulp."""
    x = np.random.default_rng(0).random((4096, 700), np.float32)
    for dim in ((0,), (1,), None):
        case = Case(OPS["sum"], (x,), {"dim": dim}, "")
        program, arrays = program_of([case])
        exact = x.sum(dim, np.float64)
        error = np.abs(engine.build(program)(arrays)[0] - exact).max()
        assert error <= np.abs(np.add.reduce(x, dim) - exact).max() + np.spacing(np.float32(exact.max()))


def test_integers_wrap_around():
    x = np.array([[2**62, 2**62, 2**62], [3, -4, 5]])
    same([(name, (x,), {"dim": 1}) for name in ("prod", "cumsum", "cumprod", "max_along")])
    same([("sum", (x,), {"dim": (1,)})])


def test_rows_with_nan_and_infinity():
    x = normal(6, 131)
    x[0, 5], x[1, 7], x[2, 9], x[3], x[4, 130] = np.nan, np.inf, -np.inf, -np.inf, np.nan
    g, w, target = normal(6, 131), normal(131), np.array([0, 1, 9, 3, 4, 5])
    same([
        *[(name, (x,), {"dim": 1}) for name in ("softmax", "log_softmax", "max_along", "argmin", "cumsum")],
        *[(name, (x,), {"dim": (d,)}) for name in ("amax", "amin", "sum", "logsumexp") for d in (0, 1)],
        ("cross_entropy", (x, target, None), {"reduction": "none"}),
        ("cross_entropy_gradient", (g[:, 0], x, target, None), {"reduction": "none", "label_smoothing": 0.1}),
        ("layer_norm", (x, w, w), {"shape": (131,), "eps": 1e-5}),
        ("rms_norm", (x, w), {"shape": (131,), "eps": 1e-5}),
    ])  # fmt: skip


@pytest.mark.parametrize("rows", [0, 1, 63, 200])
def test_many_rows(rows):
    x, g, w = normal(rows, 77), normal(rows, 77), normal(77)
    slope, target = np.array(0.7, np.float32), np.arange(rows) % 77
    target[::5] = -100
    options = {"shape": (77,), "eps": 1e-5}
    losses = [{"label_smoothing": e, "reduction": r} for e in (0.0, 0.2) for r in ("sum", "mean" if rows else "sum")]
    same([
        ("softmax", (x,), {"dim": 0}), ("log_softmax", (x,), {"dim": 1}),
        *[("cross_entropy", (x, target, v), p) for p in losses for v in (None, abs(w))],
        *[("cross_entropy_gradient", (slope, x, target, v), p) for p in losses for v in (None, abs(w))],
        ("row_norm_gradient", (g, x, w), options), ("row_norm_gradient", (g, x, None), {**options, "centred": False}),
    ], {**TOLERANCE, "float32": 5e-6})  # fmt: skip


@pytest.mark.parametrize("shape", [(9, 6, 7, 5), (130, 6), (4, 6, 3), (2, 6, 40, 40)])
def test_channels(shape):
    x, g, w = normal(*shape), normal(*shape) + 1, normal(6)
    for groups in (0, 1, 2, 6):
        if groups and x[0].size // groups < 2:
            continue  # pools of one element: nothing but rounding errors
        name, more = ("group_norm", {"groups": groups}) if groups else ("batch_norm", {})
        same([
            (name, (x, w, w), {"eps": 1e-5, **more}),
            ("channel_norm_gradient", (g, None, None, x, w), {"eps": 1e-5, "groups": groups}),
        ], {**TOLERANCE, "float32": 2e-5})  # fmt: skip


def test_statistics_of_the_forward_op_are_used_again():
    """Gradients of compiled layers agree with eager ones."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.GroupNorm(2, 8), torch.nn.Flatten(),
        torch.nn.LayerNorm(288), torch.nn.RMSNorm(288), torch.nn.Linear(288, 10),
    )  # fmt: skip
    x, y = torch.randn(5, 3, 8, 8), torch.tensor([1, 2, 3, -100, 9])

    def step(x, y):
        loss = F.cross_entropy(net(x), y, label_smoothing=0.1)
        return loss, *torch.autograd.grad(loss, list(net.parameters()))

    expected = step(x, y)
    for got, want in zip(torch.compile(step, engine="native")(x, y), expected, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=0, atol=1e-5)


def test_targets_out_of_range():
    x, w = torch.randn(4, 3), torch.zeros(4, 3)

    def step(x, y):
        loss = F.cross_entropy(x, y)
        w.add_(1.0)
        return loss

    compiled = torch.compile(step, engine="native")
    compiled(x, torch.tensor([0, 1, 2, -100]))
    before = w.clone()
    with pytest.raises(IndexError, match="3 is out of range"):
        compiled(x, torch.tensor([0, 1, 2, 3]))
    assert (w == before).all()
    with pytest.raises(IndexError):
        compiled(x, torch.tensor([0, 1, 2, -1]))


def test_probabilities_out_of_range():
    compiled = torch.compile(lambda x, y: F.binary_cross_entropy(x, y), engine="native")
    assert compiled(torch.full((3,), 0.5), torch.ones(3)).item() == pytest.approx(np.log(2))
    for bad in (1.5, -0.1, float("nan")):
        with pytest.raises(PullbackError, match="between 0 and 1"):
            compiled(torch.tensor([0.5, bad, 0.5]), torch.ones(3))
