"""softmax, log_softmax and the sums of exponentials under them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import F32
from .arithmetic import div, mul, sub
from .extremes import amax
from .pointwise import exp, log
from .record import Sample, Shape, arithmetic, floating, op, per_element, per_input_element, reduced, same
from .reduction import add_reduce, add_up, fractional, keep, maximum_reduce, reductions, sum
from .samples import inf, integers, nan, randn
from .scan import accumulate, previous, recur_back, scans


def rows(*, inputs: int = 1) -> list[Sample]:
    """First, last and middle dim; strided, 0-d, empty, float32, masked, special values."""

    def sample(*shape: int, dim: int, note: str = "", dtype: Any = np.float64) -> Sample:
        return Sample(tuple(randn(*shape, seed=i, dtype=dtype) for i in range(inputs)), {"dim": dim}, note=note)

    masked = np.array([[1.0, -inf, 2.0], [-inf, -inf, -inf], [nan, 1.0, 0.0], [inf, 1.0, 0.0]])
    return [
        sample(3, 4, dim=1),
        sample(5, 3, dim=0),
        sample(2, 3, 4, dim=1),
        Sample(tuple(randn(4, 6, seed=i).T[::-2] for i in range(inputs)), {"dim": 1}, note="strided"),
        sample(dim=0, note="0-d"),
        sample(0, 3, dim=0, note="of nothing"),
        sample(2, 0, 3, dim=2, note="empty"),
        sample(3, 4, dim=1, note="float32", dtype=F32),
        Sample((masked,) * inputs, {"dim": 1}, smooth=False, note="special"),
        Sample(tuple(1000 * randn(3, 4, seed=i) for i in range(inputs)), {"dim": 1}, smooth=False, note="large"),
    ]


def _shifted(x: Any, dim: int) -> Any:
    """x - max, in memory of its own. A row of -inf gives NaN, as in PyTorch."""
    return np.subtract(x, maximum_reduce(x, dim, None, None, True, -inf), out=np.empty_like(x))


def _softmax(x: Any, dim: int) -> Any:
    e = _shifted(x, dim)
    np.exp(e, out=e)
    e /= add_reduce(e, dim, None, None, True)
    return e


def _shift(x: Any, dim: int) -> Any:
    return x if 0 in x.shape else sub(x, amax(x, dim=dim, keepdim=True))


def _softmax_in_steps(x: Any, dim: int) -> Any:
    e = exp(_shift(x, dim))
    return div(e, sum(e, dim=dim, keepdim=True))


def _softmax_pullback(g: Any, out: Any, dim: int) -> Any:
    x = np.multiply(g, out, out=np.empty_like(out))
    total = add_reduce(x, dim, None, None, True)
    np.subtract(g, total, out=x)
    x *= out
    return x


softmax_pullback = op(
    "softmax_pullback", "out (g - sum over dim of g out)", inputs="g out",
    torch="torch.ops.aten._softmax_backward_data(g, out, dim, g.dtype)",
    numpy=_softmax_pullback, infer=lambda g, out, dim: same(out), dtypes=arithmetic, flops=per_element(4),
    decompose=lambda g, out, dim: mul(out, sub(g, sum(mul(g, out), dim=dim, keepdim=True))),
    samples=lambda: [s for s in rows(inputs=2) if s.note not in ("large", "special")],
)  # fmt: skip

softmax = op(
    "softmax", "exp(x) / sum over dim of exp(x)", inputs="x", torch="torch.softmax(x, dim)",
    numpy=_softmax, infer=same, dtypes=fractional, flops=per_element(5),
    vjp={"x": lambda g, out, dim: softmax_pullback(g, out, dim=dim)}, decompose=_softmax_in_steps,
    samples=rows,
)  # fmt: skip


def _log_softmax(x: Any, dim: int) -> Any:
    out = _shifted(x, dim)
    out -= np.log(add_reduce(np.exp(out), dim, None, None, True))
    return out


def _log_softmax_in_steps(x: Any, dim: int) -> Any:
    y = _shift(x, dim)
    return sub(y, log(sum(exp(y), dim=dim, keepdim=True)))


def _log_softmax_pullback(g: Any, out: Any, dim: int) -> Any:
    x = np.exp(out, out=np.empty_like(out))
    x *= add_reduce(g, dim, None, None, True)
    return np.subtract(g, x, out=x)


log_softmax_pullback = op(
    "log_softmax_pullback", "g - exp(out) sum over dim of g", inputs="g out",
    torch="torch.ops.aten._log_softmax_backward_data(g, out, dim, g.dtype)",
    numpy=_log_softmax_pullback, infer=lambda g, out, dim: same(out), dtypes=arithmetic, flops=per_element(4),
    decompose=lambda g, out, dim: sub(g, mul(exp(out), sum(g, dim=dim, keepdim=True))),
    samples=lambda: [s for s in rows(inputs=2) if s.note not in ("large", "special")],
)  # fmt: skip

log_softmax = op(
    "log_softmax", "x - log(sum over dim of exp(x))", inputs="x", torch="torch.log_softmax(x, dim)",
    numpy=_log_softmax, infer=same, dtypes=fractional, flops=per_element(5),
    vjp={"x": lambda g, out, dim: log_softmax_pullback(g, out, dim=dim)}, decompose=_log_softmax_in_steps,
    samples=rows,
)  # fmt: skip


def _logsumexp(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    top = maximum_reduce(x, dim, None, None, True, -inf)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    total = np.log(add_up(np.exp(x - top), dim, True)) + top
    return total if keepdim else total.reshape(reduced(x, dim).shape)


def _pull_logsumexp(g: Any, x: Any, out: Any, x_shape: Shape, dim: Any, keepdim: bool) -> Any:
    return mul(keep(g, x_shape, dim, keepdim), exp(sub(x, keep(out, x_shape, dim, keepdim))))


logsumexp = op(
    "logsumexp", "log(sum over dim of exp(x))", inputs="x",
    torch="torch.logsumexp(x, tuple(range(x.ndim)) if dim is None else dim, keepdim)",
    numpy=_logsumexp, infer=reduced, dtypes=floating, flops=per_input_element(3),
    vjp={"x": _pull_logsumexp},
    samples=lambda: [
        *reductions()(),
        Sample((np.array([[-inf, -inf, inf], [-inf, 1.0, -inf]]),), {"dim": (0,)}, smooth=False, note="infinities"),
        Sample((1000 * randn(3, 4),), {"dim": (1,)}, note="large"),
        Sample((integers(-5, 5, 3, 4),), smooth=False, note="integers"),
    ],
)  # fmt: skip


def _pull_logcumsumexp(g: Any, x: Any, out: Any, dim: int) -> Any:
    """dx_i = exp(x_i - out_i) s_i with s_i = g_i + exp(out_i - out_(i+1)) s_(i+1): no exponent is positive"""
    return mul(exp(sub(x, out)), recur_back(exp(sub(previous(out, dim), out)), g, dim))


logcumsumexp = op(
    "logcumsumexp", "out_i = log(sum over k <= i of exp(x_k))", inputs="x", torch="torch.logcumsumexp(x, dim)",
    numpy=accumulate(np.logaddexp), infer=same, dtypes=fractional, flops=per_input_element(3),
    vjp={"x": _pull_logcumsumexp},
    samples=lambda: [
        *scans()()[:-1],
        Sample((50 * randn(3, 4),), {"dim": 1}, note="large"),
        Sample((np.array([-inf, -inf, 2.0, 1.0]),), {"dim": 0}, smooth=False, note="special"),
    ],
)  # fmt: skip
