from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.program.test_control import STEPS, branch_loss, calls_of, clear, data, leaf, loop_loss, tensors, twice

import pullback as torch
import pullback.nn.functional as F
from pullback.engines.native import engine
from pullback.engines.native.plan import KERNELS
from pullback.errors import RangeError
from pullback.program import Program


def executables(compiled: Any) -> list[engine.Executable]:
    return [entry.run for entry in compiled._entries]


def run(make: Any, calls: list[Any], on: str, threads: int = 1) -> list[Any]:
    """What some calls of a step give and leave behind."""
    torch.manual_seed(3)
    state, step = make()
    compiled = torch.compile(step, engine=on)
    results = []
    for call in calls:
        results.append(compiled(*call))
        for made in executables(compiled) if on == "native" else ():
            assert not made.plan.report, made.plan.report
            for piece in made.tables:
                piece.threads = threads  # type: ignore[union-attr]
    return [*tensors(results), *tensors(state)]


def agree(make: Any, calls: list[Any]) -> None:
    """Natively it is as on NumPy, and with two threads as with one, to the last bit."""
    expected = run(make, calls, "numpy")
    one, two = (run(make, [calls[0], *calls], "native", threads) for threads in (1, 2))
    assert [x.tobytes() for x in one] == [x.tobytes() for x in two]
    for a, b in zip(expected, run(make, calls, "native"), strict=True):
        scale = max(1.0, np.abs(a).max(initial=0))
        near = 1e-11 if a.dtype == np.float64 else 1e-2  # bfloat16 inside
        np.testing.assert_allclose(b, a, rtol=0, atol=near * scale)


@pytest.mark.parametrize(("make", "shapes"), STEPS, ids=[make.__name__ for make, _ in STEPS])
def test_agrees_with_numpy(make: Any, shapes: list[tuple[int, ...]]) -> None:
    agree(make, calls_of(shapes))


@pytest.mark.parametrize("make", [loop_loss, branch_loss])
def test_gradients_of_gradients(make: Any) -> None:
    agree(twice(make), [(data(5, 3),)])


def large() -> Any:
    """Enough work for two threads in each turn; a loop in a loop, a branch in that."""
    w, u = leaf(192, 192, scale=0.05), leaf(192, 192, scale=0.05)

    def step(xs: torch.Tensor) -> Any:
        clear(w, u)

        def outer(h: torch.Tensor, x: torch.Tensor) -> Any:
            def inner(h: torch.Tensor, _: None) -> Any:
                h = torch.cond(h.sum() > 0, lambda h: torch.tanh(h @ w) - 0.1, lambda h: torch.sin(h @ u + x), (h,))
                return h, h.mean(1)

            h, means = torch.scan(inner, h + x, length=3)
            return h, (means, h)

        h, (means, hs) = torch.scan(outer, torch.ones(200, 192, dtype=torch.float64), xs, reverse=True)
        (h.sum() + (means**2).sum() + hs.mean()).backward()
        return h, means, hs

    return [w, u], step


def test_two_threads_share_a_body() -> None:
    agree(large, [(data(4, 200, 192),)])


def changing_places() -> Any:
    """Carried values become each other, stay what they are, or are what goes through; some are kept as they were."""

    def step(a: torch.Tensor, b: torch.Tensor, xs: torch.Tensor) -> Any:
        def body(carry: Any, x: torch.Tensor) -> Any:
            a, b, c, d, e = carry
            return (b, a, c, x, a.T), (a, x, b + d, e, c)

        return torch.scan(body, (a, b, a + b, b * 2, b), xs)

    return None, step


def test_carried_values_change_places() -> None:
    agree(changing_places, calls_of([(3, 3), (3, 3), (7, 3, 3)]))


def test_no_turns() -> None:
    def step(h: torch.Tensor, xs: torch.Tensor) -> Any:
        return torch.scan(lambda h, x: (h + x, h * x), h, xs)

    agree(lambda: (None, step), [(data(3), data(0, 3).reshape(0, 3))])


def test_a_loop_without_an_end_in_sight() -> None:
    def step(x: torch.Tensor) -> Any:
        def inner(x: torch.Tensor, n: torch.Tensor) -> Any:
            x, _ = torch.while_loop(lambda x, k: k < n, lambda x, k: (x + k * 0.5, k + 1), (x, torch.tensor(0)))
            return x, n + 1

        return torch.while_loop(lambda x, n: (x.sum() < 500) & (n < 40), inner, (x, torch.tensor(0)))

    agree(lambda: (None, step), calls_of([(4,)]))


def test_an_index_out_of_range_names_its_line() -> None:
    """The state stays as it was; nothing hangs, though the loop goes on as long as what it has looked up is small."""
    table = torch.arange(5.0, dtype=torch.float64)
    count = torch.tensor(0.0, dtype=torch.float64)

    def step(k: torch.Tensor) -> Any:
        count.add_(1)
        return torch.while_loop(lambda k, x: x < 100, lambda k, x: (k + 1, x * 0 + table[k]), (k, table[0]))[1]

    def through(ks: torch.Tensor) -> Any:
        count.add_(1)
        return torch.scan(lambda c, k: (c + table[k], c), torch.zeros((), dtype=torch.float64), ks)[0]

    for f, x in ((step, torch.tensor(0)), (through, torch.tensor([0, 1, 7]))):
        for threads in (1, 2):
            before = count.item()
            compiled = torch.compile(f, engine="native")
            with pytest.raises(RangeError, match=r"table\[k\]"):
                compiled(x)
            for made in executables(compiled):
                made.tables[0].threads = threads  # type: ignore[union-attr]
            with pytest.raises(RangeError, match=r"table\[k\]"):
                compiled(x)
            assert count.item() == before


def test_what_numpy_has_to_run_in_a_body_it_runs_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(KERNELS, "sort", raising=False)

    def step(h: torch.Tensor, xs: torch.Tensor) -> Any:
        def outer(h: torch.Tensor, x: torch.Tensor) -> Any:
            def inner(h: torch.Tensor, _: None) -> Any:
                return torch.sort(h * 2)[0] + x, None

            h, _ = torch.scan(inner, h, length=2)
            return h, h.sum()

        return torch.scan(outer, h, xs)

    call = data(3), data(4, 3)
    compiled = torch.compile(step, engine="native")
    results = tensors(list(compiled(*call)))
    (made,) = executables(compiled)
    assert [i.op.name for i, _ in made.plan.report] == ["loop"] and len(made.tables) >= 1
    for a, b in zip(tensors(list(torch.compile(step, engine="numpy")(*call))), results, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-12)


def test_a_recurrence_is_a_loop_of_c() -> None:
    """What is carried is written over; what is kept is made where it belongs."""
    w = torch.randn(8, 8)

    def step(h: torch.Tensor, xs: torch.Tensor) -> Any:
        return torch.scan(lambda h, x: (h * 0.5 + x, torch.tanh(h + x) @ w), h, xs)

    compiled = torch.compile(step, engine="native")
    compiled(torch.zeros(2, 8), torch.randn(5, 2, 8))
    (made,) = executables(compiled)
    body = made.source.text.partition("for (i64 turn_0")[2].partition("\n    }\n")[0]
    assert body.count("sync(t)") == 2  # a loop and a product
    assert isinstance(compiled.program, Program) and not F.__name__.startswith("torch.")
