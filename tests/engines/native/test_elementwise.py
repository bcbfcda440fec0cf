"""Everything elementwise in machine code: expressions, functions, updates, random numbers, and what shares a loop."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from tests.engines.native.compare import Case, agree, cases, check, program_of

import pullback as torch
from pullback import nn
from pullback.dtypes import BF16, F16, F32, F64
from pullback.engines.native import engine
from pullback.engines.native.expand import expand
from pullback.engines.native.expressions import EXPRESSIONS, is_loop
from pullback.engines.native.fuse import fuse
from pullback.engines.native.loops import Loop
from pullback.ops.record import OPS
from pullback.program.program import Input, Instruction, Program, Value

builder = engine.builder
FAMILIES = ("arithmetic", "compare", "pointwise", "activation", "create", "special", "losses")
OTHERS = {  # what these families have that has a kernel or is taken apart, and what only NumPy computes
    "full_like", "glu", "cross_entropy", "cross_entropy_gradient", "binary_cross_entropy",
    "erfinv", "digamma", "polygamma", "erfcx", "log_ndtr", "ndtri", "bessel",
}  # fmt: skip
DIVISIONS = {"floor_divide", "trunc_divide", "remainder", "fmod"}  # by integers in a tensor: only NumPy refuses zeros
SHAPES = ("broadcast", "0-d", "empty", "transposed", "strided", "negative step")  # the same code for all ops
SHAPED = {"add", "where", "clamp", "lerp", "pow", "relu_backward", "isnan", "atan2"}


@pytest.fixture
def quick(monkeypatch):
    """Compile in less time: most of what is compiled here runs once."""
    monkeypatch.setattr(builder, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in builder.FLAGS))


def whole(x):
    return isinstance(x, np.ndarray) and x.dtype.kind in "iu"


def test_every_elementwise_op_has_an_expression():
    assert {name for name, op in OPS.items() if op.family in FAMILIES} - set(EXPRESSIONS) == OTHERS


@pytest.mark.parametrize("part", range(4))
def test_samples(part, quick):
    some = [
        c for name in sorted(EXPRESSIONS)[part::4] for c in cases([name])
        if not (name in DIVISIONS and whole(c.arrays[-1]) and len(c.arrays) == 2)
        and all(type(x) in (Value, int, float, bool, type(None)) for x in c.instruction.inputs)
        and (name in SHAPED or not any(word in c.note for word in SHAPES))
    ]  # fmt: skip
    agree(some, host=False)


def test_divisors_of_integers():
    x = np.array([7, -7, 0, -(2**63), 2**63 - 1, 5])
    agree([Case(OPS[name], (x, y), {}, str(y)) for name in sorted(DIVISIONS) for y in (3, -3, 1, -1, 7)], host=False)
    program, arrays = program_of([Case(OPS["floor_divide"], (x, np.array([3, -3, 1, 2, 5, 1])), {}, "")])
    made = engine.build(program)
    arrays[1] = np.zeros(6, np.int64)
    with pytest.raises(torch.errors.PullbackError, match="divided by zero"):
        made(arrays)


@pytest.mark.parametrize("dtype", [F32, F16, BF16])
def test_other_types(dtype, quick):
    """All ops on the same operands, so that many share a loop."""
    values = np.array([0.3, -0.7, 1.5, -2.25, 3.0, 0.0, -0.0, 7.5, -20.0, np.inf, -np.inf, np.nan, 1e-3, 90.0, 0.5])
    x, y = (a.reshape(-1).astype(dtype) for a in np.meshgrid(values, values))
    operands = {1: (x,), 2: (x, y), 3: (x, y, np.abs(y))}
    some = []
    for name in sorted(set(EXPRESSIONS) - {"isclose"}):
        op = OPS[name]
        params = next((s.params for s in op.samples() if s.params), {})
        given = (np.isnan(y), x, y) if name == "where" else operands[len(op.inputs)]
        if name in ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "left_shift", "right_shift"):
            given = tuple(np.arange(-9, 9, dtype=np.int32) * k for k in (1, 3))[: len(op.inputs)]
        if name in ("logaddexp2", "logit", "cast", "sinh", "cosh"):  # integers of Inf; close to the largest number
            given = tuple(np.where(np.abs(a.astype(F64)) < 8, a, 0).astype(dtype) for a in given)
        some.append(Case(op, given, params, name))
    agree(some, host=False)


def test_bits(quick):
    """Where the result is rounded once, it is NumPy's to the last bit."""
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32) for _ in range(2))
    x, y = (random.standard_normal(4000).astype(np.float32) for _ in range(2))
    two = ["add", "sub", "mul", "div", "fmod", "remainder", "floor_divide", "trunc_divide", "maximum", "minimum",
           "fmax", "copysign", "lt", "eq"]  # fmt: skip
    one = ["sqrt", "floor", "ceil", "trunc", "round", "square", "reciprocal", "frac", "sign", "rsqrt"]
    pairs = (a, b), (x, y), (x, 0.3), (np.round(4 * x), 2.0)
    some = [Case(OPS[name], pair, {}, "") for name in two for pair in pairs]
    some += [Case(OPS[name], (z,), {}, "") for name in one for z in (a, x)]
    integers = random.integers(-(2**63), 2**63, 4000), random.integers(-(2**63), 2**63, 4000)
    some += [Case(OPS[name], integers, {}, "") for name in ("add", "sub", "mul", "bitwise_xor", "maximum", "lt", "pow")]
    some += [Case(OPS[name], (integers[0], integers[1] % 70 - 3), {}, "") for name in ("left_shift", "right_shift")]
    for to in (np.int8, np.uint8, np.int16, np.int32, np.bool_, np.float32, np.float16, BF16):
        some.append(Case(OPS["cast"], (integers[0],), {"dtype": np.dtype(to)}, ""))
        some.append(Case(OPS["cast"], (100 * x,), {"dtype": np.dtype(to)}, ""))
        some.append(Case(OPS["cast"], (100 * x.astype(F64),), {"dtype": np.dtype(to)}, ""))
    program, arrays = program_of(some)
    for case, got in zip(some, engine.build(program)(arrays), strict=True):
        expected = case.expected[0]
        same = (got == expected) | ((got != got) & (expected != expected))
        assert same.all(), f"{case.note}: {got[~same][:4]}, not {expected[~same][:4]}"


# -- functions ---------------------------------------------------------------------------------------------------------

ULP: dict[str, float] = {  # as stated in c/functions.h
    "exp": 0.9, "expm1": 1.6, "exp2": 1.2, "log": 1, "log1p": 1.6, "tanh": 1.3, "sigmoid": 2.3, "erf": 1.2,
    **dict.fromkeys(("log2", "log10", "sinh", "cosh", "asinh", "acosh", "atanh", "erfc", "sin", "cos", "tan", "atan",
                     "asin", "acos"), 0.51)}  # fmt: skip
NUMPYS = {name: f"arc{name[1:]}" for name in ("asin", "acos", "atan", "asinh", "acosh", "atanh")}
PAIRS = {"pow": (np.power, 0.51), "atan2": (np.arctan2, 0.51), "hypot": (np.hypot, 0.51), "fmod": (np.fmod, 0)}


@pytest.fixture(scope="module")
def functions():
    """Each float function as function(*arrays)."""
    text = '#include "functions.h"\n'
    for name in (*ULP, *PAIRS):
        y = ("const float *y, ", ", y[i]") if name in PAIRS else ("", "")
        text += f"KERNEL void all_{name}(float *out, const float *x, {y[0]}i64 n) {{\n"
        text += f"    LANES\n    for (i64 i = 0; i < n; i++) out[i] = {name}_f32(x[i]{y[1]});\n}}\n"
    library = builder.load([], text)

    def run(name, *arrays):
        out = np.empty_like(arrays[0])
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (out, *arrays)]
        getattr(library, f"all_{name}")(*pointers, ctypes.c_int64(out.size))
        return out

    return run


def reference(name, x):
    if name == "sigmoid":
        return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))
    if name in ("erf", "erfc"):
        return np.array([getattr(math, name)(v) for v in x.tolist()])
    return getattr(np, NUMPYS.get(name, name))(x)


def distance(got, exact):
    """In units of the last place; what is not finite, and the sign of zero, must be the same."""
    rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.where(np.isfinite(rounded), 0, got), np.where(np.isfinite(rounded), 0, rounded))
    signs = ~np.isnan(rounded)
    np.testing.assert_array_equal(np.signbit(got[signs]), np.signbit(rounded[signs]))
    with np.errstate(all="ignore"):
        ulp = np.maximum(np.spacing(np.minimum(np.abs(rounded), np.finfo(F32).max)).astype(F64), 2.0**-149)
        return np.where(np.isfinite(rounded), np.abs(got.astype(F64) - exact) / ulp, 0)


@pytest.mark.parametrize("name", ULP)
def test_function(functions, name):
    """Numbers of all exponents and both signs, and many of usual size, against double precision."""
    step = 40009 if name in ("erf", "erfc") else 4999
    every = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 2, 1e-45, 3e38], np.float32)
    usual = np.random.default_rng(0).normal(0, 4, 20000 if step > 5000 else 200000).astype(np.float32)
    x = np.concatenate([every, special, usual, np.linspace(-110, 110, 40001, dtype=np.float32)])
    with np.errstate(all="ignore"):
        error = distance(functions(name, x), reference(name, x.astype(F64)))
    assert error.max() <= ULP[name] + 1e-3, (x[error.argmax()], error.max())


@pytest.mark.parametrize("name", PAIRS)
def test_function_of_two(functions, name):
    random = np.random.default_rng(0)
    numbers = [0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40]
    special = np.array(numbers, np.float32)
    every = [random.integers(0, 2**32, 200000, dtype=np.uint32).view(np.float32) for _ in range(2)]
    usual = [random.normal(0, 4, 200000).astype(np.float32), random.integers(-30, 30, 200000).astype(np.float32)]
    x = np.concatenate([every[0], usual[0], np.repeat(special, 16)])
    y = np.concatenate([every[1], usual[1], np.tile(special, 16)])
    exact, most = PAIRS[name]
    with np.errstate(all="ignore"):
        error = distance(functions(name, x, y), exact(x.astype(F64), y.astype(F64)))
    assert error.max() <= most + 1e-3, (x[error.argmax()], y[error.argmax()], error.max())


# -- taking apart, and sharing loops -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_updates(name, quick):
    made = check([name], host=False, tolerance={"float64": 1e-14, "float32": 3e-7})
    assert all(is_loop(i) or i.op.view for i in made.plan.program.instructions)


def test_full_like_and_glu(quick):
    check(["full_like", "glu"], host=False)


def captured(optimizer):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    o = optimizer(model.parameters())

    def step(x):
        o.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        o.step()
        return loss

    compiled = torch.compile(step, engine="native")
    compiled(torch.randn(5, 4))
    return compiled._entries[0].run


@pytest.mark.parametrize("optimizer", [
    lambda p: torch.optim.AdamW(p, lr=0.1),
    lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1, amsgrad=True),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
])  # fmt: skip
def test_an_update_is_one_loop(optimizer):
    """And all its numbers are computed in one loop more, for all parameters."""
    made = captured(optimizer)
    loops = [s for s in made.plan.steps if isinstance(s, Loop) and any(i.phase == "update" for i in s.instructions)]
    updates = [s for s in loops if any(i.op.name == "mul" and i.outputs[0].shape == (3, 4) for i in s.instructions)]
    assert len(updates) == 1 and not any("pow" in line for line in updates[0].lines)
    assert sum("/" in line for line in updates[0].lines) <= 1
    numbers = [s for s in loops if s.shape == () and any(i.op.name == "cast" for i in s.instructions)]
    assert len(numbers) == 1
    assert all(i.line and "o.step()" in i.line.text for i in made.plan.program.instructions if i.op.name == "where")


def test_results_are_those_of_numpy():
    for optimizer in (torch.optim.AdamW, torch.optim.SGD):
        found = []
        for name in ("numpy", "native"):
            torch.manual_seed(0)
            model = nn.Linear(6, 5)
            o = optimizer(model.parameters(), lr=0.1, weight_decay=0.01)

            def step(x, model=model, o=o):
                o.zero_grad()
                nn.functional.gelu(model(x)).sum().backward()
                o.step()

            run = torch.compile(step, engine=name)
            for _ in range(3):
                run(torch.ones(2, 6))
            found.append(model.weight.detach().numpy().copy())
        np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-7)


def test_expanded_instructions_keep_their_place():
    sample = OPS["adam"].samples()[0]
    values = [Value(k, x.shape, x.dtype) if isinstance(x, np.ndarray) else x for k, x in enumerate(sample.inputs)]
    outs = [Value(20 + k, x.shape, x.dtype) for k, x in enumerate(OPS["adam"](*sample.inputs))]
    one = Instruction(OPS["adam"], values, {}, outs, module="m", phase="update", region=3)
    inputs = [Input(v, "state", f"x{k}") for k, v in enumerate(values) if type(v) is Value]
    made = expand(Program("p", inputs, {}, [one], outs)).check()
    assert len(made) > 5 and list(made.outputs) == outs
    assert {(i.module, i.phase, i.region) for i in made.instructions} == {("m", "update", 3)}


def test_loops_that_meet_become_one():
    """(x + 1) (y + 1): the two sums have nothing in common but the product; a view of a sum keeps it apart."""
    x, y = (Value(k, (3, 4), F32) for k in range(2))

    def made(viewed):
        a, b, c, d = (Value(2 + k, (3, 4), F32) for k in range(4))
        v = Value(9, (4, 3), F32, (4, 16))
        some = [Instruction(OPS["add"], (x, 1.0), {}, [a]), Instruction(OPS["add"], (y, 1.0), {}, [b])]
        if viewed:
            some.append(Instruction(OPS["permute"], (a,), {"dims": (1, 0)}, [v]))
        some += [Instruction(OPS["mul"], (a, b), {}, [c]), Instruction(OPS["exp"], (c,), {}, [d])]
        outputs = [d, v] if viewed else [d]
        return engine.build(Program("p", [Input(x, "argument", "x"), Input(y, "argument", "y")], {}, some, outputs))

    given = [np.arange(12, dtype=np.float32).reshape(3, 4) / 12, np.ones((3, 4), np.float32)]
    for viewed in (False, True):
        run = made(viewed)
        results = run(given)
        np.testing.assert_allclose(results[0], np.exp((given[0] + 1) * 2), rtol=1e-6)
        if viewed:
            np.testing.assert_array_equal(results[1], (given[0] + 1).T)
        else:
            assert len(run.plan.steps) == 1


# -- random numbers ----------------------------------------------------------------------------------------------------


def test_random():
    """The same bits as NumPy's, however many threads make them; normal numbers to a few units in the last place."""
    state = np.array([1234567890123, 2**40 + 5], np.int64)
    some = []
    for n in (0, 1, 7, 256, 257, 100003):
        for dtype in (F32, F64, F16, BF16):
            params = {"shape": (n,), "dtype": dtype}
            some += [Case(OPS[name], (state,), params, str(n)) for name in ("uniform", "normal")]
            p = np.random.default_rng(0).random(n).astype(dtype)
            some.append(Case(OPS["bernoulli"], (state, p), {}, str(n)))
        for low, high in ((-5, 1000), (0, 2**63), (-(2**63), 2**63)):
            some.append(Case(OPS["integers"], (state,), {"low": low, "high": high, "shape": (n,)}, str(n)))
    made = agree(some, host=False)  # on two threads
    results = made(program_of(some)[1])
    for piece in made.tables:
        piece.threads = 1
    for case, got, one in zip(some, results, made(program_of(some)[1]), strict=True):
        assert got.tobytes() == one.tobytes(), case.note
        if not case.note.startswith("normal"):
            assert got.tobytes() == case.expected[0].tobytes(), case.note
        elif got.dtype in (F32, F64):
            np.testing.assert_array_max_ulp(got, case.expected[0], 8)


@pytest.mark.parametrize("seed", range(20))
def test_groups_can_run_in_their_order(seed):
    """Of random Programs: whatever a group reads has been made before, and each instruction is in one group."""
    random = np.random.default_rng(seed)
    for _ in range(20):
        shapes = [(3, 4), (3, 4), (), (4, 3)]
        inputs = [Value(k, shapes[k], F32) for k in range(4)]
        values, some = list(inputs), []
        for k in range(int(random.integers(2, 40))):
            x = values[int(random.integers(max(0, len(values) - 12), len(values)))]
            others = [v for v in values if v.shape == x.shape or v.shape == ()]
            y = others[int(random.integers(len(others)))]
            kind = random.choice(["add", "add", "mul", "permute", "softmax"])
            if kind == "permute" and x.ndim == 2:
                out = Value(10 + k, x.shape[::-1], F32)
                some.append(Instruction(OPS["permute"], (x,), {"dims": (1, 0)}, [out]))
            elif kind == "softmax" and x.ndim == 2:
                out = Value(10 + k, x.shape, F32)
                some.append(Instruction(OPS["softmax"], (x,), {"dim": 1}, [out]))
            else:
                out = Value(10 + k, x.shape, F32)
                some.append(Instruction(OPS["mul" if kind == "mul" else "add"], (x, y), {}, [out]))
            values.append(out)
        program = Program("p", [Input(v, "argument", "x") for v in inputs], {}, some, [values[-1]])
        groups = fuse(program, is_loop, lambda i: i.op.view)
        assert sorted(id(i) for g in groups for i in g.instructions) == sorted(map(id, some))
        known = set(inputs)
        for group in groups:
            made = set()
            for i in group.instructions:
                assert known.union(made).issuperset(i.values)
                made.update(i.outputs)
            assert made == group.made and group.given - made <= known
            known |= made


def test_a_loop_that_was_taken_in_is_not_joined():
    """`u` is read inside of a loop that the sum takes in; the sum is then too long for the last product to join."""

    def f(x, y, *more):
        u = x * 2
        total = (u + 1) + y * 3
        for z in more:
            total = total + z
        return total, u * x

    values = [torch.randn(5) for _ in range(30)]
    for found, expected in zip(torch.compile(f, engine="native")(*values), f(*values), strict=True):
        torch.testing.assert_close(found, expected)
