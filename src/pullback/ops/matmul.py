"""Products of matrices. Leading dimensions are batches, and broadcast."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import BOOL, F32
from .arithmetic import add
from .record import Sample, Shape, Spec, bias_flops, matching, op
from .reduction import sum as sum_
from .samples import inf, integers, nan, randn
from .shape import permute, reshape


def transpose(x: Any) -> Any:
    """x with its last two dimensions swapped."""
    n = len(x.shape)
    return permute(x, dims=(1, 0) if n == 2 else (*range(n - 2), n - 1, n - 2))


def _product_spec(x: Any, y: Any) -> Spec:
    if not x.shape or not y.shape:
        raise ValueError(
            f"both arguments to matmul need to be at least 1D, but they are {len(x.shape)}D and {len(y.shape)}D"
        )
    rows, columns = x.shape[-2:-1], y.shape[-1:] if len(y.shape) > 1 else ()
    if x.shape[-1] != (y.shape[-2] if len(y.shape) > 1 else y.shape[0]):
        left, right = ("x".join(map(str, a.shape[-2:])) for a in (x, y))
        raise ValueError(f"mat1 and mat2 shapes cannot be multiplied ({left} and {right})")
    batch, other = x.shape[:-2], y.shape[:-2]
    rank = max(len(batch), len(other))
    batch, other = (1,) * (rank - len(batch)) + tuple(batch), (1,) * (rank - len(other)) + tuple(other)
    for i, (a, b) in enumerate(zip(batch, other, strict=True)):
        if a != b and 1 not in (a, b):
            raise ValueError(
                f"The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension {i}"
            )
    return Spec((*(b if a == 1 else a for a, b in zip(batch, other, strict=True)), *rows, *columns), x.dtype)


def _matmul(x: Any, y: Any) -> Any:
    if x.dtype == BOOL:
        raise TypeError("not implemented for bool; convert to a number type first")
    try:
        if x.ndim > 2 and y.ndim <= 2:  # one product instead of a stack of small ones
            flat = np.matmul(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), y)
            return flat.reshape(x.shape[:-1] + y.shape[1:])
        return np.matmul(x, y)
    except ValueError:
        _product_spec(x, y)  # says it better
        raise


def _flops(arrays: Any, params: Any, out: Any) -> int:
    return int(2 * math.prod(out.shape) * arrays[0].shape[-1]) + bias_flops(arrays, out)


# With X and Y matrices (a 1-D x is a row, a 1-D y a column) and G shaped as X Y:  dX = G Y^T,  dY = X^T G.


def _matrices(g: Any, x_shape: Shape, y_shape: Shape) -> Any:
    rows, columns = (x_shape[-2:-1] or (1,)), (y_shape[-1:] if len(y_shape) > 1 else (1,))
    if len(x_shape) > 1 and len(y_shape) > 1:
        return g
    batch = g.shape[: len(g.shape) - (len(x_shape) > 1) - (len(y_shape) > 1)]
    return reshape(g, shape=(*batch, *rows, *columns))


def _pull_x(g: Any, y: Any, x_shape: Shape) -> Any:
    g = _matrices(g, x_shape, y.shape)
    if len(y.shape) == 1:
        y = reshape(y, shape=(*y.shape, 1))
    if len(x_shape) <= 2 and len(y.shape) > 2:  # x serves every batch: one product with the batches side by side
        g, y = _side_by_side(g), _side_by_side(y)
    return _unbroadcast(matmul(g, transpose(y)), x_shape)


def _pull_y(g: Any, x: Any, y_shape: Shape) -> Any:
    g = _matrices(g, x.shape, y_shape)
    if len(y_shape) <= 2 and len(x.shape) > 2:  # y serves every batch: one product with the batches below each other
        x, g = _below_each_other(x), _below_each_other(g)
    elif len(x.shape) == 1:
        x = reshape(x, shape=(1, *x.shape))
    return _unbroadcast(matmul(transpose(x), g), y_shape)


def _below_each_other(x: Any) -> Any:
    """(..., m, n) as (all m, n)."""
    return x if len(x.shape) == 2 else reshape(x, shape=(math.prod(x.shape[:-1]), x.shape[-1]))


def _side_by_side(x: Any) -> Any:
    """(..., m, n) as (m, all n)."""
    n = len(x.shape)
    return reshape(
        permute(x, dims=(n - 2, *range(n - 2), n - 1)), shape=(x.shape[-2], math.prod(x.shape) // max(1, x.shape[-2]))
    )


def _unbroadcast(g: Any, shape: Shape) -> Any:
    """Add up the batches that `shape` was broadcast over."""
    if g.shape == shape:
        return g
    extra = max(0, len(g.shape) - max(2, len(shape)))
    dims = tuple(i for i in range(len(g.shape) - 2) if i < extra or shape[i - extra] != g.shape[i])
    return reshape(sum_(g, dim=dims) if dims else g, shape=shape)


matmul = op(
    "matmul", "out[..., i, j] = sum over k of x[..., i, k] y[..., k, j]", inputs="x y", torch="torch.matmul(x, y)",
    numpy=_matmul, infer=_product_spec, dtypes=matching, flops=_flops,
    vjp={"x": _pull_x, "y": _pull_y},
    samples=lambda: [
        Sample((randn(3, 4), randn(4, 5))),
        Sample((randn(2, 3, 4), randn(2, 4, 5)), note="batched"),
        Sample((randn(2, 1, 3, 4), randn(5, 4, 2)), note="batches broadcast"),
        Sample((randn(2, 3, 4), randn(4, 5)), note="one y for all batches"),
        Sample((randn(3, 4), randn(2, 2, 4, 5)), note="one x for all batches"),
        Sample((randn(4), randn(4, seed=1)), note="1-D by 1-D"),
        Sample((randn(4), randn(4, 3)), note="1-D by 2-D"),
        Sample((randn(3, 4), randn(4)), note="2-D by 1-D"),
        Sample((randn(4), randn(2, 4, 3)), note="1-D by batched"),
        Sample((randn(2, 2, 3, 4), randn(4)), note="batched by 1-D"),
        Sample((randn(4, 3).T, randn(10, 8)[::-2, ::2].T), note="strided"),
        Sample((randn(3, 0), randn(0, 5)), note="nothing to add up"),
        Sample((randn(0, 3, 4), randn(4, 2)), note="empty"),
        Sample((randn(3, 4, dtype=np.float32), randn(4, 5, dtype=np.float32)), note="float32"),
        Sample((integers(-5, 5, 3, 4), integers(-5, 5, 4, 2)), smooth=False, note="integers"),
        Sample((np.array([[nan, 1.0], [inf, 0.0]]), np.array([[0.0, 1.0], [2.0, -inf]])), smooth=False, note="special"),
    ],
)  # fmt: skip


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    try:
        if x.ndim > 2:
            out = np.matmul(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), weight.T).reshape(
                *x.shape[:-1], len(weight)
            )
        else:
            out = np.matmul(x, weight.T)
    except ValueError:
        _product_spec(x, weight.T)
        raise
    if bias is not None:
        out += bias
    return out


linear = op(
    "linear", "x weight^T + bias", inputs="x weight bias", torch="F.linear(x, weight, bias)",
    numpy=_linear, infer=lambda x, weight, bias=None: Spec((*x.shape[:-1], weight.shape[0]), x.dtype),
    dtypes=matching, flops=_flops,
    # dx = g W,  dW = g^T x,  db = sum of g
    vjp={
        "x": lambda g, weight: matmul(g, weight),
        "weight": lambda g, x: _pull_weight(g, x),
        "bias": lambda g: sum_(g, dim=tuple(range(len(g.shape) - 1))),
    },
    decompose=lambda x, weight, bias=None: _composed(x, weight, bias),
    samples=lambda: [
        Sample((randn(3, 4), randn(5, 4), randn(5))),
        Sample((randn(3, 4), randn(5, 4), None), note="no bias"),
        Sample((randn(2, 3, 4), randn(5, 4), randn(5)), note="batched"),
        Sample((randn(4), randn(5, 4), randn(5)), note="1-D"),
        Sample((randn(0, 4), randn(5, 4), randn(5)), note="empty"),
        Sample((randn(3, 0), randn(5, 0), randn(5)), note="no features"),
        Sample((randn(3, 2, 4).transpose(1, 0, 2), randn(4, 5).T, randn(10)[::-2]), note="strided"),
        Sample((randn(3, 4, dtype=F32), randn(5, 4, dtype=F32), randn(5, dtype=F32)), note="float32"),
    ],
)  # fmt: skip


def _pull_weight(g: Any, x: Any) -> Any:
    g, x = (reshape(a, shape=(math.prod(a.shape[:-1]), a.shape[-1])) if len(a.shape) != 2 else a for a in (g, x))
    return matmul(transpose(g), x)


def _composed(x: Any, weight: Any, bias: Any) -> Any:
    out = matmul(x, transpose(weight))
    return out if bias is None else add(out, bias)
