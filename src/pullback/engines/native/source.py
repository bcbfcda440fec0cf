"""A plan as C: a function for each distinct loop, and the step, which calls loops and kernels in order.

The text has no sizes in it. They stand in a table, as do the addresses of places; so a step for another batch size, or
with its arena laid out in another way, is the same text and is not compiled again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...program.program import Instruction
from .loops import C, Loop
from .place import Place
from .plan import Call, Host, Plan, Step


class Source(NamedTuple):
    """C, and the tables that go with it."""

    text: str
    families: list[str]  # of kernels that it calls
    pieces: list[Host | str]  # the step's parts: a function of the text, or an instruction for NumPy
    places: list[Place]
    numbers: list[int]


def write(plan: Plan) -> Source:
    """The C source of a plan."""
    functions: dict[str, str] = {}  # the text of a loop, without its name -> its name
    texts: list[str] = []
    families: dict[str, None] = {"runtime": None}
    prototypes: dict[str, str] = {}
    places: list[Place] = []
    numbers: list[int] = []
    pieces: list[Host | str] = []
    steps: list[str] = []
    lines: list[str] = []

    def argument(x: Any) -> str:
        if isinstance(x, Place):
            places.append(x)
            return f"({C[x.dtype]} *)p[{len(places) - 1}]"
        if x is None:
            return "NULL"
        if isinstance(x, bool):
            return str(int(x))
        if isinstance(x, int):
            numbers.append(x)
            return f"n[{len(numbers) - 1}]"
        return repr(float(x)) if isinstance(x, float) else str(x)

    def close() -> None:
        if lines:
            name = f"step_{len(steps)}"
            steps.append("\n".join([f"KERNEL void {name}(T *t, char **p, const i64 *n) {{", *lines, "}"]))
            pieces.append(name)
            lines.clear()

    for k, step in enumerate(plan.steps):
        if isinstance(step, Host):
            close()
            pieces.append(step)
            continue
        if k == plan.safe and plan.safe > 0 and lines:
            lines.append("    if (pb_faulty(t)) return; // from here on state is written")
        if isinstance(step, Loop) and step.idle:
            continue
        lines.extend(f"    // {text}" for text in comments(step))
        if isinstance(step, Loop):
            text, given = step.source("@")
            if text not in functions:
                functions[text] = f"loop_{len(functions)}"
                texts.append(text.replace("@", functions[text], 1))
            name = functions[text]
        else:
            assert isinstance(step, Call)
            families[step.family] = None
            name, given = step.function, step.arguments
        called = ", ".join(["t", *map(argument, given)])
        if isinstance(step, Call):
            prototypes.setdefault(name, prototype(name, given))
        lines.append(f"    {name}({called});")
        lines.append("    sync(t);")
    close()
    text = "\n\n".join(['#include "pullback.h"\n#include "functions.h"', *prototypes.values(), *texts, *steps]) + "\n"
    return Source(text, list(families), pieces, places, numbers)


def prototype(name: str, arguments: list[Any]) -> str:
    kinds = []
    for x in arguments:
        if isinstance(x, Place):
            kinds.append(f"{C[x.dtype]} *")
        elif x is None:
            kinds.append("void *")
        else:
            kinds.append("double" if isinstance(x, float) else "i64")
    return f"void {name}({', '.join(['T *t', *kinds])});"


def comments(step: Step) -> list[str]:
    """Which of the user's lines a step comes from."""
    found: dict[str, list[Instruction]] = {}
    for i in step.instructions:
        line = i.line
        where = f"{line.file.rpartition('/')[2]}:{line.number}: {line.text}" if line else ""
        found.setdefault(f"{i.module}  {where}".strip().replace("\\", "/"), []).append(i)
    return [f"{', '.join(dict.fromkeys(i.op.name for i in some))}   {where}" for where, some in found.items()]
