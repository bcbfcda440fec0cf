"""cond, scan and while_loop in a captured step: one instruction each, and to the last bit what Python gives."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
import pullback.nn.functional as F
from pullback import nn
from pullback.errors import GradientError, KindError, PullbackError, ShapeError
from pullback.program import Instruction, Program
from pullback.utils.checkpoint import checkpoint

from .twins import together

Make = Callable[[], tuple[Any, Callable[..., Any]]]


def leaf(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return (torch.randn(*shape, dtype=torch.float64) * scale).requires_grad_()


def data(*shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(len(shape)).standard_normal(shape))


def clear(*leaves: torch.Tensor) -> None:
    for x in leaves:
        x.grad = None


def loops(program: Program) -> list[Instruction]:
    return [i for i in program.instructions if i.op.family == "control"]


# -- the steps that are tested -----------------------------------------------------------------------------------------


def recurrent() -> Any:
    w, u = leaf(4, 4, scale=0.5), leaf(3, 4)

    def step(xs: torch.Tensor, h: torch.Tensor) -> Any:
        clear(w, u)

        def body(h: torch.Tensor, x: torch.Tensor) -> Any:
            h = torch.tanh(h @ w + x @ u)
            return h, h.sum(1)

        last, sums = torch.scan(body, h, xs)
        loss = (last**2).sum() + (sums**3).mean()
        loss.backward()
        return loss, sums

    return [w, u], step


def deep() -> Any:
    weights, biases = leaf(100, 6, 6, scale=0.1), leaf(100, 6, scale=0.1)

    def step(x: torch.Tensor) -> Any:
        clear(weights, biases)

        def layer(x: torch.Tensor, p: tuple[torch.Tensor, torch.Tensor]) -> Any:
            return x + torch.tanh(x @ p[0] + p[1]), None

        y, nothing = torch.scan(layer, x, (weights, biases))
        assert nothing is None
        loss = (y**2).mean()
        loss.backward()
        return loss

    return [weights, biases], step


def dropping() -> Any:
    w = leaf(4, 4)

    def step(x: torch.Tensor) -> Any:
        clear(w)

        def body(h: torch.Tensor, x: None) -> Any:
            h = F.dropout(torch.tanh(h @ w), 0.5)
            return h, h

        h, hs = torch.scan(body, x, length=6)
        (hs.sum() + h.sum()).backward()
        return hs

    return [w], step


def normed() -> Any:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()).double()

    def step(x: torch.Tensor) -> Any:
        model.zero_grad()
        h, means = torch.scan(lambda h, _: (model(h), h.mean(0)), x, length=5)
        ((means**2).sum() + h.sum()).backward()
        return means

    return model, step


def nested() -> Any:
    w, v = leaf(4, 4, scale=0.5), leaf(4)

    def step(xs: torch.Tensor) -> Any:
        clear(w, v)

        def outer(h: torch.Tensor, x: torch.Tensor) -> Any:
            def inner(g: torch.Tensor, _: None) -> Any:
                g = torch.tanh(g @ w + x + v)
                return g, g.sum()

            h, sums = torch.scan(inner, h, length=3)
            return F.dropout(h * v, 0.3), sums.mean()

        h, means = torch.scan(outer, torch.zeros(4, dtype=torch.float64), xs)
        (means.sum() + h.sum()).backward()
        return means

    return [w, v], step


class Remembering(nn.Module):
    """Keeps its hidden state in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4).double()
        self.hidden: Any = torch.zeros(2, 4, dtype=torch.float64)
        self.averages = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.hidden = torch.tanh(self.inner(x) + self.hidden)
        one, two = self.averages
        self.averages = one + self.hidden.detach().mean(0), two * 0.9
        return self.hidden


def remembering() -> Any:
    model = Remembering()

    def step(xs: torch.Tensor) -> Any:
        model.zero_grad()
        _, hs = torch.scan(lambda c, x: (c, model(x)), torch.zeros(()), xs)
        ((hs**2).sum() + (model.hidden**3).sum()).backward()
        model.hidden = model.hidden.detach()
        return hs.sum()

    return model, step


def learning() -> Any:
    """A gradient in each step, differentiated once more; its rate is a number that a schedule changes."""
    w = leaf(4)
    optimizer = torch.optim.SGD([w], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    def step(xs: torch.Tensor, ys: torch.Tensor) -> Any:
        optimizer.zero_grad()
        rate = optimizer.param_groups[0]["lr"]

        def body(v: torch.Tensor, xy: tuple[torch.Tensor, torch.Tensor]) -> Any:
            loss = ((xy[0] * v).sum() - xy[1]) ** 2
            (g,) = torch.autograd.grad(loss, [v], create_graph=True)
            return v - rate * g, loss

        v, losses = torch.scan(body, w, (xs, ys))
        (losses.sum() + (v**2).sum()).backward()
        optimizer.step()
        schedule.step()
        return losses

    return [w], step


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        return g * 2


def cut() -> Any:
    """What the tape knows and the ops do not: detach, no_grad, .data, a Function, hooks."""
    w, v = leaf(4), leaf(4)
    v.register_hook(lambda g: g * 3)

    def step(xs: torch.Tensor) -> Any:
        clear(w, v)

        def body(h: torch.Tensor, x: torch.Tensor) -> Any:
            with torch.no_grad():
                k = h * 2
            a = h.detach() * w + k
            h = torch.tanh(Doubling.apply(h * v) * 0.1 + a * x) + 0
            h.data.mul_(0.5)
            return h, h

        h, hs = torch.scan(body, torch.ones(4, dtype=torch.float64), xs)
        ((hs**2).sum() + h.sum()).backward()
        return hs

    return [w, v], step


def nests() -> Any:
    w = leaf(3, 3)

    def step(x: torch.Tensor, z: torch.Tensor) -> Any:
        clear(w)

        def body(c: dict[str, Any], x: Any) -> Any:
            a, (b,) = c["a"], c["b"]
            a = torch.tanh((a.T @ w).T + x[0])
            b = b + x[1]["z"].sum()
            return {"a": a, "b": [b]}, (a.T, None, {"q": b * a.mean()})

        init = {"a": torch.zeros(3, 3, dtype=torch.float64), "b": [torch.zeros((), dtype=torch.float64)]}
        c, ys = torch.scan(body, init, (x, {"z": z}), dim=1, reverse=True)
        loss = c["a"].sum() * c["b"][0] + (ys[0] ** 2).sum() + ys[2]["q"].prod()
        loss.backward(retain_graph=True)
        loss.backward()
        return c, ys

    return [w], step


def shared() -> Any:
    """Tensors that are read inside of the loop, go through it, and are used outside as well."""
    x, h = leaf(6, 3), leaf(3)

    def step() -> Any:
        clear(x, h)
        last, ys = torch.scan(lambda c, r: (c * r + h * x[0], (c * r).sum()), h, x)
        (last.sum() + ys.sum() * x.mean() + (h * x).sum()).backward()
        return last, ys

    return [x, h], step


def checkpointed_inside() -> Any:
    return checkpointing(False)


def checkpointed_around() -> Any:
    return checkpointing(True)


def checkpointing(around: bool) -> Any:
    w = leaf(4, 4)

    def step(xs: torch.Tensor) -> Any:
        clear(w)

        def body(h: torch.Tensor, x: torch.Tensor) -> Any:
            h = F.dropout(torch.tanh(h @ w + x), 0.2)
            return h, h.sum()

        def run(xs: torch.Tensor) -> Any:
            inside = body if around else lambda h, x: checkpoint(body, h, x)
            return torch.scan(inside, torch.zeros(4, dtype=torch.float64), xs)

        h, sums = checkpoint(run, xs * 2) if around else run(xs)
        ((sums**2).sum() + h.sum()).backward()
        return sums

    return [w], step


def narrow() -> Any:
    model = nn.Linear(4, 4)

    def step(xs: torch.Tensor) -> Any:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, ys = torch.scan(lambda h, x: (h, torch.tanh(model(x + h)).float()), torch.zeros(4), xs.float())
            z = model(ys)
        (ys.sum() + z.float().sum()).backward()
        return ys

    return model, step


def branching() -> Any:
    w, v = leaf(4), leaf(4)

    def step(x: torch.Tensor) -> Any:
        clear(w, v)
        y, z = torch.cond(
            x.sum() > 0, lambda x: (torch.exp(x * w), x + v), lambda x: (torch.sin(x) * w * v, x * w), (x,)
        )
        (y * z).sum().backward()
        return y, z

    return [w, v], step


def branching_in_a_loop() -> Any:
    """One branch draws random numbers, the other moves statistics."""
    w, v, norm = leaf(4), leaf(4), nn.BatchNorm1d(4).double()

    def step(xs: torch.Tensor) -> Any:
        clear(w, v)
        norm.zero_grad()

        def body(h: torch.Tensor, x: torch.Tensor) -> Any:
            def drop(h: torch.Tensor) -> torch.Tensor:
                return F.dropout(h * w, 0.5) + v

            def normalize(h: torch.Tensor) -> torch.Tensor:
                return norm(torch.stack([h * w, x + v]))[0]

            h = torch.cond(h.sum() > 0, drop, normalize, (h,))
            return h - x, h

        h, hs = torch.scan(body, torch.ones(4, dtype=torch.float64), xs)
        ((h**2).sum() + hs.sum()).backward()
        return hs

    return [w, v, norm], step


def newton() -> Any:
    """Square roots; the gradient is that of the steps that were taken."""
    a = torch.tensor([2.0, 9.0], dtype=torch.float64, requires_grad=True)

    def step(x: torch.Tensor) -> Any:
        clear(a)

        def far(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            return ((x * x - a).abs() > 1e-6).any()

        root, steps = torch.while_loop(far, lambda x, n: (0.5 * (x + a / x), n + 1), (x, torch.tensor(0)), max_steps=20)
        root.sum().backward()
        return root, steps

    return [a], step


def random_walk() -> Any:
    """Without a bound: forward only."""

    def step(x: torch.Tensor) -> Any:
        def far(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            return (x.abs().sum() < 40) & (n < 50)

        return torch.while_loop(far, lambda x, n: (F.dropout(x * 1.5, 0.2), n + 1), (x, torch.tensor(0)))

    return None, step


STEPS: list[tuple[Make, list[tuple[int, ...]]]] = [
    (recurrent, [(20, 2, 3), (2, 4)]),
    (deep, [(5, 6)]),
    (dropping, [(5, 4)]),
    (normed, [(5, 4)]),
    (nested, [(5, 4)]),
    (remembering, [(5, 2, 4)]),
    (learning, [(5, 4), (5,)]),
    (cut, [(5, 4)]),
    (nests, [(3, 4, 3), (2, 4)]),
    (shared, []),
    (checkpointed_inside, [(5, 4)]),
    (checkpointed_around, [(5, 4)]),
    (narrow, [(5, 2, 4)]),
    (branching, [(4,)]),
    (branching_in_a_loop, [(8, 4)]),
    (newton, [(2,)]),
    (random_walk, [(4,)]),
]
each_step = pytest.mark.parametrize(("make", "shapes"), STEPS, ids=[make.__name__ for make, _ in STEPS])


def calls_of(shapes: list[tuple[int, ...]]) -> list[tuple[Any, ...]]:
    """Two calls; in the second, another branch is taken."""
    xs = tuple([data(*shape).abs() for shape in shapes])
    return [xs, tuple([x * -0.5 for x in xs])]


@each_step
def test_compiled_is_as_eager(make: Make, shapes: list[tuple[int, ...]]) -> None:
    program = together(make, calls_of(shapes), captures=1).program
    assert loops(program)
    assert Program.__str__(program) and program.cost().total.flops >= 0 and program.memory().peak > 0


LONG = (recurrent, remembering, learning, cut, checkpointed_inside, checkpointed_around, narrow, branching_in_a_loop)


@pytest.mark.parametrize("make", LONG, ids=[make.__name__ for make in LONG])
def test_many_steps_are_as_few(make: Make) -> None:
    """What is captured does not depend on the number of steps."""
    shapes = dict(STEPS)[make]

    def size(steps: int) -> Any:
        torch.manual_seed(0)
        compiled = torch.compile(make()[1], engine="numpy")
        longer = len(shapes) if make is learning else 1  # arguments that are gone through
        compiled(*[data(*((steps, *shape[1:]) if i < longer else shape)) for i, shape in enumerate(shapes)])
        program = compiled.program
        return len(program), [len(p) for i in loops(program) for p in i.params.values() if isinstance(p, Program)]

    assert size(3) == size(30)


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
@each_step
def test_xla_agrees(make: Make, shapes: list[tuple[int, ...]]) -> None:
    found = []
    for engine in (None, "xla"):
        torch.manual_seed(3)
        state, step = make()
        run = step if engine is None else torch.compile(step, engine=engine)
        results = [run(*call) for call in calls_of(shapes)]
        found.append([*tensors(results), *tensors(state)])
    for eager, compiled in zip(*found, strict=True):
        scale = max(1.0, np.abs(eager).max(initial=0))
        near = 1e-11 if eager.dtype == np.float64 else 1e-2  # bfloat16 inside
        np.testing.assert_allclose(compiled, eager, rtol=0, atol=near * scale)


def tensors(tree: Any) -> list[Any]:
    """All tensors and gradients in results or state, as arrays."""
    if isinstance(tree, nn.Module):
        return tensors([*tree.parameters(), *tree.buffers()])
    if isinstance(tree, torch.Tensor):
        return [tree.detach().cpu().numpy(), *([] if tree._grad is None else tensors(tree._grad))]
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [x for part in tree for x in tensors(part)] if isinstance(tree, (list, tuple)) else []


# -- against plain Python ----------------------------------------------------------------------------------------------


def test_a_thousand_steps_are_two_instructions() -> None:
    """And the loop, run eagerly or not, is what a `for` gives."""
    torch.manual_seed(0)
    (w, u), step = recurrent()
    xs, h0 = data(1000, 2, 3), torch.zeros(2, 4, dtype=torch.float64)
    compiled = torch.compile(step, engine="numpy")
    loss, sums = compiled(xs, h0)
    found = w.grad, u.grad
    assert [i.op.name for i in loops(compiled.program)] == ["loop", "loop"] and len(compiled.program) < 15
    clear(w, u)
    h, kept = h0, []
    for x in xs:
        h = torch.tanh(h @ w + x @ u)
        kept.append(h.sum(1))
    plain = (h**2).sum() + (torch.stack(kept) ** 3).mean()
    plain.backward()
    assert plain.item() == loss.item() and torch.equal(torch.stack(kept), sums)
    for a, b in zip(found, (w.grad, u.grad), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_what_stays_the_same_is_not_stacked() -> None:
    """A step back reads the weights as they are; of each step it has the hidden state before and after."""
    torch.manual_seed(0)
    _, step = recurrent()
    compiled = torch.compile(step, engine="numpy")
    compiled(data(20, 2, 3), data(2, 4))
    forward, backward = loops(compiled.program)
    assert [v.shape for v in forward.outputs] == [(2, 4), (20, 2), (20, 2, 4), (20, 2, 4)]
    assert sorted(v.shape for v in backward.values if v.shape[:1] == (20,)) == [
        (20, 2),
        (20, 2, 3),
        (20, 2, 4),
        (20, 2, 4),
    ]
    assert [v.shape for v in backward.values][-1] == (4, 4)


def test_what_is_linear_keeps_nothing_but_its_factors() -> None:
    """x' = x + w x: going back needs w alone, and x for the gradient of w; nothing else is kept."""
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def step(x: torch.Tensor) -> Any:
        w.grad = None
        y, _ = torch.scan(lambda x, _: (x + w * x, None), x, length=9)
        y.sum().backward()

    compiled = torch.compile(step, engine="numpy")
    compiled(data(3))
    assert [v.shape for v in loops(compiled.program)[0].outputs] == [(3,), (9, 3)]


def test_a_transposed_residual_comes_back_transposed() -> None:
    """Sums over it are made in the order in which they are made eagerly."""

    def make() -> Any:
        w = leaf(40, 30)

        def step(x: torch.Tensor) -> Any:
            clear(w)
            h, _ = torch.scan(lambda h, _: ((torch.sin(h.T * w) * torch.cos(h.T)).T, None), x, length=3)
            h.sum().backward()
            return h

        return [w], step

    together(make, [(data(30, 40),)])


def test_nothing_is_kept_for_a_way_back_that_is_not_taken() -> None:
    w = leaf(4, 4)

    def run(x: torch.Tensor) -> torch.Tensor:
        return torch.scan(lambda h, _: (torch.tanh(h @ w), None), x, length=9)[0]

    def silent(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return run(x)

    def detached(x: torch.Tensor) -> torch.Tensor:
        return run(x).detach()

    for step in (silent, detached):
        compiled = torch.compile(step, engine="numpy")
        compiled(data(2, 4))
        (loop,) = loops(compiled.program)
        assert len(loop.outputs) == 1


def test_only_gradients_that_are_asked_for_are_summed() -> None:
    w, u = leaf(4, 4), leaf(4)

    def step(x: torch.Tensor) -> Any:
        h, _ = torch.scan(lambda h, _: (torch.tanh(h @ w) * u, None), x, length=5)
        return torch.autograd.grad(h.sum(), [u])

    compiled = torch.compile(step, engine="numpy")
    (g,) = compiled(data(2, 4))
    assert torch.equal(g, step(data(2, 4))[0])
    backward = loops(compiled.program)[1]
    assert (4, 4) not in [v.shape for v in backward.outputs]


# -- higher order ------------------------------------------------------------------------------------------------------


def twice(make: Make) -> Make:
    """The gradient of a function of the gradients."""

    def again() -> Any:
        leaves, loss_of = make()

        def step(*xs: torch.Tensor) -> Any:
            clear(*leaves)
            first = torch.autograd.grad(loss_of(*xs), leaves, create_graph=True)
            sum([(g.sin() * x).sum() for g, x in zip(first, leaves, strict=True)], first[0].pow(2).sum()).backward()
            return first

        return leaves, step

    return again


def loop_loss() -> Any:
    w, u = leaf(4, 4, scale=0.5), leaf(3, 4)

    def loss(xs: torch.Tensor) -> torch.Tensor:
        def body(h: torch.Tensor, x: torch.Tensor) -> Any:
            h = torch.tanh(h @ w + x @ u)
            return F.dropout(h, 0.2), (h * h.detach()).sum()

        h, ys = torch.scan(body, torch.ones(4, dtype=torch.float64), xs)
        return (h**2).sum() + (ys**3).mean()

    return [w, u], loss


def branch_loss() -> Any:
    w, v = leaf(3), leaf(3)

    def loss(xs: torch.Tensor) -> torch.Tensor:
        def body(h: torch.Tensor, x: torch.Tensor) -> Any:
            up, down = (lambda h: torch.exp(h * w * x)), (lambda h: torch.sin(h + v * x))
            return torch.cond(x.sum() > 0, up, down, (h,)), None

        h, _ = torch.scan(body, torch.ones(3, dtype=torch.float64), xs)
        return (h**2).sum()

    return [w, v], loss


@pytest.mark.parametrize("make", [loop_loss, branch_loss])
def test_gradients_of_gradients(make: Make) -> None:
    xs, found = data(5, 3), []
    for run in (lambda f: f, lambda f: torch.compile(f, engine="numpy")):
        torch.manual_seed(1)
        leaves, step = twice(make)()
        first = run(step)(xs)
        found.append([*first, *[x.grad for x in leaves]])
    for eager, compiled in zip(*found, strict=True):
        assert torch.allclose(eager, compiled, rtol=1e-11, atol=1e-11)


def test_a_compiled_part_of_a_larger_computation() -> None:
    """Results that want gradients go back through a Program; once more by running it again on the tape."""
    found = []
    for compiled in (False, True):
        torch.manual_seed(2)
        w, x = leaf(4, 4, scale=0.5), data(5, 4).requires_grad_()

        def run(x: torch.Tensor, w: torch.Tensor = w) -> Any:
            return torch.scan(lambda h, x: (torch.tanh(h @ w + x), h.sum()), torch.zeros(4, dtype=torch.float64), x)

        last, sums = (torch.compile(run, engine="numpy") if compiled else run)(x)
        first = torch.autograd.grad((last**2).sum() + (sums**2).sum(), [w, x], create_graph=True)
        second = torch.autograd.grad(first[0].sin().sum() + (first[1] ** 2).sum(), [w, x])
        found.append([*first, *second])
    for eager, other in zip(*found, strict=True):
        assert torch.allclose(eager, other, rtol=1e-11, atol=1e-11)


# -- branches and whiles, eagerly --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pred", [True, torch.tensor(True), torch.tensor([[1]])])
def test_a_known_condition_runs_its_branch(pred: Any) -> None:
    x = torch.ones(2)
    assert torch.equal(torch.cond(pred, lambda x: x + 1, lambda x: x / 0, (x,)), x + 1)
    assert torch.equal(torch.cond(False, lambda x: x / 0, lambda x: x - 1, [x]), x - 1)
    compiled = torch.compile(lambda x: torch.cond(x.shape[0] > 1, lambda: x + 1, lambda: x / 0), engine="numpy")
    assert torch.equal(compiled(x), x + 1) and not loops(compiled.program)


def test_an_untaken_branch_leaves_no_nan() -> None:
    """1/x is infinite where the other branch is taken: neither value nor gradient shows."""
    w = torch.tensor(2.0, requires_grad=True)

    @torch.compile(engine="numpy")
    def step(x: torch.Tensor) -> torch.Tensor:
        w.grad = None
        y = torch.cond(x != 0, lambda: w / x, lambda: w * 3)
        y.backward()
        return y

    assert step(torch.tensor(0.0)).item() == 6 and w.grad is not None and w.grad.item() == 3
    assert step(torch.tensor(4.0)).item() == 0.5 and w.grad.item() == 0.25


@pytest.mark.parametrize("compiled", [False, True])
def test_a_bound_is_kept(compiled: bool) -> None:
    def step(x: torch.Tensor) -> Any:
        return torch.while_loop(lambda x: x < 100, lambda x: x + 1, (x,), max_steps=5)

    (x,) = (torch.compile(step, engine="numpy") if compiled else step)(torch.tensor(0))
    assert x.item() == 5


# -- mistakes ----------------------------------------------------------------------------------------------------------

X, XS = torch.ones(3), torch.tensor(np.arange(12.0).reshape(4, 3), dtype=torch.float32)
W = torch.ones(3).requires_grad_()
LOG: list[Any] = []
COUNT = {"n": 0}


def both(step: Callable[[], Any], kind: type[Exception], match: str) -> None:
    """Refused eagerly and compiled, at the line of the user's."""
    for run in (step, torch.compile(step, engine="numpy")):
        with pytest.raises(kind, match=match) as caught:
            run()
        assert "test_control.py" in str(caught.value)


def only_compiled(step: Callable[[], Any], kind: type[Exception], match: str) -> str:
    """Fine eagerly, refused when compiled; the message."""
    step()
    with pytest.raises(kind, match=match) as caught:
        torch.compile(step, engine="numpy")()
    assert "test_control.py" in str(caught.value)
    return str(caught.value)


def test_the_carry_stays_what_it_is() -> None:
    grown = r"the carry must keep its shapes and dtypes; a step turned float32\[3\] into float32\[6\]"
    both(lambda: torch.scan(lambda h, x: (torch.cat([h, x]), None), X, XS), ShapeError, grown)
    cast = r"a step turned float32\[3\] into bool\[3\]"
    both(lambda: torch.scan(lambda h, x: (h > 0, None), X, XS), ShapeError, cast)
    both(lambda: torch.scan(lambda h, x: ((h, x), None), X, XS), KindError, "must stay the same nest")
    both(
        lambda: torch.while_loop(lambda h: h.sum() < 9, lambda h: (h[:2],), (X,)),
        ShapeError,
        r"while_loop: .* float32\[2\]",
    )


def test_other_mistakes_in_a_body() -> None:
    both(lambda: torch.scan(lambda h, x: h, X, XS), KindError, r"the body must return \(carry, y\)")
    both(lambda: torch.scan(lambda h, x: (h, 1), X, XS), KindError, "y has a int in it")
    both(
        lambda: torch.scan(lambda h, x: (h.add_(1), None), X.clone(), XS),
        PullbackError,
        "writes into what it was given",
    )
    both(lambda: torch.scan(lambda h, x: (h, x.zero_()), X, XS.clone()), PullbackError, "writes into what it was given")
    both(lambda: torch.scan(lambda h, x: (h, x), 0.0, XS), KindError, "init has a float in it")
    both(lambda: torch.scan(lambda h, x: (h, x), X, X[0]), ShapeError, "single number")
    both(lambda: torch.cond(torch.rand(3) > 0, lambda: X, lambda: X), ShapeError, r"pred has shape \[3\]")
    both(lambda: torch.cond(True, lambda: X, lambda: X, X), KindError, "pass a tuple")
    both(
        lambda: torch.while_loop(lambda h: True, lambda h: (h,), (X,)),
        KindError,
        "condition of a while_loop returned True",
    )


def test_branches_return_the_same() -> None:
    differ = r"tensor of float32\[3\] if true, tensor of float32\[2\] if false"
    only_compiled(lambda: torch.cond(torch.rand(()) > 2, lambda: X + 1, lambda: X[:2]), ShapeError, differ)
    only_compiled(
        lambda: torch.cond(torch.rand(()) > 2, lambda: X, lambda: (X,)), ShapeError, "the branches of cond differ"
    )


def test_python_side_effects_are_refused() -> None:
    def appends(h: torch.Tensor, x: torch.Tensor) -> Any:
        LOG.append(h)
        return h, x

    def counts(h: torch.Tensor, x: torch.Tensor) -> Any:
        COUNT["n"] += 1
        return h, x

    message = only_compiled(lambda: torch.scan(appends, X, XS), PullbackError, "changes LOG .list of 4 to list of 5.")
    assert "def appends" in message and "return what it computes" in message
    only_compiled(lambda: torch.scan(counts, X, XS), PullbackError, r"changes COUNT\['n'\] \(4 to 5\)")
    assert len(LOG) == 4 and COUNT["n"] == 4

    def local() -> Any:
        mine: list[Any] = []

        def body(h: torch.Tensor, x: torch.Tensor) -> Any:
            mine.append(h * 2)
            return h, x

        torch.scan(body, X, XS)
        return mine[-1]

    only_compiled(local, PullbackError, "changes mine")


def test_gradients_do_not_leave_a_body_by_other_ways() -> None:
    def backward(h: torch.Tensor, x: torch.Tensor) -> Any:
        (h * W).sum().backward()
        return h, x

    def one() -> Any:
        W.grad = None
        return torch.scan(backward, X, XS)

    only_compiled(one, PullbackError, "leaves a gradient in W.grad")

    def two() -> Any:
        out = torch.zeros(3)
        torch.scan(lambda h, x: (h, out.add_(h * W).sum()), X, XS)
        return out

    only_compiled(two, PullbackError, "writes into out outside of it")


def test_an_optimizer_does_not_begin_in_a_body() -> None:
    def step() -> Any:
        p = nn.Parameter(torch.ones(3))
        optimizer = torch.optim.Adam([p])

        def body(h: torch.Tensor, x: torch.Tensor) -> Any:
            p.grad = x
            optimizer.step()
            return h, x

        return torch.scan(body, X, XS)

    only_compiled(step, PullbackError, "an optimizer takes its first step inside of a loop's body")


def test_a_while_without_a_bound_has_no_gradient() -> None:
    def step() -> None:
        W.grad = None
        (y,) = torch.while_loop(lambda y: y.sum() < 10, lambda y: (y + W.abs(),), (X,))
        y.sum().backward()

    message = only_compiled(step, GradientError, "only if it is known how many steps it takes at most")
    assert "max_steps=n" in message and "(y,) = torch.while_loop" in message


def test_a_condition_changes_nothing() -> None:
    def step() -> Any:
        return torch.while_loop(lambda y: torch.rand(()) < 0.5, lambda y: (y + 1,), (X,))

    only_compiled(step, PullbackError, "the condition of a while_loop changes something")


@pytest.mark.parametrize("compiled", [False, True])
def test_what_a_loop_has_saved_is_guarded(compiled: bool) -> None:
    def overwritten() -> None:
        v = W * 2
        h, _ = torch.scan(lambda h, x: (torch.tanh(h * v), None), X, XS)
        with torch.no_grad():
            v.add_(1)
        h.sum().backward()

    def walked_twice() -> None:
        h, _ = torch.scan(lambda h, x: (torch.tanh(h * W), None), X, XS)
        h.sum().backward()
        h.sum().backward()

    for step, match in ((overwritten, "modified by an inplace operation"), (walked_twice, "a second time")):
        with pytest.raises(GradientError, match=match):
            (torch.compile(step, engine="numpy") if compiled else step)()


def test_a_y_is_not_written_to_later() -> None:
    total = torch.zeros(3)
    with pytest.raises(PullbackError, match="returned as y has been written to in a later step"):
        torch.scan(lambda h, x: (h, total.add_(x)), X, XS)
