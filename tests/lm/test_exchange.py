"""Folders in Hugging Face's layout: what is written is read again, and what does not fit is said by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.lm.models import KINDS, config, model, tokens

import pullback as torch
from pullback.errors import ArgumentError, DTypeError
from pullback.io import FormatError, safetensors
from pullback.lm import families
from pullback.lm.config import Yarn
from pullback.lm.exchange import _bytes, from_pretrained, save_pretrained
from pullback.lm.model import LanguageModel


def said(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def say(folder: Path, leave_out: tuple[str, ...] = (), **changes: Any) -> None:
    left = {key: value for key, value in said(folder).items() if key not in leave_out}
    (folder / "config.json").write_text(json.dumps({**left, **changes}))


def rewrite(folder: Path, change: Any) -> None:
    """The weights as `change` makes them from {name: array}."""
    arrays, _ = safetensors.read(folder / "model.safetensors")
    safetensors.write(folder / "model.safetensors", change(arrays))


def states(a: LanguageModel, b: LanguageModel) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a saved Llama."""
    model().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_comes_back(kind: str, tmp_path: Path) -> None:
    m = model(kind, dropout=0.25)
    m.save_pretrained(tmp_path)
    back = LanguageModel.from_pretrained(tmp_path)
    assert states(m, back) and not back.training
    for name in ("num_hidden_layers", "norm_eps", "tie_word_embeddings", "num_experts_per_tok", "dropout", "positions"):
        assert getattr(back.config, name) == getattr(m.config, name)
    assert torch.equal(m(tokens()), back(tokens()))
    assert (back.head.weight is back.embed.weight) == m.config.tie_word_embeddings


def test_the_class_is_chosen_by_what_the_model_is_made_of() -> None:
    chosen = {kind: families.of(config(kind)) for kind in KINDS}
    assert chosen == {
        kind: {
            "llama": "LlamaForCausalLM",
            "qwen2": "Qwen2ForCausalLM",
            "qwen3": "Qwen3ForCausalLM",
            "moe": "Qwen3MoeForCausalLM",
            "mixtral": "MixtralForCausalLM",
            "gpt2": "GPT2LMHeadModel",
        }["moe" if "moe" in kind else kind.partition("-")[0]]
        for kind in KINDS
    }


@pytest.mark.parametrize(
    ("kind", "changes", "field"),
    [
        ("llama", {"norm": "layer"}, "norm='layer', not 'rms'"),
        ("llama", {"out_bias": True}, "out_bias=True"),
        ("llama", {"positions": "learned"}, "positions='learned'"),
        ("llama", {"feed_forward": "gelu"}, "feed_forward='gelu'"),
        ("qwen3", {"mlp_bias": True}, "mlp_bias=True"),
        ("qwen3-moe-1", {"num_shared_experts": 1}, "num_shared_experts=1, not 0"),
        ("mixtral", {"norm_topk_prob": False}, "norm_topk_prob=False"),
        ("gpt2", {"num_key_value_heads": 2}, "num_key_value_heads=2, not 4"),
        ("gpt2", {"head_dim": 8}, "head_dim=8"),
        ("gpt2", {"mlp_bias": False}, "mlp_bias=False, not True"),
    ],
)
def test_a_model_that_no_class_holds_is_refused_by_its_field(
    kind: str, changes: dict[str, Any], field: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=field):
        save_pretrained(model(kind, **changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama-untied", "qwen3-moe-2", "gpt2"])
def test_shards(kind: str, tmp_path: Path) -> None:
    m = model(kind)
    m.save_pretrained(tmp_path, max_shard_size="5KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == [f"model-{i:05}-of-{len(names):05}.safetensors" for i in range(1, len(names) + 1)]
    assert len(names) > 2 and set(index["weight_map"].values()) == set(names)
    assert index["metadata"]["total_size"] == 4 * sum(p.numel() for p in m.parameters())
    for name in names:
        arrays, metadata = safetensors.read(tmp_path / name)
        assert metadata == {"format": "pt"}
        assert len(arrays) == 1 or sum(array.nbytes for array in arrays.values()) <= 5000
    assert states(m, from_pretrained(tmp_path))


def test_saving_over_another_model_leaves_nothing_of_it(tmp_path: Path) -> None:
    m = model()
    (tmp_path / "notes.txt").write_text("mine")
    m.save_pretrained(tmp_path, max_shard_size=5000)
    many = {path.name for path in tmp_path.iterdir()}
    other = model("qwen3")
    other.save_pretrained(tmp_path)
    one = {path.name for path in tmp_path.iterdir()}
    assert one == {"config.json", "generation_config.json", "model.safetensors", "notes.txt"}
    assert states(other, from_pretrained(tmp_path))
    m.save_pretrained(tmp_path, max_shard_size=5000)
    assert {path.name for path in tmp_path.iterdir()} == many
    assert states(m, from_pretrained(tmp_path))


def test_sizes() -> None:
    assert [_bytes(size) for size in ("5GB", "1.5 KB", "2MiB", "7b", 12)] == [5 * 10**9, 1500, 2 * 2**20, 7, 12]
    for wrong in ("5", "GB", "0MB", "5TB", 0, -1):
        with pytest.raises(ArgumentError, match="max_shard_size is"):
            _bytes(wrong)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", torch.bfloat16, torch.float64])
def test_types_of_weights(kind: Any, tmp_path: Path) -> None:
    m, name = model(), str(kind).removeprefix("torch.")
    m.save_pretrained(tmp_path, dtype=kind)
    assert said(tmp_path)["dtype"] == name
    wanted = getattr(torch, name)
    arrays, _ = safetensors.read(tmp_path / "model.safetensors")
    assert {array.dtype.name for array in arrays.values()} == {name}
    back = from_pretrained(tmp_path)
    assert {p.dtype for p in back.parameters()} == {torch.float32}
    for p, q in zip(m.parameters(), back.parameters(), strict=True):
        assert torch.equal(p.to(wanted).float(), q)
    same = from_pretrained(tmp_path, dtype=kind)
    assert {p.dtype for p in same.parameters()} == {wanted} and same(tokens()).dtype == wanted
    assert same.head.weight is same.embed.weight


def test_types_that_weights_cannot_be(folder: Path) -> None:
    for kind in ("int8", torch.int64, bool):
        with pytest.raises(DTypeError, match="weights cannot be"):
            model().save_pretrained(folder, dtype=kind)
        with pytest.raises(DTypeError, match="weights cannot be"):
            from_pretrained(folder, dtype=kind)
    rewrite(folder, lambda arrays: {**arrays, "model.norm.weight": arrays["model.norm.weight"].astype("int32")})
    with pytest.raises(FormatError, match=r"model\.norm\.weight is of type torch\.int32"):
        from_pretrained(folder)


class Words:
    """As much of a tokenizer as saving needs."""

    bos_id, eos_id, pad_id = 1, 2, None

    def save(self, folder: Any) -> None:
        (Path(folder) / "tokenizer.json").write_text("{}")


def test_a_tokenizer_goes_with_the_model(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path, Words())
    assert json.loads((tmp_path / "generation_config.json").read_text()) == {"bos_token_id": 1, "eos_token_id": 2}
    assert [said(tmp_path)[f"{role}_token_id"] for role in ("bos", "eos", "pad")] == [1, 2, None]
    assert (tmp_path / "tokenizer.json").exists()


def test_without_a_tokenizer_no_token_ends_a_text(folder: Path) -> None:
    assert json.loads((folder / "generation_config.json").read_text()) == {}
    assert said(folder)["eos_token_id"] is None  # left out, transformers would take 2 for it


# -- config.json -------------------------------------------------------------------------------------------------------


def test_changes_are_for_what_the_weights_do_not_say(folder: Path) -> None:
    back = from_pretrained(folder, dropout=0.5, checkpointing=True, max_position_embeddings=64)
    assert (back.config.dropout, back.config.checkpointing, back.cos.shape[0]) == (0.5, True, 64)
    with pytest.raises(ArgumentError, match="a model has no dropuot"):
        from_pretrained(folder, dropuot=0.5)
    with pytest.raises(FormatError, match=r"q_proj\.weight has shape \(16, 16\), not \(32, 16\)"):
        from_pretrained(folder, head_dim=8)


def test_the_words_of_transformers_4_and_5_for_rotary_positions(folder: Path) -> None:
    def read(**changes: Any) -> tuple[float, Yarn | None]:
        say(folder, ("rope_theta", "rope_scaling", "rope_parameters"), **changes)
        found = from_pretrained(folder).config
        return found.rope_theta, found.yarn

    assert read() == (10000.0, None)
    assert read(rope_theta=50, rope_scaling=None) == (50.0, None)
    assert read(rope_parameters={"rope_type": "default", "rope_theta": 50.0}) == (50.0, None)
    assert read(rope_theta=50.0, rope_parameters={}) == (50.0, None)
    yarn = {"factor": 2.0, "original_max_position_embeddings": 16}
    assert read(rope_theta=50.0, rope_scaling={"type": "yarn", **yarn}) == (50.0, Yarn(2.0, 16))
    more = {"beta_fast": 8, "beta_slow": 2, "attention_factor": 1.5}
    all_of_it = {"rope_type": "yarn", "rope_theta": 50.0, **yarn, **more}
    assert read(rope_parameters=all_of_it) == (50.0, Yarn(2.0, 16, 8.0, 2.0, 1.5))
    assert read(rope_scaling={"rope_type": "yarn", "factor": 3.0}) == (10000.0, Yarn(3.0, 32))
    assert read(rope_scaling={"rope_type": "yarn", "factor": None, **dict([*yarn.items()][1:])})[1] == Yarn(2.0, 16)
    for wrong, why in [
        ({"rope_type": "llama3"}, "rope_type 'llama3'"),
        ({"rope_type": "yarn", **yarn, "mscale": 0.7}, "mscale 0.7"),
        ({"rope_type": "yarn", **yarn, "truncate": False}, "truncate False"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, r"partial_rotary_factor 0\.5"),
        ({"rope_type": "yarn", **yarn, "factor": "2"}, "factor '2', which is not a number"),
        ("yarn", "rope_scaling 'yarn'"),
    ]:
        with pytest.raises(FormatError, match=why):
            read(rope_scaling=wrong)


def test_dropout_is_one_number(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path)
    say(tmp_path, ("dropout",), attention_dropout=0.1)
    with pytest.raises(FormatError, match=r"attention_dropout 0\.1; a Config has one for all places"):
        from_pretrained(tmp_path)
    assert from_pretrained(tmp_path, dropout=0.0).config.dropout == 0.0
    model("gpt2").save_pretrained(tmp_path)
    say(tmp_path, ("dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop"))
    assert from_pretrained(tmp_path).config.dropout == 0.1
    say(tmp_path, ("dropout",), attn_pdrop=0.0)
    with pytest.raises(FormatError, match=r"attn_pdrop 0\.0, embd_pdrop 0\.1"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act 'gelu'.*only 'silu'"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window True"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ("qwen3-moe-1", {"mlp_only_layers": [0]}, r"mlp_only_layers \[0\]"),
        ("qwen3-moe-1", {"decoder_sparse_step": 2}, "decoder_sparse_step 2"),
        ("mixtral", {"sliding_window": 8}, "sliding_window 8"),
        ("gpt2", {"activation_function": "relu"}, "activation_function 'relu'"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights False"),
        ("llama", {"hidden_size": "16"}, "hidden_size '16', which is not a positive integer"),
        ("llama", {"hidden_size": True}, "hidden_size True, which is not a positive integer"),
        ("llama", {"rms_norm_eps": "small"}, "rms_norm_eps 'small', which is not a number"),
        ("llama", {"tie_word_embeddings": 1}, "tie_word_embeddings 1, which is not true or false"),
        ("llama", {"num_hidden_layers": 0}, "num_hidden_layers 0"),
        (
            "llama",
            {"architectures": ["BertModel"]},
            "describes a 'BertModel'.*\n.*\n.*LlamaForCausalLM.*GPT2LMHeadModel",
        ),
        ("llama", {"architectures": None, "model_type": "bert"}, "describes a 'bert'"),
    ],
)
def test_what_a_config_has_no_word_for_is_refused(kind: str, changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    model(kind).save_pretrained(tmp_path)
    say(tmp_path, **changes)
    with pytest.raises(FormatError, match=why):
        from_pretrained(tmp_path)


def test_what_config_json_may_leave_out(tmp_path: Path) -> None:
    m = model("gpt2", intermediate_size=64)
    m.save_pretrained(tmp_path)
    say(tmp_path, ("architectures", "n_inner", "initializer_range", "tie_word_embeddings"))
    assert states(m, from_pretrained(tmp_path))
    m = model("llama")
    m.save_pretrained(tmp_path)
    say(tmp_path, ("num_key_value_heads", "head_dim", "attention_bias", "mlp_bias", "attention_dropout", "dropout"))
    assert states(m, from_pretrained(tmp_path))
    say(tmp_path, ("hidden_size",))
    with pytest.raises(FormatError, match=r"config\.json has no hidden_size"):
        from_pretrained(tmp_path)


def test_experts_by_the_name_of_either_version(tmp_path: Path) -> None:
    m = model("qwen3-moe-1")
    m.save_pretrained(tmp_path)
    say(tmp_path, ("num_experts",), num_local_experts=3)
    assert states(m, from_pretrained(tmp_path))


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_tensors_that_do_not_fit_are_named(folder: Path) -> None:
    def broken(arrays: dict[str, Any]) -> dict[str, Any]:
        del arrays["model.layers.1.mlp.up_proj.weight"]
        arrays["model.norm.weight"] = arrays["model.norm.weight"][:3]
        return {**arrays, "model.layers.0.self_attn.sinks": arrays["model.norm.weight"]}

    rewrite(folder, broken)
    with pytest.raises(FormatError) as error:
        from_pretrained(folder)
    for part in (
        "it lacks model.layers.1.mlp.up_proj.weight",
        "no part of the model is model.layers.0.self_attn.sinks",
        "model.norm.weight has shape (3,), not (16,)",
    ):
        assert part in str(error.value)


def test_transposed_tensors_have_their_shape_checked_too(tmp_path: Path) -> None:
    model("gpt2").save_pretrained(tmp_path)
    name = "transformer.h.0.attn.c_attn.weight"
    rewrite(tmp_path, lambda arrays: {**arrays, name: arrays[name].T})
    with pytest.raises(FormatError, match=r"c_attn\.weight has shape \(48, 16\), not \(16, 48\)"):
        from_pretrained(tmp_path)


def test_names_without_the_prefix_and_tensors_that_are_not_learned(tmp_path: Path) -> None:
    m = model("gpt2")
    m.save_pretrained(tmp_path)

    def published(arrays: dict[str, Any]) -> dict[str, Any]:
        short = {name.removeprefix("transformer."): array for name, array in arrays.items()}
        return {**short, "h.0.attn.bias": short["wpe.weight"], "h.1.attn.masked_bias": short["ln_f.bias"]}

    rewrite(tmp_path, published)
    assert states(m, from_pretrained(tmp_path))


def test_a_tied_head_in_the_file_must_be_the_embedding(folder: Path) -> None:
    m, embed = model(), "model.embed_tokens.weight"
    rewrite(folder, lambda arrays: {**arrays, "lm_head.weight": arrays[embed]})
    assert states(m, from_pretrained(folder))
    rewrite(folder, lambda arrays: {**arrays, "lm_head.weight": arrays[embed] * 2})
    with pytest.raises(FormatError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight"):
        from_pretrained(folder)
    untied = from_pretrained(folder, tie_word_embeddings=False)
    assert torch.equal(untied.head.weight, 2 * untied.embed.weight)


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FormatError, match=r"pickle, pytorch_model\.bin, which could run code(?s:.)*save_pretrained"):
        from_pretrained(folder)


def test_folders_that_are_not_models(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"there is no folder 'gpt2'(?s:.)*downloads nothing"):
        from_pretrained("gpt2")
    with pytest.raises(FormatError, match=r"holds neither model\.safetensors"):
        from_pretrained(tmp_path)
    model().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(FormatError, match="does not hold a JSON object"):
        from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FormatError, match="is not valid JSON"):
        from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FormatError, match=r"holds no config\.json"):
        from_pretrained(tmp_path)


def test_an_index_that_is_wrong(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path, max_shard_size=5000)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    name, file = next(iter(index["weight_map"].items()))

    def wrong(**changes: Any) -> None:
        path.write_text(json.dumps({"weight_map": {**index["weight_map"], **changes}}))

    for outside in ("../model.safetensors", "/etc/passwd", "model.bin", 3):
        wrong(**{name: outside})
        with pytest.raises(FormatError, match="no file of weights beside it"):
            from_pretrained(tmp_path)
    wrong(**{name: "other.safetensors"})
    with pytest.raises(FormatError, match=r"holds no other\.safetensors"):
        from_pretrained(tmp_path)
    wrong(more=file)
    with pytest.raises(FormatError, match=r"does not hold what.*more"):
        from_pretrained(tmp_path)
    path.write_text("{}")
    with pytest.raises(FormatError, match="has no weight_map"):
        from_pretrained(tmp_path)


def test_loading_draws_nothing(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    from_pretrained(folder)
    assert torch.equal(torch.rand(3), expected)
