"""Programs written for PyTorch run, and give what PyTorch gives: values, gradients, dtypes and printed text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.programs.expected import FILE, plain
from tests.programs.programs import PROGRAMS

import pullback

EXPECTED = json.loads(FILE.read_text(encoding="utf-8"))


def agree(got: Any, want: Any, where: str) -> None:
    """Text and integers are equal, numbers are close."""
    if isinstance(want, dict):
        assert got.keys() == want.keys(), where
        for key in want:
            agree(got[key], want[key], f"{where}.{key}")
    elif isinstance(want, list):
        assert len(got) == len(want), where
        for i, (g, w) in enumerate(zip(got, want, strict=True)):
            agree(g, w, f"{where}[{i}]")
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=1e-4, abs=1e-5, nan_ok=True), where
    else:
        assert got == want, where


@pytest.mark.parametrize("name", PROGRAMS)
def test_gives_what_pytorch_gave(name: str) -> None:
    agree(json.loads(json.dumps(plain(PROGRAMS[name](pullback)))), EXPECTED[name], name)


@pytest.mark.parity
@pytest.mark.parametrize("name", PROGRAMS)
def test_pytorch_still_gives_it(name: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch.utils.checkpoint")
    agree(json.loads(json.dumps(plain(PROGRAMS[name](torch)))), EXPECTED[name], name)
