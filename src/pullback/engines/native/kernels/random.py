"""Random numbers from Philox's bits; variates that NumPy's own generators make are left to it."""

from __future__ import annotations

import numpy as np

from ....dtypes import BF16, F16, F32, F64
from ....program.program import Instruction, Value
from ..plan import Plan, kernel

SUFFIX = {F32: "f32", F64: "f64", F16: "f16", BF16: "bf16"}


@kernel("uniform", "normal")
def floats(plan: Plan, i: Instruction) -> bool | None:
    if i.outputs[0].dtype not in SUFFIX:
        return False
    state, x = plan.dense(i.inputs[0]), plan.out(i.outputs[0], dense=True)
    plan.call("random", f"pb_{i.op.name}_{SUFFIX[x.dtype]}", x, state, x.size, writes=[x])
    return None


@kernel("bernoulli")
def bernoulli(plan: Plan, i: Instruction) -> bool | None:
    p = i.inputs[1]
    if type(p) is not Value or p.dtype not in SUFFIX:
        return False
    state, below, x = plan.dense(i.inputs[0]), plan.dense(p), plan.out(i.outputs[0], dense=True)
    plan.call("random", f"pb_bernoulli_{SUFFIX[p.dtype]}", x, state, below, x.size, writes=[x])
    return None


@kernel("integers")
def integers(plan: Plan, i: Instruction) -> bool | None:
    low, high = i.params["low"], i.params["high"]
    if not (type(low) is int and type(high) is int and -(2**63) <= low < high <= 2**63):
        return False
    state, x = plan.dense(i.inputs[0]), plan.out(i.outputs[0], dense=True)
    span = int(np.uint64((high - low) % 2**64).astype(np.int64))
    plan.call("random", "pb_integers", x, state, x.size, low, span, writes=[x])
    return None
