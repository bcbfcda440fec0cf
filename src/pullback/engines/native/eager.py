"""Large eager ops, each as a Program of one instruction, planned once for each way in which its inputs look.

A call finds its Executable by the op, its parameters, and its inputs' shapes, strides and dtypes; then it is one
foreign call. Kernels read what shapes promise and do not look again: so what an op expects of its inputs is checked
here when they are first seen, and what does not fit goes to NumPy, whose error says what is wrong. So does an index out
of range.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from ...dtypes import BOOL, F32, F64, I64
from ...errors import PullbackError
from ...ops import attention as attentions
from ...ops.indexing import region
from ...ops.record import OPS, Op, Spec, broadcasts_to
from ...program.capture.layout import kept_strides
from ...program.program import Input, Instruction, Program, Value, Write
from .. import eager as policy
from .build import available, compiler
from .engine import Executable

MOST = 512  # ways that are kept, the latest ones
ROOM = 256 << 20  # bytes of memory in which they work
OPTIONS = 64  # sets of parameters of one op: numbers among them stand in its C, which is compiled for each


@cache
def usable() -> bool:
    """Is there a compiler?"""
    return compiler() is not None and available()


# -- finding and keeping -----------------------------------------------------------------------------------------------

KNOWN: OrderedDict[Any, Executable | None] = OrderedDict()  # None: NumPy runs it
UNSEEN: Any = object()
SEEN: dict[str, set[str]] = {}  # the parameters that ops had
LOCK = threading.Lock()


def run(op: Op, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
    """The op's results, in new arrays; NotImplemented where NumPy is to run it."""
    key = (
        op.name,
        repr(params) if params else "",
        *[(x.shape, x.strides, x.dtype) if type(x) is np.ndarray else type(x) for x in arrays],
    )
    made = KNOWN.get(key, UNSEEN)
    if made is UNSEEN:
        made = kept(key, prepare(op, arrays, params))
    if made is None:
        return NotImplemented
    with suppress(KeyError):  # another thread has just made room
        KNOWN.move_to_end(key)
    try:
        results = made([x for x in arrays if x is not None])
    except PullbackError:  # an index is out of range: NumPy finds it, too
        return NotImplemented
    return results[0] if len(results) == 1 else tuple(results)


def update(op: Op, rows: Sequence[Any], params: dict[str, Any]) -> list[Any]:
    """Write an update over the first arrays of each row; the rows that NumPy is left to do."""
    left, options, least = [], repr(params), policy.CALL / policy.UPDATES[op.name]
    for row in rows:
        n, kind = row[0].size, row[0].dtype
        if n < least or kind not in (F32, F64) or not all(flat(x, n, kind) for x in row):
            left.append(row)
            continue
        key = (op.name, options, n, kind, *[x.dtype if type(x) is np.ndarray else type(x) for x in row])
        given = [x.reshape(-1) if type(x) is np.ndarray and x.ndim else x for x in row]
        made = KNOWN.get(key, UNSEEN)
        if made is UNSEEN:
            made = kept(key, prepare_update(op, given, params))
        if made is None:
            left.append(row)
            continue
        with suppress(KeyError):
            KNOWN.move_to_end(key)
        made([x for x in given if x is not None])
    return left


def flat(x: Any, n: int, dtype: Any) -> bool:
    """A number, or an array that lies in order and is one of the parameters' kind; or one number that counts steps."""
    if type(x) is not np.ndarray:
        return x is None or type(x) in NUMBERS
    if not x.ndim:
        return x.dtype in (F32, F64)
    return x.size == n and x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable and x.flags.aligned


def kept(key: Any, made: Any) -> Any:
    """Keep it; those not used for the longest time make room."""
    with LOCK:
        KNOWN[key] = made
        while len(KNOWN) > MOST or (len(KNOWN) > 1 and sum(e.plan.size for e in KNOWN.values() if e) > ROOM):
            KNOWN.popitem(last=False)
    return made


def forked() -> None:
    """A child has none of its parent's threads, one of which may have been at work."""
    global LOCK
    LOCK = threading.Lock()
    for made in KNOWN.values():
        if made is not None:
            made.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forked)


def prepare(op: Op, arrays: Sequence[Any], params: dict[str, Any]) -> Executable | None:
    """What runs the op on inputs like these; None if that is NumPy."""
    fit = FITS.get(op.name)
    options, given = SEEN.setdefault(op.name, set()), repr(params)
    if fit is None or not plain(arrays) or (given not in options and len(options) >= OPTIONS):
        return None
    try:
        if not fit(*arrays, **{**op.defaults, **params}):
            return None
        outlines = [Spec(x.shape, x.dtype) if type(x) is np.ndarray else x for x in arrays]
        found = op.infer(*outlines, **params)
    except Exception:  # NumPy says what is wrong
        return None
    results = [found] if isinstance(found, Spec) else list(found)
    if not policy.worthwhile(op, arrays, params, results):
        return None
    try:
        made = Executable(program(op, arrays, params, results))
    except PullbackError:  # the compiler, or the cache, has failed, which has been said
        return None
    options.add(given)
    return None if made.plan.report else made


def prepare_update(op: Op, row: Sequence[Any], params: dict[str, Any]) -> Executable | None:
    """What writes an update over the first arrays of a row like this one."""
    operands, inputs = described(row)
    writes, outputs = [], []
    for old in operands[: op.writes]:
        if old is not None and not old.weak:
            new = Value(len(row) + old.id, old.shape, old.dtype)
            outputs.append(new)
            writes.append(Write(f"x{old.id}", new, [given.value for given in inputs].index(old)))
    try:
        made = Executable(Program(op.name, inputs, {}, [Instruction(op, operands, params, outputs)], [], writes))
    except PullbackError:
        return None
    in_place = all(kind == "input" for kind, _ in made.plan.results)
    return made if in_place and not made.plan.report else None


def program(op: Op, arrays: Sequence[Any], params: dict[str, Any], results: Sequence[Spec]) -> Program:
    """One instruction. Its results lie in memory as NumPy's would."""
    operands, inputs = described(arrays)
    outputs = []
    for k, (shape, dtype) in enumerate(results, len(operands)):
        strides = None if op.ordered else kept_strides(operands, shape, dtype)
        outputs.append(Value(k, tuple(shape), dtype, strides))
    return Program(op.name, inputs, {}, [Instruction(op, operands, params, outputs)], outputs)


def described(arrays: Sequence[Any]) -> tuple[list[Value | None], list[Input]]:
    """Operands, and the inputs that they are; numbers may be others at the next call."""
    operands: list[Value | None] = []
    inputs = []
    for k, x in enumerate(arrays):
        if x is None:
            operands.append(None)
            continue
        number = type(x) is not np.ndarray
        value = Value(k, (), NUMBERS[type(x)], weak=True) if number else Value(k, x.shape, x.dtype, x.strides)
        operands.append(value)
        inputs.append(Input(value, "number" if number else "argument", f"x{k}"))
    return operands, inputs


# -- what ops expect ---------------------------------------------------------------------------------------------------


NUMBERS: dict[type, Any] = {float: F64, int: I64}


def plain(arrays: Sequence[Any]) -> bool:
    """Numbers, arrays of one floating type, and of indices and booleans beside it, each element in its place."""
    floats = set()
    for x in arrays:
        if x is None or type(x) in NUMBERS:
            continue
        if type(x) is not np.ndarray or not x.flags.aligned or any(s % x.itemsize for s in x.strides):
            return False
        if x.dtype in (F32, F64):
            floats.add(x.dtype)
        elif x.dtype not in (I64, BOOL):
            return False
    return len(floats) <= 1


def real(*arrays: Any) -> bool:
    return all(x is None or (type(x) is np.ndarray and x.dtype in (F32, F64)) for x in arrays)


def whole(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype == I64


def alone(x: Any, **params: Any) -> bool:
    return real(x)


def alike(g: Any, x: Any, **params: Any) -> bool:
    return real(g, x) and g.shape == x.shape


def along(*arrays: Any, dim: int, **params: Any) -> bool:
    """Arrays of one shape, that has this dimension."""
    return real(*arrays) and 0 <= dim < arrays[0].ndim and all(x.shape == arrays[0].shape for x in arrays)


def reduced(x: Any, dim: Any = None, **params: Any) -> bool:
    return real(x) and x.ndim > 0


def is_shaped(x: Any, *shape: int) -> bool:
    """Left out, or numbers of this shape."""
    return x is None or (real(x) and x.shape == shape)


def classes(x: Any, target: Any, weight: Any, **params: Any) -> bool:
    """Logits (N, C, ...) or (C), and a class for each."""
    dim = min(1, x.ndim - 1)
    return (
        x.ndim > 0
        and real(x)
        and whole(target)
        and target.shape == x.shape[:dim] + x.shape[dim + 1 :]
        and is_shaped(weight, x.shape[dim])
    )


def classes_gradient(g: Any, x: Any, target: Any, weight: Any, **params: Any) -> bool:
    shape = target.shape if params["reduction"] == "none" else ()
    return real(g) and g.shape == shape and classes(x, target, weight)


def rows(x: Any, *affine: Any, shape: Sequence[int], **params: Any) -> bool:
    """Rows of this shape, and numbers for each of their elements."""
    n = len(shape)
    return real(x) and 0 < n <= x.ndim and x.shape[-n:] == shape and all(is_shaped(a, *shape) for a in affine)


def rows_gradient(g: Any, x: Any, weight: Any, **params: Any) -> bool:
    return alike(g, x) and rows(x, weight, **params)


def channels(x: Any, *affine: Any, groups: int = 0, **params: Any) -> bool:
    """(N, C, ...), and numbers for each channel."""
    return (
        real(x)
        and x.ndim >= 2
        and (not groups or x.shape[1] % groups == 0)
        and all(is_shaped(a, x.shape[1]) for a in affine)
    )


def channels_gradient(g: Any, g_mean: Any, g_variance: Any, x: Any, weight: Any, **params: Any) -> bool:
    return alike(g, x) and channels(x, g_mean, g_variance, weight, **params)


def attends(q: Any, k: Any, v: Any, mask: Any = None, **params: Any) -> bool:
    attentions._check(q, k, v)  # raises
    scores = (*q.shape[:-1], k.shape[-2])
    return (
        real(q, k, v)
        and 2 <= q.ndim == k.ndim == v.ndim
        and min(q.size, k.size, v.size) > 0
        and (mask is None or ((real(mask) or mask.dtype == BOOL) and broadcasts_to(mask.shape, scores)))
    )


def attends_gradient(g: Any, q: Any, k: Any, v: Any, mask: Any = None, **params: Any) -> bool:
    return attends(q, k, v, mask) and real(g) and g.shape == (*q.shape[:-1], v.shape[-1])


def convolved(x: Any, w: Any, y: Sequence[int], groups: int, n: int) -> bool:
    """Do the images x and the results y belong to these weights? All are shapes."""
    return (
        len(x) == len(w) == len(y) == n + 2
        and x[0] == y[0]
        and x[1] == w[1] * groups
        and y[1] == w[0]
        and w[0] % groups == 0
        and tuple(x[2:]) > (0,) * n
    )


def fits_conv(x: Any, w: Any, bias: Any = None, *, groups: int, stride: Any, **params: Any) -> bool:
    y = OPS["conv"].infer(x, w, groups=groups, stride=stride, **params).shape
    return real(x, w) and convolved(x.shape, w.shape, y, groups, len(stride)) and is_shaped(bias, w.shape[0])


def fits_conv_transpose(
    x: Any, w: Any, bias: Any = None, *, size: Any, groups: int, stride: Any, **params: Any
) -> bool:
    large = Spec((len(x), w.shape[1] * groups, *size), x.dtype)
    y = OPS["conv"].infer(large, w, groups=groups, stride=stride, **params).shape
    return (
        real(x, w)
        and x.shape == y
        and convolved(large.shape, w.shape, y, groups, len(stride))
        and is_shaped(bias, large.shape[1])
    )


def fits_conv_weight(y: Any, x: Any, *, kernel: Any, groups: int, stride: Any, **params: Any) -> bool:
    w = Spec((y.shape[1], x.shape[1] // groups, *kernel), x.dtype)
    made = OPS["conv"].infer(x, w, groups=groups, stride=stride, **params).shape
    return real(x, y) and y.shape == made and convolved(x.shape, w.shape, made, groups, len(stride))


def pooled(x: Any, *, kernel: Any, **params: Any) -> bool:
    return real(x) and x.ndim == 2 + len(kernel)


def fits_max_gradient(g: Any, indices: Any, *, shape: Any) -> bool:
    return real(g) and whole(indices) and g.shape == indices.shape and g.ndim == len(shape) and g.shape[:2] == shape[:2]


def fits_avg_gradient(g: Any, *, shape: Any, **params: Any) -> bool:
    return (
        real(g)
        and len(shape) == 2 + len(params["kernel"])
        and (OPS["avg_pool"].infer(Spec(shape, g.dtype), **params).shape == g.shape)
    )


def binned(x: Any, *, size: Any) -> bool:
    return real(x) and x.ndim == 2 + len(size) <= 5 and x.size > 0


def binned_gradient(g: Any, *, shape: Any) -> bool:
    return real(g) and 2 < g.ndim == len(shape) <= 5 and g.shape[:2] == shape[:2]


def resized(x: Any, *, size: Any, **params: Any) -> bool:
    return real(x) and x.ndim == 2 + len(size) and x.size > 0 and all(size)


def fits_unembed(g: Any, index: Any, *, rows: int, **params: Any) -> bool:
    return real(g) and whole(index) and g.ndim == index.ndim + 1 and g.shape[:-1] == index.shape


def fits_lay_at(g: Any, index: Any, *, shape: Any, dims: Any) -> bool:
    return real(g) and whole(index) and all(0 <= d < len(shape) for d in dims) and (
        len(dims) == 1 or (index.ndim > 0 and len(index) == len(dims))
    ) and g.shape == region(shape, index.shape, dims)  # fmt: skip


def fits_along(x: Any, index: Any, src: Any = None, *, dim: int) -> bool:
    """An index for each element that it takes or adds."""
    return (
        real(x, src)
        and whole(index)
        and 0 <= dim < x.ndim == index.ndim
        and all(m <= n for d, (m, n) in enumerate(zip(index.shape, x.shape, strict=True)) if d != dim)
        and (src is None or (src.ndim == x.ndim and all(m <= n for m, n in zip(index.shape, src.shape, strict=True))))
    )


def fits_put_at(x: Any, index: Any, values: Any, *, dims: Any, accumulate: bool, **params: Any) -> bool:
    return accumulate and real(x, values) and whole(index) and all(0 <= d < x.ndim for d in dims) and (
        len(dims) == 1 or (index.ndim > 0 and len(index) == len(dims))
    ) and broadcasts_to(values.shape, region(x.shape, index.shape, dims))  # fmt: skip


def chosen(condition: Any, *xs: Any) -> bool:
    return type(condition) is np.ndarray and condition.dtype == BOOL and (
        any(real(x) for x in xs) and all(type(x) in NUMBERS or real(x) for x in xs)
    )  # fmt: skip


def tables(x: Any, **params: Any) -> bool:
    return real(x) and x.ndim >= 2


def drawn(state: Any, p: Any = None, **params: Any) -> bool:
    return whole(state) and state.shape == (2,) and real(p)


def multiplied(x: Any, y: Any) -> bool:
    np.broadcast_shapes(x.shape[:-2], y.shape[:-2])  # raises
    return real(x, y) and min(x.ndim, y.ndim) >= 2 and x.shape[-1] == y.shape[-2]


def fits_linear(x: Any, weight: Any, bias: Any = None) -> bool:
    return (
        real(x, weight)
        and x.ndim >= 2 == weight.ndim
        and x.shape[-1] == weight.shape[1]
        and is_shaped(bias, weight.shape[0])
    )


def recurs(gates: int, states: int) -> Callable[..., bool]:
    """x (T, B, gates H), the first states (B, H), W (gates H, H) and a bias (gates H)."""

    def fits(x: Any, *rest: Any, **params: Any) -> bool:
        firsts, w, bias = rest[:states], rest[states], (*rest[states + 1 :], None)[0]
        n, h = x.shape[1], w.shape[-1]
        return (
            real(x, *rest)
            and x.ndim == 3
            and x.shape[2] == gates * h
            and min(x.shape) > 0
            and all(is_shaped(s, n, h) for s in firsts)
            and w.shape == (gates * h, h)
            and is_shaped(bias, gates * h)
        )

    return fits


def recurs_gradient(gates: int, kept: int, states: int) -> Callable[..., bool]:
    """Cotangents of the results, the first states, W, and the results: the states (T, B, H), and the gates."""

    def fits(*given: Any, **params: Any) -> bool:
        results = states + (kept > 0)
        cotangents, firsts, w, made = (
            given[:results], given[results : results + states], given[results + states], given[results + states + 1 :]
        )  # fmt: skip
        t, n, h = made[0].shape
        shapes = [(t, n, h)] * states + [(t, n, kept * h)] * (kept > 0)
        return (
            real(*given)
            and min(t, n, h) > 0
            and all(is_shaped(g, *shape) for g, shape in zip(cotangents, shapes, strict=True))
            and all(y is not None and y.shape == shape for y, shape in zip(made, shapes, strict=True))
            and all(is_shaped(s, n, h) for s in firsts)
            and w.shape == (gates * h, h)
        )

    return fits


# Do inputs and parameters of an op belong together? It may raise instead. What is not here, NumPy runs.
FITS: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(("gelu", "silu", "mish", "erf", "erfc", "elu", "softplus", "logsigmoid", "lgamma", "sigmoid",
                     "hardswish", "hardsigmoid", "leaky_relu", "softsign", "relu", "tanh", "exp"), alone),
    **dict.fromkeys(("gelu_backward", "silu_backward", "mish_backward", "elu_backward", "relu_backward",
                     "tanh_backward", "sigmoid_backward", "leaky_relu_backward", "logaddexp",
                     "binary_cross_entropy"), alike),
    **dict.fromkeys(("softmax", "log_softmax", "softmax_pullback", "log_softmax_pullback", "cumsum", "cumprod"), along),
    **dict.fromkeys(("logsumexp", "var", "std"), reduced),
    "cross_entropy": classes,
    "cross_entropy_gradient": classes_gradient,
    "layer_norm": rows,
    "rms_norm": rows,
    "row_norm_gradient": rows_gradient,
    "batch_norm": channels,
    "group_norm": channels,
    "channel_norm_gradient": channels_gradient,
    "attention": attends,
    "attention_gradient": attends_gradient,
    "conv": fits_conv,
    "conv_transpose": fits_conv_transpose,
    "conv_weight_gradient": fits_conv_weight,
    "max_pool": pooled,
    "max_pool_gradient": fits_max_gradient,
    "avg_pool": pooled,
    "avg_pool_gradient": fits_avg_gradient,
    "adaptive_avg_pool": binned,
    "adaptive_avg_pool_gradient": binned_gradient,
    "interpolate": resized,
    "interpolate_gradient": resized,
    "unembed": fits_unembed,
    "lay_at": fits_lay_at,
    "gather": fits_along,
    "scatter_add": fits_along,
    "put_at": fits_put_at,
    "where": chosen,
    "tril": tables,
    "triu": tables,
    "sort": along,
    "uniform": drawn,
    "bernoulli": drawn,
    "integers": drawn,
    "matmul": multiplied,
    "linear": fits_linear,
    "rnn": recurs(1, 1),
    "lstm": recurs(4, 2),
    "gru": recurs(3, 1),
    "rnn_gradient": recurs_gradient(1, 0, 1),
    "lstm_gradient": recurs_gradient(4, 4, 2),
    "gru_gradient": recurs_gradient(3, 4, 1),
}  # fmt: skip

__all__ = ["FITS", "KNOWN", "run", "update", "usable"]
