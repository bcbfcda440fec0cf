"""Classes of Hugging Face's transformers: what a Config is called in their config.json, and a weight in their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from ..errors import ArgumentError, fail
from ..io import FormatError
from .config import Config, Yarn


@dataclass(frozen=True)
class Family:
    kind: str  # its model_type
    keys: Mapping[str, str]  # field of Config: key in config.json
    fixed: Mapping[str, Any]  # field of Config: what it is in all models of this class; None: what it is by default
    neutral: Mapping[str, Any]  # key in config.json: what it must be, for a Config has no word for anything else
    modules: Mapping[str, str]  # module of ours: module of theirs, within a layer or outside of all
    absent: Mapping[str, Any]  # key: what it is where config.json leaves it out
    dropouts: tuple[str, ...] = ("attention_dropout",)

    def but(self, kind: str, **changes: Mapping[str, Any]) -> Family:
        """Another with entries added; a field that has got a key is no longer fixed."""
        maps: dict[str, Any] = {name: {**getattr(self, name), **entries} for name, entries in changes.items()}
        fixed, free = maps.pop("fixed", self.fixed), changes.get("keys", {})
        return replace(self, kind=kind, fixed={k: v for k, v in fixed.items() if k not in free}, **maps)


def same(*names: str) -> dict[str, str]:
    return dict(zip(names, names, strict=True))


# -- the families ------------------------------------------------------------------------------------------------------

BASE = Family(  # what the rotary ones have in common
    kind="",
    keys={
        **same("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        **same("head_dim", "intermediate_size", "max_position_embeddings", "tie_word_embeddings", "initializer_range"),
        "norm_eps": "rms_norm_eps",
    },
    fixed={
        "norm": "rms",
        "positions": "rotary",
        "feed_forward": "swiglu",
        "qk_norm": False,
        "qkv_bias": False,
        "out_bias": False,
        "mlp_bias": False,
        "num_experts": 0,
        "num_shared_experts": 0,
    },
    neutral={"hidden_act": "silu", "use_sliding_window": False, "quantization_config": None},
    modules={
        "embed": "model.embed_tokens",
        "norm": "model.norm",
        "head": "lm_head",
        "layers": "model.layers",
        "norm1": "input_layernorm",
        "norm2": "post_attention_layernorm",
        "attention.q": "self_attn.q_proj",
        "attention.k": "self_attn.k_proj",
        "attention.v": "self_attn.v_proj",
        "attention.out": "self_attn.o_proj",
        "attention.q_norm": "self_attn.q_norm",
        "attention.k_norm": "self_attn.k_norm",
        "feed.gate": "mlp.gate_proj",
        "feed.up": "mlp.up_proj",
        "feed.down": "mlp.down_proj",
    },
    absent={
        "num_key_value_heads": None,
        "head_dim": None,
        "tie_word_embeddings": False,
        "initializer_range": 0.02,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "norm_topk_prob": False,
        "router_aux_loss_coef": 0.001,
    },
)

BIASES = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}
EXPERTS = same("num_experts_per_tok", "router_aux_loss_coef")
QWEN3 = BASE.but("qwen3", keys=BIASES, fixed={"qk_norm": True}, absent={"head_dim": 128})

FAMILIES = {
    "LlamaForCausalLM": BASE.but("llama", keys=BIASES | same("mlp_bias")),
    "Qwen2ForCausalLM": BASE.but("qwen2", fixed={"qkv_bias": True}),
    "Qwen3ForCausalLM": QWEN3,
    "Qwen3MoeForCausalLM": QWEN3.but(
        "qwen3_moe",
        keys=EXPERTS | same("num_experts", "moe_intermediate_size", "norm_topk_prob"),
        neutral={"decoder_sparse_step": 1, "mlp_only_layers": []},
        modules={
            "feed.router": "mlp.gate",
            "feed.gate": "mlp.experts.{}.gate_proj",
            "feed.up": "mlp.experts.{}.up_proj",
            "feed.down": "mlp.experts.{}.down_proj",
        },
        absent={"head_dim": None},
    ),
    "MixtralForCausalLM": BASE.but(
        "mixtral",
        keys=EXPERTS | {"num_experts": "num_local_experts", "moe_intermediate_size": "intermediate_size"},
        fixed={"norm_topk_prob": True},
        neutral={"sliding_window": None, "router_jitter_noise": 0.0},
        modules={
            "feed.router": "block_sparse_moe.gate",
            "feed.gate": "block_sparse_moe.experts.{}.w1",
            "feed.up": "block_sparse_moe.experts.{}.w3",
            "feed.down": "block_sparse_moe.experts.{}.w2",
        },
    ),
    "GPT2LMHeadModel": Family(
        kind="gpt2",
        keys={
            **same("vocab_size", "tie_word_embeddings", "initializer_range"),
            "hidden_size": "n_embd",
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "intermediate_size": "n_inner",
            "max_position_embeddings": "n_positions",
            "norm_eps": "layer_norm_epsilon",
        },
        fixed={
            "norm": "layer",
            "positions": "learned",
            "feed_forward": "gelu",
            "qk_norm": False,
            "qkv_bias": True,
            "out_bias": True,
            "mlp_bias": True,
            "num_key_value_heads": None,
            "head_dim": None,
            "num_experts": 0,
            "num_shared_experts": 0,
        },
        neutral={
            "activation_function": "gelu_new",
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
            "quantization_config": None,
        },
        modules={
            "embed": "transformer.wte",
            "places": "transformer.wpe",
            "norm": "transformer.ln_f",
            "head": "lm_head",
            "layers": "transformer.h",
            "norm1": "ln_1",
            "norm2": "ln_2",
            "attention.q": "attn.c_attn",  # one tensor for three
            "attention.k": "attn.c_attn",
            "attention.v": "attn.c_attn",
            "attention.out": "attn.c_proj",
            "feed.up": "mlp.c_fc",
            "feed.down": "mlp.c_proj",
        },
        absent={
            "tie_word_embeddings": True,
            "initializer_range": 0.02,
            "n_inner": None,
            "attn_pdrop": 0.1,
            "embd_pdrop": 0.1,
            "resid_pdrop": 0.1,
        },
        dropouts=("attn_pdrop", "embd_pdrop", "resid_pdrop"),
    ),
}


# -- from a Config -----------------------------------------------------------------------------------------------------


def value(config: Config, name: str) -> Any:
    """What a field says, also where it says None."""
    meant = {
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_size,
        "moe_intermediate_size": config.moe_intermediate_size or config.intermediate_size,
    }
    return meant[name] if name in meant else getattr(config, name)


def unlike(config: Config, family: Family) -> list[str]:
    """What would have to be otherwise for the family to hold a model of this Config."""
    plain = {
        "num_key_value_heads": config.num_attention_heads,
        "head_dim": config.hidden_size / config.num_attention_heads,
    }
    needed = {name: plain[name] if want is None else want for name, want in family.fixed.items()}
    found = [
        f"{name}={value(config, name)!r}, not {want!r}" for name, want in needed.items() if value(config, name) != want
    ]
    if "num_experts" in family.keys and not config.num_experts:
        found.append("num_experts=0, not 1 or more")
    first: dict[str, str] = {}  # a key that is two fields' can have one value only
    for name, key in family.keys.items():
        other = first.setdefault(key, name)
        if value(config, name) != value(config, other):
            found.append(f"{name}={value(config, name)!r}, not {value(config, other)!r} as {other} is")
    return found


def of(config: Config) -> str:
    """The name of the class that holds models of this Config."""
    misfits = {name: unlike(config, family) for name, family in FAMILIES.items()}
    fewest = min(len(found) for found in misfits.values())
    nearest = {name: found for name, found in misfits.items() if len(found) == fewest}
    if fewest:
        what = "; ".join(f"for {name} it has {', '.join(found)}" for name, found in nearest.items())
        todo = "save it with pullback.save(model.state_dict(), file)"
        fail(ArgumentError, f"no known class of transformers holds this model: {what}", todo)
    return next(iter(nearest))


def write(config: Config) -> dict[str, Any]:
    """The Config as the contents of config.json."""
    name = of(config)
    family = FAMILIES[name]
    said = {
        "architectures": [name],
        "model_type": family.kind,
        **{key: want for key, want in family.neutral.items() if want is not None},
        **{key: value(config, field) for field, key in family.keys.items()},
        **dict.fromkeys((*family.dropouts, "dropout"), config.dropout),
    }
    if config.positions == "rotary":  # in the words of transformers 4, which 5 and other programs read as well
        said |= {"rope_theta": config.rope_theta, "rope_scaling": None}
        if (yarn := config.yarn) is not None:
            said["rope_scaling"] = {
                "rope_type": "yarn",
                "factor": float(yarn.factor),
                "original_max_position_embeddings": yarn.original,
                "beta_fast": yarn.beta_fast,
                "beta_slow": yarn.beta_slow,
                **({} if yarn.attention_factor is None else {"attention_factor": float(yarn.attention_factor)}),
            }
    return said


# -- to a Config -------------------------------------------------------------------------------------------------------


def read(said: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[Family, Config]:
    """The family and the Config that config.json describes, with some fields changed."""
    family = named(said)
    if "num_local_experts" in said:
        said = {"num_experts": said["num_local_experts"], **said}  # transformers 5 and 4
    for key, want in family.neutral.items():
        if (said.get(key, want) or None) != (want or None):  # null, false, 0 and [] all say that there is none
            refuse(key, said[key], f"is not supported, only {want!r} is")
    layers = said.get("layer_types")
    if layers and (not isinstance(layers, list) or any(kind != "full_attention" for kind in layers)):
        refuse("layer_types", layers, "are not supported, only 'full_attention' is")

    fields = dict(family.fixed)
    for name, key in family.keys.items():
        fields[name] = checked(key, said.get(key, family.absent.get(key, ...)), getattr(Config(), name))
    fields["intermediate_size"] = fields["intermediate_size"] or 4 * fields["hidden_size"]
    if "dropout" not in changes:
        fields["dropout"] = dropout(said, family)
    if fields["positions"] == "rotary":
        fields |= rope(said, fields["max_position_embeddings"])
    return family, Config(**fields).but(**changes)


def named(said: Mapping[str, Any]) -> Family:
    """The family that config.json names."""
    names = said.get("architectures") or []
    kinds = {family.kind: family for family in FAMILIES.values()}
    if isinstance(names, list) and names and names[0] in FAMILIES:
        return FAMILIES[names[0]]
    if not names and said.get("model_type") in kinds:
        return kinds[said["model_type"]]
    what = f"config.json describes a {names[0] if names else said.get('model_type')!r}, which pullback does not know"
    fail(FormatError, what, f"it knows {', '.join(FAMILIES)}")


def checked(key: str, found: Any, like: Any) -> Any:
    """A value from config.json that is of the class that it should be."""
    if found is ...:
        fail(FormatError, f"config.json has no {key}", "get the whole file, or add it")
    optional = key in ("num_key_value_heads", "head_dim", "n_inner")  # null says that it follows from the others
    if found is None and optional:
        return None
    if isinstance(like, bool):
        good = isinstance(found, bool)
    elif isinstance(like, float):
        good = isinstance(found, (int, float)) and not isinstance(found, bool)
    else:
        good = type(found) is int and found > 0
    if not good:
        kind = {bool: "true or false", float: "a number"}.get(type(like), "a positive integer")
        refuse(key, found, f"is not {kind}")
    return found


def dropout(said: Mapping[str, Any], family: Family) -> float:
    """The one probability that a Config has: our own word for it, or what all of theirs agree on."""
    theirs = {key: said.get(key, family.absent[key]) for key in family.dropouts}
    one = said.get("dropout", next(iter(theirs.values())))
    complete = "dropout" in said or len(theirs) > 1 or not one  # Llama's kin have one for the attention alone
    if not complete or ("dropout" not in said and len(set(theirs.values())) > 1):
        what = (
            f"config.json has {', '.join(f'{key} {p}' for key, p in theirs.items())}; a Config has one for all places"
        )
        fail(FormatError, what, "say which: from_pretrained(folder, dropout=...)")
    return float(checked("dropout", one, 0.0))


def rope(said: Mapping[str, Any], length: int) -> dict[str, Any]:
    """rope_theta and yarn, from the words of transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters)."""
    scaling = said.get("rope_scaling") or said.get("rope_parameters") or {}
    if not isinstance(scaling, dict):
        refuse("rope_scaling", scaling, "is not an object")
    theta = scaling.get("rope_theta", said.get("rope_theta", 10000.0))
    fields = {"rope_theta": float(checked("rope_theta", theta, 0.0)), "yarn": None}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    for key, want in {"partial_rotary_factor": 1.0, "truncate": True, "mscale": None, "mscale_all_dim": None}.items():
        for found in (scaling.get(key), said.get(key)):
            if found is not None and found != want:
                refuse(key, found, "of the rotary positions is not supported")
    if kind == "default":
        return fields
    if kind != "yarn":
        refuse("rope_type", kind, "is not supported, only 'default' and 'yarn' are")
    original = checked("original_max_position_embeddings", scaling.get("original_max_position_embeddings", length), 1)
    numbers = {
        key: float(checked(key, scaling[key], 0.0))
        for key in ("beta_fast", "beta_slow", "attention_factor")
        if scaling.get(key) is not None
    }
    factor = scaling.get("factor")
    factor = length / original if factor is None else float(checked("factor", factor, 0.0))
    return fields | {"yarn": Yarn(factor, original, **numbers)}


def refuse(key: str, found: Any, why: str) -> NoReturn:
    fail(FormatError, f"config.json says {key} {found!r}, which {why}", "load the model with transformers")
