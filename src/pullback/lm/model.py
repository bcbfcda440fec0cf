"""A decoder-only Transformer language model, all of it: MiniMind's family, and GPT-2 with other parts.

h = embed(tokens)
h = h + attention(norm(h))      for each layer
h = h + feed_forward(norm(h))
logits = norm(h) @ embed^T
"""

from __future__ import annotations

import math
from typing import Any

from ..checkpointing import checkpoint
from ..dtypes import float32, int64
from ..errors import ArgumentError, ShapeError, fail
from ..functions import PUBLIC
from ..modes import Aside
from ..nn import functional, init
from ..nn.containers import ModuleList
from ..nn.dropout import Dropout
from ..nn.embeddings import Embedding
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.normalization import LayerNorm, RMSNorm
from ..nn.parameter import Parameter
from ..tensor import Tensor
from .config import Config

arange, cat, empty, outer = (PUBLIC[name] for name in ("arange", "cat", "empty", "outer"))
promote_types, zeros = PUBLIC["promote_types"], PUBLIC["zeros"]
IGNORED = -100  # the label of a token that is not learned


# -- positions ---------------------------------------------------------------------------------------------------------


def rotary(config: Config) -> tuple[Tensor, Tensor]:
    """cos and sin of position * theta^(-2 i / n) for each position and each pair i of a head's n values."""
    n = config.head_size
    turns = config.rope_theta ** (-arange(0, n, 2).double() / n)  # radians for each token
    scale = 1.0
    if (yarn := config.yarn) is not None:
        # The pair i that turns `beta` times within the original context: n ln(original / (2 pi beta)) / (2 ln theta).
        low, high = (
            n * math.log(yarn.original / (2 * math.pi * beta)) / (2 * math.log(config.rope_theta))
            for beta in (yarn.beta_fast, yarn.beta_slow)
        )
        low, high = max(math.floor(low), 0), min(math.ceil(high), n - 1)
        slow = ((arange(n // 2).double() - low) / max(high - low, 1e-3)).clamp(0, 1)
        turns = turns * (1 - slow) + turns / yarn.factor * slow
        scale = 0.1 * math.log(yarn.factor) + 1 if yarn.attention_factor is None else yarn.attention_factor
    angles = outer(arange(config.max_position_embeddings).double(), turns)
    return (angles.cos() * scale).float(), (angles.sin() * scale).float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + n/2]) of a head by its angle. x: (batch, tokens, heads, n)."""
    a, b = x.chunk(2, dim=-1)
    return cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


# -- the cache ---------------------------------------------------------------------------------------------------------


class Cache:
    """Keys and values of all tokens so far, in memory made once, so that a step compiled for it fits every position.

    Shorter rows of a batch are padded on their left; `start` is where each row's own tokens begin.
    """

    def __init__(self, config: Config, batch: int, length: int, start: Tensor | None = None, dtype: Any = None) -> None:
        shape = (batch, config.kv_heads, length, config.head_size)
        self.keys = [zeros(shape, dtype=dtype) for _ in range(config.num_hidden_layers)]
        self.values = [zeros(shape, dtype=dtype) for _ in range(config.num_hidden_layers)]
        self.start = zeros(batch, dtype=int64) if start is None else start
        self.position = zeros((), dtype=int64)  # of the next token
        self.length = length

    def view(self, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
        """For the next tokens: their places in the cache, their positions in each row, and what each may look at."""
        places = self.position + arange(tokens)
        positions = (places - self.start[:, None]).clamp(min=0)
        at = arange(self.length)
        seen = (at <= places[:, None]) & (at >= self.start[:, None, None]) | (at == places[:, None])  # padding: itself
        return places, positions, seen[:, None]


# -- layers ------------------------------------------------------------------------------------------------------------


def wide(x: Tensor) -> Tensor:
    """In float32 at least: of logits small differences matter."""
    return x.to(promote_types(x.dtype, float32))


def norm(config: Config, size: int) -> Module:
    return (RMSNorm if config.norm == "rms" else LayerNorm)(size, eps=config.norm_eps)


class Attention(Module):
    """softmax(q k^T / sqrt(n)) v, with several heads of queries to each head of keys and values."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, heads, kv, self.size = config.hidden_size, config.num_attention_heads, config.kv_heads, config.head_size
        self.q = Linear(width, heads * self.size, bias=config.qkv_bias)
        self.k = Linear(width, kv * self.size, bias=config.qkv_bias)
        self.v = Linear(width, kv * self.size, bias=config.qkv_bias)
        self.out = Linear(heads * self.size, width, bias=config.out_bias)
        self.q_norm = norm(config, self.size) if config.qk_norm else None
        self.k_norm = norm(config, self.size) if config.qk_norm else None
        self.dropout = config.dropout

    def forward(self, x: Tensor, rotation: Any, mask: Tensor | None, memory: Any) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (part(x).view(b, t, -1, self.size) for part in (self.q, self.k, self.v))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if memory is not None:
            places, keys, values = memory
            k = keys.index_copy_(2, places, k.to(keys.dtype)).to(k.dtype)
            v = values.index_copy_(2, places, v.to(values.dtype)).to(v.dtype)
        h = functional.scaled_dot_product_attention(
            q, k, v, mask, self.dropout if self.training else 0.0, is_causal=mask is None, enable_gqa=True
        )
        return self.out(h.transpose(1, 2).reshape(b, t, -1))


class SwiGLU(Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: Config, inner: int) -> None:
        super().__init__()
        self.gate = Linear(config.hidden_size, inner, bias=config.mlp_bias)
        self.up = Linear(config.hidden_size, inner, bias=config.mlp_bias)
        self.down = Linear(inner, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class GeluMLP(Module):
    """down(gelu(up(x)))."""

    def __init__(self, config: Config, inner: int) -> None:
        super().__init__()
        self.up = Linear(config.hidden_size, inner, bias=config.mlp_bias)
        self.down = Linear(inner, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x), approximate="tanh"))


class Experts(Module):
    """A mixture of experts: each token goes through the k that the router finds likeliest, weighted. None is dropped.

    Tokens are sorted by expert, and one grouped product multiplies each group by its expert's matrix: there are as many
    instructions for a hundred experts as for two.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.n, self.k = config.num_experts, config.num_experts_per_tok
        self.renormalise, self.coef = config.norm_topk_prob, config.router_aux_loss_coef
        width, inner = config.hidden_size, config.moe_intermediate_size or config.intermediate_size
        self.router = Linear(width, self.n, bias=False)
        self.gate = Parameter(empty(self.n, inner, width))
        self.up = Parameter(empty(self.n, inner, width))
        self.down = Parameter(empty(self.n, width, inner))
        self.shared = SwiGLU(config, inner * config.num_shared_experts) if config.num_shared_experts else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.reshape(-1, x.shape[-1])
        chance = functional.softmax(wide(self.router(flat)), dim=-1)
        weight, chosen = chance.topk(self.k, dim=-1)
        if self.renormalise:
            weight = weight / weight.sum(-1, keepdim=True)
        order = chosen.flatten().argsort(stable=True)
        rows = order // self.k  # the token of each row, expert by expert
        count = functional.one_hot(chosen, self.n).sum((0, 1))  # rows of each expert
        ends = count.cumsum(0).int()

        h = flat[rows]
        h = functional.silu(self._product(h, self.gate, ends)) * self._product(h, self.up, ends)
        h = self._product(h, self.down, ends) * weight.flatten()[order][:, None].to(h.dtype)
        out = zeros(flat.shape, dtype=h.dtype).index_add(0, rows, h).view(x.shape)
        if self.shared is not None:
            out = out + self.shared(x)
        # coef * E * sum(load * chance): least when both are even.
        return out, self.coef * self.n * (count / flat.shape[0] * chance.mean(0)).sum()

    def _product(self, x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
        return functional.grouped_mm(x, weight.transpose(1, 2).to(x.dtype), offs=ends)


class Layer(Module):
    """x + attention(norm(x)), and then that + feed_forward(norm(that)); with it the experts' imbalance, or None."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm1, self.attention = norm(config, config.hidden_size), Attention(config)
        self.norm2 = norm(config, config.hidden_size)
        self.feed: Module
        if config.num_experts:
            self.feed = Experts(config)
        else:
            self.feed = (SwiGLU if config.feed_forward == "swiglu" else GeluMLP)(config, config.intermediate_size)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, rotation: Any, mask: Tensor | None, memory: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        x = x + self.dropout(self.attention(self.norm1(x), rotation, mask, memory))
        h = self.feed(self.norm2(x))
        h, imbalance = h if isinstance(h, tuple) else (h, None)
        return x + self.dropout(h), imbalance


# -- the model ---------------------------------------------------------------------------------------------------------


class LanguageModel(Module):
    """tokens (batch, length) -> logits (batch, length, vocabulary)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self._decoders = Aside()  # see generate.py
        self.embed = Embedding(config.vocab_size, config.hidden_size)
        self.dropout = Dropout(config.dropout)
        self.layers = ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])
        self.norm = norm(config, config.hidden_size)
        self.head = Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.positions == "learned":
            self.places = Embedding(config.max_position_embeddings, config.hidden_size)
        else:
            cos, sin = rotary(config)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        self.reset_parameters()
        if config.tie_word_embeddings:
            self.head.weight = self.embed.weight

    def reset_parameters(self) -> None:
        """Normal with a small deviation; smaller where layers add to the stream, so that its size does not depend on
        their number."""
        std, depth = self.config.initializer_range, 2 * self.config.num_hidden_layers
        for name, p in self.named_parameters():
            if p.ndim > 1:
                adds = name.endswith(("attention.out.weight", "down.weight", "down"))
                init.normal_(p, std=std / math.sqrt(depth) if adds else std)
            elif name.endswith("bias"):
                init.zeros_(p)

    def forward(self, tokens: Tensor, cache: Cache | None = None, segments: Tensor | None = None) -> Tensor:
        """Logits of what follows each token. With a cache, tokens are the next ones after those it has seen.

        `segments` numbers the documents of each row: a token then looks at none but its own document's.
        """
        return self.head(self.hidden(tokens, cache, segments)[0])

    def hidden(
        self, tokens: Tensor, cache: Cache | None = None, segments: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What the head sees, and the sum of the layers' auxiliary losses, if there are any."""
        if tokens.ndim != 2:
            fail(
                ShapeError, f"tokens have shape {tuple(tokens.shape)}", "give (batch, length): one row has tokens[None]"
            )
        if cache is not None and segments is not None:
            fail(ArgumentError, "with a cache each row is one document", "leave out segments, or the cache")
        t, limit = tokens.shape[1], self.config.max_position_embeddings
        if t > limit:
            what = f"{t} tokens are more than the {limit} that this model has positions for"
            fail(ShapeError, what, "give it fewer, or a larger max_position_embeddings")
        places, positions, mask = (None, None, None) if cache is None else cache.view(t)
        if segments is not None:
            causal = arange(t)[:, None] >= arange(t)
            seen = causal & (segments[:, :, None] == segments[:, None, :])
            mask = seen[:, None]
            if self.config.positions == "learned":  # rotary ones only matter relative to each other
                positions = seen.sum(-1) - 1

        h, rotation = self.embed(tokens), None
        if self.config.positions == "learned":
            h = h + (self.places.weight[:t] if positions is None else self.places(positions))
        elif positions is None:
            rotation = self.cos[:t, None], self.sin[:t, None]
        else:
            rotation = self.cos[positions][:, :, None], self.sin[positions][:, :, None]

        h, total = self.dropout(h), None
        for i, layer in enumerate(self.layers):
            memory = None if cache is None else (places, cache.keys[i], cache.values[i])
            if self.config.checkpointing and self.training and cache is None:
                h, imbalance = checkpoint(layer, h, rotation, mask, use_reentrant=False)
            else:
                h, imbalance = layer(h, rotation, mask, memory)
            if imbalance is not None:
                total = imbalance if total is None else total + imbalance
        if cache is not None:
            cache.position += t
        return self.norm(h), total

    def losses(self, tokens: Tensor, labels: Tensor, segments: Tensor | None = None) -> dict[str, Tensor]:
        """`loss`, which is trained, and its parts: the mean `cross_entropy` of all labels but -100, which is zero where
        there are none, and with experts their `imbalance`."""
        h, imbalance = self.hidden(tokens, segments=segments)
        total = functional.cross_entropy(
            wide(self.head(h)).flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        mean = total / labels.ne(IGNORED).sum().clamp(min=1)
        if imbalance is None:
            return {"loss": mean}
        return {"loss": mean + imbalance, "cross_entropy": mean.detach(), "imbalance": imbalance.detach()}

    def loss(self, tokens: Tensor, labels: Tensor, segments: Tensor | None = None) -> Tensor:
        """The mean loss of predicting each label; -100 is none."""
        return self.losses(tokens, labels, segments)["loss"]

    def generate(self, tokens: Any, max_new_tokens: int = 20, **options: Any) -> Tensor:
        """Prompts and what follows them: see lm/generate.py."""
        from .generate import generate

        return generate(self, tokens, max_new_tokens, **options)

    def save_pretrained(
        self, folder: Any, tokenizer: Any = None, max_shard_size: Any = "5GB", dtype: Any = None
    ) -> None:
        """Write the model to a folder in Hugging Face's layout."""
        from .exchange import save_pretrained  # which is about this class

        save_pretrained(self, folder, tokenizer, max_shard_size, dtype)

    @staticmethod
    def from_pretrained(folder: Any, *, dtype: Any = None, **changes: Any) -> LanguageModel:
        """The model in such a folder, with some fields of its Config changed."""
        from .exchange import from_pretrained

        return from_pretrained(folder, dtype=dtype, **changes)

    @property
    def active(self) -> int:
        """How many parameters take part in one token's prediction."""
        config = self.config
        idle = 0 if not config.num_experts else config.num_experts - config.num_experts_per_tok
        experts = [layer.feed for layer in self.layers] if idle else []
        unused = sum(part[0].numel() for feed in experts for part in (feed.gate, feed.up, feed.down)) * idle
        return sum(p.numel() for p in self.parameters()) - unused
