"""Products of matrices. float32 is multiplied as float32; half types as they are, and added up in float32."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ....dtypes import BOOL, F32, HALVES
from ....errors import DTypeError, fail
from . import Array, form


def product(x: Array, y: Array) -> Array:
    """x y as matmul has it; of half types in float32, not yet rounded."""
    if x.dtype in HALVES:
        return jnp.matmul(x, y, preferred_element_type=F32)
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


@form("matmul")
@form("matmul", half=True)
def _matmul(x: Array, y: Array) -> Array:
    if x.dtype == BOOL:
        fail(DTypeError, "matmul: not implemented for bool", "convert to a number type first: x.float()")
    return product(x, y).astype(x.dtype)


@form("linear")
@form("linear", half=True)
def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    out = product(x, weight.T)
    return (out if bias is None else out + bias).astype(x.dtype)
