"""A second opinion on the pullbacks: JAX's own numerical check of a VJP, with pullback's op and rule inside."""

from __future__ import annotations

from typing import Any

import pytest

from pullback.dtypes import F64, FLOATS
from pullback.ops import OPS
from pullback.ops.record import Op
from pullback.tensor import wrap

from . import checks
from .harness import cases_of, inputs_of, is_float, leaves_of, listed, on_tape, pulled, raw

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.differentiable], ids=lambda op: op.name)
def test_jax_accepts_the_pullback(op: Op) -> None:
    jax = pytest.importorskip("jax")
    from jax.test_util import check_vjp

    case = next((case for case in cases_of(op.name) if checks.can_differ(case)), None)
    if case is None:
        pytest.skip("no smooth sample")
    inputs = checks.in_double(case)
    places = [i for i, x in enumerate(inputs) if is_float(x)]
    kept = [i for i, y in enumerate(raw(case, inputs)) if y.dtype in FLOATS]

    def filled(xs: Any) -> list[Any]:
        all_inputs = inputs_of(case, F64)
        for i, x in zip(places, xs, strict=True):
            all_inputs[i] = jax.device_get(x)
        return all_inputs

    def f(*xs: Any) -> Any:
        outs = raw(case, filled(xs))
        return tuple(jax.numpy.asarray(outs[i]) for i in kept)

    def f_vjp(*xs: Any) -> Any:
        tensors = on_tape(filled(xs))
        outs = listed(op(*tensors, **case.sample.params))

        def pull(gs: Any) -> Any:
            grads = pulled([outs[i] for i in kept], leaves_of(tensors), [wrap(jax.device_get(g)) for g in gs])
            return tuple(
                jax.numpy.zeros(t.shape) if g is None else jax.numpy.asarray(g._array)
                for t, g in zip(leaves_of(tensors), grads, strict=True)
            )

        return tuple(jax.numpy.asarray(outs[i]._array) for i in kept), pull

    with jax.enable_x64(True):
        check_vjp(f, f_vjp, tuple(jax.numpy.asarray(inputs[i]) for i in places))
