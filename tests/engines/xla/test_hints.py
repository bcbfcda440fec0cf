"""What a form makes of knowing more than its inputs is what it gives without."""

from __future__ import annotations

import numpy as np
import pytest

import pullback
import pullback.nn.functional as F
from pullback.ops.pooling import max_pool
from pullback.ops.updates import adam

jax = pytest.importorskip("jax")
from pullback.engines.xla import forms  # noqa: E402

pytestmark = pytest.mark.parity

SIDE_BY_SIDE = [
    # size, kernel
    ((6, 8), (2, 2)),
    ((7, 5), (3, 2)),
    ((9,), (2,)),
    ((4, 5, 6), (2, 1, 3)),
    ((4, 4), (3, 3)),
    ((9, 9), (5, 5)),
]


def images(*size: int) -> np.ndarray:
    """Small whole numbers, so that there are ties, and some NaN."""
    x = np.random.default_rng(0).integers(-2, 3, (2, 3, *size)).astype(np.float32)
    x.flat[:: 7 + len(size)] = np.nan
    return x


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("size", "kernel"), SIDE_BY_SIDE)
def test_pooling_with_windows_side_by_side(size: tuple[int, ...], kernel: tuple[int, ...], ceil_mode: bool) -> None:
    x, n = images(*size), len(kernel)
    windows = {"kernel": kernel, "stride": kernel, "padding": (0,) * n, "dilation": (1,) * n, "ceil_mode": ceil_mode}
    y, at = max_pool(x, **windows)
    g = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    with jax.enable_x64(True):
        ours, places = jax.jit(lambda x: forms.FORMS["max_pool"](x, **windows))(x)
        spread = forms.FORMS["max_pool_gradient"]
        with_hint = jax.jit(lambda g, at: spread(g, at, x.shape, tiles=kernel))(g, at)
        without = jax.jit(lambda g, at: spread(g, at, x.shape))(g, at)
    np.testing.assert_array_equal(ours, y)
    np.testing.assert_array_equal(places, at)
    np.testing.assert_array_equal(with_hint, without)


def test_the_gradient_of_pooling_is_told_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    plain = forms.FORMS["max_pool_gradient"]
    monkeypatch.setitem(forms.FORMS, "max_pool_gradient", lambda *a, **k: told.append(k.get("tiles")) or plain(*a, **k))

    def gradients(x: pullback.Tensor) -> list[pullback.Tensor]:
        x.requires_grad_()
        return [
            pullback.autograd.grad(F.max_pool2d(x, 2).square().sum(), x)[0],
            pullback.autograd.grad(F.max_pool2d(x, 3, 2, 1).square().sum(), x)[0],
        ]

    x = pullback.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 6, 7)).astype(np.float32))
    compiled = pullback.compile(lambda x: gradients(x.detach()), engine="xla")(x)
    for ours, theirs in zip(compiled, gradients(x.detach()), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    assert told == [(2, 2), None]


def test_counts_of_many_parameters_at_once_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    rows = [
        [
            *rng.standard_normal((2, 3)),
            rng.random(3),
            np.float32(t),
            None,
            rng.standard_normal(3),
            lr,
            0.9,
            0.999,
            1e-8,
            0.1,
        ]
        for t, lr in ((0, 0.1), (3, 0.1), (7, 0.2), (3, np.array(0.1)))
    ]
    rows = [[np.asarray(x) if isinstance(x, np.floating) else x for x in row] for row in rows]
    needs, compute = forms.AHEAD["adam"]
    with jax.enable_x64(True):
        together = compute([[row[i] for i in needs] for row in rows])
        for row, told in zip(rows, together, strict=True):
            for ours, alone, eager in zip(
                forms.FORMS["adam"](*row, **told), forms.FORMS["adam"](*row), adam(*row), strict=True
            ):
                np.testing.assert_array_equal(ours, alone)
                np.testing.assert_allclose(ours, eager, rtol=1e-6)


def test_a_learning_rate_that_changes_reaches_the_device() -> None:
    def trained(engine: str | None) -> np.ndarray:
        w = pullback.nn.Parameter(pullback.ones(3))
        optimizer = pullback.optim.Adam([w], lr=0.1)

        def step() -> None:
            optimizer.zero_grad()
            (w * w).sum().backward()
            optimizer.step()

        run = step if engine is None else pullback.compile(step, engine=engine)
        for lr in (0.1, 0.1, 0.2, 0.2, 0.1):
            optimizer.param_groups[0]["lr"] = lr
            run()
        return w.detach().numpy().copy()

    np.testing.assert_allclose(trained("xla"), trained(None), rtol=1e-5)
