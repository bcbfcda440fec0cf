"""Every op's record, held against PyTorch, finite differences and itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pullback.dtypes import BF16, F16
from pullback.ops import OPS
from pullback.ops.record import Op
from pullback.tensor import wrap

from . import checks, shapes
from .harness import (
    Case,
    all_cases,
    assert_same_result,
    cases_of,
    half_case,
    inputs_of,
    leaves_of,
    listed,
    on_tape,
    pulled,
    raw,
    recorded,
)

# Those of control flow hold Programs; tests/program/test_control.py has them.
RECORDS = {name: op for name, op in OPS.items() if op.family != "control"}
each_op = pytest.mark.parametrize("op", RECORDS.values(), ids=RECORDS)


def each_case(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


@each_op
def test_the_record_is_complete(op: Op) -> None:
    assert op.formula and len(cases_of(op.name)) >= 3
    assert op.torch or op.family == "random"  # PyTorch's random numbers are not reproduced
    for case in cases_of(op.name):
        out = case.op(*inputs_of(case), **case.sample.params)
        count = op.flops(inputs_of(case), case.params, out)
        assert type(count) is int and count >= 0, f"{case.id}: flops gives {count!r}"
        assert op.differentiable or not any(recorded(case, inputs_of(case)).requires)


@each_case(all_cases())
def test_the_value_is_the_same_on_the_tape(case: Case) -> None:
    checks.same_on_tape(case)


@each_case(all_cases())
def test_shape_and_dtype_are_inferred(case: Case) -> None:
    with shapes.shapes_run():
        inferred = listed(case.op(*map(shapes.without_values, case.sample.inputs), **case.sample.params))
    outs = raw(case, inputs_of(case))
    assert [spec.dtype for spec in inferred] == [y.dtype for y in outs]
    for spec, y in zip(inferred, outs, strict=True):  # a size of None depends on values
        assert len(spec.shape) == y.ndim and all(m in (None, n) for m, n in zip(spec.shape, y.shape, strict=True))


@each_case(all_cases(differentiable=True))
def test_the_pullback_reads_no_values(case: Case) -> None:
    with shapes.shapes_run():
        tensors = on_tape(map(shapes.without_values, case.sample.inputs))
        outs = listed(case.op(*tensors, **case.sample.params))
        gs = [wrap(shapes.ShapeOnly(y.shape, y.npdtype)) for y in outs]
        for t, g in zip(leaves_of(tensors), pulled(outs, leaves_of(tensors), gs), strict=True):
            assert g is None or (type(g._array) is shapes.ShapeOnly and g.shape == t.shape and g.dtype is t.dtype)


@each_case([case for case in all_cases() if case.op.torch])
def test_value_and_gradients_are_pytorchs(case: Case) -> None:
    checks.matches_golden(case)


@each_case([case for case in all_cases(differentiable=True) if checks.can_differ(case)])
def test_pullback_agrees_with_finite_differences(case: Case) -> None:
    checks.slopes_agree(case)


@each_case([case for case in all_cases(differentiable=True) if checks.can_differ(case)])
def test_second_pullback_agrees_with_finite_differences(case: Case) -> None:
    checks.curvatures_agree(case)


@each_case([case for case in all_cases() if case.op.decompose is not None])
def test_a_fused_op_is_what_it_is_composed_of(case: Case) -> None:
    checks.matches_decomposition(case)


@each_case(all_cases())
def test_inputs_are_left_alone(case: Case) -> None:
    checks.leaves_inputs_alone(case)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(
    "case", [case for op in OPS.values() if op.torch and (case := half_case(op))], ids=lambda case: case.op.name
)
def test_half_types(case: Case, dtype: Any) -> None:
    checks.right_in_halves(case, dtype)


@each_case(all_cases())
def test_only_floating_outputs_carry_gradients(case: Case) -> None:
    result = recorded(case, inputs_of(case))
    assert not any(carries for carries, y in zip(result.requires, result.outs, strict=True) if y.dtype.kind in "iub")


@pytest.mark.slow
@each_op
def test_the_whole_jacobian(op: Op) -> None:
    case = next((case for case in cases_of(op.name) if checks.can_differ(case)), None)
    if case is None:
        pytest.skip("not differentiable")
    checks.jacobians_agree(case)


@pytest.mark.parity
@each_case([case for case in all_cases() if case.op.torch])
def test_against_live_pytorch(case: Case) -> None:
    pytest.importorskip("torch")
    from .pytorch import evaluate

    assert_same_result(recorded(case, inputs_of(case)), evaluate(case, inputs_of(case)))
    single = inputs_of(case, np.dtype(np.float32))
    assert_same_result(recorded(case, single), evaluate(case, single))
