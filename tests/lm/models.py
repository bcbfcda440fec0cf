"""Small models with weights large enough for every part to matter: at the usual start attention hardly does."""

from __future__ import annotations

from typing import Any

import pullback as torch
from pullback.lm.config import Config, Yarn
from pullback.lm.model import LanguageModel

BASE = {
    "vocab_size": 29,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "rope_theta": 100.0,
    "norm_eps": 1e-5,
}
LEARNED = {
    "norm": "layer",
    "positions": "learned",
    "feed_forward": "gelu",
    "qkv_bias": True,
    "out_bias": True,
    "mlp_bias": True,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-biases": {"qkv_bias": True, "out_bias": True, "mlp_bias": True, "num_key_value_heads": 2},
    "llama-untied": {"tie_word_embeddings": False, "num_key_value_heads": 1, "head_dim": 6},
    "llama-yarn": {"yarn": Yarn(4.0, 8, beta_fast=2.0, beta_slow=0.5), "rope_theta": 10.0, "head_dim": 16},
    "qwen2": {"qkv_bias": True, "num_key_value_heads": 2},
    "qwen3": {"qk_norm": True, "num_key_value_heads": 2, "head_dim": 8},
    "qwen3-yarn": {"qk_norm": True, "yarn": Yarn(2.0, 16, attention_factor=1.25), "tie_word_embeddings": False},
    "qwen3-moe-1": {"qk_norm": True, "num_experts": 3, "num_key_value_heads": 2},
    "qwen3-moe-2": {"qk_norm": True, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12},
    "qwen3-moe-raw": {
        "qk_norm": True,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "norm_topk_prob": False,
        "tie_word_embeddings": False,
    },
    "mixtral": {"num_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2},
    "gpt2": LEARNED,
    "gpt2-untied": {**LEARNED, "tie_word_embeddings": False, "intermediate_size": 40},
}


def config(kind: str = "llama", **changes: Any) -> Config:
    return Config(**{**BASE, **KINDS[kind], **changes})


def model(kind: str = "llama", **changes: Any) -> LanguageModel:
    torch.manual_seed(7)
    made = LanguageModel(config(kind, **changes))
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.normal_(std=0.5)
            if "norm" in name and name.endswith("weight"):
                p.add_(1.0)
    return made.eval()


def tokens(batch: int = 2, length: int = 10) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randint(0, BASE["vocab_size"], (batch, length))
