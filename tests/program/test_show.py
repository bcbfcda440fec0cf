"""The text of a Program."""

from __future__ import annotations

import numpy as np
import pytest
from tests.program.build import Builder, line, looping, network

from pullback.dtypes import BF16, BOOL, F64, I64
from pullback.ops.arithmetic import add, mul
from pullback.ops.create import cast
from pullback.ops.joining import cat, split
from pullback.ops.reduction import sum as sum_
from pullback.ops.shape import permute, slice_
from pullback.program.text import form, human, item, options, place, short, size

STEP = """\
train_step: 21 instructions, 9.61 k FLOPs, 908 B of state, 3.0 KiB at the peak

argument
  %0  x       f32[8, 10]
  %1  target  i64[8]

state
  %2  model.fc1.weight  f32[16, 10]
  %3  model.fc1.bias    f32[16]
  %4  model.fc2.weight  f32[3, 16]
  %5  model.fc2.bias    f32[3]

number
  %6  optimizer.param_groups[0]['lr']  f32[]

constant
  %15  1.0  f32[]
"""


def test_a_training_step() -> None:
    program = network(momentum=False)
    text = str(program)
    assert text == program.show()
    lines = text.splitlines()
    assert text.startswith(STEP)
    start = lines.index("forward  fc1")
    assert lines[start + 1].split("  ")[1] == "%7 = permute(model.fc1.weight, dims=(1, 0))"
    assert "f32[10, 16] strides (4, 40)" in lines[start + 1] and lines[start + 1].endswith(
        "train.py:12  logits = model(x)"
    )
    assert lines[start + 2].endswith("train.py:12") and "2.56 k" in lines[start + 2]
    headings = [x for x in lines if x and x.split()[0] in ("forward", "backward", "update")]
    assert headings == [
        "forward  fc1",
        "forward  fc2",
        "forward",
        "backward",
        "backward  fc2",
        "backward  fc1",
        "update",
    ]
    assert lines[lines.index("returns") + 1] == "  %14  f32[]"
    assert lines[lines.index("writes") + 1 :] == [
        "  %25  -> model.fc2.bias    f32[3]",
        "  %26  -> model.fc2.weight  f32[3, 16]",
        "  %27  -> model.fc1.bias    f32[16]",
        "  %28  -> model.fc1.weight  f32[16, 10]",
    ]


def test_columns_stand_below_each_other() -> None:
    rows = [x for x in str(network(momentum=False)).splitlines() if " = " in x and "train.py" in x]
    assert len(rows) == 21 and len({row.index("train.py") for row in rows}) == 1
    assert len({row.index("  f32[") for row in rows}) == 1


def test_each_line_of_the_user_is_told_once() -> None:
    text = str(network())
    for told in ("logits = model(x)", "loss = cross_entropy(logits, target)", "loss.backward()", "optimizer.step()"):
        assert text.count(told) == 1


def many(count: int) -> Builder:
    b = Builder()
    xs = [b.input("state", f"p{i}", 256) for i in range(count)]
    y = b(cat, *xs, dim=0)
    for x in xs:
        b.write(b(add, x, 1.0), b.inputs[xs.index(x)].name)
    b(split, y, sizes=(256,) * count, dim=0)
    return b


def test_many_inputs_are_abbreviated_and_full_shows_all() -> None:
    program = many(20).program()
    text, full = str(program), program.show(full=True)
    assert "p5  f32[256]" in text and "p6  f32[256]" not in text
    assert text.count("... and 14 more, 14.0 KiB; show(full=True) lists them") == 2
    assert "cat(p0, p1, p2, p3, p4, p5, ... 14 more)" in text
    assert "p19  f32[256]" in full and "more" not in full
    assert len(full.splitlines()) == len(text.splitlines()) + 2 * 13
    assert "..." not in many(8).program().show()


def test_inputs_of_one_name_and_long_names_go_by_id() -> None:
    b = Builder()
    x, y = b.input("argument", "x", 3), b.input("argument", "x", 3)
    long = b.input("state", "encoder." * 9 + "weight", 3)
    text = str(b.program(b(add, b(add, x, y), b(mul, long, long))))
    assert "%3 = add(%0, %1)" in text and "%4 = mul(%2, %2)" in text


def test_the_longest_names_give_way_first() -> None:
    b = Builder()
    w, lr = b.input("state", "model.encoder.linear.weight", 3), b.input("number", "optimizer.param_groups[0]['lr']")
    text = str(b.program(b(cat, w, w, b(mul, w, lr), dim=0)))
    assert "mul(model.encoder.linear.weight, optimizer.param_groups[0]['lr'])" in text
    assert "cat(model.encoder.linear.weight, model.encoder.linear.weight, %2)" in text
    longer = Builder()
    w = longer.input("state", "model.encoder.linear.weight", 3)
    assert "%1 = cat(%0, %0, %0)" in str(longer.program(longer(cat, w, w, w, dim=0)))


def test_results_of_one_form_are_told_together() -> None:
    row = next(x for x in str(network()).splitlines() if "sgd" in x)
    assert "%29, %30 = sgd(model.fc2.bias, %10, %21, %6, 0.9, 0.0, 0.0)" in row and "  f32[3] x2  " in row


def test_a_region_computed_again_says_so() -> None:
    b = Builder()
    x = b.input("argument", "x", 3)
    with b.at(phase="backward", module="block", region=2, line=line(1, "y = " + "very_" * 20 + "long()")):
        y = b(mul, x, x)
    program = b.program(y)
    assert "\nbackward  block, computed again (region 2)\n" in str(program)
    assert "very_ver..." in str(program) and "long()" in program.show(full=True)


def test_a_loop_shows_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    text = str(looping(monkeypatch))
    assert "loop_of_a_test(x, w, body=<body: 2 instructions>, length=5)" in text and "1.56 k" in text
    assert "\n    body(carry: f32[4, 6], w: f32[6, 6])\n" in text and "\n    returns %3\n" in text
    assert "matmul(carry, w)" in text


def test_an_empty_program() -> None:
    b = Builder()
    x = b.input("argument", "x", 2)
    assert str(b.program(x)) == "step: 0 instructions, 0 FLOPs, 0 B of state, 8 B at the peak\n\n" + (
        "argument\n  %0  x  f32[2]\n\nreturns\n  x  f32[2]"
    )


def test_constants_show_their_elements() -> None:
    b = Builder()
    few, lots = b.constant(np.array([[1, 2], [3, 4]])), b.constant(np.zeros((3, 5)))
    text = str(b.program(few, lots))
    assert "%0  [[1, 2], [3, 4]]  i64[2, 2]" in text and "%1  ...               f64[3, 5]" in text


@pytest.mark.parametrize(
    ("x", "text"),
    [
        ((slice(1, 3), ..., None), "[1:3, ..., None]"),
        ((slice(None), slice(None, None, -2), 4), "[:, ::-2, 4]"),
        (slice(None, 5), "[:5]"),
        ((2, 0, 1), "(2, 0, 1)"),
        ((1,), "(1,)"),
        (((1, 2), (0, 0)), "((1, 2), (0, 0))"),
        ([1, 2.5], "[1, 2.5]"),
        (BF16, "bf16"),
        (np.zeros((2, 3), np.float32), "f32[2, 3]"),
        (np.float32(1.5), "1.5"),
        ("mean", "'mean'"),
        (float("-inf"), "-inf"),
        (None, "None"),
        ({"key": (1,), "dim": 2}, "{key=[1], dim=2}"),
    ],
)
def test_parameters_as_python_writes_them(x: object, text: str) -> None:
    assert item(x) == text


def test_parameters_at_their_defaults_are_left_out() -> None:
    b = Builder()
    x = b.input("argument", "x", 3, 4)
    b(slice_, x, key=(1,))
    b(sum_, x, dim=(1,), keepdim=False)
    b(cast, x, dtype=I64)
    assert [options(i) for i in b.instructions] == [["key=[1]"], ["dim=(1,)"], ["dtype=i64"]]


def test_units() -> None:
    assert [human(n) for n in (0, 999, 1000, 1_234_567, 2e9, 3e12, 4.56e15)] == [
        "0", "999", "1 k", "1.23 M", "2 G", "3 T", "4.56 P",
    ]  # fmt: skip
    assert [size(n) for n in (0, 1023, 1536, 2**20, 3 * 2**30, 2**41)] == [
        "0 B", "1023 B", "1.5 KiB", "1.0 MiB", "3.0 GiB", "2.0 TiB",
    ]  # fmt: skip


def test_forms() -> None:
    b = Builder()
    x = b.input("argument", "x", 2, 3, dtype=F64)
    assert [short(np.dtype(d)) for d in (BF16, BOOL, np.uint8, np.uint32, np.int16)] == [
        "bf16",
        "bool",
        "u8",
        "u32",
        "i16",
    ]
    assert form(x) == "f64[2, 3]" and form(b(permute, x, dims=(1, 0))) == "f64[3, 2] strides (8, 24)"
    assert form(b.value((1, 3), strides=(999, 4))) == "f32[1, 3]"  # no step is ever made along a dimension of size 1


def test_files_are_told_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert place(line(3, "", f"{tmp_path}/src/train.py")) == "src/train.py:3"
    assert place(line(3, "", "/elsewhere/far/train.py")) == "train.py:3"
