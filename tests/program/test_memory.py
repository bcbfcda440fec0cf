"""Live bytes of a Program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.program.build import Builder, looping, network

from pullback.dtypes import I64
from pullback.ops.activation import relu
from pullback.ops.arithmetic import add, mul
from pullback.ops.joining import split
from pullback.ops.matmul import matmul
from pullback.ops.shape import expand, permute, reshape, slice_
from pullback.program.memory import bases_of
from pullback.program.program import Program, Value

N = 25 * 4  # bytes of the 5x5 matrices below


def chain() -> Builder:
    b = Builder()
    x = b.input("argument", "x", 5, 5)
    b(relu, b(relu, b(relu, x)))
    return b


def test_a_value_lives_from_its_making_to_its_last_use() -> None:
    b = chain()
    memory = b.program(b.instructions[-1].outputs[0]).memory()
    assert memory.live == [2 * N, 3 * N, 3 * N] and memory.peak == 3 * N and memory.at == 1


def test_outputs_live_to_the_end() -> None:
    b = chain()
    memory = b.program(b.instructions[0].outputs[0], b.instructions[2].outputs[0]).memory()
    assert memory.live == [2 * N, 3 * N, 4 * N]


def test_what_nobody_reads_lives_for_a_moment() -> None:
    b = chain()
    memory = b.program(b.inputs[0].value).memory()
    assert memory.live == [2 * N, 3 * N, 3 * N]


def test_constants_live_throughout() -> None:
    b = chain()
    b.constant(np.zeros(7))
    assert b.program().memory().live == [2 * N + 56, 3 * N + 56, 3 * N + 56]


def test_views_live_in_their_base_and_keep_it() -> None:
    b = Builder()
    x = b.input("argument", "x", 5, 5)
    made = b(relu, x)
    turned = b(permute, made, dims=(1, 0))
    row = b(slice_, turned, key=(0,))
    other = b(relu, x)
    last = b(add, other, row)
    program = b.program(last)
    assert program.memory().live == [2 * N, 2 * N, 2 * N, 3 * N, 4 * N]
    bases = bases_of(program)
    assert bases[row] is bases[turned] is made and bases[last] is last


def test_a_reshape_that_copies_is_a_value_of_its_own() -> None:
    b = Builder()
    x = b.input("argument", "x", 5, 5)
    flat = b(reshape, b(permute, x, dims=(1, 0)), shape=(25,))
    assert b.program(flat).memory().live == [N, 2 * N]


def test_all_results_of_a_split_are_views() -> None:
    b = Builder()
    x = b.input("argument", "x", 6, 4)
    parts = b(split, b(relu, x), sizes=(2, 4), dim=0)
    assert b.program(*parts).memory().live == [2 * 96, 2 * 96]


def test_what_is_broadcast_is_held_once() -> None:
    b = Builder()
    x = b.input("argument", "x", 4, strides=(0,))
    y = b(expand, b(relu, b.input("argument", "y")), shape=(100,))
    assert b.program(x, y).memory().live == [3 * 4, 3 * 4]


def update(again: bool = False) -> Program:
    """w <- relu(w) * 2; perhaps the old w is read once more."""
    b = Builder()
    w = b.input("state", "w", 5, 5)
    new = b(mul, b(relu, w), 2.0)
    b.write(new, "w")
    return b.program(*([b(add, w, new)] if again else []))


def test_new_state_takes_the_place_of_the_old() -> None:
    assert update().memory().live == [2 * N, 2 * N]
    assert update(again=True).memory().live == [2 * N, 3 * N, 3 * N]


def test_state_that_comes_to_be_lives_to_the_end() -> None:
    b = chain()
    b.write(b.instructions[0].outputs[0], "model.weight.grad")
    memory = b.program().memory()
    assert memory.live == [2 * N, 3 * N, 4 * N]
    assert {(h.kind, h.name) for h in memory.owners if h.begin == 0} == {
        ("argument", "x"),
        ("gradient", "model.weight.grad"),
    }


def by_hand(program: Program) -> list[int]:
    """Another way to count: at each instruction ask of each piece of memory whether it is still needed."""
    base: dict[Value, Value] = {v: v for v in program.values()}
    for i in program.instructions:
        if i.op.name in ("permute", "expand", "slice"):
            base[i.outputs[0]] = base[i.inputs[0]]
    made = {v: n for n, i in enumerate(program.instructions) for v in i.outputs}
    replaced = {program.inputs[w.input].value: made[w.value] for w in program.writes if w.input is not None}
    live = []
    for n in range(len(program)):
        later = {base[v] for i in program.instructions[n + 1 :] for v in i.values} | {base[v] for v in program.results}
        now = {base[v] for v in (*program.instructions[n].values, *program.instructions[n].outputs)}
        there = {g.value for g in program.inputs if replaced.get(g.value, len(program)) > n or g.value in later}
        there |= set(program.constants) | {v for v in now | later if made.get(v, len(program)) <= n}
        live.append(sum(v.nbytes for v in there))
    return live


@pytest.mark.parametrize("momentum", [False, True])
def test_a_training_step_by_hand(momentum: bool) -> None:
    program = network(momentum=momentum)
    memory = program.memory()
    assert memory.live == by_hand(program) and memory.peak == max(memory.live) == memory.live[memory.at or 0]
    assert sum(h.bytes for h in memory.owners) == memory.peak == sum(memory.kinds().values())
    sizes = [h.bytes for h in memory.owners]
    assert sizes == sorted(sizes, reverse=True)


def test_owners_are_known_by_kind() -> None:
    kinds = {h.name: h.kind for h in network().memory().held if h.name not in ("matmul", "add", "relu", "sum")}
    assert kinds["model.fc1.weight"] == "parameter" and kinds["x"] == "argument"
    assert kinds["optimizer.state[model.fc1.weight]['momentum']"] == "state"
    assert kinds["optimizer.param_groups[0]['lr']"] == "number" and kinds["constant"] == "constant"
    assert kinds["cross_entropy"] == "activation" and kinds["relu_backward"] == "gradient"
    at = [(h.kind, h.module, str(h.line)) for h in network().memory().owners if h.name == "relu_backward"]
    assert at == [("gradient", "fc1", "train.py:14")]


def test_buffers_and_gradients_are_no_parameters() -> None:
    b = Builder()
    w, mean = b.input("state", "w", 3), b.input("state", "norm.running_mean", 3)
    count, grad = b.input("state", "count", dtype=I64), b.input("state", "w.grad", 3)
    y = b(add, b(mul, w, mean), b(mul, grad, 1.0))
    b.write(b(mul, mean, 0.9), "norm.running_mean")
    b(add, count, 1)
    kinds = {h.name: h.kind for h in b.program(y).memory().held if h.begin == 0}
    assert kinds["w"] == "parameter" and kinds["norm.running_mean"] == "state"
    assert kinds["count"] == "state" and kinds["w.grad"] == "gradient"


def test_what_is_kept_for_backward() -> None:
    memory = network().memory()
    assert memory.saved == {"fc2": 8 * 3 * 4, "fc1": 8 * 16 * 4}  # the logits, and what relu gave


def test_a_loop_holds_what_its_body_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = looping(monkeypatch).memory()
    assert memory.live == [96 + 144 + 96 + 2 * 96] and memory.kinds()["inside a loop"] == 2 * 96


def test_an_empty_program_holds_its_inputs() -> None:
    b = Builder()
    memory = b.program(b.input("argument", "x", 5, 5)).memory()
    assert memory.live == [] and memory.at is None and memory.peak == N and "100 B at the peak" in str(memory)


def test_the_table() -> None:
    memory = network().memory()
    head, kinds, largest, saved = str(memory).split("\n\n")
    assert head == "train_step: 3.9 KiB at the peak, at instruction 13 of 21: relu_backward, backward, fc1, train.py:14"
    assert kinds.splitlines()[0].split() == ["kind", "bytes", "share"] and "parameter" in kinds
    assert largest.splitlines()[2].split() == ["model.fc1.weight", "parameter", "640", "B"]
    assert saved.splitlines()[-1].split() == ["total", "608", "B"]


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("memory.svg", "memory.png"):
        network().memory().draw(tmp_path / name)
    assert b"<svg" in (tmp_path / "memory.svg").read_bytes() and (tmp_path / "memory.png").stat().st_size > 1000
    b = Builder()
    b.program(b(matmul, b.input("argument", "x", 2, 2), b.input("argument", "y", 2, 2))).memory().draw(
        tmp_path / "one.svg"
    )
