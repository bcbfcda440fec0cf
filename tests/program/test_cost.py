"""Operations and bytes of a Program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.ops.harness import all_cases
from tests.program.build import Builder, line, looping, network

from pullback.dtypes import I64
from pullback.errors import ArgumentError, PullbackError
from pullback.ops import OPS
from pullback.ops.activation import relu
from pullback.ops.arithmetic import add, mul
from pullback.ops.create import full_like
from pullback.ops.indexing import embedding
from pullback.ops.joining import cat
from pullback.ops.matmul import matmul
from pullback.ops.shape import expand, permute, reshape
from pullback.program.cost import moved, shares, stored
from pullback.program.program import Instruction, Value

F = 4  # bytes of a float32


def as_value(x: object) -> object:
    return Value(0, x.shape, x.dtype, x.strides) if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize("name", OPS)
def test_every_record_counts_values_as_it_counts_arrays(name: str) -> None:
    for case in (c for c in all_cases() if c.op.name == name):
        out = case.op(*case.sample.inputs, **case.sample.params)
        outs = out if type(out) is tuple else (out,)
        instruction = Instruction(
            case.op, [as_value(x) for x in case.sample.inputs], case.sample.params, [as_value(y) for y in outs]
        )
        flops = instruction.flops
        assert type(flops) is int and flops >= 0, case.id
        assert flops == case.op.flops(case.sample.inputs, case.params, out), case.id
        read, written = moved(instruction)
        assert read >= 0 and written >= 0, case.id
        assert shares(instruction) or written == sum(y.nbytes for y in outs), case.id


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.view])
def test_what_shares_memory_is_what_numpy_shares(name: str) -> None:
    for case in (c for c in all_cases() if c.op.name == name):
        x = case.sample.inputs[0]
        out = case.op(x, **case.sample.params)
        outs = out if type(out) is tuple else (out,)
        instruction = Instruction(case.op, [as_value(x)], case.sample.params, [as_value(y) for y in outs])
        if x.size and all(y.size for y in outs):
            assert shares(instruction) == all(np.may_share_memory(x, y) for y in outs), case.id


def matrices() -> tuple[Builder, Value]:
    """h = x w1, y = h w2 and their pullbacks; x wants a gradient, too."""
    b = Builder()
    x, w1, w2 = b.input("argument", "x", 5, 7), b.input("state", "w1", 7, 3), b.input("state", "w2", 3, 4)
    h = b(matmul, x, w1)
    y = b(matmul, h, w2)
    with b.at(phase="backward"):
        g = b(full_like, y, value=1.0)
        b(matmul, b(permute, h, dims=(1, 0)), g)
        g = b(matmul, g, b(permute, w2, dims=(1, 0)))
        b(matmul, b(permute, x, dims=(1, 0)), g)
        b(matmul, g, b(permute, w1, dims=(1, 0)))
    return b, y


def test_products_cost_twice_as_much_backward() -> None:
    b, y = matrices()
    rows = [row for row in b.program(y).cost().rows if row.op == "matmul"]
    ahead, behind = (sum(row.flops for row in rows if row.phase == phase) for phase in ("forward", "backward"))
    assert ahead == 2 * (5 * 7 * 3 + 5 * 3 * 4) and behind / ahead == 2.0


def test_each_operand_and_result_counts_once() -> None:
    b = Builder()
    x, y = b.input("argument", "x", 5, 7), b.input("argument", "y", 7)
    b(add, x, y)
    b(mul, x, x)
    b(mul, x, 2.0)
    b(full_like, x, value=0.0)
    assert [moved(i) for i in b.instructions] == [(42 * F, 35 * F), (35 * F, 35 * F), (35 * F, 35 * F), (0, 35 * F)]


def test_views_move_nothing_and_copies_do() -> None:
    b = Builder()
    x = b.input("argument", "x", 4, 6)
    turned = b(permute, x, dims=(1, 0))
    b(reshape, x, shape=(24,))
    b(reshape, turned, shape=(24,))
    b(reshape, turned, shape=(6, 2, 2))
    assert [sum(moved(i)) for i in b.instructions] == [0, 0, 2 * 24 * F, 0]
    assert [shares(i) for i in b.instructions] == [True, True, False, True]


def test_what_is_broadcast_is_read_once() -> None:
    b = Builder()
    x, row = b.input("argument", "x", 100, 8), b.input("argument", "row", 8)
    wide = b(expand, row, shape=(100, 8))
    b(add, x, wide)
    assert stored(wide) == 8 * F and moved(b.instructions[1]) == (808 * F, 800 * F)
    windows = b.value((5, 3), strides=(F, F))
    assert stored(windows) == 7 * F and stored(b.value((0, 3))) == 0 and stored(b.value(())) == F


def test_a_lookup_reads_the_rows_it_gives() -> None:
    b = Builder()
    weight, index = b.input("state", "weight", 1000, 4), b.input("argument", "index", 3, dtype=I64)
    b(embedding, weight, index)
    assert moved(b.instructions[0]) == (3 * 8 + 12 * F, 12 * F)


@pytest.mark.parametrize("way", ["module", "line", "phase", "op"])
def test_sums_add_up_to_the_whole(way: str) -> None:
    cost = network().cost()
    sums = cost.by(way)
    assert [sum(column) for column in zip(*sums.values(), strict=True)] == list(cost.total)
    assert cost.total.flops == sum(i.flops for i in network().instructions) and cost.total.calls == 21


def test_sums_by_name() -> None:
    cost = network().cost()
    assert list(cost.by("phase")) == ["forward", "backward", "update"]
    assert list(cost.by("module")) == ["fc1", "fc2", "-"]
    assert list(cost.by("line")) == ["train.py:12", "train.py:13", "train.py:14", "train.py:15"]
    product = cost.by("op")["matmul"]
    assert product.calls == 5 and product.flops == 2 * (2 * 8 * 10 * 16 + 3 * 8 * 16 * 3)
    assert product.intensity == product.flops / (product.read + product.written)
    with pytest.raises(ArgumentError, match="not known by 'colour'"):
        cost.by("colour")


def test_a_loop_costs_its_body_times_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = looping(monkeypatch).cost()
    one = 2 * 4 * 6 * 6, 4 * 6
    assert {op: s.flops for op, s in cost.by("op").items()} == {"matmul": 5 * one[0], "relu": 5 * one[1]}
    assert [(r.number, r.calls, r.module, str(r.line)) for r in cost.rows] == [(0, 5, "rnn", "train.py:3")] * 2
    assert cost.total.read == 5 * (24 + 36 + 24) * F and cost.total.written == 5 * 48 * F


def test_all_programs_among_parameters_count(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = looping(monkeypatch)
    loop = inner.instructions[0].op
    b = Builder()
    x, w = b.input("argument", "x", 4, 6), b.input("argument", "w", 6, 6)
    y = b(loop, x, w, body=(inner, inner), length=3)
    assert b.program(y).cost().total.flops == 3 * 2 * inner.cost().total.flops


def test_the_table() -> None:
    text = str(network().cost())
    assert text.startswith("train_step: 9.6")
    head, rule, first = next(part for part in text.split("\n\n") if part.startswith("op ")).splitlines()[:3]
    assert head.split("  ")[0] == "op" and set(rule) == {"-"} and first.split()[0] == "matmul"
    assert network().cost().table("module").splitlines()[-1].split()[:2] == ["total", "21"]
    b = Builder()
    assert "0 FLOPs" in str(b.program(b.input("argument", "x")).cost())


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name, way in (("cost.svg", "module"), ("cost.png", "op")):
        network().cost().draw(tmp_path / name, way)
    assert b"<svg" in (tmp_path / "cost.svg").read_bytes() and (tmp_path / "cost.png").read_bytes()[1:4] == b"PNG"


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pullback.program.text.find_spec", lambda name: None)
    for thing in (network().cost(), network().memory()):
        with pytest.raises(PullbackError, match=r"pip install 'pullback\[train\]'"):
            thing.draw(tmp_path / "picture.png")


def test_lines_that_are_not_known() -> None:
    b = Builder()
    x = b.input("argument", "x", 3)
    y = b(relu, x)
    with b.at(line=line(1, "z")):
        b(cat, y, y, dim=0)
    assert list(b.program(y).cost().by("line")) == ["-", "train.py:1"]
