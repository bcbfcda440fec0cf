"""Programs as people write them for torch.compile: how often they are captured, and what goes on around them."""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.ops.harness import cases_of, listed

import pullback as torch
import pullback.nn.functional as F
from pullback import nn, optim
from pullback.engines.interpreter import Interpreter
from pullback.modes import CHANGES
from pullback.ops import OPS
from pullback.ops.record import Op
from pullback.program import Compiled
from pullback.program.call.bind import Entry
from pullback.tensor import Tensor, wrap

from .twins import same, together


def batches(n: int, *shape: int) -> list[tuple[Tensor]]:
    torch.manual_seed(3)
    return [(torch.randn(*shape),) for _ in range(n)]


def compiled(function: Any, **options: Any) -> Any:
    return torch.compile(function, engine="numpy", **options)


# -- where results lie in memory ---------------------------------------------------------------------------------------

UNKNOWN_SHAPE = {"nonzero", "spread"}


def strides_of(x: Any) -> tuple[int, ...]:
    """Those that matter: of dimensions with more than one place."""
    return () if 0 in x.shape else tuple(s for n, s in zip(x.shape, x.strides, strict=True) if n != 1)


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.family != "control"], ids=lambda op: op.name)
@pytest.mark.parametrize("turned", ["first", "all"])
def test_results_lie_as_the_program_says(op: Op, turned: str) -> None:
    """Inputs with their dimensions in reverse order in memory: whether reshape() gives a view depends on it."""
    if op.name in UNKNOWN_SHAPE:
        pytest.skip("its shape depends on values")
    given: list[Any] = []
    for case in cases_of(op.name):
        arrays = [i for i, x in enumerate(case.sample.inputs) if isinstance(x, np.ndarray) and x.ndim > 1]
        which = arrays[:1] if turned == "first" else arrays
        inputs = [np.array(x.T, order="C").T if i in which else x for i, x in enumerate(case.sample.inputs)]
        given.append([wrap(x) if isinstance(x, np.ndarray) else x for x in inputs])

    def step(given: Any) -> Any:
        return [listed(case.op(*xs, **case.sample.params)) for case, xs in zip(cases_of(op.name), given, strict=True)]

    function = compiled(step)
    program = function.capture(given)
    for instruction, known in Interpreter(program).steps(function.inputs(given)):
        for value in instruction.outputs:
            assert strides_of(value) == strides_of(known[value]), (instruction.op.name, value.shape)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: (a.T + b).view(-1),
        lambda a, b: ((a.T + b).stride(), (b + a.T).stride(), (a.T * 2).stride(), a.T.lt(b).is_contiguous()),
        lambda a, b: torch.where(a.T > 0, a.T, b).view(-1),
        lambda a, b: a.T.double().stride(),
    ],
)
def test_layouts_of_operands_that_disagree(function: Callable[..., Any]) -> None:
    same(function, torch.randn(4, 4), torch.randn(4, 4))


@pytest.mark.parametrize("make", [lambda x: x.T.softmax(0), lambda x: x.T.cumsum(0), lambda x: x.T + x.T])
def test_writes_through_reshape(make: Callable[..., Any]) -> None:
    """A view eagerly is a view when compiled, and a copy is a copy."""

    def function(x: Any) -> Any:
        y = make(x)
        y.reshape(-1)[0] = 5.0
        return y

    same(function, torch.randn(4, 4))


def test_sums_of_gradients_in_different_layouts() -> None:
    """Contrastive losses look at their logits both ways."""

    def make() -> Any:
        net = nn.Linear(16, 16)

        def step(x: Any) -> Any:
            t = F.normalize(net(x), dim=-1)
            logits, labels = 14.0 * x @ t.T, torch.arange(10)
            net.zero_grad()
            ((F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2).backward()

        return net, step

    together(make, batches(4, 10, 16), captures=1)


# -- captured once -----------------------------------------------------------------------------------------------------


def training(optimizer: Callable[[Any], Any], scale: float = 1.0) -> Any:
    def make() -> Any:
        net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
        opt = optimizer(net.parameters())

        def step(x: Any) -> Any:
            loss = net(x).pow(2).mean() * scale
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        return (net, opt), step

    return make


@pytest.mark.parametrize("options", [{}, {"nesterov": True}, {"weight_decay": 0.1, "maximize": True}])
def test_momentum_begins_before_the_first_step(options: Any) -> None:
    together(training(lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, **options)), batches(4, 3, 4), captures=1)


def test_dampened_momentum_begins_with_it() -> None:
    together(training(lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, dampening=0.5)), batches(4, 3, 4), captures=2)


def test_gradients_nobody_touches() -> None:
    """Of a target network, whose parameters want gradients and get none."""

    def make() -> Any:
        policy, target = nn.Linear(4, 2), nn.Linear(4, 2)
        opt = optim.AdamW(policy.parameters(), lr=0.01)

        def step(x: Any) -> Any:
            with torch.no_grad():
                wanted = target(x)
            loss = F.smooth_l1_loss(policy(x), wanted)
            opt.zero_grad()
            loss.backward()
            opt.step()
            with torch.no_grad():
                for p, q in zip(target.parameters(), policy.parameters(), strict=True):
                    p.mul_(0.9).add_(q, alpha=0.1)
            return loss

        return (policy, target, opt), step

    together(make, batches(4, 3, 4), captures=1)


def test_gradients_that_come_while_none_is_looked_at() -> None:
    net = nn.Linear(4, 2)

    @compiled
    def act(x: Any) -> Any:
        with torch.no_grad():
            return net(x).argmax(1)

    act(torch.randn(3, 4))
    net(torch.randn(3, 4)).sum().backward()
    act(torch.randn(3, 4))
    assert act._captures == 1


class Learner:
    def __init__(self) -> None:
        self.net = nn.Linear(4, 2)
        self.seen, self.rate = 0, 0.5

    def update(self, x: Any) -> Any:
        return self.net(x) * self.rate


def test_what_only_init_names_is_no_condition() -> None:
    learner = Learner()
    update = compiled(learner.update)
    for i in range(4):
        learner.seen = i
        update(torch.ones(3, 4))
    assert update._captures == 1
    learner.rate = 0.25
    assert update(torch.ones(3, 4)).tolist() == learner.update(torch.ones(3, 4)).tolist()
    assert update._captures == 2


NOTED: dict[str, Any] = {}


def test_a_dict_that_several_hooks_fill() -> None:
    def make() -> Any:
        net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
        NOTED.clear()
        for name in ("1", "3"):
            hook = lambda m, i, o, name=name: NOTED.__setitem__(name, o.mean().detach())  # noqa: E731
            net[int(name)].register_forward_hook(hook)
        return (net, NOTED), net

    together(make, batches(5, 3, 4), captures=2)  # when it is empty, and when it is not


def test_a_retained_graph_whose_weights_are_written() -> None:
    def make() -> Any:
        net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        opt = optim.SGD(net.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            opt.zero_grad()
            loss = net(x).mean()
            loss.backward(retain_graph=True)
            opt.step()
            return loss

        return (net, opt), step

    step = together(make, batches(3, 3, 4), captures=1)
    loss = step(torch.ones(3, 4))
    with pytest.raises(RuntimeError, match="backward"):
        loss.backward()


# -- the short way -----------------------------------------------------------------------------------------------------


@pytest.fixture
def long_ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls that had to look at all conditions one by one."""
    seen: list[str] = []
    why = Entry.why

    def noted(self: Entry, *given: Any) -> str:
        seen.append(self.captured.program.name)
        return why(self, *given)

    monkeypatch.setattr(Entry, "why", noted)
    return seen


def test_gradients_cleared_last(long_ways: list[str]) -> None:
    _, step = training(lambda ps: optim.AdamW(ps, lr=0.01))()
    step = compiled(step)
    for _ in range(4):
        step(torch.ones(3, 4))
    assert len(long_ways) <= 2


def test_two_functions_that_hand_over_gradients(long_ways: list[str]) -> None:
    net = nn.Linear(4, 2)
    opt = optim.Adam(net.parameters())

    @compiled
    def gather(x: Any) -> None:
        net(x).sum().backward()

    @compiled
    def update() -> None:
        opt.step()
        opt.zero_grad()

    for i in range(6):
        if i == 3:
            long_ways.clear()
        gather(torch.ones(3, 4))
        gather(torch.ones(3, 4))
        update()
    assert not long_ways  # with and without gradients there are two captures, which take turns


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.count, self.scale = nn.Linear(4, 2), 0, 2.0

    def forward(self, x: Any) -> Any:
        return self.net(x) * self.scale


def test_numbers_of_modules() -> None:
    """One that no captured step reads is no change; one that is read is."""
    model = Counting()
    step = compiled(lambda x: model(x))
    x = torch.ones(3, 4)
    step(x)
    gc.collect()  # what other tests left behind may change modules as it goes
    before = CHANGES.count
    model.count += 1
    model.train()
    assert CHANGES.count == before
    model.scale = 3.0
    assert CHANGES.count > before and torch.equal(step(x), model(x))


# -- modules -----------------------------------------------------------------------------------------------------------


def test_a_compiled_module_is_a_module() -> None:
    net = Counting()
    model = compiled(net)
    x = torch.ones(3, 4)
    assert isinstance(model, nn.Module) and isinstance(model, Compiled) and model._orig_mod is net
    assert model.eval() is model and model.train() is model and model.to("cpu") is model
    assert list(model.state_dict()) == ["net.weight", "net.bias"]
    first = model(x)
    model.scale = 4.0
    assert net.scale == 4.0 and torch.equal(model(x), 2 * first)
    model.net = nn.Linear(4, 2)
    assert net.net is model.net and torch.equal(model(x), net(x))
    del model.count
    assert not hasattr(net, "count")
    twin = copy.deepcopy(model)
    assert type(twin) is Compiled and twin._orig_mod is not net and torch.equal(twin(x), net(x))


def test_a_compiled_module_inside_of_another() -> None:
    whole = nn.Sequential(compiled(nn.Linear(4, 4)), nn.ModuleList([compiled(nn.BatchNorm1d(4))])[0])
    assert len(list(whole.parameters())) == 4 and whole.get_parameter("0.weight").shape == (4, 4)
    whole.load_state_dict(whole.state_dict())
    whole.eval()
    assert not whole[1].training
    x = torch.randn(3, 4)
    assert torch.equal(whole(x), compiled(whole)(x))
    average = optim.swa_utils.AveragedModel(whole[0])
    average.update_parameters(whole[0])
    assert torch.equal(average(x), whole[0](x))


def test_module_compile() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    x = torch.randn(3, 4)
    before = net(x)
    net[0].compile(engine="numpy", fullgraph=True)
    assert torch.equal(net(x), before) and len(net[0].forward.programs) == 1
    assert list(net.state_dict()) == ["0.weight", "0.bias"]
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin[0].bias += 1
    assert not torch.equal(twin(x), before) and torch.equal(net(x), before)
    assert torch.equal(compiled(net)(x), before)


# -- names -------------------------------------------------------------------------------------------------------------


def test_arguments_have_their_names() -> None:
    class Scaled:
        @compiled
        def times(self, u: Any) -> Any:
            return u * 2

    def names(function: Any) -> list[str]:
        return [given.name for given in function.program.inputs if given.kind == "argument"]

    Scaled().times(torch.ones(2))
    assert names(Scaled.times) == ["u"]
    for function in (compiled(nn.Linear(2, 2)), compiled(torch.no_grad()(lambda input: input + 1))):
        function(torch.ones(1, 2))
        assert names(function) == ["input"]


def test_state_of_optimizers_is_named_after_the_parameter() -> None:
    (net, opt), step = training(lambda ps: optim.Adam(ps))()
    step(torch.ones(3, 4))  # now there is state

    @compiled
    def update(x: Any) -> None:
        opt.zero_grad()
        net(x).sum().backward()
        opt.step()

    update(torch.ones(3, 4))
    assert "opt.state['net.0.weight']['exp_avg']" in [given.name for given in update.program.inputs]


# -- XLA ---------------------------------------------------------------------------------------------------------------


def test_xla_compiles_once(caplog: pytest.LogCaptureFixture) -> None:
    """The generator's state comes from the host when random numbers were drawn between two calls."""
    jax = pytest.importorskip("jax")
    _, step = training(lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9))()

    @torch.compile(engine="xla")
    def noisy(x: Any) -> Any:
        return step(x + torch.rand_like(x))

    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for _ in range(3):
            noisy(torch.randn(3, 4))
    assert sum("Compiling jit(noisy)" in record.getMessage() for record in caplog.records) == 1
