"""Multi-head attention: project, let each head attend, project back."""

from __future__ import annotations

import math
from typing import Any

from ...dtypes import bool_
from ...errors import ArgumentError, DTypeError, ShapeError, fail
from ...functions.creation import zeros
from ...functions.joining import cat
from ...ops.matmul import matmul
from ...tensor import Tensor
from .activations import softmax
from .dense import linear, scaled_dot_product_attention
from .dropouts import dropout


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    batch_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """(outputs, weights or None) of attention with `num_heads` heads; inputs are (time, batch, features).

    With `batch_first`, they are (batch, time, features). In boolean masks, True means: do not look here.
    """
    alone = query.ndim == 2
    _check_dims(query, key, value, key_padding_mask, attn_mask)
    if query.shape[-1] != embed_dim_to_check or embed_dim_to_check % num_heads:
        what = f"the query has {query.shape[-1]} features, embed_dim is {embed_dim_to_check}, num_heads {num_heads}"
        fail(ShapeError, f"attention: {what}", "the first two must be equal, and a multiple of num_heads")
    at = 0 if batch_first else 1  # where the batch is
    if alone:
        same = query is key, key is value
        query = query.unsqueeze(at)
        key = query if same[0] else key.unsqueeze(at)
        value = key if same[1] else value.unsqueeze(at)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    if key.shape[:2] != value.shape[:2] or query.shape[at] != key.shape[at]:
        what = f"query {list(query.shape)}, key {list(key.shape)} and value {list(value.shape)}"
        fail(ShapeError, f"attention: the shapes do not fit: {what}", "batches are equal; times of key and value too")

    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight
    q, k, v = (_heads(x, num_heads, at) for x in _projected(query, key, value, weights, in_proj_bias))
    k, v = _static(static_k, k), _static(static_v, v)

    if is_causal and attn_mask is None:
        fail(
            ArgumentError,
            "attention: is_causal is a hint that attn_mask is causal, but there is no attn_mask",
            "pass attn_mask=nn.Transformer.generate_square_subsequent_mask(length) with it",
        )
    extended = bias_k is not None or add_zero_attn  # by keys that every query sees: no longer causal
    is_causal = is_causal and not (extended or need_weights or key_padding_mask is not None)
    mask = None if is_causal else _merged(attn_mask, key_padding_mask, q, k)
    k, v, mask = _extended(k, v, mask, bias_k, bias_v, add_zero_attn)

    drop = dropout_p if training else 0.0
    if need_weights:
        scores = matmul(q * (1 / math.sqrt(q.shape[-1])), k.transpose(-2, -1))
        p = dropout(softmax(scores if mask is None else scores + mask, -1), drop)
        y = matmul(p, v)
    else:
        y = scaled_dot_product_attention(q, k, v, mask, drop, is_causal)
    y = (y.transpose(1, 2) if batch_first else y.permute(2, 0, 1, 3)).reshape(query.shape)
    out = linear(y, out_proj_weight, out_proj_bias)
    shown = (p.mean(1) if average_attn_weights else p) if need_weights else None
    if alone:
        return out.squeeze(at), None if shown is None else shown.squeeze(0)
    return out, shown


def _check_dims(query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None) -> None:
    n = query.ndim
    if n not in (2, 3):
        fail(ShapeError, f"query should be unbatched 2D or batched 3D tensor but received {n}-D query tensor")
    wanted = {"key": (key, (n,)), "value": (value, (n,)), "key_padding_mask": (padding, (n - 1,))}
    for name, (x, dims) in {**wanted, "attn_mask": (mask, (2, 3))}.items():
        if x is not None and x.ndim not in dims:
            what = f"For {n}-D `query`, expected `{name}` to be {' or '.join(f'{d}-D' for d in dims)}"
            fail(ShapeError, f"{what} but found {x.ndim}-D tensor instead")


# -- query, key and value ----------------------------------------------------------------------------------------------


def _projected(query: Tensor, key: Tensor, value: Tensor, weights: Any, bias: Tensor | None) -> tuple[Tensor, ...]:
    """Each by its weight; where inputs are the same and the weights packed, by one product."""
    if not isinstance(weights, Tensor):
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    size = query.shape[-1]
    if query is key is value:
        return linear(query, weights, bias).split(size, -1)
    if key is value:
        parts = (size, 2 * size)
        w_q, w_kv = weights.split(parts)
        b_q, b_kv = (None, None) if bias is None else bias.split(parts)
        return (linear(query, w_q, b_q), *linear(key, w_kv, b_kv).split(size, -1))
    return _projected(query, key, value, weights.chunk(3), bias)


def _heads(x: Tensor, heads: int, at: int) -> Tensor:
    """(batch, heads, time, features of one head)"""
    parts = x.unflatten(-1, (heads, x.shape[-1] // heads))
    return parts.transpose(1, 2) if at == 0 else parts.permute(1, 2, 0, 3)


def _static(given: Tensor | None, x: Tensor) -> Tensor:
    """Keys or values given as (batch * heads, time, features), in place of the projected ones."""
    if given is None:
        return x
    batch, heads, _, size = x.shape
    if given.ndim != 3 or given.shape[0] != batch * heads or given.shape[2] != size:
        fail(ShapeError, f"static_k and static_v must be ({batch * heads}, time, {size}), not {list(given.shape)}")
    return given.unflatten(0, (batch, heads))


def _extended(
    k: Tensor, v: Tensor, mask: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, zero: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One more key and value that are learned, and one more that are zero; every query may look at them."""
    if (bias_k is None) != (bias_v is None):
        fail(ArgumentError, "attention: bias_k and bias_v come together", "pass both or neither")
    batch, heads, _, size = k.shape

    def longer(x: Tensor, bias: Tensor | None) -> Tensor:
        learned = [] if bias is None else [bias.view(1, heads, 1, size).expand(batch, heads, 1, size).to(x.dtype)]
        return cat([x, *learned, *([zeros(batch, heads, 1, size, dtype=x.dtype, device=x.device)] if zero else [])], 2)

    more = (bias_k is not None) + zero
    if not more:
        return k, v, mask
    if mask is not None:
        mask = cat([mask, zeros(*mask.shape[:-1], more, dtype=mask.dtype, device=mask.device)], -1)
    return longer(k, bias_k), longer(v, bias_v), mask


# -- masks -------------------------------------------------------------------------------------------------------------


def additive(mask: Tensor | None, name: str, dtype: Any) -> Tensor | None:
    """A mask to be added to the scores: -inf where a boolean one is True."""
    if mask is None or mask.is_floating_point():
        return mask
    if mask.dtype != bool_:
        fail(DTypeError, f"only bool and floating types of {name} are supported, not {mask.dtype}", "use mask.bool()")
    return zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)


def _merged(mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """The sum of both masks, of a shape that expands to the scores' (batch, heads, time, time of keys)."""
    batch, heads, length, _ = q.shape
    keys = k.shape[2]
    mask, padding = additive(mask, "attn_mask", q.dtype), additive(padding, "key_padding_mask", q.dtype)
    if mask is not None:
        fits = (length, keys) if mask.ndim == 2 else (batch * heads, length, keys)
        if mask.shape != fits:
            fail(ShapeError, f"The shape of the {mask.ndim}D attn_mask is {tuple(mask.shape)}, but should be {fits}.")
        mask = (mask if mask.ndim == 2 else mask.unflatten(0, (batch, heads))).to(q.dtype)
    if padding is not None:
        if padding.shape != (batch, keys):
            fail(ShapeError, f"key_padding_mask must be {(batch, keys)}, not {tuple(padding.shape)}")
        padding = padding.view(batch, 1, 1, keys).to(q.dtype)
    return mask if padding is None else padding if mask is None else mask + padding
