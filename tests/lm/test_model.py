"""The language model: its sizes, its cache, packed documents, experts, gradients, mistakes."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
import pytest
from tests.lm.models import KINDS, config, model, tokens

import pullback as torch
from pullback import nn
from pullback.errors import ArgumentError, RangeError, ShapeError
from pullback.lm.config import PRESETS, Config, Yarn, preset
from pullback.lm.model import Cache, Experts, LanguageModel, rotary, rotate
from pullback.nn import functional as F

SIZES = {
    "minimind2-small": 25_829_888,
    "minimind2": 104_030_976,
    "minimind-3": 63_912_192,
    "minimind-3-moe": 198_416_640,
    "gpt2": 124_439_808,
}


def near(a: torch.Tensor, b: torch.Tensor, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(a.numpy(force=True), b.numpy(force=True), rtol=tolerance, atol=tolerance)


def gradients(m: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in m.parameters()]


# -- configurations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_numbers_of_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in (LanguageModel, nn.Linear, nn.Embedding):  # memory that is not written takes none
        monkeypatch.setattr(layer, "reset_parameters", lambda self: None)
    m = LanguageModel(preset(name))
    count = sum(p.numel() for p in m.parameters())
    assert count == SIZES.get(name, count)
    assert m.active == {"minimind-3-moe": 63_936_768, "tiny-moe": m.active}.get(name, count)
    assert (m.active < count) == (m.config.num_experts > 1)


def test_weights_at_the_start() -> None:
    torch.manual_seed(0)
    c = config(hidden_size=64, intermediate_size=96, vocab_size=200, num_hidden_layers=8, mlp_bias=True)
    m = LanguageModel(c)
    for name, p in m.named_parameters():
        if name.endswith("bias"):
            assert not p.any()
        elif "norm" in name:
            assert (p == 1).all()
        else:
            std = 0.02 / 4 if name.endswith(("attention.out.weight", "down.weight")) else 0.02
            assert p.std().item() == pytest.approx(std, rel=0.06) and abs(p.mean().item()) < std / 10
    torch.manual_seed(0)
    moe = LanguageModel(config("mixtral", hidden_size=64, intermediate_size=96))
    assert moe.layers[0].feed.down.std().item() == pytest.approx(0.02 / 2, rel=0.06)
    assert moe.layers[0].feed.gate.std().item() == pytest.approx(0.02, rel=0.06)


def test_the_head_is_the_embedding_if_tied() -> None:
    tied, free = model("llama"), model("llama-untied")
    assert tied.head.weight is tied.embed.weight and free.head.weight is not free.embed.weight
    tied.loss(tokens(), tokens()).backward()
    assert sum(p is tied.embed.weight for p in tied.parameters()) == 1
    tied.double()
    assert tied.head.weight is tied.embed.weight


def test_fields_are_checked() -> None:
    for changes, why in [
        ({"norm": "batch"}, "norm is 'batch'"),
        ({"num_key_value_heads": 3}, "8 attention heads cannot share 3"),
        ({"hidden_size": 100}, "hidden_size 100 is not a multiple of 8"),
        ({"head_dim": 5}, "a head has 5 values"),
        ({"num_experts": 2, "num_experts_per_tok": 3}, "3 of 2 experts"),
        ({"num_experts": 2, "feed_forward": "gelu"}, "experts are 'swiglu'"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"vocab_size": 10.5}, r"vocab_size is 10\.5"),
        ({"hidden": 5}, r"a model has no hidden(?s:.)*hidden_size"),
    ]:
        with pytest.raises(ArgumentError, match=why):
            Config().but(**changes)
    with pytest.raises(ArgumentError, match=r"there is no preset 'gpt3'(?s:.)*gpt2"):
        preset("gpt3")
    for wrong in ({"factor": 0.5, "original": 8}, {"factor": 2.0, "original": 0}):
        with pytest.raises(ArgumentError, match="cannot become"):
            Yarn(**wrong)
    assert preset("tiny", dropout=0.5) == PRESETS["tiny"].but(dropout=0.5)


# -- positions ---------------------------------------------------------------------------------------------------------


def test_rotation_turns_each_pair_by_its_angle() -> None:
    c = config(head_dim=6)
    cos, sin = rotary(c)
    x = torch.randn(1, 32, 2, 6)
    y = rotate(x, cos[:, None], sin[:, None])
    for position, head, i in [(0, 0, 0), (1, 0, 0), (7, 1, 1), (31, 0, 2)]:
        turned = complex(x[0, position, head, i], x[0, position, head, i + 3])
        turned *= cmath.exp(1j * position * c.rope_theta ** (-2 * i / 6))
        assert complex(y[0, position, head, i], y[0, position, head, i + 3]) == pytest.approx(turned, rel=1e-5)


def test_yarn_leaves_fast_pairs_and_stretches_slow_ones() -> None:
    plain = config(head_dim=16, rope_theta=1e4, max_position_embeddings=512)
    yarn = plain.but(yarn=Yarn(8.0, 64, beta_fast=4.0, beta_slow=1.0))
    (cos, sin), (stretched, _), scale = rotary(plain), rotary(yarn), 0.1 * math.log(8) + 1
    near(stretched[:, 0], cos[:, 0] * scale)  # turns 10 times in 64 tokens
    near(stretched[::8, -1], cos[: 512 // 8, -1] * scale)  # turns less than once: 8 positions are as one was
    unscaled, _ = rotary(yarn.but(yarn=Yarn(8.0, 64, 4.0, 1.0, attention_factor=1.0)))
    near(unscaled * scale, stretched)
    assert torch.equal(rotary(plain)[1], sin)


# -- the cache ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1] * 10, [4, 1, 3, 2], [10]])
@pytest.mark.parametrize("kind", KINDS)
def test_cached_decoding_is_the_full_forward(kind: str, sizes: list[int]) -> None:
    m, x = model(kind), tokens()
    with torch.no_grad():
        expected = m(x)
        cache = Cache(m.config, 2, 13)
        parts = [m(part, cache) for part in x.split(sizes, dim=1)]
    near(torch.cat(parts, dim=1), expected)
    assert cache.position.item() == 10


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_padded_batch_are_each_row_alone(kind: str) -> None:
    m, lengths = model(kind), [7, 1, 4]
    rows = [tokens(1, length + 3) for length in lengths]  # 3 more tokens follow the prompts
    padded = torch.zeros(3, 7, dtype=torch.int64)
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        padded[i, 7 - length :] = row[0, :length]
    with torch.no_grad():
        cache = Cache(m.config, 3, 12, start=torch.tensor([7 - length for length in lengths]))
        parts = [m(padded[:, :5], cache), m(padded[:, 5:], cache)]
        for i in range(3):
            following = torch.cat([row[:, length + i, None] for row, length in zip(rows, lengths, strict=True)])
            parts.append(m(following, cache))
        found = torch.cat(parts, dim=1)
        for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            near(found[i, 7 - length :], m(row)[0])
    assert found.isfinite().all()  # of padding, too


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_cache_of_another_type(dtype: Any) -> None:
    m, x = model("llama-biases"), tokens()
    with torch.no_grad():
        expected = m(x)
        near(m(x, Cache(m.config, 2, 10, dtype=dtype)), expected, 0.1 if dtype == torch.bfloat16 else 2e-5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain = m(x)
            assert plain.dtype == torch.bfloat16
            near(m(x, Cache(m.config, 2, 10, dtype=dtype)).float(), plain.float(), 0.05)


def test_decoding_is_one_program_for_all_positions() -> None:
    m, x = model("qwen3"), tokens(2, 8)
    cache = Cache(m.config, 2, 12)

    def step(token: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return m(token, cache)[:, -1]

    compiled = torch.compile(step, engine="numpy")
    found = [compiled(x[:, i, None]).clone() for i in range(8)]
    near(torch.stack(found, dim=1), m(x))
    assert "captured 1 times" in repr(compiled)


# -- packed documents --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_packed_documents_are_each_document_alone(kind: str) -> None:
    m, x = model(kind), tokens()
    segments = torch.tensor([[0] * 4 + [1] * 6, [3] * 2 + [0] * 1 + [5] * 7])
    with torch.no_grad():
        found = m(x, segments=segments)
        for row, begin, end in [(0, 0, 4), (0, 4, 10), (1, 0, 2), (1, 2, 3), (1, 3, 10)]:
            near(found[row, begin:end], m(x[row, None, begin:end])[0])
        assert (found[0, 4:] - m(x)[0, 4:]).abs().max() > 0.1  # without segments they look at each other
        near(m(x, segments=torch.zeros(2, 10, dtype=torch.int64)), m(x))


# -- losses and gradients ----------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_labels() -> None:
    m, x = model(), tokens()
    labels = tokens().roll(-1, 1)
    labels[0, 3:] = -100
    labels[1, 9] = -100
    kept = labels != -100
    expected = F.cross_entropy(m(x)[kept], labels[kept])
    near(m.loss(x, labels), expected)
    assert m.losses(x, labels).keys() == {"loss"}


def test_without_labels_the_loss_is_zero_and_so_are_gradients() -> None:
    m, x = model(), tokens()
    loss = m.loss(x, torch.full((2, 10), -100))
    loss.backward()
    assert loss.item() == 0
    assert all((grad == 0).all() for grad in gradients(m))


def test_experts_add_their_imbalance() -> None:
    m, x = model("qwen3-moe-2", router_aux_loss_coef=0.5), tokens()
    parts = m.losses(x, x)
    near(parts["loss"], parts["cross_entropy"] + parts["imbalance"])
    near(parts["cross_entropy"], F.cross_entropy(m(x).flatten(0, 1), x.flatten()))
    assert not parts["imbalance"].requires_grad and parts["imbalance"] > 2 * 2 * 0.5  # 2 experts in 2 layers, at least
    with torch.no_grad():
        for layer in m.layers:
            layer.feed.router.weight.zero_()  # every expert is as likely: as even as can be
    near(m.losses(x, x)["imbalance"], torch.tensor(2 * 2 * 0.5))


@pytest.mark.parametrize("kind", ["llama-biases", "qwen3-moe-2", "gpt2"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_gives_the_same_gradients(kind: str, dropout: float) -> None:
    x, found = tokens(), []
    for checkpointing in (False, True):
        m = model(kind, dropout=dropout, checkpointing=checkpointing).train()
        torch.manual_seed(1)
        loss = m.loss(x, x)
        loss.backward()
        found.append([loss, *gradients(m)])
    for a, b in zip(*found, strict=True):
        near(a, b)


@pytest.mark.parametrize(
    "kind",
    [
        "llama-biases",
        "llama-yarn",
        "qwen3",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("qwen3-moe-2", "qwen3-moe-raw", "gpt2")),
    ],
)
def test_gradients_are_what_differences_of_values_say(kind: str) -> None:
    changes = {"vocab_size": 5, "hidden_size": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2}
    changes |= {"intermediate_size": 3, "num_hidden_layers": 1, "moe_intermediate_size": 3}
    m = model(kind, **changes, router_aux_loss_coef=0.1).double()
    x, labels = torch.tensor([[1, 4, 2, 0]]), torch.tensor([[4, 2, -100, 3]])
    segments = torch.tensor([[0, 0, 0, 1]])
    assert torch.autograd.gradcheck(lambda *_: m.loss(x, labels, segments), tuple(m.parameters()))


def test_dropout_is_for_training() -> None:
    x = tokens()
    plain, m = model(), model(dropout=0.5)
    assert torch.equal(m(x), plain(x))
    m.train()
    torch.manual_seed(0)
    one, two = m(x), m(x)
    torch.manual_seed(0)
    assert torch.equal(m(x), one) and not torch.equal(one, two)
    m = model("gpt2", dropout=1.0).train()
    near(m(x), m.head(m.norm.bias).expand(2, 10, -1))  # nothing else is left


@pytest.mark.parametrize("kind", ["llama", "qwen3", "qwen3-moe-2", "gpt2"])
def test_a_compiled_step_is_the_eager_one(kind: str) -> None:
    x, losses, ends = tokens(), [], []
    segments = torch.tensor([[0] * 4 + [1] * 6, [0] * 10])
    for compiled in (False, True):
        m = model(kind, dropout=0.1).train()
        optimizer = torch.optim.AdamW(m.parameters(), lr=0.01)

        def step(x: torch.Tensor, segments: torch.Tensor, m: Any = m, optimizer: Any = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            loss = m.loss(x[:, :-1], x[:, 1:], segments[:, :-1])
            loss.backward()
            nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            optimizer.step()
            return loss

        run = torch.compile(step, engine="numpy") if compiled else step
        torch.manual_seed(2)
        losses.append([run(x, segments).item() for _ in range(4)])
        ends.append([p.detach() for p in m.parameters()])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    for a, b in zip(*ends, strict=True):
        near(a, b)
    assert losses[0][-1] < losses[0][0]


# -- experts -----------------------------------------------------------------------------------------------------------


def by_hand(experts: Experts, x: torch.Tensor) -> torch.Tensor:
    """Each token through its experts, one after the other."""
    rows = []
    for token in x.flatten(0, 1):
        chance = F.softmax(experts.router(token), dim=-1)
        chosen = sorted(range(experts.n), key=lambda e, chance=chance: -chance[e].item())[: experts.k]
        weight = chance[torch.tensor(chosen)]
        if experts.renormalise:
            weight = weight / weight.sum()
        total = torch.zeros_like(token)
        for share, e in zip(weight, chosen, strict=True):
            inner = F.silu(experts.gate[e] @ token) * (experts.up[e] @ token)
            total = total + share * (experts.down[e] @ inner)
        if experts.shared is not None:
            total = total + experts.shared(token)
        rows.append(total)
    return torch.stack(rows).view(x.shape)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_experts": 1},
        {"num_experts": 4},
        {"num_experts": 4, "num_experts_per_tok": 2},
        {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": False, "moe_intermediate_size": 5},
        {"num_experts": 3, "num_experts_per_tok": 3, "num_shared_experts": 2},
        {"num_experts": 40, "num_experts_per_tok": 2},  # most of which see no token
    ],
)
def test_experts_are_a_loop_over_tokens(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    experts = Experts(config(**changes))
    for p in experts.parameters():
        nn.init.normal_(p, std=0.5)
    x, back = torch.randn(2, 5, 16, requires_grad=True), torch.randn(2, 5, 16)
    found, expected = experts(x)[0], by_hand(experts, x)
    near(found, expected)
    wanted = (x, *experts.parameters())
    one = torch.autograd.grad((found * back).sum(), wanted)
    two = torch.autograd.grad((expected * back).sum(), wanted, materialize_grads=True)
    for a, b in zip(one, two, strict=True):
        near(a, b)


def test_imbalance_is_load_times_chance() -> None:
    torch.manual_seed(0)
    experts = Experts(config(num_experts=3, num_experts_per_tok=2, router_aux_loss_coef=0.25))
    for p in experts.parameters():
        nn.init.normal_(p, std=0.5)
    x = torch.randn(1, 6, 16)
    chance = F.softmax(experts.router(x[0]), dim=-1).tolist()
    load = [sum(e in sorted(range(3), key=lambda i: -row[i])[:2] for row in chance) / 6 for e in range(3)]
    mean = [sum(row[e] for row in chance) / 6 for e in range(3)]
    expected = 0.25 * 3 * sum(a * b for a, b in zip(load, mean, strict=True))
    assert experts(x)[1].item() == pytest.approx(expected, rel=1e-5)


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_mistakes() -> None:
    m = model()
    with pytest.raises(ShapeError, match="33 tokens are more than the 32"):
        m(tokens(1, 33))
    with pytest.raises(ShapeError, match=r"tokens have shape \(10,\)(?s:.)*tokens\[None\]"):
        m(tokens()[0])
    with pytest.raises(RangeError, match="29"):
        m(torch.tensor([[29]]))
    with pytest.raises(ArgumentError, match="leave out segments, or the cache"):
        m(tokens(), Cache(m.config, 2, 10), torch.zeros(2, 10, dtype=torch.int64))
    cache = Cache(m.config, 2, 12)
    with torch.no_grad():
        m(tokens(), cache)
        with pytest.raises(RangeError, match="12 is out of bounds"):
            m(tokens(2, 3), cache)
    with pytest.raises(ShapeError):
        m(tokens(), segments=torch.zeros(2, 9, dtype=torch.int64))
