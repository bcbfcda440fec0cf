"""Programs as files, and as something to compare.

A file is JSON. Values are counted as they come: inputs, constants, then what instructions make; `n` below is such a
number.

    format, schema, opset     "pullback program"; versions of this form and of the set of ops
    name                      text
    values                    [{"id", "dtype", "shape", "strides" if not in order, "weak" if so}, ...]
    inputs                    [[n, kind, name], ...]
    constants                 [[n, bytes in base64, little-endian and in order], ...]
    lines                     [[file, number, text], ...]
    instructions              [{"op", "inputs": [operand, ...], "params": {name: item}, "outputs": [n, ...],
                                "phase", "module", "region", "line": place in lines or null}, ...]
    outputs                   [[n, name or ""], ...]
    writes                    [[name, n, place in inputs or null], ...]
    sha256                    of all the above as `save` writes it; may be missing, but not wrong

Operands and items are JSON's null, true, numbers, texts and lists; what JSON lacks is an object with one key:

    {"value": n}  {"float": "nan"}  {"tuple": [item, ...]}  {"dict": [[item, item], ...]}  {"slice": [item, item, item]}
    {"ellipsis": null}  {"dtype": name}  {"numpy dtype": name}  {"array": [name, shape, base64]}
    {"scalar": [name, base64]}  {"program": {...}}
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, NoReturn

from ..errors import PullbackError, fail
from ..io.binary import FormatError, writing
from ..ops import OPS
from .compare import compare as compare
from .compare import fingerprint as fingerprint
from .compare import same as same
from .items import OPSET, SCHEMA, decode, dtype_named, encode, expect, index, name_of, pack, sizes, unpack
from .program import PHASES, Input, Instruction, Line, Program, Value, Write, contiguous

FORMAT = "pullback program"
KINDS = ("argument", "state", "number")


def save(program: Program, path: str | os.PathLike[str]) -> None:
    """Write a file; it is replaced at once or not at all."""
    content = to_json(program)
    with writing(path) as file:
        file.write(_text({**content, "sha256": _sum(content)}).encode())


def load(path: str | os.PathLike[str]) -> Program:
    """Read a file that `save` wrote."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        content = json.loads(data.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        _damaged(f"it is not JSON: {error}")
    return from_json(content)


def to_json(program: Program) -> dict[str, Any]:
    """The Program as dicts, lists, texts and numbers."""
    values = list(program.check().values())
    place = {value: n for n, value in enumerate(values)}
    lines = list(dict.fromkeys(i.line for i in program.instructions if i.line is not None))
    number = {line: n for n, line in enumerate(lines)}

    def instruction(it: Instruction) -> dict[str, Any]:
        if OPS.get(it.op.name) is not it.op:
            fail(PullbackError, f"{it.op.name} is not one of pullback's own ops: files cannot hold it")
        return {
            "op": it.op.name,
            "inputs": [encode(x, place, to_json) for x in it.inputs],
            "params": {name: encode(x, place, to_json) for name, x in it.params.items()},
            "outputs": [place[v] for v in it.outputs],
            "phase": it.phase,
            "module": it.module,
            "region": it.region,
            "line": None if it.line is None else number[it.line],
        }

    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "opset": OPSET,
        "name": program.name,
        "values": [{"id": v.id, **spec(v)} for v in values],
        "inputs": [[place[i.value], i.kind, i.name] for i in program.inputs],
        "constants": [[place[v], pack(array)] for v, array in program.constants.items()],
        "lines": [list(line) for line in lines],
        "instructions": [instruction(i) for i in program.instructions],
        "outputs": [[place[v], name] for v, name in zip(program.outputs, program.names, strict=True)],
        "writes": [[w.name, place[w.value], w.input] for w in program.writes],
    }


def from_json(content: Any) -> Program:
    """The Program that `to_json` told; anything else is an error."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        _damaged(f'it does not say "format": "{FORMAT}"')
    for what, ours in (("schema", SCHEMA), ("opset", OPSET)):
        if type(content.get(what)) is not int:
            _damaged(f"{what} is {content.get(what)!r}, and not a number")
        if content[what] > ours:
            newer = f"the program was saved by a newer pullback: {what} {content[what]}, while this one knows {ours}"
            fail(FormatError, newer, "upgrade pullback, or save the program again with this version")
    if content.get("sha256") not in (None, _sum(content)):
        _damaged("its checksum does not agree")
    try:
        return _program(content).check()
    except PullbackError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        _damaged(f"{type(error).__name__}: {error}")


def _program(content: dict[str, Any]) -> Program:
    values = [_value(**fields) for fields in content["values"]]
    lines = [Line(expect(str, file), expect(int, n), expect(str, text)) for file, n, text in content["lines"]]

    def at(n: Any) -> Value:
        return values[index(n, len(values))]

    def instruction(fields: dict[str, Any]) -> Instruction:
        name = expect(str, fields["op"])
        if name not in OPS:
            fail(FormatError, f"the program has an op {name!r}, which this version of pullback does not know")
        if fields["phase"] not in PHASES:
            raise ValueError(f"{fields['phase']!r} is no phase")
        return Instruction(
            OPS[name],
            [decode(x, at, from_json) for x in fields["inputs"]],
            {expect(str, k): decode(x, at, from_json) for k, x in fields["params"].items()},
            [at(n) for n in fields["outputs"]],
            module=expect(str, fields["module"]),
            phase=fields["phase"],
            region=expect(int, fields["region"]),
            line=None if fields["line"] is None else lines[index(fields["line"], len(lines))],
        )

    inputs = [Input(at(n), expect(str, kind), expect(str, name)) for n, kind, name in content["inputs"]]
    if wrong := [given.kind for given in inputs if given.kind not in KINDS]:
        raise ValueError(f"{wrong[0]!r} is no kind of input")
    constants = {at(n): unpack(at(n).dtype, at(n).shape, text) for n, text in content["constants"]}
    instructions = [instruction(fields) for fields in content["instructions"]]
    writes = [
        Write(expect(str, name), at(n), None if i is None else index(i, len(inputs)))
        for name, n, i in content["writes"]
    ]
    outputs = [at(n) for n, _ in content["outputs"]]
    names = [expect(str, name) for _, name in content["outputs"]]
    program = Program(expect(str, content["name"]), inputs, constants, instructions, outputs, writes, names)
    if list(program.values()) != values:
        raise ValueError("values do not stand in the order in which they come")
    return program


def spec(v: Value) -> dict[str, Any]:
    """All that a Value is, but its id."""
    fields: dict[str, Any] = {"dtype": name_of(v.dtype), "shape": list(v.shape)}
    if v.strides != contiguous(v.shape, v.dtype.itemsize):
        fields["strides"] = list(v.strides)
    return {**fields, "weak": True} if v.weak else fields


def _value(id: Any, dtype: Any, shape: Any, strides: Any = None, weak: Any = False) -> Value:
    dims = sizes(shape)
    steps = None if strides is None else tuple(expect(int, s) for s in strides)
    if steps is not None and len(steps) != len(dims):
        raise ValueError(f"shape {shape} has strides {strides}")
    return Value(expect(int, id), dims, dtype_named(dtype), steps, expect(bool, weak))


def _text(content: Any) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(_text({k: v for k, v in content.items() if k != "sha256"}).encode()).hexdigest()


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _damaged(why: str) -> NoReturn:
    fail(
        FormatError, f"this is not a program pullback can read: {why}", "save it again; a damaged file cannot be mended"
    )
