"""What a language model is made of: a Config says it, PRESETS are Configs with published shapes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import ArgumentError, fail

CHOICES = {"norm": ("rms", "layer"), "positions": ("rotary", "learned"), "feed_forward": ("swiglu", "gelu")}


@dataclass(frozen=True)
class Yarn:
    """RoPE for contexts `factor` times as long as the `original` one the model was trained for (arXiv:2309.00071)."""

    factor: float
    original: int
    beta_fast: float = 32.0  # dimensions that turn more often than this within `original` stay as they are,
    beta_slow: float = 1.0  # those that turn less often are stretched by `factor`, and those between a little
    attention_factor: float | None = None  # None: 0.1 ln(factor) + 1

    def __post_init__(self) -> None:
        if self.factor < 1 or self.original < 1:
            what = f"a context of {self.original} tokens cannot become {self.factor} times as long by YaRN"
            fail(ArgumentError, what, "give a factor and an original length of at least 1")


@dataclass(frozen=True)
class Config:
    """A decoder-only Transformer. Names are those of Hugging Face's configurations where these have the thing."""

    vocab_size: int = 6400
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    num_key_value_heads: int | None = None  # fewer than heads: grouped-query attention; None: as many
    head_dim: int | None = None  # None: hidden_size / heads
    intermediate_size: int = 1408
    max_position_embeddings: int = 2048

    norm: str = "rms"  # or "layer"
    norm_eps: float = 1e-6
    qk_norm: bool = False  # queries and keys are normalised within each head
    positions: str = "rotary"  # or "learned"
    rope_theta: float = 1e6
    yarn: Yarn | None = None
    feed_forward: str = "swiglu"  # or "gelu"
    qkv_bias: bool = False
    out_bias: bool = False  # of the attention's output
    mlp_bias: bool = False
    tie_word_embeddings: bool = True
    dropout: float = 0.0

    num_experts: int = 0  # 0: a dense model
    num_experts_per_tok: int = 1
    moe_intermediate_size: int | None = None  # None: intermediate_size
    num_shared_experts: int = 0  # that every token goes through
    norm_topk_prob: bool = True  # the chosen experts' weights sum to one
    router_aux_loss_coef: float = 1e-3

    initializer_range: float = 0.02
    checkpointing: bool = False  # recompute each layer in backward instead of keeping its values

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                fail(ArgumentError, f"{name} is {getattr(self, name)!r}", f"choose from {', '.join(choices)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in ("int", "int | None") and value is not None:
                least = 0 if field.name in ("num_experts", "num_shared_experts") else 1
                if type(value) is not int or value < least:
                    fail(ArgumentError, f"{field.name} is {value!r}", f"give an integer from {least} on")
        if self.num_attention_heads % self.kv_heads:
            what = f"{self.num_attention_heads} attention heads cannot share {self.kv_heads} key-value heads evenly"
            fail(ArgumentError, what, "choose num_key_value_heads that divides num_attention_heads")
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            what = f"hidden_size {self.hidden_size} is not a multiple of {self.num_attention_heads} attention heads"
            fail(ArgumentError, what, "change one of them, or give head_dim")
        if self.positions == "rotary" and self.head_size % 2:
            fail(ArgumentError, f"rotary positions turn pairs, and a head has {self.head_size} values", "make it even")
        if self.num_experts and self.feed_forward != "swiglu":
            fail(ArgumentError, f"experts are 'swiglu', and feed_forward is {self.feed_forward!r}", "choose one")
        if self.num_experts and not 1 <= self.num_experts_per_tok <= self.num_experts:
            what = f"each token cannot go to {self.num_experts_per_tok} of {self.num_experts} experts"
            fail(ArgumentError, what, "choose num_experts_per_tok between 1 and num_experts")

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    def but(self, **changes: Any) -> Config:
        """The same with some fields changed."""
        unknown = changes.keys() - {field.name for field in fields(self)}
        if unknown:
            known = ", ".join(field.name for field in fields(self))
            fail(ArgumentError, f"a model has no {', '.join(sorted(unknown))}", f"its fields are {known}")
        return replace(self, **changes)


TINY = Config(
    vocab_size=2048,
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    intermediate_size=512,
    max_position_embeddings=512,
)
MINIMIND = Config(max_position_embeddings=32768, norm_eps=1e-5, num_key_value_heads=2)
MINIMIND3 = Config(
    hidden_size=768,
    num_key_value_heads=4,
    head_dim=96,
    intermediate_size=2432,
    qk_norm=True,
    max_position_embeddings=32768,
)

PRESETS = {
    "tiny": TINY,
    "tiny-moe": TINY.but(num_experts=4),
    "minimind2-small": MINIMIND,  # 25.83 M
    "minimind2": MINIMIND.but(hidden_size=768, num_hidden_layers=16, intermediate_size=2048),  # 104.03 M
    "minimind-3": MINIMIND3,  # 63.91 M
    "minimind-3-moe": MINIMIND3.but(num_experts=4),  # 198.42 M, of which a token uses 63.94 M
    "gpt2": Config(  # 124.44 M
        vocab_size=50257,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=1024,
        norm="layer",
        norm_eps=1e-5,
        positions="learned",
        feed_forward="gelu",
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
    ),
}


def preset(name: str, **changes: Any) -> Config:
    """A published shape by its name, with some fields changed."""
    if name not in PRESETS:
        fail(ArgumentError, f"there is no preset {name!r}", f"choose from {', '.join(PRESETS)}")
    return PRESETS[name].but(**changes)
