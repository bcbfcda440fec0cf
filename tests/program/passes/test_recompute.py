"""What checkpointed regions compute again is computed right before it is used."""

from __future__ import annotations

import pytest

from pullback.program.passes import duplicates, optimize, recompute, share
from pullback.program.program import BACKWARD, Instruction, Program, Value

from .build import Builder, check, peak, special

N = 64
BYTES = 8 * N


def block(b: Builder, x: Value) -> list[Value]:
    """Three elementwise steps, of which backward reads each result."""
    values = [x]
    for name in ("sin", "tanh", "sigmoid"):
        values.append(b(name, values[-1]))
    return values


def checkpointed(blocks: int, early: bool) -> tuple[Builder, Program]:
    """A chain of checkpointed blocks and its backward pass; `early`: all is computed again where that begins."""
    b = Builder()
    entries = [b.input(special(N))]
    for _ in range(blocks):
        entries.append(block(b, entries[-1])[-1])
    b.backward()
    again = {}

    def run_again(n: int) -> None:
        with b.again(n + 1):
            again[n] = block(b, entries[n])

    if early:
        for n in range(blocks):
            run_again(n)
    g = b("full_like", entries[-1], value=1.0)
    for n in reversed(range(blocks)):
        if not early:
            run_again(n)
        x, s, t, u = again[n]
        g = b("tanh_backward", b("sigmoid_backward", g, u), t)
        g = b("mul", b("mul", g, b("cos", x)), s)
    return b, b.program(g)


def test_an_early_second_run_is_put_off() -> None:
    b, late = checkpointed(8, early=False)
    _, early = checkpointed(8, early=True)
    moved = check(recompute, early, b.given)
    assert [(i.op, i.region) for i in moved.instructions] == [(i.op, i.region) for i in late.instructions]
    assert peak(early) == (8 + 3 * 8 + 1) * BYTES  # the entries, all that is computed again, and g
    assert peak(moved) == peak(late) == (8 + 3 + 1) * BYTES


@pytest.mark.parametrize("early", [False, True])
def test_all_passes_together_keep_the_memory_low(early: bool) -> None:
    b, program = checkpointed(8, early)
    optimized = check(optimize, program, b.given)
    assert peak(optimized) <= (8 + 3 + 1) * BYTES
    readers = [i for i in optimized.instructions if i.phase == BACKWARD and not i.region]
    entries = {i.outputs[0] for i in optimized.instructions if i.op.name == "sigmoid" and not i.region}
    first = {v for i in optimized.instructions if not i.region and i.phase != BACKWARD for v in i.outputs} - entries
    assert not any(first & set(i.values) for i in readers)


def test_merging_with_the_first_run_would_cost_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    b, program = checkpointed(8, early=False)
    right = duplicates.likeness

    def blind(instruction: Instruction) -> object:
        return right(instruction.changed(region=0))

    monkeypatch.setattr(duplicates, "likeness", blind)
    assert peak(check(share, program, b.given)) > 2 * peak(program)


def test_a_region_within_a_region() -> None:
    b = Builder()
    x = b.input(special(N))
    y = block(b, block(b, x)[-1])[-1]
    b.backward()
    with b.again(1):
        outer = block(b, x)
    with b.again(2):
        inner = block(b, outer[-1])
    g = b("neg", y)
    g = b("mul", g, inner[-1])
    g = b("mul", g, outer[1])
    moved = check(recompute, b.program(g), b.given)
    assert [i.region for i in moved.instructions[6:]] == [0, 1, 1, 1, 2, 2, 2, 0, 0]


def test_regions_that_ask_for_each_other() -> None:
    b = Builder()
    x = b.input(special(N))
    with b.again(1):
        one = b("sin", x)
    with b.again(2):
        two = b("cos", one)
    with b.again(1):
        three = b("tanh", two)
    late = b("neg", x)
    out = b("mul", late, three)
    moved = check(recompute, b.program(out), b.given)
    assert [i.op.name for i in moved.instructions] == ["neg", "sin", "cos", "tanh", "mul"]


def test_a_region_in_two_parts() -> None:
    b = Builder()
    x = b.input(special(N))
    with b.again(1):
        one = b("sin", x)
    early = b("neg", one)
    with b.again(1):
        two = b("cos", early)
    late = b("exp", early)
    out = b("mul", late, two)
    moved = check(recompute, b.program(out), b.given)
    assert [i.op.name for i in moved.instructions] == ["sin", "neg", "exp", "cos", "mul"]


def test_results_of_a_region_are_there_in_the_end() -> None:
    b = Builder()
    x = b.input(special(N))
    with b.again(1):
        y = b("sin", x)
    z = b("neg", x)
    assert check(recompute, b.program(y, z), b.given).instructions[-1].outputs == (y,)


def test_without_regions_nothing_changes() -> None:
    b = Builder()
    program = b.program(b("neg", b.input(special(N))))
    assert recompute(program) is program
