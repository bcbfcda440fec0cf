"""linear, grouped and bilinear maps, attention."""

from __future__ import annotations

import math
from typing import Any

from ...autocasting import autocasts
from ...dtypes import BOOL, F32
from ...errors import ArgumentError, DTypeError, PullbackError, ShapeError, fail
from ...functions.einsum import einsum
from ...functions.linear_algebra import bmm
from ...ops.arithmetic import add
from ...ops.attention import attention, attention_in_steps
from ...ops.create import cast
from ...ops.grouped import grouped_mm as grouped
from ...ops.matmul import linear as linear_op
from ...ops.matmul import matmul
from ...ops.record import broadcast
from ...ops.shape import expand
from ...tensor import Tensor
from .dropouts import dropout


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias"""
    if weight._array.ndim == 2:
        return linear_op(input, weight, bias)
    out = matmul(input, weight)
    return out if bias is None else add(out, bias)


@autocasts
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1^T weight[o] x2 + bias[o], for each output o."""
    if input1.shape[:-1] != input2.shape[:-1] or weight.shape[1:] != (input1.shape[-1], input2.shape[-1]):
        given = f"input1 {list(input1.shape)}, input2 {list(input2.shape)}, weight {list(weight.shape)}"
        fail(
            ShapeError,
            f"bilinear: the shapes do not fit: {given}",
            "weight is (out, features of input1, features of input2)",
        )
    out = einsum("...i,oij,...j->...o", input1, weight, input2)
    return out if bias is None else add(out, bias)


def grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: Any = None
) -> Tensor:
    """A product for each group. Rows of a 2-D `mat_a` go through matrices of a 3-D `mat_b`, or a 3-D `mat_a` multiplies
    columns of a 2-D `mat_b`; group i ends at offs[i] (int32), and rows or columns in no group become zeros. Of two 2-D
    matrices the terms are grouped, and there is a matrix for each group. Two 3-D ones need no offs: it is bmm.
    """
    if bias is not None:
        fail(ArgumentError, "grouped_mm: Bias not supported yet, here as in PyTorch", "add it to the result")
    if out_dtype not in (None, mat_a.dtype):
        what = f"grouped_mm: output dtype must match mat_a's, {mat_a.dtype}, but out_dtype is {out_dtype}"
        fail(DTypeError, what, "convert the result with .to(dtype)")
    if offs is not None:
        return grouped(mat_a, mat_b, offs)
    if mat_a.ndim == mat_b.ndim == 3:
        return bmm(mat_a, mat_b)
    given = f"mat_a {list(mat_a.shape)}, mat_b {list(mat_b.shape)}"
    fail(ShapeError, f"grouped_mm: without offs both have to be 3D: {given}", "pass where each group ends as offs")


@autocasts
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale * query @ key^T + mask) @ value; where a boolean mask is False, the key is not looked at."""
    q, k, v = query._array.shape, key._array.shape, value._array.shape
    if min(len(q), len(k), len(v)) < 2:
        fail(
            ShapeError,
            f"attention: query, key and value need at least 2 dimensions, but are {list(q)}, {list(k)} and {list(v)}",
        )
    if q[:-2] != k[:-2] or k[:-2] != v[:-2]:
        query, key, value = _same_batches(query, key, value, enable_gqa)
    if attn_mask is not None:
        attn_mask = _checked_mask(attn_mask, query, key)
    options: dict[str, Any] = {"causal": is_causal, "scale": 1 / math.sqrt(max(1, q[-1])) if scale is None else scale}
    if dropout_p > 0:
        return attention_in_steps(query, key, value, attn_mask, **options, drop=lambda p: dropout(p, dropout_p))
    return attention(query, key, value, attn_mask, **options)


def _same_batches(query: Tensor, key: Tensor, value: Tensor, grouped: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Batches expanded to each other; with `grouped`, there may be several heads of queries to one of keys."""
    shapes = [x.shape for x in (query, key, value)]
    if grouped:
        heads = [shape[-3] if len(shape) > 2 else 1 for shape in shapes]
        if heads[1] != heads[2] or heads[1] == 0 or heads[0] % heads[1]:
            fail(
                ShapeError,
                "attention: number of heads in key and value must divide the number of heads in query, but they are "
                f"{heads[1]}, {heads[2]} and {heads[0]}",
            )
    last = 3 if grouped else 2
    try:
        batch = broadcast(*(_Shape(shape[:-last]) for shape in shapes))
    except ValueError as error:
        fail(
            ShapeError,
            f"attention: the batches of query {list(shapes[0])}, key {list(shapes[1])} and value {list(shapes[2])} do "
            f"not fit: {error}",
            "pass enable_gqa=True if the query has more heads than key and value",
        )
    return tuple(
        expand(x, shape=(*batch, *x.shape[-last:])) if x.shape[:-last] != batch else x for x in (query, key, value)
    )  # type: ignore[return-value]


class _Shape:
    def __init__(self, shape: Any) -> None:
        self.shape = shape


def _checked_mask(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    if mask.npdtype == F32 != query.npdtype:  # it goes with queries of any type
        mask = cast(mask, dtype=query.npdtype)
    elif mask.npdtype not in (BOOL, query.npdtype):
        fail(
            DTypeError,
            f"Expected attn_mask dtype to be bool or float32 or to match query dtype, but got {mask.dtype} and query "
            f"{query.dtype}",
            "mask.bool() or mask.to(query.dtype)",
        )
    full = (*query.shape[:-1], key.shape[-2])
    try:
        fits = broadcast(mask, _Shape(full)) == full
    except ValueError:
        fits = False
    if not fits:
        fail(PullbackError, f"attn_mask of shape {list(mask.shape)} does not expand to the scores' shape {list(full)}")
    return mask
