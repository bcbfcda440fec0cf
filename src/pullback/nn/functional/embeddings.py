"""Rows of a table chosen by index, alone or in bags."""

from __future__ import annotations

from typing import Any

from ...dtypes import FLOATS
from ...errors import DTypeError, PullbackError, ShapeError, fail
from ...functions.creation import arange
from ...modes import no_grad
from ...ops import indexing as ops
from ...ops.arithmetic import div, mul
from ...ops.compare import clamp, where
from ...ops.create import cast
from ...ops.extremes import max_along
from ...ops.reduction import sum as sum_
from ...tensor import Tensor
from ...views import write

inf = float("inf")


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """weight[input]; the row padding_idx gets no gradient. max_norm first shortens the rows that are used, in place."""
    if input.npdtype in FLOATS:
        fail(DTypeError, f"embedding: indices must be integers, not {input.dtype}", "convert them with .long()")
    if weight.ndim != 2:
        fail(ShapeError, f"embedding: 'weight' must be 2-D, but has shape {list(weight.shape)}")
    rows = weight._array.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            fail(PullbackError, f"embedding: padding_idx {padding_idx} must be within the {rows} rows of weight")
        padding_idx %= rows
    if max_norm is not None:
        shorten(weight, input, max_norm, norm_type)
    return ops.embedding(weight, input, padding_idx=padding_idx, scale_grad_by_freq=scale_grad_by_freq)


def shorten(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows that index names down to max_norm, in place."""
    with no_grad():
        rows = index.reshape(-1).unique()
        chosen = weight[rows]
        norms = chosen.norm(norm_type, 1, keepdim=True)
        shorter = mul(chosen, div(max_norm, norms + 1e-7))
        write(weight, weight.index_copy(0, rows, where(norms > max_norm, shorter, chosen)))


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of each bag of rows.

    A bag is a row of a 2-D input, or the stretch of a 1-D one from one of the offsets to the next.
    """
    if mode not in ("sum", "mean", "max"):
        fail(PullbackError, f"embedding_bag: mode has to be one of sum, mean or max, not {mode!r}")
    if per_sample_weights is not None and (mode != "sum" or per_sample_weights.shape != input.shape):
        fail(PullbackError, "embedding_bag: per_sample_weights need mode='sum' and the shape of the input")
    if (input.ndim == 1) == (offsets is None) or input.ndim > 2:
        fail(
            ShapeError,
            f"embedding_bag: a 1-D input needs offsets and a 2-D one has none; input has shape {list(input.shape)}",
        )
    present: Any = None
    if offsets is not None:
        places, present = _rectangle(input, offsets, include_last_offset)
        input = input[places] if input.numel() else cast(places, dtype=input.npdtype)
        per_sample_weights = None if per_sample_weights is None else per_sample_weights[places]
    if padding_idx is not None:
        padding_idx %= weight.shape[0]
        real = input != padding_idx
        present = real if present is None else present & real
    if 0 in input.shape:
        return sum_(weight[:0], dim=(0,)) * weight.new_ones(input.shape[0], 1)
    rows = embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    beside = None if present is None else present.unsqueeze(2)
    if mode == "max":
        if beside is None:
            return max_along(rows, dim=1)[0]
        top = max_along(where(beside, rows, -inf), dim=1)[0]
        return where(present.any(1, keepdim=True), top, 0.0)
    if per_sample_weights is not None:
        rows = mul(rows, per_sample_weights.unsqueeze(2))
    total = sum_(rows if beside is None else where(beside, rows, 0.0), dim=(1,))
    if mode == "sum":
        return total
    count = (
        input.shape[1]
        if present is None
        else clamp(cast(sum_(present, dim=(1,), keepdim=True), dtype=weight.npdtype), 1.0, None)
    )
    return div(total, count)


def _rectangle(input: Tensor, offsets: Tensor, include_last: bool) -> tuple[Tensor, Tensor]:
    """Places of a 1-D input as one row a bag, the shorter ones filled up with 0, and where they are not filled up."""
    total = input.shape[0]
    starts = offsets[:-1] if include_last else offsets
    if offsets.numel() and (offsets[0].item() != 0 or offsets[-1].item() > total):
        fail(PullbackError, f"embedding_bag: offsets must begin with 0 and stay within the input's length {total}")
    ends = offsets[1:] if include_last else [*offsets[1:].tolist(), total]
    ends = ends if isinstance(ends, Tensor) else starts.new_tensor(ends[-starts.numel() :] if starts.numel() else [])
    lengths = ends - starts
    longest = int(lengths.max().item()) if lengths.numel() else 0
    step: Any = arange(longest).unsqueeze(0)
    present = step < lengths.unsqueeze(1)
    return where(present, starts.unsqueeze(1) + step, 0), present
