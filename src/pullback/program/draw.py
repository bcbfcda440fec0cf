"""A Program as a graph: text for Graphviz or Mermaid, grouped by phase and module."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import ArgumentError, PullbackError, fail
from .program import Program, Value
from .text import form, options

INPUT, CONSTANT, OP, OUTPUT, WRITE = "input", "constant", "op", "output", "write"

DOT = {INPUT: "ellipse", CONSTANT: "note", OP: "box", OUTPUT: "doubleoctagon", WRITE: "cylinder"}
MERMAID = {
    INPUT: ("([", "])"),
    CONSTANT: ("{{", "}}"),
    OP: ("[", "]"),
    OUTPUT: ("[[", "]]"),
    WRITE: ("[(", ")]"),
}


class Node(NamedTuple):
    """A box: its key, what it is, the lines of its label, and the phase and module it stands in."""

    key: str
    kind: str
    label: tuple[str, ...]
    phase: str = ""
    module: str = ""


Edge = tuple[str, str, str]  # from, to, and a label where an op has several results


def draw(program: Program, path: str | os.PathLike[str]) -> None:
    """Write the graph as .dot or .mmd; as .svg, if the `dot` command of Graphviz is there."""
    suffix = Path(path).suffix
    if suffix in (".dot", ".mmd"):
        Path(path).write_text((to_graphviz if suffix == ".dot" else to_mermaid)(program), encoding="utf-8")
    elif suffix == ".svg":
        picture = _svg(to_graphviz(program))
        Path(path).write_bytes(picture)
    else:
        fail(
            ArgumentError,
            f"a program cannot be drawn as {suffix or 'a file without a suffix'}",
            "use .svg, .dot or .mmd",
        )


def _svg(text: str) -> bytes:
    command = shutil.which("dot")
    if command is None:
        todo = "install Graphviz, or draw to .dot or .mmd and turn that into a picture elsewhere"
        fail(PullbackError, "an .svg needs the command `dot` of Graphviz, which is not installed", todo)
    done = subprocess.run([command, "-Tsvg"], input=text.encode(), capture_output=True, check=False)
    if done.returncode:
        fail(PullbackError, f"`dot` could not draw the program: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def to_graphviz(program: Program) -> str:
    """The graph in the language of Graphviz."""
    nodes, edges = _graph(program)
    lines = [f"digraph {_dot(program.name)} {{", "  node [fontsize=10]"]
    for n, (phase, modules) in enumerate(_groups(nodes).items()):
        lines += [f"  subgraph cluster_{n} {{", f"    label={_dot(phase)}"] if phase else []
        for m, (module, members) in enumerate(modules.items()):
            lines += [f"    subgraph cluster_{n}_{m} {{", f"      label={_dot(module)}"] if module else []
            lines += [f"      {node.key} [shape={DOT[node.kind]}, label={_dot(*node.label)}]" for node in members]
            lines += ["    }"] if module else []
        lines += ["  }"] if phase else []
    lines += [f"  {a} -> {b}{f' [label={_dot(label)}]' if label else ''}" for a, b, label in edges]
    return "\n".join([*lines, "}\n"])


def to_mermaid(program: Program) -> str:
    """The graph in the language of Mermaid."""
    nodes, edges = _graph(program)
    lines = ["flowchart TD"]
    for n, (phase, modules) in enumerate(_groups(nodes).items()):
        lines += [f"  subgraph p{n}[{_mermaid(phase)}]"] if phase else []
        for m, (module, members) in enumerate(modules.items()):
            lines += [f"    subgraph p{n}m{m}[{_mermaid(module)}]"] if module else []
            for node in members:
                left, right = MERMAID[node.kind]
                lines.append(f"      {node.key}{left}{_mermaid(*node.label)}{right}")
            lines += ["    end"] if module else []
        lines += ["  end"] if phase else []
    lines += [f"  {a} -->{f'|{_mermaid(label)}|' if label else ''} {b}" for a, b, label in edges]
    return "\n".join([*lines, ""])


def _graph(program: Program) -> tuple[list[Node], list[Edge]]:
    nodes, edges = list(_nodes(program)), []
    makers: dict[Value, tuple[str, str]] = {given.value: (f"in{n}", "") for n, given in enumerate(program.inputs)}
    makers.update((value, (f"c{n}", "")) for n, value in enumerate(program.constants))
    for n, instruction in enumerate(program.instructions):
        edges += [(makers[v][0], f"i{n}", makers[v][1]) for v in instruction.values]
        several = len(instruction.outputs) > 1
        makers.update((v, (f"i{n}", str(k) if several else "")) for k, v in enumerate(instruction.outputs))
    for key, results in (("out", program.outputs), ("w", [write.value for write in program.writes])):
        edges += [(makers[v][0], f"{key}{n}", makers[v][1]) for n, v in enumerate(results)]
    return nodes, edges


def _nodes(program: Program) -> Iterator[Node]:
    for n, given in enumerate(program.inputs):
        yield Node(f"in{n}", INPUT, (given.name, form(given.value)))
    for n, value in enumerate(program.constants):
        yield Node(f"c{n}", CONSTANT, ("constant", form(value)))
    for n, i in enumerate(program.instructions):
        label = (f"{i.op.name} {', '.join(options(i))}".rstrip(), ", ".join(map(form, i.outputs)))
        yield Node(f"i{n}", OP, label, i.phase, i.module)
    for n, value in enumerate(program.outputs):
        yield Node(f"out{n}", OUTPUT, (f"output {n}", form(value)))
    for n, write in enumerate(program.writes):
        yield Node(f"w{n}", WRITE, (write.name, form(write.value)))


def _groups(nodes: list[Node]) -> dict[str, dict[str, list[Node]]]:
    groups: dict[str, dict[str, list[Node]]] = {}
    for node in nodes:
        groups.setdefault(node.phase, {}).setdefault(node.module, []).append(node)
    return groups


def _dot(*lines: str) -> str:
    """A label in quotes."""
    text = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for line in lines if line)
    return f'"{text}"'


def _mermaid(*lines: str) -> str:
    """A label in quotes; what could mean something to Mermaid or HTML goes by number."""
    return '"' + "<br/>".join(re.sub(r'["#&<>`\\\n]', lambda c: f"#{ord(c[0])};", line) for line in lines if line) + '"'
