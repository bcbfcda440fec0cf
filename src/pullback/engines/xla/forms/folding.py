"""Sliding windows laid out as columns, and columns added back to where they were read."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....ops.folding import Sizes, positions
from . import Array, form
from .shape import spaced


@form("im2col")
def _im2col(x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    batch, channels, *size = x.shape
    out = positions(tuple(size), kernel, stride, padding, dilation)
    if any(padding):  # stored once: else it would be worked out again for each tap
        around = [(0, 0, 0), (0, 0, 0), *[(p, p, 0) for p in padding]]
        x = lax.optimization_barrier(lax.pad(x, np.zeros((), x.dtype), around))
    columns = []
    for tap in product(*map(range, kernel)):
        start = [t * d for t, d in zip(tap, dilation, strict=True)]
        stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, out, stride, strict=True)]
        columns.append(lax.slice(x, [0, 0, *start], [batch, channels, *stop], [1, 1, *stride]))
    return jnp.stack(columns, 2).reshape(batch, channels * math.prod(kernel), math.prod(out))


@form("col2im")
def _col2im(g: Array, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    batch, channels = g.shape[0], g.shape[1] // math.prod(kernel)
    columns = g.reshape(batch, channels, math.prod(kernel), *positions(size, kernel, stride, padding, dilation))
    x: Any = jnp.zeros((batch, channels, *size), g.dtype)
    for i, tap in enumerate(product(*map(range, kernel))):
        start = [t * d - p for t, d, p in zip(tap, dilation, padding, strict=True)]
        x = x + spaced(lax.index_in_dim(columns, i, 2, keepdims=False), x.shape, [0, 0, *start], [1, 1, *stride])
    return x
