"""The same folder in pullback and in transformers gives the same logits, whoever wrote it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lm.models import BASE, KINDS, model, tokens

import pullback
from pullback.lm.exchange import from_pretrained

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def transformers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip("transformers")
        found.AutoModelForCausalLM.from_pretrained  # noqa: B018  # it imports most of the package, and may warn
    found.utils.logging.set_verbosity_error()
    found.utils.logging.disable_progress_bar()
    return found


def loaded(transformers: Any, folder: Path) -> Any:
    """What transformers finds in a folder; that nothing was missing or left over."""
    found, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    assert not any(info[part] for part in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return found.eval()


def agree(ours: Any, theirs: Any) -> None:
    for length in (1, 10, 30):
        ids = tokens(2, length)
        with torch.no_grad():
            expected = theirs(torch.from_numpy(ids.numpy())).logits.numpy()
        with pullback.no_grad():
            found = ours(ids).numpy()
        assert np.abs(expected).max() > 0.5  # weights are large enough to tell
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", ["5GB", "5KB"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_what_pullback_writes(kind: str, size: str, transformers: Any, tmp_path: Path) -> None:
    ours = model(kind)
    ours.save_pretrained(tmp_path, max_shard_size=size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (size == "5KB")
    agree(ours, loaded(transformers, tmp_path))


YARN = {"rope_type": "yarn", "rope_theta": 10.0, "factor": 4.0, "original_max_position_embeddings": 8}
SIZES = {key: BASE[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
SIZES |= {"intermediate_size": 24, "max_position_embeddings": 32, "rope_parameters": {"rope_theta": 100.0}}
THEIRS: list[tuple[str, dict[str, Any]]] = [
    ("Llama", {}),
    ("Llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    ("Llama", {"head_dim": 8, "rope_parameters": YARN, "rms_norm_eps": 1e-3}),
    ("Qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    ("Qwen3", {"num_key_value_heads": 1, "head_dim": 8}),
    ("Qwen3", {"num_key_value_heads": 2, "head_dim": 16, "attention_bias": True}),
    ("Qwen3", {"num_key_value_heads": 2, "head_dim": 16, "rope_parameters": {**YARN, "attention_factor": 1.25}}),
    ("Qwen3", {"head_dim": 16, "rope_parameters": {**YARN, "beta_fast": 2.0, "beta_slow": 0.5}}),
    ("Qwen3Moe", {"num_experts": 3, "num_experts_per_tok": 1, "norm_topk_prob": True, "num_key_value_heads": 2}),
    ("Qwen3Moe", {"num_experts": 4, "num_experts_per_tok": 1, "norm_topk_prob": False, "head_dim": 8}),
    ("Qwen3Moe", {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True, "tie_word_embeddings": True}),
    ("Qwen3Moe", {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": False}),
    ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2}),
    ("GPT2", {}),
    ("GPT2", {"n_inner": 24, "tie_word_embeddings": False}),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", ["5GB", "5KB"])
@pytest.mark.parametrize(("name", "options"), THEIRS)
def test_pullback_reads_what_transformers_writes(
    name: str, options: dict[str, Any], size: str, dtype: str, transformers: Any, tmp_path: Path
) -> None:
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    if name == "GPT2":
        sizes: dict[str, Any] = {"vocab_size": 29, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}
    elif name == "Qwen3Moe":
        sizes = {**SIZES, "moe_intermediate_size": 12, "num_key_value_heads": 4}
    else:
        sizes = {**SIZES, "num_key_value_heads": 4}
    config = getattr(transformers, f"{name}Config")(
        **{**sizes, **options}, bos_token_id=None, eos_token_id=None, attn_implementation="eager"
    )
    torch.manual_seed(0)
    theirs = getattr(transformers, head)(config).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_(std=0.5)
    theirs.to(getattr(torch, dtype)).save_pretrained(tmp_path, max_shard_size=size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (size == "5KB")
    ours = from_pretrained(tmp_path)
    assert {p.dtype for p in ours.parameters()} == {pullback.float32}
    if dtype == "bfloat16":
        theirs = loaded(transformers, tmp_path)  # with frequencies in float32, unlike those converted above
    agree(ours, theirs)
    # And back: our folder of their model is their model.
    ours.save_pretrained(tmp_path / "back")
    again = loaded(transformers, tmp_path / "back")
    assert type(again) is type(theirs)
    assert all(torch.equal(p, theirs.state_dict()[key]) for key, p in again.state_dict().items())
    agree(ours, again)


def test_words_of_transformers_4_for_yarn(transformers: Any, tmp_path: Path) -> None:
    """config.json says rope_theta and rope_scaling; the installed transformers finds the same parameters there."""
    ours = model("llama-yarn")
    ours.save_pretrained(tmp_path)
    theirs, yarn = loaded(transformers, tmp_path).config, ours.config.yarn
    found = getattr(theirs, "rope_parameters", None) or {**theirs.rope_scaling, "rope_theta": theirs.rope_theta}
    assert found["rope_type"] == "yarn" and found["rope_theta"] == 10.0
    assert (found["factor"], found["original_max_position_embeddings"]) == (yarn.factor, yarn.original)
    assert (found["beta_fast"], found["beta_slow"]) == (2.0, 0.5)


def test_the_head_is_the_embedding_there_too(transformers: Any, tmp_path: Path) -> None:
    for kind, tied in (("qwen3", True), ("llama-untied", False), ("gpt2", True), ("gpt2-untied", False)):
        model(kind).save_pretrained(tmp_path)
        found = loaded(transformers, tmp_path)
        assert (found.get_input_embeddings().weight is found.get_output_embeddings().weight) == tied


def test_tokens_that_end_a_text(transformers: Any, tmp_path: Path) -> None:
    class Words:
        bos_id, eos_id, pad_id = 1, 2, 0

        def save(self, folder: Any) -> None:
            pass

    model("llama").save_pretrained(tmp_path, Words())
    found = loaded(transformers, tmp_path).generation_config
    assert (found.bos_token_id, found.eos_token_id, found.pad_token_id) == (1, 2, 0)
    model("llama").save_pretrained(tmp_path)
    found = loaded(transformers, tmp_path).generation_config
    assert (found.bos_token_id, found.eos_token_id, found.pad_token_id) == (None, None, None)
