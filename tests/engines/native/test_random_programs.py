"""Random Programs, natively and on NumPy: to the last bit where each op is exact, else to a tolerance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.program.passes import random_programs
from tests.program.passes.build import Builder
from tests.program.test_random_programs import Captured
from tests.random_programs import expressions, writes
from tests.random_programs.test_expressions import gradients

import pullback
from pullback.engines import interpreter
from pullback.engines.native import engine
from pullback.program.passes import optimize
from pullback.program.program import Program

FEW = settings(derandomize=True, deadline=None, max_examples=12)
MANY = settings(derandomize=True, deadline=None, max_examples=50)
BITS = {  # steps that are exact; the others round in an order of their own, or call functions
    "add", "sub", "mul", "div", "add a number", "a number added", "sub a number", "mul a number", "div a number",
    "add a constant", "mul a constant", "full", "neg", "where", "cast", "clone", "reshape", "permute", "expand",
    "slice",
}  # fmt: skip
RELATIVE = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.1}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Compile in less time: all of this runs once."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(engine.builder, "FLAGS", tuple("-O1" if f == "-O3" else f for f in engine.builder.FLAGS))
        yield


def program_of(some: list[Any], names: set[str], ordinary: bool) -> tuple[Program, list[Any]]:
    """Several random Programs as one: it is compiled once."""
    parts = []
    for leaves, steps in some:
        steps = [step for step in steps if step[0] in names]
        parts.append(random_programs.random_program(leaves, steps))
    whole, given = parts[0][1], []
    for k, (b, program) in enumerate(parts):
        given += [numbers(x, k) if ordinary else x for x in b.given]
        if k:
            whole = Program("several", [*whole.inputs, *program.inputs], {**whole.constants, **program.constants},
                            [*whole.instructions, *program.instructions], [*whole.outputs, *program.outputs],
                            [*whole.writes, *program.writes])  # fmt: skip
    if ordinary:
        known = {v: numbers(x, 7) if x.dtype.kind == "f" else x for v, x in whole.constants.items()}
        whole = whole.replaced(constants=known)
    return whole, given


def numbers(x: Any, seed: int) -> Any:
    """Ordinary ones, in an array's shape and type."""
    rng = np.random.default_rng([seed, x.size])
    return np.asarray(rng.choice([-1, 1], x.shape) * rng.uniform(0.3, 2, x.shape)).astype(x.dtype)


def both(program: Program, given: list[Any]) -> Iterator[tuple[Any, Any]]:
    with np.errstate(all="ignore"):
        expected = interpreter.build(program)(list(given))
    for one in (program, optimize(program)):
        executable = engine.build(one)
        for threads in (1, 2):
            for piece in executable.tables:
                if isinstance(piece, engine.Table):
                    piece.threads = threads
            yield from zip(executable(list(given)), expected, strict=True)


several = st.lists(st.tuples(random_programs.leaves, random_programs.steps), min_size=1, max_size=8)


def check_bits(some: list[Any]) -> None:
    for a, b in both(*program_of(some, BITS, ordinary=False)):
        assert a.dtype == b.dtype and a.shape == b.shape
        x, y = a.astype(np.float64), b.astype(np.float64)
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(np.signbit(x[~np.isnan(x)]), np.signbit(y[~np.isnan(y)]))


@FEW
@given(several)
def test_exact_steps_give_the_same_bits(some: Any) -> None:
    check_bits(some)


@pytest.mark.slow
@MANY
@given(several)
def test_many_exact_steps_give_the_same_bits(some: Any) -> None:
    check_bits(some)


def check_close(some: list[Any]) -> None:
    names = set(random_programs.STEPS) - {"where"}  # which jumps
    for a, b in both(*program_of(some, names, ordinary=True)):
        assert a.dtype == b.dtype and a.shape == b.shape
        x, y = a.astype(np.float64), b.astype(np.float64)
        fine = np.isfinite(y) & (np.abs(y) < 1e30)
        scale = max(1.0, float(np.abs(y[fine]).max(initial=0)))
        np.testing.assert_allclose(x[fine], y[fine], rtol=RELATIVE[b.dtype.name], atol=RELATIVE[b.dtype.name] * scale)


@FEW
@given(several)
def test_steps_are_close(some: Any) -> None:
    check_close(some)


@pytest.mark.slow
@MANY
@given(several)
def test_many_steps_are_close(some: Any) -> None:
    check_close(some)


# -- programs that are captured ----------------------------------------------------------------------------------------


class Native(Captured):
    """A function that the native engine runs."""

    def __init__(self, function: Any) -> None:
        self.compiled = pullback.compile(function, engine="native")


def check_expression(shapes: Any, program: Any) -> None:
    xs = [pullback.tensor(x, requires_grad=True) for x in expressions.arrays(shapes, 0)]

    def step(*xs: Any) -> Any:
        xs = tuple(x.detach().requires_grad_() for x in xs)
        y = expressions.loss(pullback, xs, program)
        return [y.detach(), *[g.detach() for g in pullback.autograd.grad(y, xs)]]

    expected = gradients(pullback, shapes, program, second=False)
    for a, b in zip(Native(step)(*xs), expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-9, atol=1e-9)


@FEW
@given(expressions.leaves, expressions.steps)
def test_gradients(shapes: Any, program: Any) -> None:
    check_expression(shapes, program)


@pytest.mark.slow
@MANY
@given(expressions.leaves, expressions.steps)
def test_many_gradients(shapes: Any, program: Any) -> None:
    check_expression(shapes, program)


def check_writes(program: Any) -> None:
    eager = writes.run_library(pullback, program)

    def step(start: Any, constant: Any) -> Any:
        a = start.detach().clone().requires_grad_()
        tensors = [a, constant.clone(), constant.clone(), a * 1.0]
        failed_at, xs = writes.run(tensors, program, pullback.no_grad, RuntimeError)
        return failed_at, [x.detach().clone() for x in xs]

    failed_at, values = Native(step)(pullback.tensor(writes.START), pullback.tensor(writes.CONSTANT))
    assert failed_at == (None if eager.failed_at == len(program) else eager.failed_at)
    for x, y in zip(values, eager.values, strict=True):
        np.testing.assert_allclose(x.numpy(), y, rtol=1e-12)


@FEW
@given(writes.programs)
def test_writes_and_views(program: Any) -> None:
    check_writes(program)


@pytest.mark.slow
@MANY
@given(writes.programs)
def test_many_writes_and_views(program: Any) -> None:
    check_writes(program)


def test_nothing_at_all() -> None:
    b = Builder()
    x = b.input(np.ones((0, 3)))
    program = b.program(x, b("neg", x), b("sum", x, dim=(0,)))
    results = engine.build(program)([np.ones((0, 3))])
    assert [r.shape for r in results] == [(0, 3), (0, 3), (3,)] and (results[2] == 0).all()
