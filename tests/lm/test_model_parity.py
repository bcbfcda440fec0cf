"""The language model beside the same model written in PyTorch: gradients, fifty steps of training, bfloat16."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from tests.lm.models import config, model

import pullback
from pullback.engines import native
from pullback.lm.config import Config, Yarn
from pullback.lm.model import Experts, LanguageModel, rotary

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
F = torch.nn.functional


def norm(c: Config, size: int) -> Any:
    return (torch.nn.RMSNorm if c.norm == "rms" else torch.nn.LayerNorm)(size, eps=c.norm_eps)


class Attention(torch.nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c, n = c, c.head_size
        self.q = torch.nn.Linear(c.hidden_size, c.num_attention_heads * n, bias=c.qkv_bias)
        self.k = torch.nn.Linear(c.hidden_size, c.kv_heads * n, bias=c.qkv_bias)
        self.v = torch.nn.Linear(c.hidden_size, c.kv_heads * n, bias=c.qkv_bias)
        self.out = torch.nn.Linear(c.num_attention_heads * n, c.hidden_size, bias=c.out_bias)
        if c.qk_norm:
            self.q_norm, self.k_norm = norm(c, n), norm(c, n)

    def turned(self, x: Any) -> Any:
        """Pairs (i, i + n/2) as complex numbers, turned by their position's angle."""
        n, t = self.c.head_size, x.shape[2]
        angle = torch.arange(t)[:, None] * self.c.rope_theta ** (-torch.arange(0, n, 2) / n)
        pairs = torch.complex(*x.float().chunk(2, -1)) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat((pairs.real, pairs.imag), -1)

    def forward(self, x: Any) -> Any:
        b, t, _ = x.shape
        q, k, v = (part(x).view(b, t, -1, self.c.head_size) for part in (self.q, self.k, self.v))
        if self.c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        if self.c.positions == "rotary":
            q, k = self.turned(q), self.turned(k)
        times = self.c.num_attention_heads // self.c.kv_heads
        k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
        scores = q @ k.transpose(2, 3) / math.sqrt(self.c.head_size)
        scores = scores.masked_fill(torch.ones(t, t).triu(1).bool(), -math.inf)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, -1))


class Dense(torch.nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        for name in ("gate", "up") if c.feed_forward == "swiglu" else ("up",):
            setattr(self, name, torch.nn.Linear(c.hidden_size, c.intermediate_size, bias=c.mlp_bias))
        self.down = torch.nn.Linear(c.intermediate_size, c.hidden_size, bias=c.mlp_bias)

    def forward(self, x: Any) -> Any:
        if self.c.feed_forward == "gelu":
            return self.down(F.gelu(self.up(x), approximate="tanh")), 0.0
        return self.down(F.silu(self.gate(x)) * self.up(x)), 0.0


class Mixture(torch.nn.Module):
    """A plain loop over experts."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c, inner = c, c.moe_intermediate_size or c.intermediate_size
        self.router = torch.nn.Linear(c.hidden_size, c.num_experts, bias=False)
        self.gate = torch.nn.Parameter(torch.empty(c.num_experts, inner, c.hidden_size))
        self.up = torch.nn.Parameter(torch.empty(c.num_experts, inner, c.hidden_size))
        self.down = torch.nn.Parameter(torch.empty(c.num_experts, c.hidden_size, inner))

    def forward(self, x: Any) -> Any:
        flat = x.flatten(0, 1)
        chance = self.router(flat).float().softmax(-1)
        weight, chosen = chance.topk(self.c.num_experts_per_tok)
        if self.c.norm_topk_prob:
            weight = weight / weight.sum(-1, keepdim=True)
        out, imbalance = 0.0, 0.0
        for e in range(self.c.num_experts):
            taken = chosen == e
            h = F.silu(flat @ self.gate[e].T) * (flat @ self.up[e].T)
            out = out + (weight * taken).sum(-1, keepdim=True) * (h @ self.down[e].T)
            imbalance = imbalance + taken.any(-1).float().mean() * chance[:, e].mean()
        return out.view(x.shape), self.c.router_aux_loss_coef * self.c.num_experts * imbalance


class Layer(torch.nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.norm1, self.attention = norm(c, c.hidden_size), Attention(c)
        self.norm2, self.feed = norm(c, c.hidden_size), (Mixture if c.num_experts else Dense)(c)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        h, imbalance = self.feed(self.norm2(x))
        return x + h, imbalance


class Reference(torch.nn.Module):
    """Of the same names, and with the weights, of a LanguageModel."""

    def __init__(self, ours: LanguageModel) -> None:
        super().__init__()
        c = ours.config
        self.embed = torch.nn.Embedding(c.vocab_size, c.hidden_size)
        if c.positions == "learned":
            self.places = torch.nn.Embedding(c.max_position_embeddings, c.hidden_size)
        self.layers = torch.nn.ModuleList([Layer(c) for _ in range(c.num_hidden_layers)])
        self.norm, self.head = norm(c, c.hidden_size), torch.nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        if c.tie_word_embeddings:
            self.head.weight = self.embed.weight
        self.load_state_dict({name: torch.tensor(p.numpy(force=True)) for name, p in ours.state_dict().items()})

    def loss(self, tokens: Any, labels: Any) -> Any:
        h, total = self.embed(tokens), 0.0
        if hasattr(self, "places"):
            h = h + self.places(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            h, imbalance = layer(h)
            total = total + imbalance
        return F.cross_entropy(self.head(self.norm(h)).flatten(0, 1).float(), labels.flatten()) + total


def batches(count: int, vocabulary: int) -> list[np.ndarray]:
    """Rows in which one token in eight is random, and the others are 3 times the one before."""
    random, found = np.random.default_rng(0), []
    for _ in range(count):
        rows = [random.integers(0, vocabulary, 4)]
        for _ in range(16):
            rows.append(
                np.where(random.random(4) < 0.125, random.integers(0, vocabulary, 4), rows[-1] * 3 % vocabulary)
            )
        found.append(np.stack(rows, axis=1))
    return found


def rate(step: int) -> float:
    """Five steps of warm-up, and a cosine from there on."""
    return (step + 1) / 5 if step < 5 else 0.1 + 0.45 * (1 + math.cos(math.pi * (step - 5) / 45))


def trained(module: Any, library: Any, data: list[np.ndarray], wrap: Any = lambda step: step) -> list[float]:
    """The losses of training, in either library."""
    groups = [
        {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in module.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = library.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95))
    scheduler = library.optim.lr_scheduler.LambdaLR(optimizer, rate)

    def step(tokens: Any, labels: Any) -> Any:
        loss = module.loss(tokens, labels)
        optimizer.zero_grad()
        loss.backward()
        library.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        return loss

    step, losses = wrap(step), []
    for batch in data:
        tokens = library.tensor(batch)
        losses.append(step(tokens[:, :-1], tokens[:, 1:]).item())
        scheduler.step()
    return losses


ENGINES = {
    "eager": lambda step: step,
    "numpy": lambda step: pullback.compile(step, engine="numpy"),
    "native": lambda step: pullback.compile(step, engine="native"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["qwen3", "llama-untied", "qwen3-moe-1", "qwen3-moe-2", "gpt2"])
def test_fifty_steps_of_training(kind: str, engine: str) -> None:
    if engine == "native" and not native.available():
        pytest.skip("there is no C compiler")
    pullback.manual_seed(0)
    ours = LanguageModel(config(kind, hidden_size=32, intermediate_size=48, initializer_range=0.1))
    theirs, data = Reference(ours), batches(50, ours.config.vocab_size)
    expected = trained(theirs, torch, data)
    found = trained(ours, pullback, data, ENGINES[engine])
    assert expected[-1] < 0.75 * expected[0]
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["llama-biases", "qwen2", "qwen3", "qwen3-moe-2", "qwen3-moe-raw", "gpt2-untied"])
def test_gradients(kind: str) -> None:
    ours = model(kind)
    theirs, (batch,) = Reference(ours), batches(1, ours.config.vocab_size)
    loss = ours.loss(pullback.tensor(batch[:, :-1]), pullback.tensor(batch[:, 1:]))
    expected = theirs.loss(torch.tensor(batch[:, :-1]), torch.tensor(batch[:, 1:]))
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), named[name].grad.numpy(), rtol=1e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("k", "renormalise"), [(1, True), (1, False), (2, True), (2, False), (5, True)])
def test_experts_are_a_loop_over_experts(k: int, renormalise: bool) -> None:
    c = config(num_experts=5, num_experts_per_tok=k, norm_topk_prob=renormalise, router_aux_loss_coef=0.3)
    pullback.manual_seed(0)
    ours, theirs = Experts(c), Mixture(c)
    for p in ours.parameters():
        pullback.nn.init.normal_(p, std=0.2)
    theirs.load_state_dict({name: torch.tensor(p.numpy()) for name, p in ours.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((3, 7, 16), np.float32)
    results = []
    for library, experts in ((pullback, ours), (torch, theirs)):
        value = library.tensor(x, requires_grad=True)
        out, imbalance = experts(value)
        ((out**2).sum() + imbalance).backward()
        results.append([out, imbalance, value.grad, *(dict(experts.named_parameters())[n].grad for n in NAMES)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-4)


NAMES = ("router.weight", "gate", "up", "down")


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # PyTorch's, of its own RMSNorm
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-moe-2", "gpt2"])
def test_a_step_in_bfloat16(kind: str, engine: str) -> None:
    """Under autocast both are near float32, and nearer to each other than rounding to 8 bits allows for."""
    if engine == "native" and not native.available():
        pytest.skip("there is no C compiler")
    pullback.manual_seed(0)
    ours = LanguageModel(config(kind, hidden_size=32, intermediate_size=48, initializer_range=0.1))
    theirs, (batch,) = Reference(ours), batches(1, ours.config.vocab_size)
    pairs = [(pullback, ours, ENGINES[engine]), (torch, theirs, ENGINES["eager"])]
    losses, grads = [], []
    for library, module, wrap in pairs:

        def step(tokens: Any, labels: Any, library: Any = library, module: Any = module) -> Any:
            with library.autocast("cpu", dtype=library.bfloat16):
                loss = module.loss(tokens, labels)
            loss.backward()
            return loss

        tokens = library.tensor(batch)
        losses.append(wrap(step)(tokens[:, :-1], tokens[:, 1:]).item())
        grads.append({name: p.grad.numpy().copy() for name, p in module.named_parameters()})
    exact = Reference(ours)
    loss = exact.loss(torch.tensor(batch[:, :-1]), torch.tensor(batch[:, 1:]))
    loss.backward()
    assert losses[0] == pytest.approx(losses[1], abs=0.01) and losses[0] != loss.item()
    for name, p in exact.named_parameters():
        scale = np.linalg.norm(p.grad)
        least = 1e-3 if name.endswith("k.bias") else 0.0  # without rotation it is zero: softmax is blind to it
        assert np.linalg.norm(grads[0][name] - grads[1][name]) < 0.05 * max(scale, least), name


@pytest.mark.parametrize(
    ("theta", "size", "yarn"),
    [
        (1e6, 64, Yarn(16.0, 2048)),
        (1e4, 96, Yarn(4.0, 256, beta_fast=16.0, beta_slow=2.0)),
        (1e4, 32, Yarn(2.0, 128, attention_factor=1.5)),
        (100.0, 16, Yarn(8.0, 64, beta_fast=1.0, beta_slow=1.0)),
        (1e6, 64, None),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_tables_of_rotary_positions(theta: float, size: int, yarn: Yarn | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("transformers")
        from transformers import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
    length = 1024 if yarn is None else int(yarn.factor * yarn.original)
    ours = config(rope_theta=theta, head_dim=size, max_position_embeddings=length, yarn=yarn)
    scaling = None
    if yarn is not None:
        scaling = {"rope_type": "yarn", "factor": yarn.factor, "original_max_position_embeddings": yarn.original}
        scaling |= {"beta_fast": yarn.beta_fast, "beta_slow": yarn.beta_slow}
        if yarn.attention_factor is not None:
            scaling["attention_factor"] = yarn.attention_factor
    theirs = LlamaConfig(head_dim=size, max_position_embeddings=length, rope_theta=theta, rope_scaling=scaling)
    places = torch.arange(min(length, 1024))[None]
    for found, expected in zip(rotary(ours), LlamaRotaryEmbedding(theirs)(torch.zeros(1), places), strict=True):
        np.testing.assert_allclose(found[: places.shape[1]].numpy(), expected[0, :, : size // 2].numpy(), atol=3e-4)
