"""A Program as text to read: what comes in, the instructions by phase and module, what goes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from .cost import nested, rows_of, stored
from .memory import Memory
from .program import Instruction, Line, Program, Value
from .text import form, human, item, options, place, size

FEW = 8  # so many of a kind are shown; of more, the first ones
WIDE = 72  # columns for a call; where it needs more, names give way to ids, the longest first
LONG = (48, 32, 20, 0)  # the names that may stay
TEXT = 60  # of a line of the user's program, so much is shown


class Row(NamedTuple):
    """One instruction in columns."""

    call: str
    forms: str
    flops: str
    line: str


def show(program: Program, full: bool = False) -> str:
    """The text; `full` leaves nothing out."""
    names = names_of(program)
    lines = list(_lines(program, names, full, set()))
    rows = [line for line in lines if isinstance(line, Row)]
    widths = [max((len(row[i]) for row in rows if i or len(row.call) <= WIDE), default=0) for i in range(3)]
    told = [_aligned(line, widths) if isinstance(line, Row) else line for line in lines]
    return "\n".join([header(program), *_came_in(program, full), *told, *_gone_out(program, names, full)])


def header(program: Program) -> str:
    """The line on top."""
    flops = sum(row.flops for row in rows_of(program))
    state = sum(stored(given.value) for given in program.inputs if given.kind == "state")
    many = f"{len(program):,} instruction{'' if len(program) == 1 else 's'}"
    memory = f"{size(state)} of state, {size(Memory(program).peak)} at the peak"
    return f"{program.name}: {many}, {human(flops)} FLOPs, {memory}"


def names_of(program: Program) -> dict[Value, str]:
    """What values are called: inputs by their names, where these tell them apart; else %id."""
    given = Counter(i.name for i in program.inputs)
    names = {value: f"%{value.id}" for value in program.values()}
    names.update((i.value, i.name) for i in program.inputs if i.name and given[i.name] == 1)
    return names


def _came_in(program: Program, full: bool) -> Iterator[str]:
    """Inputs by kind, and constants."""
    for kind in dict.fromkeys(given.kind for given in program.inputs):
        rows = [(f"%{g.value.id}", g.name, form(g.value), stored(g.value)) for g in program.inputs if g.kind == kind]
        yield f"\n{kind}\n{_listed(rows, full)}"
    if program.constants:
        rows = [(f"%{v.id}", _content(x, full), form(v), stored(v)) for v, x in program.constants.items()]
        yield f"\nconstant\n{_listed(rows, full)}"


def _gone_out(program: Program, names: dict[Value, str], full: bool) -> Iterator[str]:
    if program.outputs:
        called = [f"-> {name}" if name else "" for name in program.names]
        rows = [(names[v], name, form(v), stored(v)) for v, name in zip(program.outputs, called, strict=True)]
        yield f"\nreturns\n{_listed(rows, full)}"
    if program.writes:
        rows = [(names[w.value], f"-> {w.name}", form(w.value), stored(w.value)) for w in program.writes]
        yield f"\nwrites\n{_listed(rows, full)}"


def _listed(rows: Sequence[tuple[str, str, str, int]], full: bool) -> str:
    """Rows in columns; of many, the first, and how much the others are."""
    count = len(rows) if full or len(rows) <= FEW else FEW - 2
    one, two = (max(map(len, column)) for column in zip(*[row[:2] for row in rows[:count]], strict=True))
    lines = [f"{row[0]:<{one}}{'  ' if two else ''}{row[1]:<{two}}  {row[2]}" for row in rows[:count]]
    if rest := rows[count:]:
        lines.append(f"... and {len(rest)} more, {size(sum(row[3] for row in rest))}; show(full=True) lists them")
    return "\n".join(f"  {line}" for line in lines)


def _lines(
    program: Program, names: dict[Value, str], full: bool, seen: set[Line], indent: str = "", outer: str | None = None
) -> Iterator[str | Row]:
    """The instructions, with a heading for each run of one phase and module; a loop's body stands below it."""

    def key(i: Instruction) -> tuple[str, str, int]:
        return i.phase, i.module, i.region

    for (phase, module, region), run in groupby(program.instructions, key):
        again = f", computed again (region {region})" if region else ""
        if outer is None or module not in ("", outer):
            yield f"{indent or chr(10)}{phase}{'  ' + module if module else ''}{again}"
        for instruction in run:
            yield _row(instruction, names, full, seen, indent)
            for body in nested(instruction):
                inner = names_of(body)
                given = ", ".join(f"{inner[g.value]}: {form(g.value)}" for g in body.inputs)
                results = ", ".join(inner[v] for v in body.outputs)
                yield f"{indent}    {body.name}({given})"
                yield from _lines(body, inner, full, seen, indent + "    ", module)
                yield f"{indent}    returns {results}"


def _row(i: Instruction, names: dict[Value, str], full: bool, seen: set[Line], indent: str) -> Row:
    flops = sum(row.flops for row in rows_of(Program("", (), {}, [i], ())))
    line = "" if i.line is None else place(i.line)
    if i.line is not None and i.line not in seen:
        seen.add(i.line)
        line += f"  {i.line.text if full or len(i.line.text) <= TEXT else i.line.text[: TEXT - 3] + '...'}"
    runs = [(one, len(list(run))) for one, run in groupby(map(form, i.outputs))]
    forms = ", ".join(_few([f"{one} x{n}" if n > 1 else one for one, n in runs], full))
    return Row(f"{indent}  {_call(i, names, full)}", forms, human(flops) if flops else "-", line)


def _call(i: Instruction, names: dict[Value, str], full: bool) -> str:
    """`%7 = matmul(x, %3)`"""
    outputs, call = ", ".join(_few([names[v] for v in i.outputs], full)), ""
    for longest in LONG:
        inputs = [_name(x, names, longest) if type(x) is Value else item(x) for x in i.inputs]
        inputs = _few(inputs, full or not i.op.variadic)
        call = f"{outputs} = {i.op.name}({', '.join([*inputs, *options(i)])})"
        if len(call) <= WIDE:
            break
    return call


def _name(value: Value, names: dict[Value, str], longest: int) -> str:
    return names[value] if len(names[value]) <= longest else f"%{value.id}"


def _few(texts: list[str], full: bool) -> list[str]:
    """Of many, the first."""
    return texts if full or len(texts) <= FEW else [*texts[: FEW - 2], f"... {len(texts) - FEW + 2} more"]


def _aligned(row: Row, widths: Sequence[int]) -> str:
    cells = [row.call.ljust(widths[0]), row.forms.ljust(widths[1]), row.flops.rjust(widths[2]), row.line]
    return "  ".join(cells).rstrip()


def _content(array: Any, full: bool) -> str:
    """The elements, if they are few."""
    if array.size > FEW and not full:
        return "..."
    return " ".join(str(array.tolist()).split())
