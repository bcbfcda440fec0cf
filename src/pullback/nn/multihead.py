"""Multi-head attention as a layer."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, fail
from ..functions.creation import empty
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter


class NonDynamicallyQuantizableLinear(Linear):
    """Linear, by the name that PyTorch's out_proj has."""


class MultiheadAttention(Module):
    """Each head compares its projection of the query with the keys', and takes the mean of the values accordingly.

    In boolean masks, True means: do not look here. `is_causal` is a hint that `attn_mask` is causal, to be given
    together with it.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            what = f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim}, num_heads={num_heads}"
            fail(ArgumentError, what, "embed_dim must be divisible by num_heads: each head has embed_dim / num_heads")
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        packed = self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        shapes: dict[str, tuple[bool, tuple[int, ...]]] = {
            "q_proj_weight": (not packed, (embed_dim, embed_dim)),
            "k_proj_weight": (not packed, (embed_dim, self.kdim)),
            "v_proj_weight": (not packed, (embed_dim, self.vdim)),
            "in_proj_weight": (packed, (3 * embed_dim, embed_dim)),
            "in_proj_bias": (bias, (3 * embed_dim,)),
            "bias_k": (add_bias_kv, (1, 1, embed_dim)),
            "bias_v": (add_bias_kv, (1, 1, embed_dim)),
        }
        for name, (wanted, shape) in shapes.items():
            self.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Weights by xavier_uniform_, learned keys and values by xavier_normal_, biases 0."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(outputs, weights); without `need_weights`, the weights are None, which is cheaper."""
        return F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias,
            self.bias_k, self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias,
            self.training, key_padding_mask, need_weights, attn_mask,
            not self._qkv_same_embed_dim, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight,
            average_attn_weights=average_attn_weights, is_causal=is_causal, batch_first=self.batch_first,
        )  # fmt: skip
