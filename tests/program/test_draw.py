"""Graphs of Programs."""

from __future__ import annotations

import re
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from tests.program.build import Builder, network

from pullback.errors import ArgumentError, PullbackError
from pullback.ops.activation import relu
from pullback.ops.arithmetic import add
from pullback.ops.joining import split
from pullback.program import draw
from pullback.program.draw import to_graphviz, to_mermaid

STRANGE = 'a "b" \\ <c> & #d `e` [f]\nend'


def named(name: str, module: str = "") -> Builder:
    b = Builder()
    x = b.input("argument", name, 3)
    with b.at(module=module):
        y = b(relu, x)
    b.write(y, name)
    return b


def test_graphviz() -> None:
    text = to_graphviz(network())
    assert text.startswith('digraph "train_step" {\n') and text.endswith("}\n")
    assert text.count("{") == text.count("}")
    assert re.findall(r'^    label="(.*)"', text, re.M) == ["forward", "backward", "update"]
    assert re.findall(r'^      label="(.*)"', text, re.M) == ["fc1", "fc2", "fc2", "fc1"]
    assert 'in0 [shape=ellipse, label="x\\nf32[8, 10]"]' in text
    assert 'c0 [shape=note, label="constant\\nf32[]"]' in text
    assert 'i1 [shape=box, label="matmul\\nf32[8, 16]"]' in text
    assert 'out0 [shape=doubleoctagon, label="output 0\\nf32[]"]' in text
    assert 'w0 [shape=cylinder, label="model.fc2.bias\\nf32[3]"]' in text
    for edge in ("in0 -> i1", "i0 -> i1", "c0 -> i8", "i7 -> out0", 'i17 -> w1 [label="1"]'):
        assert f"\n  {edge}\n" in text


def test_mermaid() -> None:
    text = to_mermaid(network())
    assert text.startswith("flowchart TD\n")
    lines = [line.strip() for line in text.splitlines()]
    assert lines.count("end") == sum(line.startswith("subgraph") for line in lines) == 3 + 4
    for expected in (
        'in0(["x<br/>f32[8, 10]"])', 'c0{{"constant<br/>f32[]"}}', 'i1["matmul<br/>f32[8, 16]"]',
        'out0[["output 0<br/>f32[]"]]', 'w0[("model.fc2.bias<br/>f32[3]")]', "in0 --> i1", "i7 --> out0",
        'i17 -->|"1"| w1', 'subgraph p1["forward"]', 'subgraph p1m0["fc1"]',
    ):  # fmt: skip
        assert expected in lines


@pytest.mark.parametrize("write", [to_graphviz, to_mermaid])
def test_every_value_read_has_its_edge(write: object) -> None:
    program = network()
    text = write(program)  # type: ignore[operator]
    edges = [line for line in text.splitlines() if re.search(r" --?> ?", line)]
    assert len(edges) == sum(len(i.values) for i in program.instructions) + len(program.results)
    nodes = set(re.findall(r"^ +(\w+)(?= ?[\[({])", text, re.M)) - {"digraph", "node"}
    ends = {end for line in edges for end in re.findall(r"\b(?:in|c|i|out|w)\d+\b", line)}
    assert ends <= nodes


def test_labels_are_escaped() -> None:
    program = named(STRANGE, module=STRANGE).program(name=STRANGE)
    dot = to_graphviz(program)
    assert '"a \\"b\\" \\\\ <c> & #d `e` [f]\\nend' in dot
    assert all(len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0 for line in dot.splitlines())
    mermaid = to_mermaid(program)
    assert '"a #34;b#34; #92; #60;c#62; #38; #35;d #96;e#96; [f]#10;end' in mermaid
    assert all(line.count('"') in (0, 2) for line in mermaid.splitlines())


def test_several_results_are_told_apart() -> None:
    b = Builder()
    one, two = b(split, b.input("argument", "x", 4), sizes=(2, 2), dim=0)
    program = b.program(b(add, one, two))
    assert 'i0 -> i1 [label="0"]' in to_graphviz(program) and 'i0 -->|"1"| i1' in to_mermaid(program)
    assert "split sizes=(2, 2), dim=0\\nf32[2], f32[2]" in to_graphviz(program)


def test_the_suffix_chooses(tmp_path: Path) -> None:
    program = network()
    program.draw(tmp_path / "step.dot")
    program.draw(str(tmp_path / "step.mmd"))
    assert (tmp_path / "step.dot").read_text() == to_graphviz(program)
    assert (tmp_path / "step.mmd").read_text() == to_mermaid(program)
    for name in ("step.png", "step"):
        with pytest.raises(ArgumentError, match=r"use \.svg, \.dot or \.mmd"):
            program.draw(tmp_path / name)


def test_svg_needs_graphviz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(draw.shutil, "which", lambda name: None)
    with pytest.raises(PullbackError, match="`dot` of Graphviz, which is not installed"):
        network().draw(tmp_path / "step.svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("script", "works"), [("cat", True), ("echo no luck >&2; exit 3", False)])
def test_svg_is_what_dot_gives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, works: bool) -> None:
    command = tmp_path / "dot"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(draw.shutil, "which", lambda name: str(command))
    if works:
        network().draw(tmp_path / "step.svg")
        assert (tmp_path / "step.svg").read_text() == to_graphviz(network())
    else:
        with pytest.raises(PullbackError, match="could not draw the program: no luck"):
            network().draw(tmp_path / "step.svg")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_understands_it(tmp_path: Path) -> None:
    named(STRANGE, module=STRANGE).program(name=STRANGE).draw(tmp_path / "step.svg")
    assert b"<svg" in (tmp_path / "step.svg").read_bytes()


def test_an_empty_program() -> None:
    b = Builder()
    b.constant(np.ones(2))
    program = b.program(b.input("argument", "x", 2))
    assert "in0 -> out0" in to_graphviz(program) and "in0 --> out0" in to_mermaid(program)
