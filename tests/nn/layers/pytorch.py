"""What PyTorch makes of the layer cases."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from tests.goldens.store import Golden
from tests.ops.harness import Result

from . import harness
from .harness import Case, Library

TORCH = Library(
    torch,
    tensor=lambda a: torch.from_numpy(a.copy()),
    array=lambda t: t.detach().contiguous().numpy(),
    grad=torch.autograd.grad,
)


def evaluate(case: Case, mode: str) -> Result:
    """The case's result in PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return harness.run(case, mode, TORCH)


def goldens(families: Iterable[str]) -> tuple[dict[str, dict[str, Golden]], list[str]]:
    """`layers_family` -> `Class/number/mode` -> what PyTorch gives; and where it fails."""
    found: dict[str, dict[str, Golden]] = {}
    failed: list[str] = []
    for family in families:
        mine = found.setdefault(f"layers_{family}", {})
        for key, case in harness.numbered(family):
            for mode in case.modes:
                try:
                    mine[f"{key}/{mode}"] = Golden(case.stamp, evaluate(case, mode))
                except Exception as error:
                    failed.append(f"{family}/{key}: PyTorch fails on {case.make}: {type(error).__name__}: {error}")
    return found, failed
