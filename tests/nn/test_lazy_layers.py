"""Lazy convolutions and normalisations: channels from the first input, then the class they are named after."""

from __future__ import annotations

from typing import Any

import pytest

import pullback as torch
from pullback import nn

CASES = {
    "LazyConv1d(4, 3, bias=False)": ("Conv1d(2, 4, 3, bias=False)", (5, 2, 6)),
    "LazyConv2d(4, 3, padding=1, groups=2)": ("Conv2d(6, 4, 3, padding=1, groups=2)", (1, 6, 4, 4)),
    "LazyConv3d(2, 2, stride=2, padding_mode='circular')": (
        "Conv3d(3, 2, 2, stride=2, padding_mode='circular')", (3, 4, 4, 4),
    ),
    "LazyConvTranspose1d(4, 3, output_padding=1, stride=2)": (
        "ConvTranspose1d(2, 4, 3, output_padding=1, stride=2)", (2, 6),
    ),
    "LazyConvTranspose2d(4, 3, dilation=2)": ("ConvTranspose2d(2, 4, 3, dilation=2)", (1, 2, 4, 4)),
    "LazyConvTranspose3d(4, 2, groups=2)": ("ConvTranspose3d(2, 4, 2, groups=2)", (1, 2, 3, 3, 3)),
    "LazyBatchNorm1d(eps=0.1)": ("BatchNorm1d(3, eps=0.1)", (4, 3)),
    "LazyBatchNorm2d(affine=False)": ("BatchNorm2d(3, affine=False)", (4, 3, 2, 2)),
    "LazyBatchNorm3d(track_running_stats=False)": ("BatchNorm3d(3, track_running_stats=False)", (4, 3, 2, 2, 2)),
    "LazyInstanceNorm1d(bias=False)": ("InstanceNorm1d(3, affine=True, track_running_stats=True, bias=False)", (3, 4)),
    "LazyInstanceNorm2d(affine=False)": ("InstanceNorm2d(3, track_running_stats=True)", (4, 3, 2, 2)),
    "LazyInstanceNorm3d()": ("InstanceNorm3d(3, affine=True, track_running_stats=True)", (4, 3, 2, 2, 2)),
}  # fmt: skip


def make(text: str) -> Any:
    torch.manual_seed(0)
    return eval(f"nn.{text}")


@pytest.mark.parametrize("lazy", CASES)
def test_it_becomes_what_it_is_named_after(lazy: str) -> None:
    full, shape = CASES[lazy]
    layer, expected, x = make(lazy), make(full), torch.randn(shape)
    torch.manual_seed(0)
    out = layer(x)
    assert type(layer) is type(expected) and repr(layer) == repr(expected)
    assert list(layer.state_dict()) == list(expected.state_dict())
    torch.manual_seed(0)
    expected.reset_parameters()
    assert torch.equal(out, expected(x))
    for name, t in expected.state_dict().items():
        assert torch.equal(layer.state_dict()[name], t) and layer.state_dict()[name].dtype is t.dtype


def test_a_dtype_waits_for_the_first_input() -> None:
    layer = nn.LazyConv1d(4, 3, dtype=torch.float64)
    layer(torch.zeros(1, 2, 5, dtype=torch.float64))
    assert layer.weight.dtype is layer.bias.dtype is torch.float64


def test_channels_that_do_not_divide_into_groups() -> None:
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        nn.LazyConv1d(4, 3, groups=2)(torch.zeros(1, 3, 5))


@pytest.mark.parametrize("lazy", ["LazyConv2d(4, 3, padding=1, groups=2)", "LazyBatchNorm1d(eps=0.1)"])
def test_shapes_may_come_from_a_state_dict(lazy: str) -> None:
    full, shape = CASES[lazy]
    layer, trained, x = make(lazy), make(full), torch.randn(shape)
    layer.load_state_dict(trained.state_dict())
    assert torch.equal(layer(x), trained(x)) and repr(layer) == repr(trained)
