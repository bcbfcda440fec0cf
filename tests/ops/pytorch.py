"""What PyTorch makes of a sample."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pullback.dtypes import BF16, FLOATS

from . import grouped, recurrence
from .harness import Case, Result, cotangents_of, listed


def to_torch(x: Any) -> Any:
    """Arrays as tensors, the floating ones wanting gradients; anything else as it is."""
    if not isinstance(x, np.ndarray):
        return x
    plain = x.copy(order="C")
    t = torch.from_numpy(plain.view(np.int16)).view(torch.bfloat16) if x.dtype == BF16 else torch.from_numpy(plain)
    return t.requires_grad_(t.is_floating_point())


def to_numpy(t: Any) -> np.ndarray[Any, Any]:
    t = torch.as_tensor(t).detach().contiguous()
    return t.view(torch.int16).numpy().view(BF16) if t.dtype == torch.bfloat16 else t.numpy()


def evaluate(case: Case, inputs: Sequence[Any]) -> Result:
    """The record's `torch` expression on these inputs, and its gradients."""
    try:
        return differentiate(case, [to_torch(x) for x in inputs])
    except RuntimeError as error:
        if "derivative" not in str(error) or "not implemented" not in str(error):
            raise
    with torch.no_grad():
        return differentiate(case, [to_torch(x) for x in inputs])


def differentiate(case: Case, tensors: list[Any]) -> Result:
    """The expression on these tensors; where PyTorch records, its gradients too."""
    named = {case.op.inputs[0]: tensors} if case.op.variadic else dict(zip(case.op.inputs, tensors, strict=False))
    names = {
        "torch": torch,
        "F": F,
        "math": math,
        "functools": functools,
        "grouped": grouped,
        "recurrence": recurrence,
        "xs": tensors,
        **case.params,
        **named,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ys = [torch.as_tensor(y) for y in listed(eval(case.op.torch, names))]
    outs = [to_numpy(y) for y in ys]
    leaves = [t for t in tensors if isinstance(t, torch.Tensor) and t.requires_grad]
    pairs = [(y, to_torch(g).detach()) for y, g in zip(ys, cotangents_of(case, outs), strict=True) if y.requires_grad]
    grads: Sequence[Any] = [None] * len(leaves)
    if pairs and leaves:
        grads = torch.autograd.grad([y for y, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
    assert all(out.dtype in FLOATS for out, y in zip(outs, ys, strict=True) if y.requires_grad)
    return Result(outs, [y.requires_grad for y in ys], [None if g is None else to_numpy(g) for g in grads])
