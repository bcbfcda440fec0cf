"""What is looked at before each call: memory that is shared or read-only, numbers, state that comes and goes."""

from __future__ import annotations

import array
import ctypes
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import nn
from pullback.errors import PullbackError

from .twins import contents


def compiled(step: Any) -> Any:
    return torch.compile(step, engine="numpy")


def quick(f: Any, *args: Any) -> bool:
    """Would a call take the quick way?"""
    return f._entries[0].quick.gather(args, {}) is not None


# -- memory that is not a tensor's -------------------------------------------------------------------------------------

MEMORY: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(b"\1\2"),
    "array": lambda: array.array("d", [1.0, float("nan")]),
    "c_float": lambda: (ctypes.c_float * 2)(1, 2),
    "NumPy array": lambda: np.ones(2),
}


@pytest.mark.parametrize("kind", MEMORY)
def test_memory_that_a_step_writes(kind: str) -> None:
    memory = MEMORY[kind]()
    before = bytes(memoryview(memory))

    def step(x: Any) -> Any:
        memory[0] += 1
        if hasattr(memory, "append"):
            memory.append(3)
        return x

    with pytest.raises(PullbackError, match=rf"writes into the {kind}\w* memory"):
        compiled(step)(torch.ones(2))
    assert bytes(memoryview(memory)) == before


@pytest.mark.parametrize("kind", MEMORY)
def test_memory_that_a_step_reads(kind: str) -> None:
    memory = MEMORY[kind]()
    f, x = compiled(lambda x: x * float(memory[0])), torch.ones(2)
    for value in (1, 1, 5, 5):
        memory[0] = value
        assert f(x).tolist() == [value, value]
    assert len(f.programs) == 2 and quick(f, x)


def test_memory_behind_a_memoryview() -> None:
    memory = bytearray(4)
    view = memoryview(memory)[2:]

    def step(x: Any) -> Any:
        view[0] = 7
        return x

    with pytest.raises(PullbackError, match="writes into the bytearray view"):
        compiled(step)(torch.ones(2))
    assert memory == bytes(4)


def test_memory_that_a_step_returns() -> None:
    f, x = compiled(lambda x: (x, bytearray(b"ab"), array.array("d", [1.0]))), torch.ones(2)
    _, *first = f(x)
    first[0][0], first[1][0] = 0, 2.0
    assert f(x)[1:] == (bytearray(b"ab"), array.array("d", [1.0]))


# -- memory that is shared ---------------------------------------------------------------------------------------------


def test_an_argument_over_memory_of_the_state() -> None:
    buffer = bytearray(16)
    w, v = torch.zeros(4), torch.frombuffer(buffer, dtype=torch.float32)

    def step(x: Any) -> Any:
        w.add_(1)
        v.add_(1)
        return x * 2

    f = compiled(step)
    for i in range(2):
        for other in (w.numpy(), w.numpy()[:], w.numpy()[1:][:2], w.numpy()[::-1], np.frombuffer(buffer, np.float32)):
            f(torch.zeros(other.shape))
            f(torch.zeros(other.shape))
            with pytest.raises(PullbackError, match="share memory"):
                f(torch.from_numpy(other))
        assert w.tolist() == v.tolist() == [10.0 * (i + 1)] * 4


def test_an_argument_that_is_written_over_memory_of_the_state() -> None:
    h = torch.ones(3)
    f = compiled(lambda x: x.add_(1) + h)
    assert [f(torch.zeros(3)).tolist() for _ in range(2)] == [[2.0] * 3] * 2
    with pytest.raises(PullbackError, match="share memory"):
        f(torch.from_numpy(h.numpy()))
    assert h.tolist() == [1.0] * 3


def test_parts_of_an_array_as_arguments() -> None:
    """They are not looked at in the long way each time."""
    data, memory, w = torch.arange(8.0), memoryview(bytearray(32)), torch.zeros(2)

    def step(x: Any) -> Any:
        w.add_(x)
        return x * 2

    f = compiled(step)
    for x in (
        data[:2],
        data[4:6],
        torch.from_numpy(data.numpy()[2:4]),
        torch.frombuffer(memory, dtype=torch.float32)[:2],
    ):
        f(x.clone())
        assert quick(f, x)
        assert f(x).tolist() == (x * 2).tolist()


def test_arguments_that_are_read_only() -> None:
    def step(x: Any) -> Any:
        w.add_(1)
        x.add_(1)
        return x * 1

    w, given = torch.zeros(3), np.zeros(3, np.float32)
    f = compiled(step)
    f(torch.from_numpy(given))
    f(torch.from_numpy(given))
    given.flags.writeable = False
    for late in (f, compiled(step)):
        with pytest.raises(PullbackError, match="memory is read-only") as error:
            late(torch.from_numpy(given))
        assert "x.add_(1)" in str(error.value)
    assert (w.tolist(), given.tolist()) == ([2.0] * 3, [2.0] * 3)


def test_state_that_is_only_written() -> None:
    """Another tensor may take its place: then it is another step."""
    box = types.SimpleNamespace(last=torch.zeros(3))

    def step(x: Any) -> Any:
        box.last.copy_(x)
        return x * 2

    f, x = compiled(step), torch.ones(1)
    for shape in ((3,), (3,), (2, 2), (2, 2), (3,)):
        box.last = torch.zeros(shape)
        f(x)
        f(x)
        assert box.last.tolist() == torch.ones(shape).tolist()
        assert quick(f, x)


# -- numbers, and what is drawn ----------------------------------------------------------------------------------------


def test_random_numbers_take_the_quick_way() -> None:
    def run(wrapped: Any) -> list[Any]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 2))
        box = types.SimpleNamespace(h=torch.zeros(2))

        def step(x: Any) -> Any:
            net.zero_grad()
            loss = net(x).sum()
            loss.backward()
            box.h = box.h + net[2].bias.grad
            return loss

        f, x = wrapped(step), torch.ones(4, 3)
        out = [(f(x).item(), box.h.tolist(), torch.get_rng_state().tolist()) for _ in range(4)]
        if wrapped is compiled:
            assert quick(f, x) and f._entries[0].quick.commit is not None
        torch.manual_seed(0)
        return [*out, f(x).item()]

    assert run(compiled) == run(lambda step: step)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_a_closure_of_lbfgs_that_names_it(search: str | None) -> None:
    """What LBFGS notes for itself is none of the closure's conditions."""

    def run(wrapped: Any) -> Any:
        torch.manual_seed(0)
        net, x, y = nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8, 1)
        optimizer = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=4, history_size=2, line_search_fn=search)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (net(x) - y).pow(2).mean()
            loss.backward()
            return loss

        f = wrapped(closure)
        losses = [optimizer.step(f).item() for _ in range(4)]
        assert wrapped is not compiled or len(f.programs) == 1
        return losses, list(contents(optimizer.state_dict())), net.weight.tolist()

    assert run(compiled) == run(lambda closure: closure)


def test_a_closure_of_lbfgs_that_reads_its_state() -> None:
    p = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.LBFGS([p], max_iter=1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum() * optimizer.state[p].get("n_iter", 0)
        loss.backward()
        return loss

    f = compiled(closure)
    for n in (0, 1, 3):
        optimizer.state[p]["n_iter"] = n
        assert f().item() == 2 * n


# -- places that a tensor names ----------------------------------------------------------------------------------------


def add(y: Any, i: Any, v: Any, w: Any) -> Any:
    y[i] += v * w
    y[i] *= 2
    return y


def through_views(y: Any, i: Any, v: Any, w: Any) -> Any:
    row = y[i]
    part = row[1:]
    part.add_(w[1:])
    y[i] = row * v
    row.mul_(3)
    return y * row + part.sum()


def along_dimensions(y: Any, i: Any, v: Any, w: Any) -> Any:
    y[i, i] += v.sum() * w.sum()
    y.select(1, i).mul_(w)
    y[i, 1:] = v[1:] * w[1:]
    return y


def from_nothing(y: Any, i: Any, v: Any, w: Any) -> Any:
    y = torch.zeros(3, 3)
    y[i] += w
    return y * 2


def twice(y: Any, i: Any, v: Any, w: Any) -> Any:
    y[i] += v
    (g,) = torch.autograd.grad(y.pow(3).sum(), w, create_graph=True)
    return g


@pytest.mark.parametrize("write", [add, through_views, along_dimensions, from_nothing, twice])
@pytest.mark.parametrize("inside", [True, False])
def test_writing_where_a_tensor_says(write: Any, inside: bool) -> None:
    """Into what has a history: gradients go where eagerly they go."""
    torch.manual_seed(0)
    w = torch.randn(3, requires_grad=True)

    def step(x: Any, i: Any, v: Any) -> Any:
        w.grad = None
        loss = write(x * w, i, v, w).pow(2).sum()
        if inside:
            loss.backward()
        return loss

    f = compiled(step)
    for k in (0, 2, -1):
        given, results = (torch.arange(9.0).view(3, 3) + k, torch.tensor(k), torch.ones(3) * k), []
        for run in (step, f):
            loss = run(*given)
            if not inside:
                loss.backward()
            results.append((loss.item(), w.grad.tolist()))  # type: ignore[union-attr]
        assert results[0] == results[1]
    assert len(f.programs) == 1


# -- both readings of the conditions -----------------------------------------------------------------------------------


def test_conditions_in_words_and_as_source() -> None:
    """Whatever is said to be different, the source notices as well."""
    box = types.SimpleNamespace(
        scale=2.0, parts=[1, [2.0]], table={"a": 1}, more=[nn.Tanh()], flags={1}, h=torch.ones(2)
    )
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, k: Any) -> Any:
        optimizer.zero_grad()
        y = box.more[0](net(x)) * box.scale * box.parts[1][0] * box.table["a"] * (2 if 1 in box.flags else 3)
        (y.sum() * k).backward()
        optimizer.step()
        box.h = box.h + y.detach()[0]
        return y.detach()

    f, x = compiled(step), torch.ones(3, 2)
    f(x, 1.0)
    f(x, 1.0)
    entry = f._entries[0]
    group, weight = optimizer.param_groups[0], net[0].weight

    def set_item(holder: Any, key: Any, value: Any) -> Any:
        before = holder[key]
        holder[key] = value
        return lambda: holder.__setitem__(key, before)

    def set_attribute(holder: Any, key: str, value: Any) -> Any:
        before = getattr(holder, key)
        setattr(holder, key, value)
        return lambda: setattr(holder, key, before)

    changes: list[Callable[[], Any]] = [
        lambda: set_attribute(box, "scale", 3.0),
        lambda: set_attribute(box, "parts", [1, [2.0, 3.0]]),
        lambda: set_attribute(box, "more", [nn.Tanh()]),
        lambda: set_attribute(box, "flags", set()),
        lambda: set_attribute(box, "h", torch.ones(3)),
        lambda: set_attribute(box, "h", torch.ones(2, dtype=torch.float64)),
        lambda: set_attribute(box, "h", torch.ones(2, requires_grad=True)),
        lambda: set_attribute(box, "h", torch.ones(4)[::2]),
        lambda: set_item(box.parts, 0, 5),
        lambda: set_item(box.parts[1], 0, 5.0),
        lambda: set_item(box.table, "a", 2),
        lambda: set_item(box.more, 0, nn.ReLU()),
        lambda: box.flags.add(2) or (lambda: box.flags.remove(2)),  # type: ignore[func-returns-value]
        lambda: box.more.append(1) or box.more.pop,  # type: ignore[func-returns-value]
        lambda: set_item(group, "momentum", 0),
        lambda: set_item(group, "nesterov", True),
        lambda: set_item(group, "lr", torch.tensor(0.1)),
        lambda: set_item(group, "params", [weight]),
        lambda: set_attribute(net[1], "p", 0.25),
        lambda: set_attribute(net, "training", False),
        lambda: set_attribute(weight, "requires_grad", False),
        lambda: set_attribute(weight, "data", torch.zeros(2, 2, dtype=torch.float64)),
        lambda: net.add_module("2", nn.ReLU()) or (lambda: net._modules.pop("2")),  # type: ignore[func-returns-value]
        lambda: set_item(optimizer.state[weight], "momentum_buffer", torch.zeros(2, 3)),
        lambda: torch.set_default_dtype(torch.float64) or (lambda: torch.set_default_dtype(torch.float32)),  # type: ignore[func-returns-value]
    ]
    for i, change in enumerate(changes):
        assert not entry.why((x, 1.0), {}), i
        undo = change()
        assert entry.why((x, 1.0), {}), i
        assert entry.quick.gather((x, 1.0), {}) is None, i
        undo()
    assert entry.inputs((x, 1.0), {}) is not None and quick(f, x, 1.0)
    with torch.no_grad():
        assert entry.why((x, 1.0), {}) and not quick(f, x, 1.0)
    for args in ((x, 2.0), (x, 1), (x[:2], 1.0), (x.double(), 1.0), (x.t().contiguous().t(), 1.0), (weight[:, :], 1.0)):
        assert entry.why(args, {}) and not quick(f, *args)
    assert entry.why((x.clone(), 1.0), {}) == "" and quick(f, x.clone(), 1.0)
    for add in (net[1].register_forward_hook, weight.register_hook):
        f(x, 1.0)
        entry = f._entries[0]
        add(lambda *args: None)
        assert entry.why((x, 1.0), {}) and not quick(f, x, 1.0)
