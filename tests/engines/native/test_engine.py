"""Whole steps on the native engine: what is written and when, whose memory is whose, threads, forks, layouts."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

import pullback
import pullback.nn.functional as F
from pullback import nn, optim
from pullback.engines.native.engine import Table, builder
from pullback.errors import PullbackError
from pullback.ops.record import OPS
from pullback.tensor import Tensor

from .compare import check


def native(step: Any) -> Any:
    return pullback.compile(step, engine="native")


def arrays(*parts: Any) -> list[Any]:
    """What tensors, modules and optimizers hold now."""
    found = []
    for part in parts:
        if isinstance(part, Tensor):
            found.append(part.detach().numpy().copy())
        elif isinstance(part, nn.Module):
            found += arrays(*part.parameters(), *part.buffers(), *[p.grad for p in part.parameters()])
        elif part is not None:
            found += arrays(*[x for state in part.state.values() for x in state.values() if isinstance(x, Tensor)])
    return found


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def executable(compiled: Any) -> Any:
    return compiled._entries[0].run


# -- an index out of range ---------------------------------------------------------------------------------------------


def classifier() -> Any:
    pullback.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 3))
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    seen = pullback.zeros(())

    def step(x: Any, y: Any) -> Any:
        seen.add_(1)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return native(step), [net, optimizer, seen]


GOOD = pullback.tensor([[0, 1], [2, 3], [4, 0]]), pullback.tensor([0, 1, 2])


@pytest.mark.parametrize("bad", [5, -6, 2**40])
def test_a_bad_index_leaves_all_as_it_was(bad: int) -> None:
    step, state = classifier()
    step(*GOOD)
    before = arrays(*state)
    with pytest.raises(IndexError, match=rf"(?s)index {bad} .*test_engine.py.*F.cross_entropy\(net\(x\), y\)"):
        step(pullback.tensor([[0, 1], [2, bad], [4, 0]]), GOOD[1])
    assert same(arrays(*state), before)
    step(*GOOD)
    assert not same(arrays(*state), before)


@pytest.mark.parametrize("bad", [3, -1, 2**40])
def test_a_bad_target_leaves_all_as_it_was(bad: int) -> None:
    step, state = classifier()
    step(*GOOD)
    before = arrays(*state)
    with pytest.raises(IndexError, match=r"(?s)out of range.*test_engine.py.*F.cross_entropy\(net\(x\), y\)"):
        step(GOOD[0], pullback.tensor([0, bad, 2]))
    assert same(arrays(*state), before)


def test_a_bad_index_on_two_threads() -> None:
    table = pullback.zeros(10)
    count = pullback.zeros(())

    def step(index: Any) -> Any:
        count.add_(1)
        return table[index].sum()

    compiled, index = native(step), pullback.zeros(200_000, dtype=pullback.int64)
    compiled(index)
    for piece in executable(compiled).tables:
        if isinstance(piece, Table):
            piece.threads = 2
    index[[1, 100_000, 199_999]] = 10
    for _ in range(20):
        with pytest.raises(IndexError, match=r"index 10 .*out of range"):
            compiled(index)
    assert count.item() == 1


# -- whose memory ------------------------------------------------------------------------------------------------------


def test_results_keep_what_they_are() -> None:
    net = nn.Linear(3, 3)
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        y = net(x)
        loss = (y * y).sum()
        loss.backward()
        optimizer.step()
        return loss, y, y.t(), y[0], net.weight.detach() * 1, x * 2

    compiled, seen, kept = native(step), [], []
    for k in range(5):
        results = compiled(pullback.ones(2, 3) * k)
        seen.append(results)
        kept.append(arrays(*results))
    assert all(same(arrays(*a), b) for a, b in zip(seen, kept, strict=True))
    seen[0][1].mul_(0)  # nor does writing to one change another run's
    assert all(same(arrays(*a), b) for a, b in zip(seen[1:], kept[1:], strict=True))


def test_results_outlive_the_step() -> None:
    compiled = native(lambda x: (x + 1, x.t() * 2))
    results = compiled(pullback.ones(100, 50))
    del compiled
    assert [r.sum().item() for r in results] == [10_000, 10_000]


def test_memory_is_used_again_only_when_nothing_looks_at_it() -> None:
    """Results of some size, in order and transposed, of which the caller keeps all, or a view, or NumPy's array."""
    step = native(lambda x: (x * 2, (x.t() + 1).t()))
    x = pullback.zeros(300, 400)
    places, kept = set(), list[tuple[Any, float]]()
    for k in range(12):
        made = step(x + k)
        for which, expected in ((made[0], 2.0 * k), (made[1], k + 1.0)):
            looked = [which, which[3], which.numpy(), which.t(), memoryview(which.numpy()), None][k % 6]
            kept += [] if looked is None else [(looked, expected)]
        del made, which, looked
        for looked, expected in kept:
            assert float(np.asarray(looked).reshape(-1)[5]) == expected and np.all(np.asarray(looked) == expected)
    kept.clear()
    for k in range(6):
        places.add(step(x + k)[0].data_ptr())
    assert len(places) == 1


def test_gradients_lie_in_two_places_by_turns() -> None:
    model = nn.Linear(300, 300)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    compiled, x = native(step), pullback.ones(2, 300)
    places = []
    for _ in range(8):
        compiled(x)
        assert model.weight.grad is not None
        places.append(model.weight.grad.data_ptr())
    assert len(set(places[2:])) == 2
    held = model.weight.grad
    before = held.clone()
    compiled(x)
    compiled(x)
    assert pullback.equal(held, before)


def test_constants_are_not_given_away() -> None:
    def step(x: Any) -> Any:
        return pullback.zeros(3), pullback.arange(3), x

    compiled, x = native(step), pullback.ones(3)
    first = compiled(x)
    first[0].add_(7), first[1].add_(7)
    assert compiled(x)[0].tolist() == [0, 0, 0] and compiled(x)[1].tolist() == [0, 1, 2]


# -- state -------------------------------------------------------------------------------------------------------------


def test_state_that_changes_places() -> None:
    a, b, c = [pullback.full((40,), float(k)) for k in range(3)]

    def step() -> None:
        x, y, z = a.clone(), b.clone(), c.clone()
        a.copy_(b), b.copy_(z), c.copy_(x)
        c.add_(y * 0)

    compiled = native(step)
    for _ in range(3):
        before = a[0].item(), b[0].item(), c[0].item()
        compiled()
        assert (a == before[1]).all() and (b == before[2]).all() and (c == before[0]).all()


def test_attributes_that_change_places() -> None:
    class Pair:
        a, b = pullback.arange(4.0), pullback.arange(4.0) + 10

    pair = Pair()

    def step() -> Any:
        pair.a, pair.b = pair.b, pair.a
        return pair.a.sum()

    compiled = native(step)
    assert [compiled().item() for _ in range(4)] == [46, 6, 46, 6]


def test_state_made_of_other_state() -> None:
    def make() -> Any:
        a, b = pullback.arange(6.0).reshape(2, 3), pullback.ones(2, 3)

        def step(x: Any) -> Any:
            b.copy_(a)  # as it was
            a.add_(x)
            b[0].mul_(a[1])
            a[:, 1:] = a[:, :2].clone()
            a.t().sub_(1)
            return (a * b).sum()

        return step, [a, b]

    (eager, expected), (step, state) = make(), make()
    compiled = native(step)
    for k in range(4):
        x = pullback.full((3,), float(k))
        assert compiled(x).item() == eager(x).item()
        assert same(arrays(*state), arrays(*expected))


def test_an_argument_that_overlaps_state() -> None:
    def make() -> Any:
        memory = pullback.arange(8.0)
        first, last = memory[:5], memory[3:]

        def step(x: Any) -> Any:
            first.mul_(2)
            x.add_(first)
            return x.sum() + last.sum()

        return step, memory, last

    (eager, expected, x), (step, memory, y) = make(), make()
    compiled = native(step)
    for _ in range(3):
        assert eager(x).item() == compiled(y).item()
        assert memory.tolist() == expected.tolist()


def test_the_same_tensor_twice() -> None:
    def step(x: Any, y: Any) -> Any:
        x.add_(1)
        return (x * y).sum()

    for f in (step, native(step)):
        x = pullback.ones(3)
        assert f(x, x).item() == 12 and f(x, pullback.ones(3)).item() == 9


def test_parameters_that_do_not_lie_in_order() -> None:
    def make() -> Any:
        pullback.manual_seed(0)
        net = nn.Linear(4, 6)
        net.weight = nn.Parameter(pullback.randn(4, 6).t())
        net.bias = nn.Parameter(pullback.randn(12)[::2])
        optimizer = optim.Adam(net.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = net(x).square().sum()
            loss.backward()
            optimizer.step()
            return loss

        return step, net

    (eager, expected), (step, net) = make(), make()
    compiled, strides = native(step), [p.stride() for p in net.parameters()]
    for k in range(5):
        x = pullback.ones(2, 4) * k
        np.testing.assert_allclose(compiled(x).item(), eager(x).item(), rtol=1e-5)
    for p, q in zip(net.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert [p.stride() for p in net.parameters()] == strides


def test_arguments_that_lie_otherwise() -> None:
    compiled = native(lambda x: (x.exp().sum(0), x[1]))
    ones = pullback.ones
    for x in (ones(3, 4), ones(4, 3).t(), ones(6, 8)[::2, ::2], ones(1, 4).expand(3, 4)):
        total, row = compiled(x)
        np.testing.assert_allclose(total.numpy(), 3 * np.exp(np.ones(4)), rtol=1e-6)
        assert row.tolist() == [1] * 4


def test_numbers_may_differ_from_call_to_call() -> None:
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.5)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = net(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    compiled = native(step)
    compiled(pullback.ones(1, 2))
    before = arrays(*net.parameters())
    optimizer.param_groups[0]["lr"] = 0.0
    compiled(pullback.ones(1, 2))
    assert same(arrays(*net.parameters()), before) and compiled._captures == 1


# -- threads and forks -------------------------------------------------------------------------------------------------


def work(x: Any) -> Any:
    return ((x @ x.t()).tanh() @ x).softmax(-1).sum(0)


def test_many_threads_call() -> None:
    compiled = native(work)
    xs = [pullback.randn(120, 80) for _ in range(4)]
    expected = [compiled(x).numpy().copy() for x in xs]
    wrong: list[int] = []

    def call(k: int) -> None:
        for _ in range(50):
            if not np.array_equal(compiled(xs[k]).numpy(), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_two_steps_in_two_threads() -> None:
    steps = [native(lambda x, k=k: (x @ x).exp().sum() * k) for k in (1.0, 2.0)]
    x, found = pullback.randn(64, 64) / 64, [[], []]  # type: ignore[var-annotated]
    threads = [
        threading.Thread(target=lambda k=k: found[k].extend(steps[k](x).item() for _ in range(30))) for k in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found[0])) == len(set(found[1])) == 1 and found[1][0] == pytest.approx(2 * found[0][0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:.*fork.*:RuntimeWarning")
def test_after_a_fork() -> None:
    """The child has none of its parent's threads; both go on."""
    compiled, x = native(work), pullback.randn(300, 200)
    expected = compiled(x).numpy().copy()
    for piece in executable(compiled).tables:
        piece.threads = 2
    assert np.array_equal(compiled(x).numpy(), expected)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            ok = all(np.array_equal(compiled(x).numpy(), expected) for _ in range(20))
            other = native(lambda x: x.relu().sum())
            os._exit(0 if ok and abs(other(x).item() - x.relu().sum().item()) < 1 else 1)
        children.append(child)
        assert np.array_equal(compiled(x).numpy(), expected)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


class Items:
    """Its items are made by a compiled step."""

    def __init__(self) -> None:
        self.step = native(lambda x: (x * 2).sum())

    def __len__(self) -> int:
        return 8

    def __getitem__(self, k: int) -> Any:
        return self.step(pullback.full((3,), float(k)))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:.*fork.*:RuntimeWarning")
def test_a_data_loader_whose_workers_compile() -> None:
    from pullback.utils.data import DataLoader

    items = Items()
    items[1]
    found = [batch.tolist() for batch in DataLoader(items, batch_size=4, num_workers=2)]
    assert found == [[0, 6, 12, 18], [24, 30, 36, 42]]


# -- ops ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("family", sorted({op.family for op in OPS.values()}))
def test_samples_of_a_family(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NumPy gives them, with one thread and with two."""
    monkeypatch.setattr(builder, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in builder.FLAGS))
    check([name for name, op in OPS.items() if op.family == family])


# -- builds ------------------------------------------------------------------------------------------------------------


def test_another_batch_size_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 3))
    optimizer = optim.AdamW(net.parameters())

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    compiled, runs = native(step), []
    batch = lambda n: (pullback.randn(n, 7), pullback.randint(0, 3, (n,)))  # noqa: E731
    compiled(*batch(16))
    monkeypatch.setattr(builder, "make", lambda unit, *rest: runs.append(unit.name))
    for n in (8, 33, 2, 100):
        compiled(*batch(n))
    assert compiled._captures == 5 and not runs


def test_the_source_and_the_report() -> None:
    def step(x: Any) -> Any:
        y = x.exp() * 2  # this very line
        return y.sum(), pullback.special.digamma(x)

    compiled = native(step)
    with pytest.raises(PullbackError, match="has not been captured yet"):
        compiled.source()
    compiled(pullback.ones(3))
    assert "// exp, mul" in compiled.source() and "y = x.exp() * 2  # this very line" in compiled.source()
    report = compiled.compile_report()
    assert "run by NumPy:\n  1 x digamma: it has no kernel\n" in report and "special.digamma(x)" in report
    other = pullback.compile(step, engine="numpy")
    other(pullback.ones(3))
    with pytest.raises(PullbackError, match="the numpy engine, which makes no C"):
        other.source()
