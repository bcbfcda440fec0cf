"""Programs in files; comparing two."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.ops.harness import all_cases
from tests.program.build import Builder, looping, network, run, values_for

from pullback import dtypes
from pullback.dtypes import BF16, BOOL, F16, F32, F64, I64
from pullback.errors import PullbackError
from pullback.io.binary import FormatError
from pullback.ops.activation import relu
from pullback.ops.arithmetic import add, mul, sub
from pullback.ops.record import OPS, Op, per_input, same
from pullback.ops.reduction import sum as sum_
from pullback.ops.shape import permute, slice_
from pullback.program import compare, files
from pullback.program.files import from_json, to_json
from pullback.program.items import decode, encode
from pullback.program.program import Instruction, Program, Value

Change = Callable[[Any], None]


def again(program: Program, folder: Path) -> Program:
    program.save(folder / "step.json")
    return Program.load(folder / "step.json")


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    program = network()
    loaded = again(program, tmp_path)
    assert compare.compare(program, loaded) == [] and compare.same(program, loaded)
    assert loaded.show(full=True) == program.show(full=True)  # names, ids, lines, phases and modules, too
    assert to_json(loaded) == to_json(program)
    assert str(loaded.cost()) == str(program.cost()) and str(loaded.memory()) == str(program.memory())


def test_saved_and_loaded_it_computes_the_same(tmp_path: Path) -> None:
    program = network()
    arrays = values_for(program)
    for a, b in zip(run(program, arrays), run(again(program, tmp_path), arrays), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [F64, F32, F16, BF16, I64, BOOL, np.uint8, np.uint32, ">f4"])
def test_constants_come_back_bit_by_bit(dtype: Any, tmp_path: Path) -> None:
    b = Builder()
    array = np.arange(-3, 9).reshape(3, 4).T.astype(dtype)
    empty, scalar = b.constant(np.zeros((0, 2), dtype)), b.constant(np.ones((), dtype))
    given = b.constant(array)
    program = b.program(given, empty, scalar)
    for x, y in zip(program.constants.values(), again(program, tmp_path).constants.values(), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.shape == y.shape and x.dtype.newbyteorder("=") == y.dtype and y.flags.writeable


ITEMS: list[Any] = [
    None, True, False, 0, -(2**70), 1.5, -0.0, float("inf"), float("-inf"), "mean", 'a "quoted" ä\n', ...,
    slice(1, None, -2), slice(None), (1, (2.0, None), [3, "x"]), (), [], {"shape": (1,), 2: ...},
    (slice(1, 3), ..., None), F32, BF16, BOOL,
    dtypes.bfloat16, dtypes.float32, np.dtype(np.uint32), np.float32(1.5), np.int64(3), np.bool_(True),
    np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 3)),
    (("permute", {"dims": (1, 0)}), ("slice", {"key": (1,)})),
]  # fmt: skip


def alike(x: Any, y: Any) -> bool:
    if type(x) is not type(y):
        return False
    if isinstance(x, (np.ndarray, np.generic)):
        return x.dtype == y.dtype and np.array_equal(x, y)
    if isinstance(x, (tuple, list)):
        return len(x) == len(y) and all(map(alike, x, y))
    return repr(x) == repr(y)


@pytest.mark.parametrize("x", ITEMS, ids=repr)
def test_parameters_come_back_as_they_were(x: Any) -> None:
    text = json.dumps(encode(x, {}, to_json), allow_nan=False)
    assert alike(decode(json.loads(text), lambda n: Value(n, (), F32), from_json), x)


def test_nan_comes_back() -> None:
    x = decode(encode(float("nan"), {}, to_json), lambda n: Value(n, (), F32), from_json)
    assert type(x) is float and x != x


def test_the_parameters_of_all_records_come_back() -> None:
    for case in all_cases():
        for x in case.params.values():
            assert alike(decode(json.loads(json.dumps(encode(x, {}, to_json))), lambda n: None, from_json), x), case.id


def test_a_program_within_a_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = looping(monkeypatch)
    loaded = again(program, tmp_path)
    assert compare.same(program, loaded) and loaded.show() == program.show()
    assert type(loaded.instructions[0].params["body"]) is Program


def test_weak_values_and_strides_come_back(tmp_path: Path) -> None:
    b = Builder(first=40)
    x, number = b.input("argument", "x", 3, 4), b.input("number", "lr", weak=True)
    y = b(permute, x, dims=(1, 0))
    loaded = again(b.program(y, number), tmp_path)
    assert [(v.id, v.strides, v.weak) for v in loaded.outputs] == [(42, (4, 16), False), (41, (), True)]


def test_what_is_no_op_of_pullbacks_is_not_saved(tmp_path: Path) -> None:
    own = Op("own", "x", inputs="x", torch="", numpy=lambda x: x, infer=same, dtypes=per_input, samples=list)
    b = Builder()
    program = b.program(b(own, b.input("argument", "x", 3)))
    with pytest.raises(PullbackError, match="own is not one of pullback's own ops"):
        program.save(tmp_path / "step.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("x", [1j, {1, 2}, len, np.array("text"), np.zeros(2, np.complex64)], ids=repr)
def test_what_files_cannot_hold_is_not_saved(x: Any) -> None:
    with pytest.raises(PullbackError, match="file"):
        encode(x, {}, to_json)


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema=files.SCHEMA + 1), "newer pullback: schema 2, while this one knows 1"),
        (lambda c: c.update(opset=files.OPSET + 1), "newer pullback: opset 2, while this one knows 1"),
        (lambda c: c.update(schema="1"), "schema is '1', and not a number"),
        (lambda c: c.pop("format"), "does not say"),
        (lambda c: c.pop("values"), "KeyError: 'values'"),
        (lambda c: c["instructions"][3].update(op="teleport"), "'teleport', which this version"),
        (lambda c: c["instructions"][3].update(phase="sideways"), "'sideways' is no phase"),
        (lambda c: c["instructions"].pop(3), "order in which they come"),
        (lambda c: c["instructions"].insert(4, c["instructions"][3]), "order in which they come"),
        (lambda c: c["instructions"][0]["inputs"].__setitem__(0, {"value": 20}), "not made yet"),
        (lambda c: c["instructions"][20]["outputs"].__setitem__(0, 3), "order in which they come"),
        (lambda c: c["inputs"][0].__setitem__(1, "gift"), "'gift' is no kind of input"),
        (lambda c: c["values"][0].update(shape=[-1]), r"\[-1\] is no shape"),
        (lambda c: c["values"][0].update(shape=[2.0]), "2.0 should be int"),
        (lambda c: c["values"][0].update(strides=[4]), "has strides"),
        (lambda c: c["values"][0].update(dtype="complex64"), "complex64"),
        (lambda c: c["values"][0].update(colour="red"), "colour"),
        (lambda c: c["outputs"].append([999, ""]), "999 points at nothing"),
        (lambda c: c["outputs"].append([True, ""]), "True should be int"),
        (lambda c: c["writes"][0].__setitem__(2, -1), "-1 points at nothing"),
        (lambda c: c["constants"][0].__setitem__(1, "AAA="), "has 2 bytes"),
        (lambda c: c["constants"][0].__setitem__(1, "*"), "Error"),
        (lambda c: c["instructions"][0]["params"].update(dims={"magic": 1}), "'magic' is no kind of item"),
        (lambda c: c["instructions"][0]["params"].update(dims={"tuple": [1], "list": []}), "too many values"),
        (lambda c: c["instructions"][0]["inputs"].__setitem__(0, {"value": 99}), "99 points at nothing"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused(change: Change, message: str) -> None:
    content = json.loads(json.dumps(to_json(network())))
    change(content)
    with pytest.raises(FormatError, match=message):
        from_json(content)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\ufffe", '{"format": NaN}', "[" * 100_000], ids=lambda t: t[:9]
)
def test_what_is_no_program_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "step.json").write_text(text, encoding="utf-16" if text == "\ufffe" else "utf-8")
    with pytest.raises(FormatError, match="not a program pullback can read"):
        Program.load(tmp_path / "step.json")


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    network().save(tmp_path / "step.json")
    text = (tmp_path / "step.json").read_text()
    assert text.count('"dims":{"tuple":[1,0]}') > 0
    (tmp_path / "step.json").write_text(text.replace('"dims":{"tuple":[1,0]}', '"dims":{"tuple":[0,1]}', 1))
    with pytest.raises(FormatError, match="checksum"):
        Program.load(tmp_path / "step.json")
    (tmp_path / "step.json").write_text(text[: len(text) // 2])
    with pytest.raises(FormatError, match="not JSON"):
        Program.load(tmp_path / "step.json")


def leaves(x: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(x) if isinstance(x, dict) else range(len(x)):
        yield x, key
        if isinstance(x[key], (dict, list)):
            yield from leaves(x[key])


@pytest.mark.parametrize("junk", [None, -1, 3, 1.5, "x", [], {}, [[]], {"value": 0}], ids=repr)
def test_junk_anywhere_is_an_error_of_pullbacks_or_means_something(junk: Any) -> None:
    content = json.loads(json.dumps(to_json(network(width=2, momentum=False))))
    for holder, key in leaves(content):
        kept, holder[key] = holder[key], copy.deepcopy(junk)
        with contextlib.suppress(FormatError):
            assert isinstance(from_json(content), Program)
        holder[key] = kept
    assert compare.same(from_json(content), network(width=2, momentum=False))


# -- comparing ---------------------------------------------------------------------------------------------------------


def test_ids_names_lines_and_places_do_not_matter() -> None:
    a, b = network(), network(first=100)
    named = [given._replace(name="other") for given in b.inputs]
    moved = [i.changed(module="elsewhere", phase="forward", line=None) for i in b.instructions]
    other = b.replaced(name="other", inputs=named, instructions=moved)
    assert compare.compare(a, other) == [] and compare.fingerprint(a) == compare.fingerprint(other)


def test_numbers_of_regions_do_not_matter_but_regions_do() -> None:
    def regions(*numbers: int) -> Program:
        b = Builder()
        x = b.input("argument", "x", 3)
        for n in numbers:
            with b.at(region=n):
                x = b(relu, x)
        return b.program(x)

    assert compare.same(regions(0, 1, 1, 2), regions(0, 7, 7, 3))
    assert not compare.same(regions(0, 1, 1, 2), regions(0, 1, 2, 2))
    assert compare.compare(regions(0, 0), regions(0, 5)) == [
        "instruction 1: relu(f32[3]) -> f32[3] became relu(f32[3]) -> f32[3] in region 5"
    ]


def small(op: Op = add, turned: bool = False, kind: str = "argument", scale: Any = 2.0, **fields: Any) -> Program:
    b = Builder()
    x, y = b.input(kind, "x", 3, **fields), b.input("state", "y", 3)
    c = b.constant(np.ones(3, F32))
    z = b(op, *((y, x) if turned else (x, y)))
    z = b(mul, z, scale)
    z = b(add, z, c)
    b.write(z, "y")
    return b.program(z)


A = "add(f32[3], f32[3]) -> f32[3]"


@pytest.mark.parametrize(
    ("other", "sentences"),
    [
        (small(), []),
        (small(op=sub), [f"instruction 0: {A} became sub(f32[3], f32[3]) -> f32[3]"]),
        (
            small(turned=True),
            [
                f"instruction 0: operand 0 of {A}, input 0, became input 1",
                f"instruction 0: operand 1 of {A}, input 1, became input 0",
            ],
        ),
        (small(scale=3.0), ["instruction 1: operand 1 of mul(f32[3], 2.0) -> f32[3], 2.0, became 3.0"]),
        (small(scale=2), ["instruction 1: operand 1 of mul(f32[3], 2.0) -> f32[3], 2.0, became 2"]),
        (small(kind="state"), ["input 0: argument f32[3] became state f32[3]"]),
        (small(weak=True), [
            "input 0: argument f32[3] became argument f32[3] (a Python number)",
            f"instruction 0: {A} became add(f32[3] (a Python number), f32[3]) -> f32[3]",
        ]),
        (small(strides=(8,)), [
            "input 0: argument f32[3] became argument f32[3] strides (8)",
            f"instruction 0: {A} became add(f32[3] strides (8), f32[3]) -> f32[3]",
        ]),
    ],
)  # fmt: skip
def test_differences_in_sentences(other: Program, sentences: list[str]) -> None:
    assert compare.compare(small(), other) == sentences
    assert compare.same(small(), other) == (not sentences)


def test_other_constants() -> None:
    a, b = small(), small()
    changed = b.replaced(constants={v: x * 2 for v, x in b.constants.items()})
    (sentence,) = compare.compare(a, changed)
    assert sentence.startswith("constant 0: f32[3] with sum ") and " became f32[3] with sum " in sentence
    assert compare.same(a, b) and not compare.same(a, changed)


def test_instructions_that_come_and_go() -> None:
    a = network(momentum=False)
    gone = a.instructions[3]
    new = {gone.outputs[0]: gone.inputs[0]}
    rest = [i.changed(inputs=[new.get(x, x) if type(x) is Value else x for x in i.inputs]) for i in a.instructions]
    b = a.replaced(instructions=[i for n, i in enumerate(rest) if n != 3]).check()
    there = compare.compare(a, b)
    assert there[0] == "instruction 3: relu(f32[8, 16]) -> f32[8, 16] is gone"
    assert there[1].startswith("instruction 5: operand 0 of matmul(f32[8, 16], f32[16, 3]")
    assert there[1].endswith("the result of instruction 3 (relu), became the result of instruction 2 (add)")
    assert len(there) == 4 and all(" became the result of instruction 2 (add)" in text for text in there[1:])
    assert compare.compare(b, a)[0] == "instruction 3: relu(f32[8, 16]) -> f32[8, 16] is new"


def test_other_outputs_and_writes() -> None:
    a = small()
    first = a.instructions[0].outputs[0]
    assert compare.compare(a, a.replaced(outputs=[first, *a.outputs])) == [
        "output 0: the result of instruction 2 (add), became the result of instruction 0 (add)",
        "output 1: the result of instruction 2 (add), is new",
    ]
    assert compare.compare(a, a.replaced(writes=[w._replace(input=None) for w in a.writes])) == [
        "write 0: the result of instruction 2 (add), to input 1, became the result of instruction 2 (add), to new state"
    ]
    assert compare.compare(a, a.replaced(writes=())) == [
        "write 0: the result of instruction 2 (add), to input 1, is gone"
    ]


def variants() -> list[Program]:
    """Programs of which no two are the same."""
    a = network(momentum=False)
    each: list[Program] = [a, network(), network(width=8), looks("keepdim"), looks("dim"), looks("index")]
    each += [a.replaced(outputs=()), a.replaced(writes=a.writes[1:]), a.replaced(writes=[*a.writes[1:], a.writes[0]])]
    each += [
        a.replaced(instructions=[*a.instructions, *extra.instructions]) for extra in (tail(a, relu), tail(a, relu, 2))
    ]
    return each


def looks(what: str) -> Program:
    b = Builder()
    x = b.input("argument", "x", 3, 3)
    y = b(slice_, x, key=(0,)) if what == "index" else b(sum_, x, dim=(0,) if what == "keepdim" else (1,))
    return b.program(y)


def tail(program: Program, op: Op, count: int = 1) -> Program:
    value = program.outputs[0]
    made = [Instruction(op, [value], {}, [Value(900 + n, value.shape, value.dtype)]) for n in range(count)]
    return program.replaced(instructions=made)


def test_comparing_and_fingerprints_agree() -> None:
    each = variants()
    for i, a in enumerate(each):
        for j, b in enumerate(each):
            assert compare.same(a, b) == (compare.compare(a, b) == []) == (i == j), (i, j)
    assert len({compare.fingerprint(p) for p in each}) == len(each)


def test_a_default_said_is_a_default_left_out() -> None:
    b, c = Builder(), Builder()
    x, y = b.input("argument", "x", 3, 3), c.input("argument", "x", 3, 3)
    said, left = b.program(b(sum_, x, dim=(0,), keepdim=False)), c.program(c(sum_, y, dim=(0,)))
    assert compare.same(said, left) and compare.compare(said, left) == []


def test_fingerprints_depend_on_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compare.fingerprint(network())
    assert before == compare.fingerprint(network(first=9)) and len(before) == 64
    monkeypatch.setattr(compare, "OPSET", files.OPSET + 1)
    assert compare.fingerprint(network()) != before


def test_bodies_of_loops_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    a = looping(monkeypatch)
    (loop,) = a.instructions
    body = loop.params["body"]
    same_body = body.replaced(name="another name")
    other = body.replaced(instructions=[i.changed(op=OPS["tanh"]) if i.op is relu else i for i in body.instructions])
    assert compare.same(a, a.replaced(instructions=[loop.changed(params={**loop.params, "body": same_body})]))
    changed = a.replaced(instructions=[loop.changed(params={**loop.params, "body": other})])
    assert not compare.same(a, changed) and compare.compare(a, changed) != []
