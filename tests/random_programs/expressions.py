"""Random expressions: straight-line programs with fan-out, broadcasting, reductions and products of matrices.

All sizes are 1 or 3, so that any two values broadcast; every step keeps values moderate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

SHAPES = [(), (3,), (3, 1), (1, 3), (3, 3), (3, 1, 3)]


def last(x: Any) -> int:
    """The dimension to reduce over: the last one, or that of a number."""
    return -1 if x.ndim else 0


def product(t: Any, x: Any, y: Any) -> Any:
    if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-2 if y.ndim > 1 else -1]:
        return x * t.tanh(y)
    return t.matmul(x, t.tanh(y)) / 3


def joined(t: Any, x: Any, y: Any) -> Any:
    x, y = x + 0 * y, y + 0 * x  # of one shape
    return t.cat([x, y], -1).tanh().sum(-1, keepdim=True) if x.ndim else t.stack([x, y]).prod(0)


STEPS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda t, x, y: x + y,
    "sub": lambda t, x, y: 2 - x - y,
    "mul": lambda t, x, y: x * t.tanh(y),
    "square": lambda t, x, y: t.tanh(x * x),
    "div": lambda t, x, y: x / (1 + y * y),
    "exp": lambda t, x, y: t.exp(-x * x),
    "log": lambda t, x, y: t.log(1 + x * x),
    "power": lambda t, x, y: (1 + x * x) ** 0.3,
    "sigmoid": lambda t, x, y: t.sigmoid(x - y),
    "sin": lambda t, x, y: t.sin(x),
    "where": lambda t, x, y: t.where(t.sigmoid(x) > 0.6, x, y),
    "maximum": lambda t, x, y: t.maximum(x, y),
    "matmul": product,
    "join": joined,
    "sum": lambda t, x, y: t.tanh(x.sum(last(x))),
    "mean": lambda t, x, y: x.mean(last(x), keepdim=True),
    "max": lambda t, x, y: x.amax(last(x)),
    "total": lambda t, x, y: t.tanh(x.sum()),
    "softmax": lambda t, x, y: t.softmax(x, last(x)),
    "logsumexp": lambda t, x, y: t.logsumexp(x, last(x)),
    "transpose": lambda t, x, y: x.transpose(0, -1) if x.ndim else x,
    "index": lambda t, x, y: x[..., :1] if x.ndim else x,
    "gather": lambda t, x, y: x[..., [0, -1, 0]].mean(-1, keepdim=True) if x.ndim else x,
    "flip": lambda t, x, y: t.flip(x, (0,)) if x.ndim else x,
}

leaves = st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3)
steps = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=10
)


def arrays(shapes: Sequence[tuple[int, ...]], seed: int) -> list[np.ndarray[Any, Any]]:
    """Fixed normal numbers."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape)) for shape in shapes]


def loss(t: Any, xs: Sequence[Any], program: Sequence[tuple[str, int, int]]) -> Any:
    """Run a program with the library t: a weighted sum of all that it computes."""
    values, total = list(xs), sum(x.sum() for x in xs)
    for k, (name, i, j) in enumerate(program):
        value = STEPS[name](t, values[-1 - i % len(values)], values[-1 - j % len(values)])
        values.append(value)
        total = total + np.cos(k).item() * value.sum()
    return total
