"""Activation functions. The derivative at a kink is a convention: each formula says which side holds there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import F32
from ..engines.numpy import special
from .arithmetic import abs, add, div, mul, neg, square, sub, zero
from .compare import ge, gt, hold, le, logical_and, logical_or, lt, masked, minimum, where
from .joining import cat, split
from .pointwise import erf, exp, log1p, sigmoid, tanh
from .record import Op, Sample, Spec, elementwise, floating, floats_only, op, per_element, promoting
from .samples import inf, nan, pairs, randn, unary

KINKS = (inf, -inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 6.0, 20.0)


def wide(*shape: int, seed: int = 0) -> Any:
    """Numbers on both sides of all kinks."""
    return np.asarray(2 * randn(*shape, seed=seed))


def activations(**params: Any) -> Callable[[], list[Sample]]:
    """Numbers everywhere, the kinks, and nan."""
    return unary(wide, (*KINKS, nan), **params)


def flat_outside(**params: Any) -> Callable[[], list[Sample]]:
    """The same without nan, for which PyTorch's gradient depends on the place in memory (vector or scalar code)."""
    return unary(wide, KINKS, **params)


def slopes(**params: Any) -> Callable[[], list[Sample]]:
    """A cotangent and the input of an activation (or its result)."""
    return lambda: [
        Sample((randn(3, 4), 2 * randn(3, 4, seed=1)), params),
        Sample((randn(), randn(seed=1)), params, note="0-d"),
        Sample((randn(0, 3), randn(0, 3)), params, note="empty"),
        Sample((randn(4, 3).T, randn(6, 4, seed=1)[::-2]), params, note="strided"),
        Sample((randn(3, dtype=F32), randn(3, seed=1, dtype=F32)), params, note="float32"),
        Sample((randn(len(KINKS)), np.array(KINKS)), params, smooth=False, note="kinks"),
    ]


# -- made of straight pieces -------------------------------------------------------------------------------------------


def _relu_backward(g: Any, out: Any) -> Any:
    return masked(~np.less_equal(out, 0), g)


relu_backward: Op = op(
    "relu_backward", "g where out > 0, else 0", inputs="g out", torch="torch.ops.aten.threshold_backward(g, out, 0)",
    numpy=_relu_backward, infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"g": lambda h, out: relu_backward(h, out), "out": zero},
    samples=slopes(),
)  # fmt: skip

relu = op(
    "relu", "max(x, 0)", inputs="x", torch="torch.relu(x)",
    numpy=lambda x: hold(x, 0, None), infer=elementwise, dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g, out: relu_backward(g, out)},
    samples=lambda: [
        *activations()(),
        Sample((randn(30, 40).T,), note="large"),
        Sample((np.tile([nan, inf, -inf, 0.0], 300),), smooth=False, note="large, special"),
    ],
)  # fmt: skip


def _leaky_relu(x: Any, slope: float = 0.01) -> Any:
    if 0 < slope <= 1:
        return np.maximum(x, np.multiply(x, slope))
    return np.where(np.greater(x, 0), x, np.multiply(x, slope))


def _leaky_relu_backward(g: Any, x: Any, slope: float = 0.01) -> Any:
    factor = np.greater(x, 0).astype(g.dtype)
    if 0 <= slope <= 1:
        return np.multiply(np.maximum(factor, slope), g)
    return np.multiply(factor + (1 - factor) * slope, g)


leaky_relu_backward: Op = op(
    "leaky_relu_backward", "g where x > 0, else slope g", inputs="g x",
    torch="torch.ops.aten.leaky_relu_backward(g, x, slope, False)",
    numpy=_leaky_relu_backward, infer=elementwise, dtypes=promoting, flops=per_element(2),
    vjp={"g": lambda h, x, slope: leaky_relu_backward(h, x, slope=slope), "x": zero},
    samples=lambda: [*slopes(slope=0.1)(), *slopes(slope=-2.0)()],
)  # fmt: skip

leaky_relu = op(
    "leaky_relu", "x where x > 0, else slope x", inputs="x", torch="F.leaky_relu(x, slope)",
    numpy=_leaky_relu, infer=elementwise, dtypes=floats_only, flops=per_element(2),
    vjp={"x": lambda g, x, slope: leaky_relu_backward(g, x, slope=slope)},
    samples=lambda: [s for slope in (0.01, 0.0, -0.5, 2.0) for s in activations(slope=slope)()],
)  # fmt: skip

prelu = op(
    "prelu", "x where x > 0, else weight x; the weight broadcasts", inputs="x weight",
    torch="torch.where(x > 0, x, weight * x)",
    numpy=lambda x, weight: np.where(np.greater(x, 0), x, np.multiply(weight, x)), infer=elementwise, dtypes=promoting,
    flops=per_element(2),
    vjp={
        "x": lambda g, x, weight: where(gt(x, 0), g, mul(weight, g)),
        "weight": lambda g, x: where(gt(x, 0), 0.0, mul(x, g)),
    },
    samples=lambda: [*pairs(scalar=0.25)()[:-1],
        Sample((randn(2, 3, 4), randn(3, 1, seed=1)), note="a weight per channel")],
)  # fmt: skip

hardtanh = op(
    "hardtanh", "min(max(x, low), high)", inputs="x", torch="F.hardtanh(x, low, high)",
    numpy=lambda x, low=-1.0, high=1.0: hold(x, low, high), infer=elementwise, dtypes=promoting,
    flops=per_element(2),
    # unlike clamp, the bounds themselves pass nothing on
    vjp={"x": lambda g, x, low, high: where(logical_or(le(x, low), ge(x, high)), 0.0, g)},
    samples=lambda: [*flat_outside()(), *flat_outside(low=-0.5, high=3.0)()],
)  # fmt: skip

relu6 = op(
    "relu6", "min(max(x, 0), 6)", inputs="x", torch="F.relu6(x)",
    numpy=lambda x: hold(x, 0, 6), infer=elementwise, dtypes=promoting, flops=per_element(2),
    vjp={"x": lambda g, x: where(logical_or(le(x, 0), ge(x, 6)), 0.0, g)},
    samples=flat_outside(),
)  # fmt: skip

hardsigmoid = op(
    "hardsigmoid", "min(max(x + 3, 0), 6) / 6", inputs="x", torch="F.relu6(x + 3) / 6",
    numpy=lambda x: np.divide(hold(np.add(x, 3), 0, 6), 6), infer=elementwise, dtypes=floats_only,
    flops=per_element(4),
    vjp={"x": lambda g, x: where(logical_and(gt(x, -3), lt(x, 3)), mul(g, 1 / 6), 0.0)},
    samples=flat_outside(),
)  # fmt: skip


def hardswish_slope(g: Any, x: Any) -> Any:
    """0, x/3 + 1/2, 1; the outer pieces hold at -3 and 3."""
    return where(le(x, -3), 0.0, where(lt(x, 3), mul(g, add(div(x, 3), 0.5)), g))


hardswish = op(
    "hardswish", "x min(max(x + 3, 0), 6) / 6", inputs="x", torch="F.hardswish(x)",
    numpy=lambda x: np.divide(np.multiply(hold(np.add(x, 3), 0, 6), x), 6), infer=elementwise,
    dtypes=floats_only, flops=per_element(5),
    vjp={"x": hardswish_slope},
    samples=activations(),
)  # fmt: skip

hardshrink = op(
    "hardshrink", "x where |x| > bound, else 0", inputs="x", torch="F.hardshrink(x, bound)",
    numpy=lambda x, bound=0.5: masked(~np.less_equal(np.abs(x), bound), x), infer=elementwise, dtypes=floats_only,
    flops=per_element(2),
    vjp={"x": lambda g, x, bound: where(le(abs(x), bound), 0.0, g)},
    samples=lambda: [*flat_outside()(), *flat_outside(bound=1.0)()],
)  # fmt: skip

softshrink = op(
    "softshrink", "x moved towards 0 by bound", inputs="x", torch="F.softshrink(x, bound)",
    numpy=lambda x, bound=0.5: np.subtract(x, hold(x, -bound, bound)), infer=elementwise,
    dtypes=floats_only, flops=per_element(3),
    vjp={"x": lambda g, x, bound: where(le(abs(x), bound), 0.0, g)},
    samples=lambda: [*flat_outside()(), *flat_outside(bound=1.0)()],
)  # fmt: skip

threshold = op(
    "threshold", "x where x > bound, else value", inputs="x", torch="F.threshold(x, bound, value)",
    numpy=lambda x, bound=0.0, value=0.0: np.where(np.less_equal(x, bound), x.dtype.type(value), x), infer=elementwise,
    dtypes=promoting, flops=per_element(1),
    vjp={"x": lambda g, x, bound: where(le(x, bound), 0.0, g)},
    samples=activations(bound=0.5, value=20.0),
)  # fmt: skip

softsign = op(
    "softsign", "x / (1 + |x|)", inputs="x", torch="F.softsign(x)",
    numpy=lambda x: np.divide(x, np.add(np.abs(x), 1)), infer=elementwise, dtypes=floating, flops=per_element(3),
    vjp={"x": lambda g, x: div(g, square(add(abs(x), 1)))},
    samples=lambda: [*activations()()[:-1], Sample((np.array([nan, 0.0, -0.0, 1.0]),), smooth=False, note="special")],
)  # fmt: skip


# -- made of exponentials ----------------------------------------------------------------------------------------------


def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    low = np.expm1(np.multiply(np.minimum(x, 0), input_scale))
    return np.add(np.multiply(np.maximum(x, 0), scale), np.multiply(low, alpha * scale))


def _elu_backward(g: Any, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    low = np.multiply(np.exp(np.multiply(np.minimum(x, 0), input_scale)), alpha * scale * input_scale)
    return np.multiply(np.where(np.less_equal(x, 0), low, x.dtype.type(scale)), g)


def elu_slope(g: Any, x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    """scale, or alpha scale input_scale e^(input_scale x) for x <= 0."""
    low = mul(exp(where(lt(x, 0), mul(x, input_scale), 0.0)), alpha * scale * input_scale)
    return mul(g, where(le(x, 0), low, scale))


elu_backward = op(
    "elu_backward", "g times the derivative of elu", inputs="g x",
    torch="torch.ops.aten.elu_backward(g, alpha, scale, input_scale, False, x)",
    numpy=_elu_backward, infer=elementwise, dtypes=promoting, flops=per_element(4),
    decompose=elu_slope,
    samples=lambda: [*slopes()(), *slopes(alpha=2.0, scale=1.5, input_scale=0.5)()],
)  # fmt: skip

elu = op(
    "elu", "scale x where x > 0, else scale alpha (e^(input_scale x) - 1)", inputs="x",
    torch="torch.ops.aten.elu(x, alpha, scale, input_scale)",
    numpy=_elu, infer=elementwise, dtypes=floats_only, flops=per_element(5),
    vjp={"x": lambda g, x, alpha, scale,
        input_scale: elu_backward(g, x, alpha=alpha, scale=scale, input_scale=input_scale)},
    samples=lambda: [*activations()(), *activations(alpha=2.0, scale=1.5, input_scale=0.5)()],
)  # fmt: skip

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def selu(x: Any) -> Any:
    """elu with the constants that keep mean 0 and variance 1 from layer to layer."""
    return elu(x, alpha=SELU_ALPHA, scale=SELU_SCALE)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """alpha (e^(x / alpha) - 1) below 0: an elu whose slope has no jump."""
    return elu(x, alpha=alpha, input_scale=1 / alpha)


def _silu(x: Any) -> Any:
    out = np.negative(x, out=np.empty_like(x))
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    return np.divide(x, out, out=out)


def _silu_backward(g: Any, x: Any) -> Any:
    s = np.negative(x, out=np.empty_like(x))
    np.exp(s, out=s)
    np.add(s, 1, out=s)
    np.divide(1, s, out=s)
    slope = np.subtract(1, s, out=np.empty_like(s))
    np.multiply(slope, x, out=slope)
    np.add(slope, 1, out=slope)
    np.multiply(slope, s, out=slope)
    return np.multiply(slope, g, out=slope)


def silu_slope(g: Any, x: Any) -> Any:
    """s (1 + x (1 - s)), s = sigmoid(x)"""
    s = sigmoid(x)
    return mul(g, mul(s, add(mul(x, sub(1, s)), 1)))


silu_backward = op(
    "silu_backward", "g s (1 + x (1 - s)), s = sigmoid(x)", inputs="g x",
    torch="torch.autograd.grad(F.silu(x), x, g, create_graph=True)",
    numpy=_silu_backward, infer=elementwise, dtypes=promoting, ordered=True, flops=per_element(8),
    decompose=silu_slope,
    samples=slopes(),
)  # fmt: skip

silu = op(
    "silu", "x sigmoid(x)", inputs="x", torch="F.silu(x)",
    numpy=_silu, infer=elementwise, dtypes=floats_only, flops=per_element(4),
    vjp={"x": lambda g, x: silu_backward(g, x)},
    decompose=lambda x: mul(x, sigmoid(x)),
    samples=activations(),
)  # fmt: skip


def _gelu_inner(x: Any) -> Any:
    """tanh(sqrt(2/pi) (x + 0.044715 x^3))"""
    u = np.square(x, out=np.empty_like(x))
    np.multiply(u, _GELU * 0.044715, out=u)
    np.add(u, _GELU, out=u)
    np.multiply(u, x, out=u)
    return np.tanh(u, out=u)


_GELU = math.sqrt(2 / math.pi)


def _gelu(x: Any, approximate: str = "none") -> Any:
    t = _gelu_inner(x) if approximate == "tanh" else special.erf(np.multiply(x, math.sqrt(0.5), out=np.empty_like(x)))
    np.add(t, 1, out=t)
    np.multiply(t, x, out=t)
    return np.multiply(t, 0.5, out=t)


def _gelu_backward(g: Any, x: Any, approximate: str = "none") -> Any:
    square = np.square(x, out=np.empty_like(x))
    if approximate == "tanh":
        # (1 + t)/2 + x (1 - t^2)/2 sqrt(2/pi) (1 + 3 * 0.044715 x^2)
        t = _gelu_inner(x)
        slope = np.multiply(square, 3 * 0.044715 * _GELU / 2, out=square)
        np.add(slope, _GELU / 2, out=slope)
        np.multiply(slope, x, out=slope)
        np.multiply(slope, 1 - t * t, out=slope)
    else:
        # Phi(x) + x phi(x), the normal distribution and its density
        t = special.erf(np.multiply(x, math.sqrt(0.5), out=np.empty_like(x)))
        slope = np.multiply(square, -0.5, out=square)
        np.exp(slope, out=slope)
        np.multiply(slope, x, out=slope)
        np.multiply(slope, 1 / math.sqrt(2 * math.pi), out=slope)
    np.add(t, 1, out=t)
    np.multiply(t, 0.5, out=t)
    np.add(slope, t, out=slope)
    return np.multiply(slope, g, out=slope)


def gelu_slope(g: Any, x: Any, approximate: str) -> Any:
    """The derivative of gelu in ops."""
    if approximate == "tanh":
        t = tanh(mul(add(mul(mul(square(x), x), 0.044715), x), _GELU))
        bend = mul(add(mul(square(x), 3 * 0.044715), 1), _GELU)
        return mul(g, add(mul(add(t, 1), 0.5), mul(mul(mul(x, 0.5), sub(1, square(t))), bend)))
    normal = mul(add(erf(mul(x, math.sqrt(0.5))), 1), 0.5)
    density = mul(exp(mul(square(x), -0.5)), 1 / math.sqrt(2 * math.pi))
    return mul(g, add(normal, mul(x, density)))


def gelu_in_ops(x: Any, approximate: str) -> Any:
    """x Phi(x), or its approximation by tanh."""
    if approximate == "tanh":
        t = tanh(mul(add(mul(mul(square(x), x), 0.044715), x), _GELU))
    else:
        t = erf(mul(x, math.sqrt(0.5)))
    return mul(mul(x, 0.5), add(t, 1))


gelu_backward = op(
    "gelu_backward", "g (Phi(x) + x phi(x)), or that of the approximation", inputs="g x",
    torch="torch.ops.aten.gelu_backward(g, x, approximate=approximate)",
    numpy=_gelu_backward, infer=elementwise, dtypes=promoting, ordered=True, flops=per_element(25),
    decompose=gelu_slope,
    samples=lambda: [*slopes(approximate="none")(), *slopes(approximate="tanh")()],
)  # fmt: skip

gelu = op(
    "gelu", "x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2", inputs="x", torch="F.gelu(x, approximate=approximate)",
    numpy=_gelu, infer=elementwise, dtypes=floats_only, ordered=True, flops=per_element(20),
    vjp={"x": lambda g, x, approximate: gelu_backward(g, x, approximate=approximate)},
    decompose=gelu_in_ops,
    samples=lambda: [
        *unary(wide, (nan, *KINKS[2:]), approximate="none")(),
        *unary(wide, (nan, *KINKS[2:]), approximate="tanh")(),
        Sample((randn(20, 10),), note="many"),
        Sample((randn(20, 10, dtype=F32),), note="many, float32"),
    ],
)  # fmt: skip


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    scaled = np.multiply(x, beta)
    return np.where(np.greater(scaled, threshold), x, np.divide(np.log1p(np.exp(scaled)), beta))


def softplus_slope(g: Any, x: Any, beta: float, threshold: float) -> Any:
    """sigmoid(beta x), and 1 on the straight part."""
    scaled = mul(x, beta)
    return where(gt(scaled, threshold), g, mul(g, sigmoid(scaled)))


softplus = op(
    "softplus", "log(1 + e^(beta x)) / beta; x where beta x > threshold", inputs="x",
    torch="F.softplus(x, beta, threshold)",
    numpy=_softplus, infer=elementwise, dtypes=floats_only, flops=per_element(5),
    vjp={"x": softplus_slope},
    samples=lambda: [*activations()(), *activations(beta=2.0, threshold=1.0)()],
)  # fmt: skip

logsigmoid = op(
    "logsigmoid", "-log(1 + e^-x)", inputs="x", torch="F.logsigmoid(x)",
    numpy=lambda x: np.subtract(np.minimum(x, 0), np.log1p(np.exp(-np.abs(x)))), infer=elementwise, dtypes=floats_only,
    flops=per_element(5),
    vjp={"x": lambda g, x: mul(g, sigmoid(neg(x)))},
    decompose=lambda x: sub(minimum(x, 0.0), log1p(exp(neg(abs(x))))),
    samples=activations(),
)  # fmt: skip


def _mish_backward(g: Any, x: Any) -> Any:
    e = np.exp(x)
    t = np.tanh(np.log1p(e))
    s = np.reciprocal(np.add(np.exp(np.negative(x)), 1))
    return np.multiply(g, t + x * s * (1 - t * t))


def mish_slope(g: Any, x: Any) -> Any:
    """t + x s (1 - t^2), t = tanh(log(1 + e^x)), s = sigmoid(x)"""
    t = tanh(log1p(exp(x)))
    return mul(g, add(t, mul(mul(x, sigmoid(x)), sub(1, square(t)))))


mish_backward = op(
    "mish_backward", "g times the derivative of mish", inputs="g x",
    torch="torch.autograd.grad(F.mish(x), x, g, create_graph=True)",
    numpy=_mish_backward, infer=elementwise, dtypes=promoting, flops=per_element(10),
    decompose=mish_slope,
    samples=slopes(),
)  # fmt: skip

mish = op(
    "mish", "x tanh(log(1 + e^x))", inputs="x", torch="F.mish(x)",
    numpy=lambda x: np.multiply(x, np.tanh(np.log1p(np.exp(x)))), infer=elementwise, dtypes=floats_only,
    flops=per_element(4),
    vjp={"x": lambda g, x: mish_backward(g, x)},
    decompose=lambda x: mul(x, tanh(log1p(exp(x)))),
    samples=activations(),
)  # fmt: skip

tanhshrink = op(
    "tanhshrink", "x - tanh(x)", inputs="x", torch="F.tanhshrink(x)",
    numpy=lambda x: np.subtract(x, np.tanh(x)), infer=elementwise, dtypes=floating, flops=per_element(2),
    vjp={"x": lambda g, x: mul(g, square(tanh(x)))},
    samples=activations(),
)  # fmt: skip


# -- gated linear unit -------------------------------------------------------------------------------------------------


def _glu(x: Any, dim: int = -1) -> Any:
    if x.ndim == 0 or x.shape[dim] % 2:
        raise ValueError(f"halving dimension {dim} needs an even size, but the shape is {list(x.shape)}")
    a, b = np.split(x, 2, dim)
    return np.multiply(a, np.reciprocal(np.add(np.exp(np.negative(b)), 1)))


def glu_shape(x: Any, dim: int = -1) -> Spec:
    """Half as large along dim."""
    dim %= len(x.shape)
    return Spec((*x.shape[:dim], x.shape[dim] // 2, *x.shape[dim + 1 :]), x.dtype)


def glu_slope(g: Any, x: Any, dim: int) -> Any:
    """s for a, a s (1 - s) for b, s = sigmoid(b)"""
    a, b = halves(x, dim)
    s = sigmoid(b)
    gs = mul(g, s)
    return cat(gs, mul(mul(gs, a), sub(1, s)), dim=dim % len(x.shape))


def halves(x: Any, dim: int) -> Any:
    """x cut in two along dim."""
    half = x.shape[dim] // 2
    return split(x, sizes=(half, half), dim=dim % len(x.shape))


def glu_in_ops(x: Any, dim: int) -> Any:
    """a sigmoid(b)"""
    a, b = halves(x, dim)
    return mul(a, sigmoid(b))


glu = op(
    "glu", "a sigmoid(b), a and b the halves of x along dim", inputs="x", torch="F.glu(x, dim)",
    numpy=_glu, infer=glu_shape, dtypes=floats_only, flops=per_element(5),
    vjp={"x": glu_slope},
    decompose=glu_in_ops,
    samples=lambda: [
        Sample((randn(3, 4),)),
        Sample((randn(6, 4),), {"dim": 0}),
        Sample((randn(2, 6, 3)[::-1].transpose(2, 0, 1),), {"dim": 2}, note="strided"),
        Sample((randn(0, 4),), {"dim": 1}, note="empty"),
        Sample((randn(3, 2, dtype=F32),), {"dim": 1}, note="float32"),
        Sample((np.array([nan, inf, 1.0, 2.0, 0.0, -inf]),), {"dim": 0}, smooth=False, note="special"),
    ],
)  # fmt: skip
