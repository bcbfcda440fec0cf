"""Results of a compiled function, of a scan or a cond that nobody used: they contribute nothing, as on the tape."""

from __future__ import annotations

import gc
import importlib.util
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback.errors import GradientError
from pullback.trees import leaves
from pullback.utils.checkpoint import checkpoint

from .twins import Bits

ENGINES = [
    "numpy",
    pytest.param(
        "xla",
        marks=[
            pytest.mark.parity,
            pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX"),
        ],
    ),
]
engines = pytest.mark.parametrize("engine", ENGINES)

Function = Callable[..., Any]


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def points(seed: int, *shape: int) -> torch.Tensor:
    """Some of them are where slopes are infinite."""
    random = np.random.default_rng(seed)
    return torch.tensor(random.choice([0.0, 0.0, 1.0, -1.0, 0.5, 2.0], size=shape), requires_grad=True)


def gradients(function: Function, xs: Sequence[torch.Tensor], which: Sequence[int], again: bool = False) -> list[Any]:
    """Of these results, by all xs; None where nothing flows."""
    ys = function(*xs)
    gs = [torch.tensor(np.random.default_rng(k).standard_normal(y.shape)) for k, y in enumerate(ys)]
    found = torch.autograd.grad([ys[k] for k in which], xs, [gs[k] for k in which], None, again, allow_unused=True)
    if again:
        some = [g for g in found if g is not None and g.requires_grad]
        seconds = torch.autograd.grad([g.sum() for g in some], xs, allow_unused=True) if some else ()
        return [*found, *seconds]
    return list(found)


def agree(
    function: Function, xs: Sequence[torch.Tensor], subsets: Any, engine: str = "numpy", again: bool = False
) -> Any:
    """Compiled as eager, for each of these sets of results."""
    compiled = torch.compile(function, engine=engine)
    for which in subsets:
        expected, found = (gradients(f, xs, which, again) for f in (function, compiled))
        for k, (e, g) in enumerate(zip(expected, found, strict=True)):
            assert (e is None) == (g is None), (which, k, e, g)
            if e is None:
                continue
            if engine == "numpy" and not again:
                assert Bits(e.detach()._array) == Bits(g.detach()._array), (which, k, e, g)
            else:
                close = np.allclose(e.detach().numpy(), g.detach().cpu().numpy(), 1e-9, 1e-9, equal_nan=True)
                assert close, (which, k, e, g)
    assert compiled._captures == 1
    return compiled


def subsets(n: int) -> list[list[int]]:
    """All sets of results, the whole one last."""
    return [[k for k in range(n) if bits >> k & 1] for bits in range(1, 2**n)]


@engines
def test_an_unused_branch_makes_no_nan(engine: str) -> None:
    compiled = torch.compile(lambda x: (x.sqrt(), x * 2), engine=engine)
    for _ in range(2):
        x = leaf(0, 0, 0)
        _, z = compiled(x)
        z.sum().backward()
        assert x.grad.tolist() == [2, 2, 2]
    y, z = compiled(x := leaf(1, 4))
    (y.sum() + z.sum()).backward()
    assert x.grad.tolist() == [2.5, 2.25]


def test_there_is_a_way_back_for_each_set_of_results() -> None:
    def loss_and_logits(x: Any, w: Any) -> Any:
        logits = torch.tanh(x @ w) / x.norm()
        return (logits**2).mean(), logits

    compiled = agree(loss_and_logits, [points(0, 3, 4), points(1, 4, 2)], [[0], [0, 1], [0], [1], [1]])
    ways = compiled._entries[0].ways
    assert set(ways.known) == {frozenset(s) for s in ((0,), (1,), (0, 1))}
    sizes = {given: len(pair.backward) for given, (pair, _) in ways.known.items()}
    assert sizes[frozenset([0])] < sizes[frozenset([0, 1])]
    pairs = [pair for pair, _ in ways.known.values()]
    assert all(pair.forward is pairs[0].forward for pair in pairs)


# -- functions of all kinds --------------------------------------------------------------------------------------------


class Both(torch.autograd.Function):
    """Two results; the second's cotangent may be anything."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.save_for_backward(x, y)
        return x.sqrt(), x * y

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        x, y = ctx.saved_tensors
        return g / (2 * x.sqrt()) + h * y, h * x


class Either(Both):
    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.set_materialize_grads(False)
        return Both.forward(ctx, x, y)

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        x, y = ctx.saved_tensors
        parts = [*([] if g is None else [g / (2 * x.sqrt())]), *([] if h is None else [h * y])]
        return sum(parts[1:], parts[0]), None if h is None else h * x


class Given(torch.autograd.Function):
    """Its gradient was computed on the way there: it takes no notice of what comes."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.abs()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return ctx.saved_tensors[0]


def hooked(x: Any, y: Any) -> Any:
    a, b = x.exp(), y.sqrt()
    a.register_hook(lambda g: g * 3)
    b.register_hook(lambda g: torch.ones_like(g))
    c, d = (a * b).unbind(0)[:2]
    c.register_hook(lambda g: g.clamp(-0.1, 0.1))
    return c, d, b * 2


def written(x: Any, y: Any) -> Any:
    z = x * 1
    z[0] = y[0].log()
    z[:, 1].mul_(y[:, 0])
    z[1] /= x[1]
    return z[0], z[1:], y.norm(), z.T[1]


def networks(x: Any, y: Any) -> Any:
    lstm = torch.nn.LSTM(3, 3).double()
    out, (h, c) = lstm(x)
    values = torch.sort(out + y, dim=0)[0]
    return h, c, values[0], values.max(0)[0].sqrt(), torch.linalg.svdvals(x @ y.T + torch.eye(3))


def regions(x: Any, y: Any) -> Any:
    def inner(x: Any, y: Any) -> Any:
        z = torch.tanh(x @ y)
        return z.sqrt(), z * y

    a, b = checkpoint(inner, x, y)
    return a, b, a.detach() * x


FUNCTIONS = {
    "function": lambda x, y: (*Both.apply(x, y), *Both.apply(y.detach(), x)),
    "either": lambda x, y: (*Either.apply(x, y), x.sqrt()),
    "given": lambda x, y: (Given.apply(x), x * y, Given.apply(y.log())),
    "hooked": hooked,
    "written": written,
    "networks": networks,
    "regions": regions,
    "split": lambda x, y: [(part * y[0]).sqrt() for part in (x / y).split(1)],
    "views": lambda x, y: (x, x.T / y.T, x[0], y.reshape(-1)),
    "same": lambda x, y: (z := x * y, z, z.sqrt(), z.exp()),
    "linear": lambda x, y: (torch.nn.functional.linear(x, y.sqrt()), y.norm(dim=0), x + y),
}


@engines
@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_of_the_results(name: str, engine: str) -> None:
    function = FUNCTIONS[name]

    def seeded(x: Any, y: Any) -> Any:
        torch.manual_seed(0)
        return tuple(function(x * 1, y * 1))

    xs = [points(3, 3, 3), points(4, 3, 3)]
    n = len(seeded(*xs))
    some = subsets(n) if n < 4 and engine == "numpy" else [[0], [n - 1], [1, n - 1], [*range(n)], [0, 1]]
    agree(seeded, xs, some, engine)


UNARY = ["sqrt", "log", "exp", "tanh", "abs", "sigmoid", "reciprocal", "square", "relu", "rsqrt", "sin"]


def random_function(seed: int) -> tuple[Function, int]:
    """A graph of twelve ops, of which some values are the results."""
    random = np.random.default_rng(seed)
    kinds, names, pairs = random.integers(5, size=12), random.choice(UNARY, 12), random.integers(0, 100, (12, 2))
    plan = [(kind, name, i, j) for kind, name, (i, j) in zip(kinds, names, pairs, strict=True)]
    n = int(random.integers(2, 5))
    results = [int(k) for k in random.choice(12, n, replace=False)]

    def function(x: Any, y: Any) -> Any:
        known = [x, y]
        for kind, name, i, j in plan:
            a, b = known[i % len(known)], known[j % len(known)]
            if kind == 0:
                known.append(a * b)
            elif kind == 1:
                known.append(a + b.detach() if j % 5 == 0 else a - b)
            elif kind == 2:
                known.append((a / b).T.contiguous())
            elif kind == 3:
                known.append(a @ b)
            else:
                known.append(getattr(a, name)())
        return tuple([known[2 + k] for k in results])

    return function, n


@pytest.mark.parametrize("seed", range(40))
def test_random_functions(seed: int) -> None:
    function, n = random_function(seed)
    live = [k for k, y in enumerate(function(points(seed, 3, 3), points(seed + 1, 3, 3))) if y.requires_grad]
    some = [[k for k in s if k in live] for s in subsets(n)]
    agree(function, [points(seed, 3, 3), points(seed + 1, 3, 3)], [s for s in some if s])


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
@pytest.mark.parametrize("seed", [1, 4, 7])
def test_random_functions_on_xla(seed: int) -> None:
    function, n = random_function(seed)
    agree(function, [points(seed, 3, 3), points(seed + 1, 3, 3)], [[0], [n - 1], [*range(n)]], "xla")


@engines
def test_gradients_of_gradients(engine: str) -> None:
    def function(x: Any, y: Any) -> Any:
        return x.sqrt(), x * y.exp(), (x * y).log()

    agree(function, [leaf(0, 1, 0), leaf(0, 2, 1)], subsets(3)[:3], engine, again=True)


def test_what_nothing_flows_to_has_no_gradient() -> None:
    w = leaf(1, 2)
    compiled = torch.compile(lambda x: (x * 2, w * 3, x.detach()), engine="numpy")
    x = leaf(3, 4)
    y, z, _ = compiled(x)
    y.sum().backward(retain_graph=True)
    assert w.grad is None and x.grad is not None
    x.grad = None
    z.sum().backward()
    assert x.grad is None and w.grad is not None
    (nothing,) = torch.autograd.grad(compiled(x)[1].sum(), x, allow_unused=True)
    assert nothing is None


# -- functions of the user's that run on the way back ------------------------------------------------------------------


def test_a_hook_that_keeps_a_gradient_for_another() -> None:
    def function(x: Any, y: Any) -> Any:
        kept: list[Any] = []
        a, b = x * 2, y.sqrt()
        c = a * b
        c.register_hook(lambda g: kept.append(g * 5))
        a.register_hook(lambda g: g * kept[0].sum())
        return c, b.exp(), a * 1

    xs = [leaf(0, 1, 4), leaf(0, 4, 1)]
    compiled = agree(function, xs, [[0, 1, 2], [0], [0, 1], [1], [0, 2]])
    with pytest.raises(GradientError, match="uses another gradient, which does not come"):
        gradients(compiled, xs, [2])


def test_hooks_of_a_module() -> None:
    class Two(torch.nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x.sqrt(), x * y

    two = Two()
    two.register_full_backward_hook(lambda m, into, out: (into[0] * 2, into[1]))

    def function(x: Any, y: Any) -> Any:
        a, b = two(x, y)
        return a, b, y * 2

    agree(function, [leaf(0, 1, 4), leaf(0, 4, 1)], subsets(3))


# -- loops and branches ------------------------------------------------------------------------------------------------


def rows(*values: float) -> torch.Tensor:
    return torch.tensor(np.array(values)[:, None] * [1.0, 0.5], requires_grad=True)


def recurrent(h: Any, x: Any) -> Any:
    """The last step's h is not used by any y."""
    return torch.scan(lambda h, x: ((h * x).sqrt(), (h * 2, x / 2)), h, x)


def shifted(h: Any, x: Any) -> Any:
    """What is carried moves on, from one place to the next, until it has gone through."""
    return torch.scan(lambda c, x: ((x.sqrt(), c[0] * 2, c[1].exp()), c[2] * x), (h, h * 2, h + 1), x)


def swapped(h: Any, x: Any) -> Any:
    """A carry is used in every other step."""
    return torch.scan(lambda c, x: ((c[1].sqrt(), c[0] * x), None), (h, h - 1), x)


def cut(h: Any, x: Any) -> Any:
    return torch.scan(lambda c, x: ((c[0].detach() * x, c[1].sqrt()), c[0] + c[1]), (h, h * 0), x)


def outer(h: Any, x: Any) -> Any:
    """Tensors outside, each read by one of the results."""
    w, v = h * 3, x[0].sqrt()
    return torch.scan(lambda c, x: (c * w, (c[0] * v, x.detach() * w.sqrt())), h, x), w * 1


def backwards(h: Any, x: Any) -> Any:
    return torch.scan(lambda c, x: (c * x.sqrt(), c * 2), h, x, reverse=True)


def reversed_rows(h: Any, x: Any) -> Any:
    return torch.scan(lambda c, x: ((c[0] * x, c[0].sqrt()), c[1] * 2), (h, h), x, reverse=True)


def nested(h: Any, x: Any) -> Any:
    def body(c: Any, x: Any) -> Any:
        inner, ys = torch.scan(lambda a, b: ((a[0] * 2, (a[1] * b).sqrt()), a[0] + b), c, x.reshape(2, 1).expand(2, 2))
        return inner, (ys[0], inner[1])

    return torch.scan(body, (h, h * x[1]), x)


def branched(h: Any, x: Any) -> Any:
    w = h * 2
    return torch.cond(x.sum() > 0, lambda: (h.sqrt(), w * x[0], h * 1), lambda: (w, x[1] * h, w * 2)), w.exp()


def in_turns(h: Any, x: Any) -> Any:
    def body(c: Any, x: Any) -> Any:
        a, b = torch.cond(x.sum() > 1, lambda: (c[0] * x, c[1].sqrt()), lambda: (c[0] + x, c[1] * 2))
        return (a, b), a * 2

    return torch.scan(body, (h, h.exp()), x)


def until(h: Any, x: Any) -> Any:
    return torch.while_loop(lambda a, b: a.sum() < 20, lambda a, b: (a * 2 + 1, b.exp()), (h, x[0]), max_steps=9)


CONTROL = [recurrent, shifted, swapped, cut, outer, backwards, reversed_rows, nested, branched, in_turns, until]
controls = pytest.mark.parametrize("function", CONTROL, ids=[f.__name__ for f in CONTROL])


def flat(function: Function) -> Function:
    return lambda h, x: tuple([y for y in leaves(function(h * 1, x * 1)) if y is not None])


@engines
@controls
def test_results_of_loops_and_branches(function: Function, engine: str) -> None:
    xs = [leaf(0, 1), rows(1, 0, 2, 0, 1)]
    n = len(flat(function)(*xs))
    some = subsets(n) if engine == "numpy" else [[0], [n - 1], [*range(n)]]
    agree(flat(function), xs, some, engine)


@controls
def test_inside_of_a_step(function: Function) -> None:
    """Going back is a part of what is compiled."""
    xs = [leaf(0, 1), rows(1, 0, 2, 0, 1)]
    for which in subsets(len(flat(function)(*xs))):

        def step(h: Any, x: Any, which: Any = which) -> Any:
            ys = flat(function)(h, x)
            return torch.autograd.grad([ys[k].sum() for k in which], [h, x], allow_unused=True)

        for e, g in zip(step(*xs), torch.compile(step, engine="numpy")(*xs), strict=True):
            assert (e is None) == (g is None), (which, e, g)
            assert e is None or Bits(e._array) == Bits(g._array), (which, e, g)


@controls
def test_gone_back_through_again(function: Function) -> None:
    xs = [leaf(1.5, 2), rows(1, 1.5, 0.2, 0.5, 1)]
    for which in subsets(len(flat(function)(*xs))):

        def step(h: Any, x: Any, which: Any = which) -> Any:
            ys = flat(function)(h, x)
            return torch.autograd.grad([ys[k].sum() for k in which], [h, x], create_graph=True, allow_unused=True)

        def twice(step: Function) -> list[np.ndarray[Any, Any]]:
            found = step(*xs)
            some = [g for g in found if g is not None and g.requires_grad]
            seconds = torch.autograd.grad([g.sin().sum() for g in some], xs, allow_unused=True) if some else [None] * 2
            return [np.zeros(1) if g is None else g.detach().numpy() for g in (*found, *seconds)]

        for e, g in zip(twice(step), twice(torch.compile(step, engine="numpy")), strict=True):
            assert np.allclose(e, g, 1e-10, 1e-10, equal_nan=True), (which, e, g)


# -- writes between there and back -------------------------------------------------------------------------------------

MODIFIED = "modified by an inplace operation"


@engines
def test_a_result_that_was_kept_may_be_written_to(engine: str) -> None:
    """Eagerly exp() has saved its result. A compiled function keeps another copy: the gradient is of what it gave."""
    writes: list[Callable[[Any], Any]] = [
        lambda y: y.mul_(2),
        lambda y: y[0].zero_(),
        lambda y: y.T.add_(y),
        lambda y: y.copy_(y.detach() * 0),
        lambda y: y.data.fill_(5),
        lambda y: torch.compile(lambda z: z.neg_(), engine=engine)(y.detach()),
    ]
    values = np.arange(4.0).reshape(2, 2)
    for function in (torch.exp, lambda x: x.exp().T, lambda x: (x.exp().view(4) * x.exp().T.reshape(4)).view(2, 2)):
        compiled = torch.compile(lambda x, f=function: (f(x), f(x) * 1), engine=engine)
        for write in writes:
            x, z = torch.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
            y, _ = compiled(x)
            e = function(z) * 1
            with torch.no_grad():
                write(y)
            y.backward(g := torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
            e.backward(g)
            assert np.allclose(x.grad.cpu().numpy(), z.grad.numpy(), 1e-12, 0)
    x, z = torch.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    torch.compile(torch.exp, engine=engine)(x).mul_(2).sum().backward()
    (2 * z.exp()).sum().backward()
    assert np.allclose(x.grad.cpu().numpy(), z.grad.numpy(), 1e-12, 0)


@engines
@pytest.mark.parametrize("compiled", [False, True])
def test_what_was_given_is_guarded(compiled: bool, engine: str) -> None:
    w = leaf(2, 3)

    def function(x: Any, y: Any) -> Any:
        return x * x.view(2) + w, x * w, y.exp()

    f = torch.compile(function, engine=engine) if compiled else function
    writes: dict[str, tuple[Callable[[Any, Any], Any], list[bool]]] = {  # which results can be gone back from?
        "argument": (lambda x, y: x.mul_(2), [False, False, True]),
        "view of it": (lambda x, y: x[:1].zero_(), [False, False, True]),
        "data": (lambda x, y: x.data.add_(1), [False, False, True]),
        "state": (lambda x, y: w.add_(1), [True, False, True]),
        "not needed": (lambda x, y: y.add_(1), [True, True, True]),
        "by a compiled step": (lambda x, y: torch.compile(lambda x: x.neg_(), engine=engine)(x), [False, False, True]),
    }
    for name, (write, fine) in writes.items():
        for k in range(3):
            x, y = leaf(1, 2) * 1, leaf(1, 2) * 1
            z = f(x, y)[k]
            with torch.no_grad():
                write(x, y)
            if fine[k]:
                z.sum().backward()
                continue
            with pytest.raises(GradientError, match=MODIFIED):
                z.sum().backward()
            assert name


@engines
def test_a_step_that_writes_over_what_it_needs(engine: str) -> None:
    """Each value that the way back reads is the one that the way there read."""
    state = torch.tensor([1.0, 2.0], dtype=torch.float64)

    def function(x: Any) -> Any:
        y, z = x * state.clone(), x.sqrt()
        state.mul_(3)
        return y, z

    compiled = torch.compile(function, engine=engine)
    x, calls = leaf(0, 4), []
    for _ in range(3):
        calls.append(compiled(x)[0])
    for k, y in enumerate(calls):
        x.grad = None
        y.sum().backward()
        assert x.grad.tolist() == [3.0**k, 2 * 3.0**k]


def test_calls_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of a function while another is under way: each goes back through its own numbers."""
    compiled = torch.compile(lambda x: (x * x, x.exp()), engine="numpy")
    compiled(leaf(0, 0))
    entry, others = compiled._entries[0], []
    run = entry.run

    def interrupted(inputs: Any) -> Any:
        if not others:
            others.append(leaf(5, 6))
            others.append(compiled(others[0])[0])
        return run(inputs)

    monkeypatch.setattr(entry, "run", interrupted)
    y, _ = compiled(x := leaf(1, 2))
    y.sum().backward()
    others[1].sum().backward()
    assert x.grad.tolist() == [2, 4] and others[0].grad.tolist() == [10, 12]


def test_results_share_a_node() -> None:
    x = leaf(1, 2)
    y, z = torch.compile(lambda x: (x * x, x.exp()), engine="numpy")(x)
    y.sum().backward(retain_graph=True)
    z.sum().backward()
    with pytest.raises(GradientError, match="a second time"):
        y.sum().backward()


def test_nothing_of_a_call_is_kept_for_later_ways_back() -> None:
    w = leaf(1, 2)

    def function(x: Any, p: Any) -> Any:
        y, _ = torch.scan(lambda c, r: (torch.cond(c.sum() > 0, lambda: c * w, lambda: c.exp()) * r, None), x * 1, p)
        y.register_hook(lambda g: g * 2)
        return y, *Both.apply(y, w), checkpoint(torch.exp, y)

    compiled = torch.compile(function, engine="numpy")
    x, p = leaf(1, 2), rows(1, 2)
    ys = compiled(x, p)
    gone = [weakref.ref(t) for t in (x, p, *ys)]
    del x, p, ys
    gc.collect()
    assert [t() for t in gone] == [None] * len(gone)
    agree(function, [leaf(1, 2), rows(1, 2)], subsets(4))
