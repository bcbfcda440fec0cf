"""Are two Programs the same, and where not? Ids, names and lines do not matter; values are matched as they come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from .items import OPSET, SCHEMA, encode, pack
from .program import Instruction, Program, Value
from .text import form, in_order, item, options

Results = list[tuple[Value, str]]  # and where they go


def same(a: Program, b: Program) -> bool:
    """Do they compute the same in the same way?"""
    return fingerprint(a) == fingerprint(b)


def fingerprint(program: Program) -> str:
    """A SHA-256 of all that decides what is computed: ops, parameters, shapes, strides, types, constants."""
    place = {value: n for n, value in enumerate(program.values())}
    parts = [
        [SCHEMA, OPSET],
        [[given.kind, _look(given.value)] for given in program.inputs],
        [[_look(value), pack(array)] for value, array in program.constants.items()],
        _calls(program),
        [[encode(x, place, fingerprint) for x in i.inputs] for i in program.instructions],
        [place[value] for value in program.outputs],
        [[place[write.value], write.input] for write in program.writes],
    ]
    return hashlib.sha256("\n".join(map(_text, parts)).encode()).hexdigest()


def _calls(program: Program) -> list[str]:
    """Each instruction, but for which values it reads."""
    regions: dict[int, int] = {0: 0}
    calls = []
    for i in program.instructions:
        params = {name: encode(x, {}, fingerprint) for name, x in {**i.op.defaults, **i.params}.items()}
        given = [_look(x) if type(x) is Value else None for x in i.inputs]
        region = regions.setdefault(i.region, len(regions))
        calls.append(_text([i.op.name, params, given, [_look(v) for v in i.outputs], region]))
    return calls


def _look(v: Value) -> Any:
    """All that can be known of a value; the stride of a dimension of size 1 is nobody's business."""
    strides = None if in_order(v) else [s if n > 1 else 0 for n, s in zip(v.shape, v.strides, strict=True)]
    return [v.dtype.name, list(v.shape), strides, v.weak]


def _text(x: Any) -> str:
    return json.dumps(x, sort_keys=True)


def compare(a: Program, b: Program) -> list[str]:
    """What is different in b, in sentences; nothing if they are the same."""
    return list(_Comparison(a, b).sentences())


class _Comparison:
    def __init__(self, a: Program, b: Program) -> None:
        self.a, self.b = a, b
        self.origins, self.others = _origins(a), _origins(b)
        self.match: dict[Value, Value] = {}  # a's values and those of b that stand for them

    def sentences(self) -> Iterator[str]:
        """All that differs, in the order in which it comes."""
        a, b = self.a, self.b
        self.match.update(zip(_inputs(a), _inputs(b), strict=False))
        self.match.update(zip(a.constants, b.constants, strict=False))
        yield from _lists("input", list(_inputs(a).values()), list(_inputs(b).values()))
        yield from _lists("constant", _constants(a), _constants(b))
        yield from self.instructions()
        yield from self.results("output", [(v, "") for v in a.outputs], [(v, "") for v in b.outputs])
        yield from self.results("write", _writes(a), _writes(b))

    def instructions(self) -> Iterator[str]:
        """Align the instructions by what they are, then compare what they read."""
        a, b = self.a.instructions, self.b.instructions
        for equal, i, i_end, j, j_end in _aligned(_calls(self.a), _calls(self.b)):
            for k, (x, y) in enumerate(zip(a[i:i_end], b[j:j_end], strict=False)):
                self.match.update(zip(x.outputs, y.outputs, strict=False))
                if equal:
                    yield from (f"instruction {i + k}: {text}" for text in self.operands(x, y))
                else:
                    yield f"instruction {i + k}: {told(x)} became {told(y)}"
            n = min(i_end - i, j_end - j)
            yield from (f"instruction {i + n + k}: {told(x)} is gone" for k, x in enumerate(a[i + n : i_end]))
            yield from (f"instruction {j + n + k}: {told(y)} is new" for k, y in enumerate(b[j + n : j_end]))

    def operands(self, x: Instruction, y: Instruction) -> Iterator[str]:
        """Of two like instructions: what they read."""
        for n, (u, v) in enumerate(zip(x.inputs, y.inputs, strict=True)):
            if type(u) is Value:
                if self.match.get(u) is not v:
                    yield f"operand {n} of {told(x)}, {self.origins[u]}, became {self.others[v]}"
            elif _text(encode(u, {}, fingerprint)) != _text(encode(v, {}, fingerprint)):
                yield f"operand {n} of {told(x)}, {item(u)}, became {item(v)}"

    def results(self, what: str, firsts: Results, seconds: Results) -> Iterator[str]:
        """Compare what is given out, and where to."""
        for n, ((x, to), (y, other)) in enumerate(zip(firsts, seconds, strict=False)):
            if to != other or self.match.get(x) is not y:
                yield f"{what} {n}: {self.origins[x]}{to}, became {self.others[y]}{other}"
        n = min(len(firsts), len(seconds))
        yield from (f"{what} {n + k}: {self.origins[x]}{to}, is gone" for k, (x, to) in enumerate(firsts[n:]))
        yield from (f"{what} {n + k}: {self.others[y]}{to}, is new" for k, (y, to) in enumerate(seconds[n:]))


def _aligned(one: Sequence[str], two: Sequence[str]) -> Iterator[tuple[bool, int, int, int, int]]:
    """Stretches of both, equal or not: start and end in one, start and end in two. Equal ends are cut off first."""
    n = min(len(one), len(two))
    head = next((i for i in range(n) if one[i] != two[i]), n)
    tail = next((i for i in range(n - head) if one[-1 - i] != two[-1 - i]), n - head)
    yield True, 0, head, 0, head
    middle = SequenceMatcher(None, one[head : len(one) - tail], two[head : len(two) - tail], autojunk=False)
    for tag, i, i_end, j, j_end in middle.get_opcodes():
        yield tag == "equal", head + i, head + i_end, head + j, head + j_end
    yield True, len(one) - tail, len(one), len(two) - tail, len(two)


def told(instruction: Instruction) -> str:
    """`sum(f32[3, 4], dim=1) -> f32[3]`"""
    given = [_told_value(x) if type(x) is Value else item(x) for x in instruction.inputs]
    results = ", ".join(_told_value(v) for v in instruction.outputs)
    again = f" in region {instruction.region}" if instruction.region else ""
    return f"{instruction.op.name}({', '.join([*given, *options(instruction)])}) -> {results}{again}"


def _told_value(v: Value) -> str:
    return form(v) + (" (a Python number)" if v.weak else "")


def _origins(program: Program) -> dict[Value, str]:
    """Where each value comes from."""
    origins = {given.value: f"input {n}" for n, given in enumerate(program.inputs)}
    origins.update((value, f"constant {n}") for n, value in enumerate(program.constants))
    for n, instruction in enumerate(program.instructions):
        for k, value in enumerate(instruction.outputs):
            which = f"result {k}" if len(instruction.outputs) > 1 else "the result"
            origins[value] = f"{which} of instruction {n} ({instruction.op.name})"
    return origins


def _inputs(program: Program) -> dict[Value, str]:
    return {given.value: f"{given.kind} {_told_value(given.value)}" for given in program.inputs}


def _constants(program: Program) -> list[str]:
    sums = [hashlib.sha256(pack(array).encode()).hexdigest()[:8] for array in program.constants.values()]
    return [f"{_told_value(value)} with sum {sum}" for value, sum in zip(program.constants, sums, strict=True)]


def _writes(program: Program) -> Results:
    return [(w.value, ", to new state" if w.input is None else f", to input {w.input}") for w in program.writes]


def _lists(what: str, firsts: list[str], seconds: list[str]) -> Iterator[str]:
    n = min(len(firsts), len(seconds))
    changed = enumerate(zip(firsts, seconds, strict=False))
    yield from (f"{what} {k}: {one} became {other}" for k, (one, other) in changed if one != other)
    yield from (f"{what} {n + k}: {text} is gone" for k, text in enumerate(firsts[n:]))
    yield from (f"{what} {n + k}: {text} is new" for k, text in enumerate(seconds[n:]))
