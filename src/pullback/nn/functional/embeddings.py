"""Rows of a table chosen by index, alone or in bags."""

from __future__ import annotations

from typing import Any

from ...dtypes import FLOATS, bool_
from ...errors import DTypeError, PullbackError, ShapeError, fail
from ...functions.conversion import known
from ...functions.creation import arange, zeros
from ...functions.sorting import searchsorted
from ...modes import no_grad
from ...ops import indexing as ops
from ...ops.arithmetic import div, mul
from ...ops.compare import clamp, logical_and, where
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
        used = zeros(weight.shape[0], 1, dtype=bool_, device=weight.device).index_fill(0, index.reshape(-1), True)
        norms = weight.norm(norm_type, 1, keepdim=True)
        write(weight, where(logical_and(used, norms > max_norm), mul(weight, div(max_norm, norms + 1e-7)), weight))


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
    rows: Any = embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if per_sample_weights is not None:
        rows = mul(rows, per_sample_weights.unsqueeze(-1))
    real = None if padding_idx is None else input != padding_idx % weight.shape[0]
    mode = mode if input.numel() else "sum"  # a bag of nothing is 0 in every mode
    if offsets is None:
        return _of_rows(rows, real, mode)
    out = _of_stretches(rows, real, _bags(input.shape[0], offsets, include_last_offset), offsets.shape[0], mode)
    return out[:-1] if include_last_offset else out


def _of_rows(rows: Any, real: Any, mode: str) -> Tensor:
    """A bag is rows[i]; only the real ones count."""
    if mode == "max":
        top = max_along(_only(real, rows, -inf), dim=1)[0]
        return top if real is None else where(real.any(1, keepdim=True), top, 0.0)
    total = sum_(_only(real, rows, 0.0), dim=(1,))
    if mode == "sum":
        return total
    return div(total, rows.shape[1] if real is None else clamp(real.sum(1, keepdim=True), 1, None))


def _of_stretches(rows: Any, real: Any, bag: Any, bags: int, mode: str) -> Tensor:
    """A bag is the rows i with the same bag[i]; only the real ones count."""
    count = bag.new_zeros(bags).index_add(0, bag, bag.new_ones(bag.shape) if real is None else real.long())
    shape, count = (bags, rows.shape[1]), count.unsqueeze(1)
    if mode == "max":
        top = rows.new_full(shape, -inf).scatter_reduce(
            0, bag.unsqueeze(1).expand(rows.shape), _only(real, rows, -inf), "amax"
        )
        return where(count > 0, top, 0.0)
    total: Tensor = rows.new_zeros(shape).index_add(0, bag, _only(real, rows, 0.0))
    return total if mode == "sum" else div(total, clamp(count, 1, None))


def _only(real: Any, rows: Any, other: float) -> Any:
    return rows if real is None else where(real.unsqueeze(-1), rows, other)


def _bags(total: int, offsets: Tensor, include_last: bool) -> Any:
    """For each place of a 1-D input the number of its bag."""
    if known(offsets) and offsets.numel():
        if offsets[0].item() != 0 or offsets[-1].item() > total:
            fail(PullbackError, f"embedding_bag: offsets must begin with 0 and stay within the input's length {total}")
        if include_last and offsets[-1].item() != total:
            fail(PullbackError, f"embedding_bag: with include_last_offset, the last of them must be the length {total}")
    return searchsorted(offsets, arange(total, device=offsets.device), right=True) - 1
