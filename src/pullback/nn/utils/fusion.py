"""Batch normalisation folded into the layer before it, for evaluation.

With s = weight / sqrt(variance + eps):  bn(W x + b) = (s W) x + (s (b - mean) + bias).
"""

from __future__ import annotations

import copy
from typing import Any

from ...errors import PullbackError, fail
from ...functions.creation import ones_like, zeros_like
from ...tensor import Tensor
from ..module import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def _fused(
    w: Tensor, b: Tensor | None, mean: Tensor, var: Tensor, eps: float, scale: Any, shift: Any, shape: Any
) -> tuple[Parameter, Parameter]:
    bias = zeros_like(mean) if b is None else b
    s = (ones_like(mean) if scale is None else scale) * (var + eps).rsqrt()
    fused = (bias - mean) * s + (zeros_like(mean) if shift is None else shift)
    fused = fused.to(w.dtype if b is None else b.dtype)
    return Parameter((w * s.reshape(shape)).to(w.dtype), w.requires_grad), Parameter(fused, bias.requires_grad)


def _checked(layer: Any, bn: Any) -> Any:
    """A copy of the layer, if the two can be made one."""
    if layer.training or bn.training:
        fail(PullbackError, "only layers in evaluation mode can be fused", "call eval() on both first")
    if bn.running_mean is None or bn.running_var is None:
        fail(PullbackError, "the normalisation has no running statistics to be folded into the layer")
    return copy.deepcopy(layer)


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A convolution that does what `conv` and then `bn` do; `transpose`: of a transposed one."""
    fused = _checked(conv, bn)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the fused convolution."""
    shape = [1] * conv_w.ndim
    shape[1 if transpose else 0] = -1
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A Linear that does what `linear` and then `bn` do."""
    fused = _checked(linear, bn)
    if bn.num_features not in (linear.out_features, 1):
        fail(PullbackError, f"{linear.out_features} output features cannot be normalised as {bn.num_features}")
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the fused Linear."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, (-1, 1))
