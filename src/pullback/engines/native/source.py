"""A plan as C: a function for each distinct loop, and the step, which calls loops and kernels in order.

The text has no sizes in it. They stand in a table, as do the addresses of places; so a step for another batch size, or
with its arena laid out in another way, is the same text and is not compiled again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...program.program import Instruction
from .loops import C, Loop, get
from .place import Place
from .plan import Call, Else, End, Fork, Host, Opening, Plan, Step, Test, Turns

IN = "    "
BLOCKS = (Opening, Test, Else, End)


class Source(NamedTuple):
    """C, and the tables that go with it."""

    text: str
    kernels: dict[str, str]  # that it calls, and the family of each
    pieces: list[Host | str]  # the step's parts: a function of the text, or an instruction for NumPy
    places: list[Place]
    numbers: list[int]


def write(plan: Plan) -> Source:
    """The C source of a plan."""
    functions: dict[str, str] = {}  # the text of a loop, without its name -> its name
    texts: list[str] = []
    kernels: dict[str, str] = {}
    prototypes: dict[str, str] = {}
    places: list[Place] = []
    numbers: list[int] = []
    pieces: list[Host | str] = []
    steps: list[str] = []
    lines: list[str] = []
    counters: dict[Step, str] = {}  # of turns, and of questions
    deep = [IN]  # how far lines are in

    def argument(x: Any) -> str:
        if isinstance(x, Place):
            places.append(x)
            address = f"p[{len(places) - 1}]"
            for turns, stride in x.moving:
                address += f" + {counters[turns]} * {argument(stride)}"
            return f"({C[x.dtype]} *)({address})" if x.moving else f"({C[x.dtype]} *){address}"
        if x is None:
            return "NULL"
        if isinstance(x, bool):
            return str(int(x))
        if isinstance(x, int):
            numbers.append(x)
            return f"n[{len(numbers) - 1}]"
        return repr(float(x)) if isinstance(x, float) else str(x)

    def holds(step: Fork | Test) -> list[str]:
        """All threads read it before any goes on and may change it."""
        counters[step] = f"yes_{len(counters)}"
        fine = " && !pb_faulty(t)" if isinstance(step, Test) else ""
        known = get(step.place.dtype, f"*{argument(step.place)}")
        return [f"bool {counters[step]} = {known} != 0{fine};", "sync(t);"]

    def block(step: Step) -> list[str]:
        """The beginning, the middle or the end of a block."""
        if isinstance(step, Turns):
            k = counters[step] = f"turn_{len(counters)}"
            n = argument(step.count)
            turns = f"{k} = {n} - 1; {k} >= 0; {k}--" if step.reverse else f"{k} = 0; {k} < {n}; {k}++"
            return [f"for (i64 {turns}) {{"]
        if isinstance(step, Fork):
            return [*holds(step), f"if ({counters[step]}) {{"]
        if isinstance(step, Test):
            return [*holds(step), f"if (!{counters[step]}) break;"]
        if isinstance(step, Else):
            return ["} else {"]
        return ["}"]

    def call(step: Step) -> list[str]:
        """A loop or a kernel; then all threads wait for each other."""
        if isinstance(step, Loop):
            text, given = step.source("@")
            if text not in functions:
                functions[text] = f"loop_{len(functions)}"
                texts.append(text.replace("@", functions[text], 1))
            name = functions[text]
        else:
            assert isinstance(step, Call)
            name, given = step.function, step.arguments
            kernels[name] = step.family
        called = ", ".join(["t", *map(argument, given)])
        if isinstance(step, Call):
            prototypes.setdefault(name, prototype(name, given))
        return [f"{name}({called});", "sync(t);"]

    def say(*texts: str) -> None:
        lines.extend("".join([*deep, text]) for text in texts)

    def close() -> None:
        if lines:
            name = f"step_{len(steps)}"
            steps.append("\n".join([f"CALLS KERNEL void {name}(T *t, char **p, const i64 *n) {{", *lines, "}"]))
            pieces.append(name)
            lines.clear()

    for k, step in enumerate(plan.steps):
        if isinstance(step, Host):
            close()
            pieces.append(step)
            continue
        if k == plan.safe and plan.safe > 0 and lines:
            say("if (pb_faulty(t)) return; // from here on state is written")
        if step.begins:
            say("if (!t->id) { // so little work that one thread does it")
            say(f"{IN}T one = {{.count = 1, .team = t->team}};", f"{IN}T *t = &one;")
            deep.append(IN)
        if isinstance(step, (Else, End)):
            deep.pop()
        if not (isinstance(step, Loop) and step.idle):
            say(*(f"// {text}" for text in comments(step)), *(block(step) if isinstance(step, BLOCKS) else call(step)))
        if isinstance(step, (Opening, Else)):
            deep.append(IN)
        if step.ends:
            deep.pop()
            say("}", "sync(t);")
    close()
    text = "\n\n".join(['#include "pullback.h"\n#include "functions.h"', *prototypes.values(), *texts, *steps]) + "\n"
    return Source(text, kernels, pieces, places, numbers)


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
