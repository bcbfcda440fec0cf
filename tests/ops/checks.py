"""What must hold for every sample of every op. A check raises AssertionError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.goldens import store

from pullback.dtypes import F64
from pullback.ops.arithmetic import mul
from pullback.ops.reduction import sum as sum_
from pullback.tensor import wrap

from .harness import (
    Case,
    assert_close,
    assert_same_result,
    cotangents_of,
    inputs_of,
    is_float,
    leaves_of,
    listed,
    on_tape,
    pulled,
    random,
    raw,
    recorded,
    stamp,
)

FINITE = 1e-7  # relative error allowed between a pullback and finite differences in float64


# -- against PyTorch -------------------------------------------------------------------------------------------------


def golden_of(case: Case, which: str = "") -> store.Golden:
    """What PyTorch gave for this sample."""
    key = f"{case.op.name}/{which or case.number}"
    golden = store.family(case.op.family).get(key)
    if golden is None or golden.stamp != stamp(case):
        pytest.fail(
            f"{case.id}: the sample {'is new' if golden is None else 'has changed'}; run `make goldens`", pytrace=False
        )
    return golden


def matches_golden(case: Case) -> None:
    """Value and gradients are PyTorch's."""
    assert_same_result(recorded(case, inputs_of(case)), golden_of(case).result)


# -- against finite differences --------------------------------------------------------------------------------------


def slope(f: Callable[[float], Any], h: float = 2e-4) -> Any:
    """f'(0) by central differences, extrapolated (Richardson) to an error of order h^4."""

    def central(h: float) -> Any:
        return (f(h) - f(-h)) / (2 * h)

    return (4 * central(h / 2) - central(h)) / 3


def can_differ(case: Case) -> bool:
    """Do finite differences mean something for this sample?"""
    return case.op.differentiable and case.sample.smooth and any(is_float(x) and x.size for x in case.sample.inputs)


def in_double(case: Case) -> list[Any]:
    """The inputs in float64, if that makes the outputs float64: other types are too coarse for differences."""
    xs = inputs_of(case, F64)
    if any(is_float(y) and y.dtype != F64 for y in raw(case, xs)):
        pytest.skip("gives single precision")
    return xs


def moved(xs: list[Any], directions: list[Any], t: float) -> list[Any]:
    """xs + t * directions, where there is a direction."""
    return [x if d is None else np.asarray(x + t * d) for x, d in zip(xs, directions, strict=True)]


def directions_of(case: Case, xs: list[Any], name: str) -> list[Any]:
    return [
        random(f"{case.op.name}/{case.number}/{name}{i}", x.shape) if is_float(x) else None for i, x in enumerate(xs)
    ]


def dot(xs: list[Any], ys: list[Any]) -> float:
    """The sum of all <x, y>; what is missing is zero."""
    return sum(float(np.vdot(x, y)) for x, y in zip(xs, ys, strict=True) if x is not None and y is not None)


def agree(expected: float, actual: float) -> None:
    assert abs(expected - actual) <= FINITE * (1 + abs(expected)), (
        f"finite differences give {expected}, the pullback {actual}"
    )


def slopes_agree(case: Case) -> None:
    """Order 1: d/dt <g, f(x + t u)> = <pullback of g, u>"""
    xs = in_double(case)
    us = directions_of(case, xs, "u")
    gs = cotangents_of(case, raw(case, xs))
    expected = slope(lambda t: dot(gs, raw(case, moved(xs, us, t))))
    agree(expected, dot(recorded(case, xs).grads, [u for u in us if u is not None]))


def curvatures_agree(case: Case) -> None:
    """Order 2: d/dt <pullback of g + t w at x + t u, v> = <second pullback, (u, w)>"""
    xs = in_double(case)
    us, vs = directions_of(case, xs, "u"), [v for v in directions_of(case, xs, "v") if v is not None]
    gs = cotangents_of(case, raw(case, xs))
    ws = [None if g is None else random(f"{case.id}/w{i}", g.shape) for i, g in enumerate(gs)]

    def along(t: float) -> float:
        tensors, hs = on_tape(moved(xs, us, t)), on_tape(moved(gs, ws, t))
        outs = listed(case.op(*tensors, **case.sample.params))
        return dot([None if p is None else p._array for p in pulled(outs, leaves_of(tensors), hs)], vs)

    tensors, hs = on_tape(xs), on_tape(gs)
    leaves = [*leaves_of(tensors), *leaves_of(hs)]
    firsts = pulled(listed(case.op(*tensors, **case.sample.params)), leaves_of(tensors), hs, record=True)
    products = [sum_(mul(p, wrap(v))) for p, v in zip(firsts, vs, strict=True) if p is not None]
    seconds = pulled(products, leaves, [wrap(np.ones(())) for _ in products])
    agree(slope(along), dot([None if s is None else s._array for s in seconds], [d for d in us + ws if d is not None]))


def jacobians_agree(case: Case) -> None:
    """Every entry of the Jacobian, row by row from the pullback and column by column from finite differences."""
    xs = in_double(case)
    outs = [y for y in raw(case, xs) if is_float(y)]
    rows = []
    for k in range(sum(y.size for y in outs)):
        tensors = on_tape(xs)
        ys = [y for y in listed(case.op(*tensors, **case.sample.params)) if y.dtype.is_floating_point]
        unit = np.split(np.arange(sum(y.size for y in outs)) == k, np.cumsum([y.size for y in outs])[:-1])
        gs = [wrap(u.reshape(y.shape).astype(F64)) for u, y in zip(unit, outs, strict=True)]
        grads = pulled(ys, leaves_of(tensors), gs)
        rows.append(
            np.concatenate(
                [
                    np.zeros(t.shape).ravel() if g is None else g._array.ravel()
                    for t, g in zip(leaves_of(tensors), grads, strict=True)
                ]
            )
        )
    columns = []
    for i, x in enumerate(xs):
        for j in np.ndindex(x.shape) if is_float(x) else ():
            direction: list[Any] = [None] * len(xs)
            direction[i] = np.zeros(x.shape)
            direction[i][j] = 1.0
            columns.append(
                slope(
                    lambda t, d=direction: np.concatenate(
                        [y.ravel() for y in raw(case, moved(xs, d, t)) if is_float(y)]
                    )
                )
            )
    np.testing.assert_allclose(np.array(rows), np.array(columns).T, FINITE, FINITE)


# -- against itself --------------------------------------------------------------------------------------------------


def matches_decomposition(case: Case) -> None:
    """A fused op gives what it is composed of. It may leave out gradients, as PyTorch does; and one that is not finite
    may be infinite in one of the two and NaN in the other.
    """
    fused, composed = recorded(case, inputs_of(case)), recorded(case, inputs_of(case), case.op.decompose)
    pairs = [(a, b) for a, b in zip(fused.grads, composed.grads, strict=True) if a is not None and b is not None]
    grads = [[np.where(np.isfinite(g), g, np.nan) for g in side] for side in zip(*pairs, strict=True)] or [[], []]
    assert_same_result(fused._replace(grads=grads[0]), composed._replace(grads=grads[1]))


def right_in_halves(case: Case, dtype: Any) -> None:
    """In a half type: PyTorch's dtypes, and what float64 gives for the same inputs, within the type's precision."""
    inputs = inputs_of(case, dtype)
    half, exact = recorded(case, inputs), recorded(case, [x.astype(F64) if is_float(x) else x for x in inputs])
    golden = golden_of(case, dtype.name).result
    parts = (half.outs, exact.outs, golden.outs), (half.grads, exact.grads, golden.grads)
    for part, right, promised in parts:
        if golden.outs:  # else PyTorch has no such op in this type
            assert [x is None or x.dtype for x in part] == [x is None or x.dtype for x in promised]
        for x, y in zip(part, right, strict=True):
            assert_close("a result in half precision", x, None if y is None or x is None else y.astype(x.dtype))


def same_on_tape(case: Case) -> None:
    """Recording does not change the value."""
    for i, (a, b) in enumerate(zip(recorded(case, inputs_of(case)).outs, raw(case, inputs_of(case)), strict=True)):
        assert type(b) is np.ndarray, f"output {i} is a {type(b).__name__}"
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


def leaves_inputs_alone(case: Case) -> None:
    """Neither the op nor its pullback writes to what it is given, and only views share memory."""
    inputs, before = inputs_of(case), inputs_of(case)
    outs = raw(case, inputs)
    if not case.op.view:
        for x in inputs:
            assert not any(isinstance(x, np.ndarray) and np.may_share_memory(x, y) for y in outs), (
                "the result lies in an input's memory"
            )
    kept = [y.copy() for y in outs]
    tensors, gs = on_tape(inputs), cotangents_of(case, outs)
    held = [None if g is None else g.copy() for g in gs]
    pulled(
        listed(case.op(*tensors, **case.sample.params)),
        leaves_of(tensors),
        [None if g is None else wrap(g) for g in gs],
    )
    for x, y in zip([*inputs, *outs, *gs], [*before, *kept, *held], strict=True):
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y, err_msg="written to")
