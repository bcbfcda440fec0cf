"""Small programs that are easy to get wrong: changes between calls, where state hides, what shares memory.

Each is run twice, once with compile() and once without, and yields what must be the same.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import gc
import itertools
import math
import pickle
import queue
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import nn
from pullback.errors import PullbackError

from .twins import contents

Scenario = Callable[[Any], Iterator[Any]]
SCENARIOS: list[Scenario] = []
FACTOR = 1.0


def scenario(f: Scenario) -> Scenario:
    SCENARIOS.append(f)
    return f


def told(f: Scenario, compile: Any) -> list[Any]:
    torch.manual_seed(0)
    return [list(contents(x)) for x in f(compile)]


ones = functools.partial(torch.ones, 2)

# -- arguments ---------------------------------------------------------------------------------------------------------


@scenario
def order_of_keywords(compile: Any) -> Any:
    f, g = compile(lambda x, y: x - y * 2), compile(lambda batch: batch["x"] - batch["y"] * 2)
    x, y = torch.tensor([1.0]), torch.tensor([5.0])
    yield f(x=x, y=y)
    yield f(y=y, x=x)
    yield g({"x": x, "y": y})
    yield g({"y": y, "x": x})


@scenario
def zeros_with_a_sign(compile: Any) -> Any:
    global FACTOR
    box = {"c": [0.0]}
    f, g, h = compile(lambda x, c: x / c), compile(lambda x: x / FACTOR), compile(lambda x: x / box["c"][0])
    for c in (1.0, 0.0, -0.0, 0.0):
        FACTOR = box["c"][0] = c
        yield f(ones(), c), g(ones()), h(ones())
    FACTOR = 1.0


@scenario
def arguments_with_gradients_and_attributes(compile: Any) -> Any:
    def step(x: Any) -> Any:
        (x * x * x.scale).sum().backward()
        return x.grad * 1

    f, x = compile(step), ones(requires_grad=True)
    x.scale = 1.0
    for _ in range(3):
        yield f(x), x.grad
    x.grad, x.scale = None, 3.0
    yield f(x)
    x.register_hook(lambda g: g * 10)
    yield f(x)


@scenario
def arguments_that_are_views_of_state(compile: Any) -> Any:
    w = torch.ones(4)
    f = compile(lambda x: w * x.sum())
    for x in (torch.ones(2), w[:2], w, torch.ones(2)):
        yield f(x)
    w.mul_(2)
    yield f(w[1:3])


# -- where state is kept -----------------------------------------------------------------------------------------------


class Lazy:
    def step(self, x: Any) -> Any:
        if not hasattr(self, "h"):
            self.h = torch.zeros(2)
        self.h = self.h + x
        return self.h


class LazyModule(nn.Module):
    forward = Lazy.step


@scenario
def attributes_that_come_and_go(compile: Any) -> Any:
    lazy, module = Lazy(), LazyModule()
    f, g = compile(lambda x: lazy.step(x)), compile(module)
    for i in range(4):
        yield f(ones()), lazy.h, g(ones()), module.h
        if i == 2:
            del lazy.h, module.h


@scenario
def attributes_that_hide_those_of_the_class(compile: Any) -> Any:
    class Base:
        scale = 1.0

    class Net(Base, nn.Module):
        def forward(self, x: Any) -> Any:
            return x * self.scale

    class Plain(Base):
        __call__ = Net.forward

    net, plain = Net(), Plain()
    f, g = compile(lambda x: net(x)), compile(lambda x: plain(x))
    yield f(ones()), g(ones())
    net.scale = plain.scale = 2.0
    yield f(ones()), g(ones())
    del net.scale, plain.scale
    yield f(ones()), g(ones())
    Net.scale = Plain.scale = 3.0
    yield f(ones()), g(ones())


@scenario
def what_a_class_holds(compile: Any) -> Any:
    class Net(nn.Module):
        config = types.SimpleNamespace(scale=2.0)
        pair = (1.0, 2.0)

        def forward(self, x: Any) -> Any:
            return x * self.config.scale * self.pair[0]

    net = Net()
    f = compile(lambda x: net(x))
    yield f(ones())
    Net.config.scale = 3.0
    yield f(ones())
    Net.config = types.SimpleNamespace(scale=5.0)
    yield f(ones())
    Net.pair = (7.0, 1.0)
    yield f(ones())
    Net.forward = lambda self, x: x * 4  # type: ignore[method-assign]
    yield f(ones())
    net.forward = lambda x: x * 6  # type: ignore[method-assign]
    yield f(ones())


@scenario
def cached_properties(compile: Any) -> Any:
    global FACTOR

    class Net:
        @functools.cached_property
        def scale(self) -> Any:
            return ones() * FACTOR

    net = Net()
    f = compile(lambda x: x * net.scale)
    yield f(ones())
    FACTOR = 2.0
    yield f(ones())
    del net.scale
    yield f(ones())
    FACTOR = 1.0


@scenario
def attributes_of_functions(compile: Any) -> Any:
    def step(x: Any) -> Any:
        step.calls = getattr(step, "calls", 0) + 1  # type: ignore[attr-defined]
        step.total = step.total + x * step.calls  # type: ignore[attr-defined]
        return step.total  # type: ignore[attr-defined]

    step.total = torch.zeros(2)  # type: ignore[attr-defined]
    f = compile(step)
    for _ in range(3):
        yield f(ones()), step.calls  # type: ignore[attr-defined]


@scenario
def globals_that_the_step_makes(compile: Any) -> Any:
    globals().pop("LAST", None)

    def step(x: Any) -> Any:
        global LAST
        LAST = x * 2  # type: ignore[name-defined]
        return LAST  # type: ignore[name-defined]

    f = compile(step)
    for i in range(3):
        yield f(ones() * i), LAST  # type: ignore[name-defined]


@dataclasses.dataclass(slots=True)
class State:
    h: Any
    count: int = 0


@scenario
def slots(compile: Any) -> Any:
    state = State(torch.zeros(2))

    def step(x: Any) -> Any:
        state.h = state.h + x
        state.count += 1
        return State(state.h * state.count, state.count)

    f = compile(step)
    for _ in range(3):
        out = f(ones())
        yield out.h, out.count, state.h, state.count
    state.h = ones() * 7
    yield f(ones()).h


@scenario
def named_tuples(compile: Any) -> Any:
    pair = collections.namedtuple("pair", "h c")
    state = types.SimpleNamespace(p=pair(torch.zeros(2), torch.zeros(2)))

    def step(x: Any) -> Any:
        state.p = pair(state.p.h + x, state.p.c - x)
        return state.p.h

    f = compile(step)
    for _ in range(3):
        yield f(ones()), state.p.c, type(state.p).__name__
    state.p = pair(ones(), ones())
    yield f(ones())
    if hasattr(f, "programs"):
        assert len(f.programs) == 1


@scenario
def sets_weak_references_and_caches(compile: Any) -> Any:
    flags, layer = {"double"}, nn.Linear(2, 2)
    ref = weakref.ref(layer)

    @functools.lru_cache
    def mask(n: int) -> Any:
        return torch.tril(torch.ones(n, n))

    f = compile(lambda x: ref()(x) @ mask(2) * (2 if "double" in flags else 3))  # type: ignore[misc]
    for _ in range(2):
        yield f(torch.ones(1, 2)).detach(), mask(2) + 0
    flags.clear()
    yield f(torch.ones(1, 2)).detach()


@scenario
def a_user_module_of_a_user_module(compile: Any) -> Any:
    inner, outer = types.ModuleType("inner"), types.ModuleType("outer")
    inner.__file__ = outer.__file__ = __file__
    inner.scale, outer.inner = 2.0, inner  # type: ignore[attr-defined]
    f = compile(lambda x: x * outer.inner.scale)  # type: ignore[attr-defined]
    yield f(ones())
    inner.scale = 3.0  # type: ignore[attr-defined]
    yield f(ones())


@scenario
def modules_that_are_added(compile: Any) -> Any:
    net, x = nn.Sequential(nn.Linear(2, 2)), torch.ones(1, 2)
    f = compile(lambda x: net(x).detach())
    yield f(x)
    net.append(nn.Linear(2, 2))
    yield f(x)
    net[0] = nn.Tanh()
    yield f(x)
    del net[0]
    yield f(x)


# -- which tensors are the same ----------------------------------------------------------------------------------------


@scenario
def one_tensor_in_two_places(compile: Any) -> Any:
    t = ones()
    state = {"a": t, "b": t}

    def step(x: Any) -> Any:
        state["a"].add_(x)
        return state["a"] + 10 * state["b"]

    f = compile(step)
    yield f(ones())
    state["b"] = torch.zeros(2)
    yield f(ones())
    state["a"] = state["b"]
    yield f(ones())
    yield state


@scenario
def weights_that_are_untied_and_tied(compile: Any) -> Any:
    a, b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    b.weight = a.weight

    def step(x: Any) -> Any:
        a.zero_grad()
        b.zero_grad()
        loss = b(a(x)).sum()
        loss.backward()
        return loss.detach()

    f = compile(step)
    yield f(torch.ones(1, 2)), a.weight.grad
    b.weight = nn.Parameter(a.weight.detach() * 2)
    yield f(torch.ones(1, 2)), a.weight.grad, b.weight.grad
    b.weight = a.weight
    yield f(torch.ones(1, 2)), a.weight.grad


@scenario
def views_in_state(compile: Any) -> Any:
    data = torch.arange(10.0)
    state, p = {"b": data[:3]}, nn.Parameter(torch.zeros(3))
    p.data = data[:3]
    cell = data[:3]
    f = compile(lambda: (state["b"] * 2, p.detach() + data.sum(), cell * 1))
    yield f()
    state["b"] = cell = p.data = data[3:6]
    yield f()
    state["b"] = cell = p.data = torch.ones(5)[:3]
    yield f()
    state["b"] = cell = p.data = torch.zeros(3)
    yield f()


@scenario
def parameters_that_are_replaced(compile: Any) -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = net(x).pow(2).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    f, x = compile(step), torch.ones(1, 2)
    for change in (
        lambda: None,
        lambda: net.load_state_dict({k: v * 2 for k, v in net.state_dict().items()}, assign=True),
        lambda: optimizer.param_groups[0].update(params=list(net.parameters())),
        lambda: optimizer.param_groups[0]["params"].pop(),
        lambda: optimizer.param_groups[0]["params"].__setitem__(0, net[1].bias),
        lambda: setattr(net[0], "bias", None),
    ):
        change()
        for _ in range(2):
            yield f(x), net.state_dict()


# -- hooks -------------------------------------------------------------------------------------------------------------


@scenario
def hooks_that_come_and_go(compile: Any) -> Any:
    net, box = nn.Sequential(nn.Linear(2, 2)), types.SimpleNamespace(k=1.0)

    def step(x: Any) -> Any:
        net.zero_grad()
        loss = net(x).sum()
        loss.backward()
        return loss.detach()

    f, x, w = compile(step), torch.ones(1, 2), net[0].weight
    yield f(x), w.grad
    for add in (
        lambda: w.register_hook(lambda g: g * 10 * box.k),
        lambda: w.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(5)),
        lambda: net[0].register_forward_hook(lambda module, given, out: out * 2 * box.k),
        lambda: net.register_forward_pre_hook(lambda module, given: (given[0] * 3,)),
        lambda: net[0].register_full_backward_hook(lambda module, gi, go: tuple(g and g * 2 for g in gi)),
        lambda: nn.modules.module.register_module_forward_hook(lambda module, given, out: out * 2),
    ):
        box.k = 1.0
        handle = add()
        yield f(x), w.grad
        box.k = 3.0
        yield f(x), w.grad
        handle.remove()
        yield f(x), w.grad


@scenario
def what_results_keep(compile: Any) -> Any:
    net = nn.Linear(2, 2)

    def inside(x: Any) -> Any:
        y = net(x)
        y.retain_grad()
        y.sum().backward()
        y.note = "seen"
        leaf = x.detach().clone().requires_grad_()
        (leaf * leaf).sum().backward()
        return y, leaf

    def later(x: Any) -> Any:
        y = net(x)
        y.retain_grad()
        return y

    f, g = compile(inside), compile(later)
    for i in range(2):
        y, leaf = f(torch.ones(1, 2) * i)
        z = g(torch.ones(1, 2))
        (z * z).sum().backward()
        yield y.grad, y.note, leaf.grad, z.grad


# -- results -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Out:
    x: Any
    parts: Any = None


@scenario
def objects_as_results(compile: Any) -> Any:
    f = compile(lambda x: (Out(Out(x * 3)), Out(1, []), {"set": {1, 2}}, np.zeros(2)))
    for i in range(3):
        nested, plain, box, array = f(ones() * i)
        plain.x += 1
        plain.parts.append(i)
        box["set"].add(9 + i)
        array += 1
        yield nested, plain, sorted(box["set"]), array.tolist()


@scenario
def results_that_nobody_uses(compile: Any) -> Any:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    f = compile(lambda x: (a(x), b(x)))
    f(torch.ones(1, 2))[1].sum().backward()
    yield a.weight.grad, b.weight.grad


# -- numbers -----------------------------------------------------------------------------------------------------------


@scenario
def what_is_done_with_a_learning_rate(compile: Any) -> Any:
    optimizer = torch.optim.SGD([nn.Parameter(ones())], lr=0.1)
    group = optimizer.param_groups[0]
    group["clip"] = math.inf

    def step(x: Any) -> Any:
        lr, clip = optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["clip"]
        x = x * min(lr, math.inf) + (clip if clip < math.inf else 1.0) + lr / math.inf
        for number in (
            round(lr, 2), math.sqrt(lr), math.floor(lr * 7), divmod(lr, 0.03)[0], lr.is_integer(), np.sqrt(lr),
            isinstance(lr, float), np.float64(2) * lr, lr // 0.03,
        ):  # fmt: skip
            x = x * 1.1 + float(number)
        return x

    f = compile(step)
    for lr in (0.1, 0.1, 0.35):
        group["lr"] = lr
        yield f(ones())
    group["clip"] = 2.0
    yield f(ones())


# -- copies, threads ---------------------------------------------------------------------------------------------------


@scenario
def copies(compile: Any) -> Any:
    net = nn.Linear(2, 2)

    def step(x: Any) -> Any:
        net.zero_grad()
        net(x).sum().backward()

    f, g = compile(step), compile(net)
    f(torch.ones(1, 2))
    f(torch.ones(1, 2))
    twin, other, again = copy.deepcopy(net), pickle.loads(pickle.dumps(net)), copy.deepcopy(g)
    f(torch.ones(1, 2) * 3)
    yield net, twin, other
    again.weight.data.zero_()
    yield g(torch.ones(1, 2)).detach(), again(torch.ones(1, 2)).detach()


@scenario
def steps_in_threads(compile: Any) -> Any:
    nets, told = [nn.Linear(3, 3) for _ in range(3)], queue.SimpleQueue()  # type: ignore[var-annotated]

    def work(i: int) -> None:
        optimizer = torch.optim.Adam(nets[i].parameters(), lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = nets[i](x).pow(2).mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        f = compile(step)
        told.put((i, [f(torch.ones(2 + k % 2, 3)).item() for k in range(6)]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield sorted(told.get(timeout=1) for _ in threads)


@pytest.mark.filterwarnings("ignore:.*has been captured")
@pytest.mark.parametrize("f", SCENARIOS, ids=lambda f: f.__name__)
def test_compiled_is_eager(f: Scenario) -> None:
    eager = told(f, lambda g: g)
    compiled = told(f, lambda g: torch.compile(g, engine="numpy"))
    assert repr(compiled) == repr(eager)


# -- what is refused ---------------------------------------------------------------------------------------------------


def refusals() -> dict[str, tuple[Any, Any, str]]:
    array, words = np.zeros(2), itertools.cycle([1.0, 2.0])
    numbers = (torch.tensor([float(i)]) for i in range(9))
    box = types.SimpleNamespace(numbers=(i for i in range(9)))

    def counts(x: Any) -> Any:
        array[0] += 1
        return x * float(array[0])

    def generates(x: Any) -> Any:
        yield x * 2

    def closes(x: Any) -> Any:
        y = x * 2
        return lambda: y

    def adds(x: Any, y: Any) -> Any:
        return x.add_(1) + y

    def fills(x: Any) -> Any:
        return x.fill_(1)

    shared = np.zeros(3, np.float32)
    data = torch.zeros(4)
    return {
        "an array": (counts, [ones()], "writes into the NumPy array array"),
        "a cycle": (lambda x: x * next(words), [ones()], "takes items from an iterator, words"),
        "a generator": (lambda x: x * next(numbers), [ones()], "takes items from an iterator, numbers"),
        "an attribute": (lambda x: [x * i for i in box.numbers], [ones()], "from an iterator, box.numbers"),
        "an argument": (lambda xs: sum(xs), [(ones() for _ in range(2))], "takes items from an iterator"),
        "a generator's result": (generates, [ones()], "result is a generator"),
        "a map": (lambda x: map(abs, [x]), [ones()], "result is a map"),
        "values": (lambda x: {"a": x * 2}.values(), [ones()], "result is a dict_values"),
        "a function": (closes, [ones()], "a function that keeps a tensor of the step, y"),
        "overlapping": (adds, [data[:3], data[1:]], "x and y share memory, and the step writes there"),
        "one array": (adds, [torch.from_numpy(shared), torch.from_numpy(shared)], "x and y share memory"),
        "expanded": (fills, [torch.ones(()).expand(3)], "more than one element"),
    }


@pytest.mark.parametrize("name", list(refusals()))
def test_refused(name: str) -> None:
    function, arguments, message = refusals()[name]
    with pytest.raises(PullbackError, match=message) as error:
        torch.compile(function, engine="numpy")(*arguments)
    assert "test_review.py:" in str(error.value)


def test_what_a_refused_step_wrote_is_put_back() -> None:
    array = np.zeros(2)

    def step(x: Any) -> Any:
        array[0] += 1
        return x

    with pytest.raises(PullbackError):
        torch.compile(step, engine="numpy")(ones())
    assert array.tolist() == [0.0, 0.0]


def test_an_iterator_that_the_step_does_not_use() -> None:
    box = types.SimpleNamespace(numbers=itertools.count(), scale=2.0)
    assert torch.compile(lambda x: x * box.scale, engine="numpy")(ones()).tolist() == [2.0, 2.0]


def test_arguments_that_overlap_later() -> None:
    def step(x: Any, y: Any) -> Any:
        return x.add_(1) + y

    f, data = torch.compile(step, engine="numpy"), torch.zeros(4)
    f(torch.zeros(3), torch.zeros(3))
    with pytest.raises(PullbackError, match="share memory"):
        f(data[:3], data[1:])
    assert data.tolist() == [0.0] * 4


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_what_a_compiled_function_keeps() -> None:
    other, x = torch.ones(2, 2), torch.ones(1, 2)

    def make() -> Any:
        net = nn.Linear(2, 2)
        return torch.compile(lambda x: net(x).detach(), engine="numpy"), weakref.ref(net)

    f, model = make()
    f(x)
    refs = [weakref.ref(x), weakref.ref(x._array), weakref.ref(other)]
    del x, other
    gc.collect()
    assert [r() for r in refs] == [None, None, None], "neither arguments nor what was there besides"
    del f
    gc.collect()
    assert model() is None


@pytest.mark.filterwarnings("ignore:.*has been captured")
def test_captures_that_are_kept() -> None:
    count = [0]

    def step(x: Any) -> Any:
        count[0] += 1
        return x * count[0]

    f = torch.compile(step, engine="numpy")
    for i in range(1, 71):
        assert f(ones()).tolist() == [i, i]
    assert len(f.programs) == 64


def test_what_a_parameter_costs() -> None:
    """Conditions on numbers are checked once, and beginning an optimizer's state does not look at all parameters."""
    net = nn.Sequential(*[nn.Linear(2, 2) for _ in range(8)])
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()

    f = torch.compile(step, engine="numpy")
    f(torch.ones(1, 2))
    names = [condition.name for condition in f._entries[0].quick.conditions]
    assert len([name for name in names if "param_groups" in name]) < 20
