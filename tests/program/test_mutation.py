"""verify() must notice what is wrong: every pass and every pullback rule is broken on purpose."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
import pullback.nn as nn
from pullback.dtypes import F64, FLOATS
from pullback.ops import OPS
from pullback.ops.arithmetic import add, mul, neg
from pullback.ops.create import clone
from pullback.ops.record import Op, Rule, Sample
from pullback.ops.shape import flip
from pullback.program import passes
from pullback.program.program import Program, Value, renamed
from pullback.program.verify import Report, verify
from pullback.tensor import wrap
from pullback.utils.checkpoint import checkpoint

# -- passes ------------------------------------------------------------------------------------------------------------


def step_for_passes() -> tuple[Callable[..., Any], Any]:
    """Every pass finds something to do."""
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(4, 4))
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)

    def inner(h: Any) -> Any:
        return h.tanh() * (torch.ones(4) + 1.0)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        h = x @ w.t()
        h = checkpoint(inner, h * 1.0, use_reentrant=False)
        y = h.sigmoid() * 2.5
        z = (y - y.mean()) + h.sigmoid()
        loss = z.exp().sum()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.randn(3, 4)
    step(x)  # now there is a momentum
    return step, x


def drops(program: Program) -> Program:
    """sigmoid is left out."""
    return program.replaced(
        instructions=[i.changed(op=clone, params={}) if i.op.name == "sigmoid" else i for i in program.instructions]
    )


def changes_a_number(program: Program) -> Program:
    """2.5 becomes 2.6."""
    return program.replaced(
        instructions=[
            i.changed(inputs=[2.6 if type(x) is float and x == 2.5 else x for x in i.inputs])
            for i in program.instructions
        ]
    )


def merges(program: Program) -> Program:
    """What reads the exponential reads its argument."""
    exp = next(i for i in program.instructions if i.op.name == "exp")
    new = {exp.outputs[0]: exp.inputs[0]}
    return program.replaced(instructions=[i.changed(inputs=renamed(i.inputs, new)) for i in program.instructions])


def swaps_results(program: Program) -> Program:
    """The parameter's new value and its momentum change places."""
    a, b, *rest = program.writes
    return program.replaced(writes=[a._replace(value=b.value), b._replace(value=a.value), *rest])


def loses_a_write(program: Program) -> Program:
    return program.replaced(writes=program.writes[:-1])


def changes_a_constant(program: Program) -> Program:
    """A number that is known becomes another."""
    makers = program.makers()

    def off(value: Value, array: Any) -> Any:
        return array + 1 if array.dtype in FLOATS and value not in makers else array

    return program.replaced(constants={v: off(v, array) for v, array in program.constants.items()})


def forgets_the_sum(program: Program) -> Program:
    """A mean has another shape: running it fails."""
    return program.replaced(
        instructions=[
            i.changed(params={**i.params, "dim": (0,), "keepdim": False}) if i.op.name == "mean" else i
            for i in program.instructions
        ]
    )


BREAKS: dict[Callable[[Program], Program], tuple[str, str]] = {
    drops: ("sigmoid", "y = h.sigmoid() * 2.5"),
    changes_a_number: ("mul", "y = h.sigmoid() * 2.5"),
    merges: ("sum", "loss = z.exp().sum()"),
    swaps_results: ("sgd", "optimizer.step()"),
    loses_a_write: ("sgd", "optimizer.step()"),
    changes_a_constant: ("", ""),
    forgets_the_sum: ("", ""),
}


def verified_with(monkeypatch: pytest.MonkeyPatch, number: int, broken: Callable[[Program], Program]) -> Report:
    """The report of a step whose n-th pass is broken."""
    right = passes.PASSES[number]

    @functools.wraps(right)
    def wrong(program: Program) -> Program:
        return broken(right(program))

    monkeypatch.setattr(passes, "PASSES", (*passes.PASSES[:number], wrong, *passes.PASSES[number + 1 :]))
    step, x = step_for_passes()
    return verify(step, x, engines=["numpy"], finite_differences=False)


def test_the_step_is_well() -> None:
    step, x = step_for_passes()
    assert verify(step, x, engines=["numpy"])


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("number", range(len(passes.PASSES)), ids=[p.__name__ for p in passes.PASSES])
def test_a_broken_pass_is_caught_and_named(
    number: int, broken: Callable[[Program], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = passes.PASSES[number].__name__
    report = verified_with(monkeypatch, number, broken)
    assert not report.ok, f"{broken.__name__} in {name} was not noticed"
    first = report.first
    assert first is not None and first.change == name, str(report)
    op, line = BREAKS[broken]
    if op:
        assert (first.op, first.line.text) == (op, line)
    assert f"because of the pass `{name}`" in str(report)


# -- pullback rules ----------------------------------------------------------------------------------------------------

SPOIL: dict[str, Callable[[Any], Any]] = {
    "scaled": lambda g: mul(g, 1.01),
    "negated": neg,
    "shifted": lambda g: add(g, 0.01),
    "permuted": lambda g: flip(g, dims=tuple(range(len(g.shape)))),
}
FEW = [
    "mul", "div", "exp", "tanh", "pow", "where", "sum", "mean", "var", "softmax", "log_softmax", "matmul", "linear",
    "conv", "max_pool", "layer_norm", "batch_norm", "cross_entropy", "attention", "lstm", "embedding", "slice",
    "permute", "cat", "split", "cholesky", "cumsum", "sort", "gelu",
]  # fmt: skip


WITH_RULES = [op for op in OPS.values() if op.differentiable and op.samples()]
FLAT = {"sign", "floor", "ceil", "trunc", "round", "floor_divide", "trunc_divide"}  # their cotangents are all 0


class Spoilt:
    """A rule that gives something else."""

    def __init__(self, rule: Rule, how: Callable[[Any], Any]) -> None:
        self.rule, self.how = rule, how

    def __call__(self, *args: Any) -> Any:
        out = self.rule.call(*args)
        if isinstance(out, (tuple, list)):
            return [None if g is None else self.how(g) for g in out]
        return None if out is None else self.how(out)


def spoil(monkeypatch: pytest.MonkeyPatch, op: Op, how: Callable[[Any], Any]) -> None:
    """All rules of an op."""
    monkeypatch.setattr(op, "plans", {})
    if op.vjp_all is not None:
        monkeypatch.setattr(op, "vjp_all", op.vjp_all._replace(call=Spoilt(op.vjp_all, how)))
    monkeypatch.setattr(op, "vjp", {name: rule._replace(call=Spoilt(rule, how)) for name, rule in op.vjp.items()})


def step_of(op: Op, sample: Sample) -> tuple[Callable[..., Any], list[Any]]:
    """One call of an op, as a step."""
    params = sample.params
    arrays = [np.asarray(x) if isinstance(x, np.generic) else x for x in sample.inputs]
    inputs = [wrap(x.astype(F64) if x.dtype in FLOATS else x.copy()) if hasattr(x, "dtype") else x for x in arrays]

    def step(*xs: Any) -> Any:
        return op(*xs, **params)

    return step, inputs


def check_rule(op: Op, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoilt, the rule is caught by a sample for which it is right otherwise."""
    for sample in op.samples():
        step, inputs = step_of(op, sample)
        healthy = verify(step, *inputs, engines=["numpy"])
        if sample.smooth:
            assert healthy.ok, str(healthy)
        if not (healthy.ok and healthy.rules):
            continue
        with monkeypatch.context() as patch:
            spoil(patch, op, SPOIL[how])
            report = verify(step, *inputs, engines=["numpy"])
        if report.wrong_rules:
            wrong = report.wrong_rules[0]
            assert wrong.instruction.op is op and not report.ok
            assert f"wrong rule: the pullback of {op.name} to {wrong.input} at " in str(report)
            assert "return op(*xs, **params)" in str(report)
            return
    pytest.fail(f"no sample of {op.name} notices that its rules are {how}")


@pytest.mark.parametrize("name", FEW)
def test_a_broken_rule_is_caught_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_rule(OPS[name], "scaled", monkeypatch)


@pytest.mark.parametrize("how", ["negated", "permuted", "shifted"])
def test_other_ways_to_break_a_rule(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mul", "softmax", "matmul", "layer_norm"):
        check_rule(OPS[name], how, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("op", WITH_RULES, ids=lambda op: op.name)
def test_every_broken_rule_is_caught(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero stays zero when it is scaled, but not when it is shifted."""
    check_rule(op, "shifted", monkeypatch)
    if op.name not in FLAT:
        check_rule(op, "scaled", monkeypatch)


def test_a_rule_is_checked_where_the_step_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    step, x = step_for_passes()
    spoil(monkeypatch, OPS["sigmoid"], SPOIL["scaled"])
    report = verify(step, x, engines=["numpy"])
    assert all(not row.failed for row in report.rows)  # eager and the engine agree: both are wrong
    assert [w.instruction.op.name for w in report.wrong_rules] == ["sigmoid"]
    assert "y = h.sigmoid() * 2.5" in str(report.wrong_rules[0])


def test_the_rule_of_several_views_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is captured with an op for each view."""

    def step(x: Any) -> Any:
        a, b = x.chunk(2)
        return (a * b).sum()

    assert verify(step, torch.randn(6), engines=["numpy"])
    spoil(monkeypatch, OPS["split"], SPOIL["scaled"])
    report = verify(step, torch.randn(6), engines=["numpy"])
    assert [w.instruction.op.name for w in report.wrong_rules] == ["split"]
    assert "a, b = x.chunk(2)" in str(report)
