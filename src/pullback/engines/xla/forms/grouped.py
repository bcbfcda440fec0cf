"""A product for each group of rows, columns or terms. Where groups end is data: wrong ends make all of it NaN."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from ....dtypes import F32, HALVES
from ....ops.grouped import limit
from . import Array, form
from .matmul import product

ROWS, TERMS = 128, 512  # that are multiplied at a time


@form("grouped_mm")
@form("grouped_mm", half=True)
def _grouped_mm(mat_a: Array, mat_b: Array, offs: Array) -> Array:
    size, ends = limit(mat_a, mat_b), jnp.concatenate([jnp.zeros(1, np.int32), offs])
    rise = (ends[1:] >= ends[:-1]).all() & (ends[-1] <= size)
    zero = jnp.where(rise, 0, np.nan).astype(_wide(mat_a))
    ends = lax.cummax(jnp.clip(ends, 0, size))  # loops end, whatever they are
    if mat_a.ndim == mat_b.ndim:
        out = _terms(mat_a, mat_b, ends, zero)
    elif mat_b.ndim == 3:
        out = jnp.where(rise & (jnp.arange(size) < ends[-1])[:, None], _rows(mat_a, mat_b, ends), zero)
    else:
        across = _rows(mat_b.T, mat_a.swapaxes(1, 2), ends).T
        out = jnp.where(rise & (jnp.arange(size) < ends[-1]), across, zero)
    return out.astype(mat_a.dtype)


def _rows(x: Array, stack: Array, ends: Array) -> Array:
    """x's rows, each times the matrix of its group."""
    return lax.platform_dependent(x, stack, ends, cpu=_row_tiles, default=_ragged_rows) if x.size else _none(x, stack)


def _none(x: Array, stack: Array) -> Array:
    return jnp.zeros((x.shape[0], stack.shape[2]), _wide(x))


def _row_tiles(x: Array, stack: Array, ends: Array) -> Array:
    """Tile by tile: what of a tile lies beyond its group, the next one writes over."""
    m, tile = x.shape[0], min(x.shape[0], ROWS)
    x = jnp.pad(x, ((0, tile), (0, 0)))

    def group(out: Array, given: tuple[Array, Array, Array]) -> tuple[Array, None]:
        matrix, start, end = given

        def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
            at, out = state
            made = product(lax.dynamic_slice_in_dim(x, at, tile), matrix)
            return at + tile, lax.dynamic_update_slice_in_dim(out, made, at, 0)

        return lax.while_loop(lambda state: state[0] < end, step, (start, out))[1], None

    return lax.scan(group, _none(x, stack), (stack, ends[:-1], ends[1:]))[0][:m]


def _terms(x: Array, y: Array, ends: Array, zero: Array) -> Array:
    """zero + x y of each group of terms."""
    if not x.shape[1]:
        return jnp.broadcast_to(zero, (ends.size - 1, x.shape[0], y.shape[1]))
    return lax.platform_dependent(x, y, ends, zero, cpu=_term_tiles, default=_ragged_terms)


def _term_tiles(x: Array, y: Array, ends: Array, zero: Array) -> Array:
    tile = min(x.shape[1], TERMS)
    across, y = (jnp.pad(a, ((0, tile), (0, 0))) for a in (x.T, y))

    def group(_: None, given: tuple[Array, Array]) -> tuple[None, Array]:
        start, end = given

        def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
            at, total = state
            mine = (at + jnp.arange(tile) < end)[:, None]
            left, right = (jnp.where(mine, lax.dynamic_slice_in_dim(a, at, tile), 0) for a in (across, y))
            return at + tile, total + product(left.T, right)

        total = jnp.broadcast_to(zero, (x.shape[0], y.shape[1]))
        return None, lax.while_loop(lambda state: state[0] < end, step, (start, total))[1]

    return lax.scan(group, None, (ends[:-1], ends[1:]))[1]


# -- as JAX has it: for one platform or another there is a kernel ------------------------------------------------------


def _ragged(x: Array, y: Array, ends: Array, over: int, stacks: list[int]) -> Array:
    numbers = lax.RaggedDotDimensionNumbers((([1], [y.ndim - 2]), ([], [])), [over], stacks)
    return lax.ragged_dot_general(
        x, y, jnp.diff(ends), numbers, precision=lax.Precision.HIGHEST, preferred_element_type=_wide(x)
    )


def _ragged_rows(x: Array, stack: Array, ends: Array) -> Array:
    return _ragged(x, stack, ends, 0, [0])


def _ragged_terms(x: Array, y: Array, ends: Array, zero: Array) -> Array:
    return zero + _ragged(x, y, ends, 1, [])


def _wide(x: Array) -> Array:
    """The type in which products of this type are added up."""
    return F32 if x.dtype in HALVES else x.dtype
