"""DataParallel with one device: a wrapper whose names are those of PyTorch's files."""

from __future__ import annotations

import pytest

import pullback as torch
from pullback import nn


def test_the_module_itself_under_another_name() -> None:
    inner = nn.Linear(2, 3)
    outer = nn.DataParallel(inner, device_ids=[0])
    x = torch.randn(4, 2)
    assert torch.equal(outer(x), inner(x)) and torch.equal(nn.parallel.data_parallel(inner, x), inner(x))
    assert list(outer.state_dict()) == ["module.weight", "module.bias"] and outer.module is inner


def test_many_processes_are_still_to_come() -> None:
    with pytest.raises(AttributeError, match="still to come"):
        nn.parallel.DistributedDataParallel(nn.Linear(2, 3))
