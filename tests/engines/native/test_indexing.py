"""Indexing and data movement in C: the records' samples, sizes at which threads share the work, and wrong indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import Case, agree, check

import pullback
from pullback.dtypes import F16, F32
from pullback.engines.native.loops import Loop
from pullback.ops.record import OPS
from pullback.ops.samples import integers, randn

MOVEMENT = (
    "cat stack pad flip roll tril triu unslice put_view full_like tile repeat_interleave undiagonal fold unstrided "
    "one_hot im2col col2im"
)
INDEXING = (
    "embedding unembed take_at lay_at put_at gather scatter scatter_add scatter_reduce take_along lay_along gather_at"
)


@pytest.mark.parametrize("names", [MOVEMENT, INDEXING])
def test_samples(names: str) -> None:
    check(names.split(), host=False)


def case(name: str, *inputs: Any, **params: Any) -> Case:
    return Case(OPS[name], inputs, params, f"{[getattr(x, 'shape', x) for x in inputs]} {params}")


def test_transposes() -> None:
    """Squares, edges of squares, and more dimensions around them; in all sizes of elements."""
    some = []
    for dtype in ("float32", "float64", "float16", "int8"):
        for shape in ((64, 96), (41, 67), (3, 33, 40), (2, 5, 37, 19), (1030, 9)):
            x = (10 * randn(*shape)).astype(dtype)
            some.append(case("reshape", x.swapaxes(-1, -2), shape=(*shape[:-2], shape[-1] * shape[-2])))
            some.append(case("cat", x.swapaxes(-1, -2), x.swapaxes(-1, -2), dim=len(shape) - 1))
        x = (10 * randn(4, 20, 30, 8)).astype(dtype)
        some.append(case("reshape", x.transpose(0, 3, 1, 2), shape=(32, 600)))
        some.append(case("reshape", x.transpose(3, 1, 2, 0), shape=(32, 600)))
    agree(some, host=False)


def test_shared_work() -> None:
    """Sums are the same for any number of threads: whoever adds to a place, adds to it in order."""
    wide, narrow = randn(500, 128, dtype=F32), randn(40000, dtype=F32)
    rows, places = integers(0, 30, 500), integers(0, 50, 40000)
    table, grid = randn(300, 200, dtype=F32), integers(0, 200, 300, 150)
    down = integers(0, 300, 250, 200, seed=1)
    agree([
        case("unembed", wide, rows, rows=31, padding_idx=3),
        case("unembed", wide.astype(F16), rows, rows=31),
        case("unembed", narrow, places, rows=50),
        case("embedding", table, integers(0, 300, 20, 30)),
        case("lay_at", randn(20, 500, 8, dtype=F32), rows - 30, shape=(20, 30, 8), dims=(1,)),
        case("put_at", table, rows[:40], randn(200, dtype=F32), dims=(0,)),
        case("put_at", table, np.stack([rows, rows]), randn(500, dtype=F32), dims=(0, 1), accumulate=True),
        case("take_at", randn(30, 40, 5, 6), np.stack([rows, rows - 1]), dims=(0, 1)),
        case("take_at", randn(6, 30, 5, 40), np.stack([rows, rows]), dims=(1, 3)),
        case("gather", table, grid, dim=1),
        case("gather", table, down, dim=0),
        case("gather", table.T, grid.T, dim=0),
        case("scatter_add", table, grid, table, dim=1),
        case("scatter_add", table, down, table, dim=0),
        case("scatter_add", randn(60, 4, 50), integers(0, 4, 60, 7, 50), randn(60, 7, 50), dim=1),
        *[case("scatter_reduce", table, grid, table, dim=1, reduce=how, include_self=mine)
          for how in ("sum", "mean", "amax", "amin") for mine in (False, True)],
    ], host=False)  # fmt: skip


def test_windows() -> None:
    """Windows that reach into the padding, and columns added back."""
    options = {"kernel": (3, 2), "stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)}
    x = randn(3, 5, 19, 23, dtype=F32)
    columns = OPS["im2col"](x, **options)
    agree([case("im2col", x, **options), case("col2im", columns, size=(19, 23), **options),
           case("fold", randn(40, 29, 3, 7), shape=(40, 64, 3), dim=1, size=7, step=2)], host=False)  # fmt: skip


def parts(x: Any) -> Any:
    """What is joined is made where it belongs, unless something else has read it."""
    half, twice, plain = -x[:, 2:], x * 2, x + 1
    other = plain.sum()
    joined = pullback.cat((half, x[:, :2], twice, plain), 1)
    return joined * 3, pullback.stack((twice, twice.flip(0)), 1) + other, half, pullback.cat((x - 1,), 0)


def slopes(x: Any) -> Any:
    """Slices, whose adjoints lay what is computed into zeros."""
    y = x.detach().requires_grad_()
    ((y[:, 1:] * 2).exp().sum() + (y[::2] ** 2).sum() + y[1, 1:3].sin().sum() + y.roll(1, 1)[0].cos().sum()).backward()
    return y.grad


@pytest.mark.parametrize("function", [parts, slopes])
def test_joined_where_it_was_made(function: Any) -> None:
    x = pullback.randn(4, 4)
    run = pullback.compile(function, engine="native")
    for a, b in zip(*(f(x) if type(f(x)) is tuple else (f(x),) for f in (function, run)), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6)


def test_state_that_moves_along() -> None:
    """A window of the latest rows: what is read from it is read before it is written."""
    window = pullback.zeros(4, 3)

    def step(x: Any) -> Any:
        window.copy_(pullback.cat((window[1:] * 1.0, x + 1), 0))

    run = pullback.compile(step, engine="native")
    for n in range(6):
        run(pullback.full((1, 3), float(n)))
    assert window[:, 0].tolist() == [3, 4, 5, 6]


WRONG = {
    "embedding": lambda w, i: pullback.nn.functional.embedding(i, w),
    "take": lambda w, i: w[i],
    "two": lambda w, i: w[i, i],
    "gather": lambda w, i: w.gather(0, i[:, None]),
    "scatter": lambda w, i: w.scatter(0, i[:, None], 1.0),
    "scatter_add": lambda w, i: w.scatter_add(0, i[:, None], w),
    "index_put": lambda w, i: w.index_put((i,), w[0]),
    "one_hot": lambda w, i: pullback.nn.functional.one_hot(i, 4),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_index_out_of_range(name: str) -> None:
    """It is an error, and what comes next is right again."""
    w, good = pullback.randn(4, 3), pullback.tensor([0, 2])
    run = pullback.compile(lambda i: WRONG[name](w, i), engine="native")
    expected = WRONG[name](w, good).numpy()
    np.testing.assert_array_equal(run(good).numpy(), expected)
    with pytest.raises(IndexError, match="4"):
        run(pullback.tensor([1, 4]))
    np.testing.assert_array_equal(run(good).numpy(), expected)


@pytest.mark.parametrize("form", ["index", "index_copy_", "slice"])
def test_state_is_written_in_place(form: str) -> None:
    """One row of a cache is written: the others are not even read. A wrong index leaves all of it as it was."""
    cache = pullback.zeros(2, 5, 3)

    def step(at: Any, x: Any) -> Any:
        if form == "index":
            cache[:, at] = x
        elif form == "index_copy_":
            cache.index_copy_(1, at.reshape(1), x[:, None])
        else:
            cache[:, 2:3] = x[:, None]
        return cache.sum()

    run = pullback.compile(step, engine="native")
    ones = pullback.ones(2, 3)
    for n in range(3):
        run(pullback.tensor(n), ones)
    assert cache.sum().item() == (6 if form == "slice" else 18)
    assert cache[:, 2].sum().item() == 6
    plan = run._entries[0].run.plan
    copies = [s for s in plan.steps if isinstance(s, Loop) and s.loads and not s.lines and s.shape == (2, 5, 3)]
    assert copies and all(s.idle for s in copies)
    if form != "slice":
        with pytest.raises(IndexError):
            run(pullback.tensor(5), 7 * ones)
        assert cache.sum().item() == 18
