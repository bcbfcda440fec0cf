"""Compiled training steps, `pullback.compile(step, engine="xla")` against the same step written in JAX, in one process.

    python benchmarks/xla.py            the table
    python benchmarks/xla.py --check    the table, and exit 1 if a bar is missed
    python benchmarks/xla.py LSTM       only the rows whose name contains it

Ours is a step as a PyTorch user writes it. Its twin is what JAX's users write: pure functions, value_and_grad, optax
and jit, with parameters and optimizer state donated. Of the ways to write it that we have tried, the fastest on a CPU
stands here: weights as (outputs, inputs), which is not JAX's custom, images with channels last, tokens flattened,
pooling by reshape and max. Both start from the same weights, get each batch from NumPy, use as many threads as JAX
takes, and wait for the loss, whose first values must agree. The twin does not return gradients, so ours does not keep
them either.

On an NVIDIA GPU also a step of GPT-2 (124 M parameters, bfloat16) against torch.compile, with tokens/s and how much of
the GPU's peak that is.
"""

from __future__ import annotations

import functools
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or PyTorch would find no memory beside it

import jax
import jax.numpy as jnp
import numpy as np
import optax
from side_by_side import Table
from twins import linear, nll, trained

import pullback
import pullback.nn.functional
import pullback.optim

Step = Callable[[], float]
ONE, ALL = 1e-3, 5  # how far the first losses may be apart, and how many of them


def given(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The model's weights by name, for the twin."""
    return {name.replace(".", "_"): np.array(p.detach().numpy()) for name, p in model.named_parameters()}


def twin(loss_of: Callable[..., Any], params: Any, optimizer: Any, *batch: Any) -> Step:
    """The step in JAX."""
    step = trained(loss_of, params, optimizer)
    return lambda: step(*batch)


def ours(step: Callable[..., Any], *batch: Any) -> Step:
    compiled = pullback.compile(step, engine="xla", keep_grads=False)
    return lambda: float(compiled(*batch).item())


def targets(y: Any) -> Any:
    """Integers as JAX has them."""
    return y.numpy().astype(np.int32)


# -- the workloads -----------------------------------------------------------------------------------------------------


def mlp(sizes: tuple[int, ...] = (784, 300, 100, 10), batch: int = 128) -> tuple[Step, Step]:
    nn = pullback.nn
    pullback.manual_seed(0)
    layers = [part for n, m in itertools.pairwise(sizes) for part in (nn.Linear(n, m), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    criterion = nn.CrossEntropyLoss() if sizes[-1] > 1 else nn.MSELoss()
    x = pullback.randn(batch, sizes[0])
    y = pullback.randint(0, sizes[-1], (batch,)) if sizes[-1] > 1 else pullback.randn(batch, 1)
    optimizer = pullback.optim.AdamW(model.parameters(), lr=1e-3)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    count = len(sizes) - 1

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        for i in range(count):
            x = linear(params, str(2 * i), x)
            x = jax.nn.relu(x) if i < count - 1 else x
        return nll(x, y) if sizes[-1] > 1 else jnp.mean((x - y) ** 2)

    labels = targets(y) if sizes[-1] > 1 else y.numpy()
    return ours(step, x, y), twin(loss_of, given(model), optax.adamw(1e-3, weight_decay=1e-2), x.numpy(), labels)


def cnn() -> tuple[Step, Step]:
    """Three convolutions with pooling, for images of 3 x 32 x 32."""
    nn = pullback.nn
    pullback.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 10),
    )  # fmt: skip
    criterion = nn.CrossEntropyLoss()
    x, y = pullback.randn(32, 3, 32, 32), pullback.randint(0, 10, (32,))
    optimizer = pullback.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def conv(x: Any, w: Any, b: Any) -> Any:
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b

    def pool(x: Any) -> Any:
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        x = pool(jax.nn.relu(conv(x, params["0_weight"], params["0_bias"])))
        x = pool(jax.nn.relu(conv(x, params["3_weight"], params["3_bias"])))
        x = jax.nn.relu(conv(x, params["6_weight"], params["6_bias"]))
        return nll(linear(params, "9", x.reshape(len(x), -1)), y)

    params = given(model)
    for name in ("0_weight", "3_weight", "6_weight"):
        params[name] = np.ascontiguousarray(params[name].transpose(2, 3, 1, 0))
    params["9_weight"] = params["9_weight"].reshape(10, 64, 8, 8).transpose(0, 2, 3, 1).reshape(10, -1)
    images = np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))
    return ours(step, x, y), twin(loss_of, params, optax.sgd(0.01, momentum=0.9), images, targets(y))


def lstm() -> tuple[Step, Step]:
    """A character model: 96 symbols, windows of 64, one layer of 256."""
    nn = pullback.nn
    pullback.manual_seed(0)
    symbols, width, hidden, batch, length = 96, 64, 256, 32, 64

    class CharModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(symbols, width)
            self.lstm = nn.LSTM(width, hidden, batch_first=True)
            self.head = nn.Linear(hidden, symbols)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(self.embed(x))[0])

    model = CharModel()
    optimizer = pullback.optim.Adam(model.parameters(), lr=1e-3)
    x, y = pullback.randint(0, symbols, (batch, length)), pullback.randint(0, symbols, (batch, length))

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        def cell(state: Any, a: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(a + h @ params["lstm_weight_hh_l0"].T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        entries = params["embed_weight"][x.T] @ params["lstm_weight_ih_l0"].T + params["bias"]
        zero = jnp.zeros((x.shape[0], hidden))
        _, h = jax.lax.scan(cell, (zero, zero), entries)
        return nll(linear(params, "head", h), y.T)

    params = given(model)
    params["bias"] = params.pop("lstm_bias_ih_l0") + params.pop("lstm_bias_hh_l0")
    update = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return ours(step, x, y), twin(loss_of, params, update, targets(x), targets(y))


def decoder(torch: Any, symbols: int, length: int, width: int, heads: int, depth: int, tied: bool = False) -> Any:
    """A decoder-only transformer, of pullback's or PyTorch's layers."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            b, t, _ = x.shape
            q, k, v = (p.view(b, t, heads, -1).transpose(1, 2) for p in self.qkv(self.norm1(x)).split(width, dim=2))
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(b, t, width))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class Decoder(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(symbols, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block() for _ in range(depth)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols, bias=False)
            for table in (self.embed, self.place):
                nn.init.normal_(table.weight, std=0.02)
            if tied:
                self.head.weight = self.embed.weight

        def forward(self, x: Any) -> Any:
            h = self.embed(x) + self.place.weight
            for block in self.blocks:
                h = block(h)
            return self.head(self.norm(h))

    return Decoder()


def transformer() -> tuple[Step, Step]:
    """4 layers of width 256 with 4 heads, 1000 symbols, 8 windows of 128."""
    pullback.manual_seed(0)
    symbols, length, width, heads, depth, batch = 1000, 128, 256, 4, 4, 8
    model = decoder(pullback, symbols, length, width, heads, depth)
    optimizer = pullback.optim.AdamW(model.parameters(), lr=3e-4)
    x, y = pullback.randint(0, symbols, (batch, length)), pullback.randint(0, symbols, (batch, length))

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = pullback.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        pullback.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    def norm(params: Any, name: str, x: Any) -> Any:
        d = x - x.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt((d * d).mean(-1, keepdims=True) + 1e-5)
        return d * scale * params[f"{name}_weight"] + params[f"{name}_bias"]

    def attention(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.reshape(batch, length, heads, -1).swapaxes(1, 2) for x in (q, k, v))
        s = q @ k.swapaxes(2, 3) * (width // heads) ** -0.5
        p = jax.nn.softmax(jnp.where(jnp.tri(length, dtype=bool), s, -jnp.inf))
        return (p @ v).swapaxes(1, 2).reshape(batch * length, width)

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        h = (params["embed_weight"][x] + params["place_weight"]).reshape(-1, width)
        for i in range(depth):
            at = f"blocks_{i}"
            qkv = linear(params, f"{at}_qkv", norm(params, f"{at}_norm1", h))
            h = h + linear(params, f"{at}_out", attention(*jnp.split(qkv, 3, -1)))
            up = jax.nn.gelu(linear(params, f"{at}_up", norm(params, f"{at}_norm2", h)))
            h = h + linear(params, f"{at}_down", up)
        return nll(norm(params, "norm", h) @ params["head_weight"].T, y.reshape(-1))

    update = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(3e-4, weight_decay=1e-2))
    return ours(step, x, y), twin(loss_of, given(model), update, targets(x), targets(y))


COMPARISONS = [
    # name, workload, calls a round, rounds, bar
    ("MLP 784-300-100-10, batch 128, AdamW", mlp, 50, 21, 1.05),
    ("CNN 3-32-64-64, 32x32, batch 32, SGD with momentum", cnn, 3, 21, 1.05),
    ("LSTM 64-256, 64 steps, batch 32, clipping, Adam", lstm, 3, 21, 1.05),
    ("Transformer, 4 layers of 256, 8 x 128 tokens, clipping, AdamW", transformer, 1, 21, 1.05),
    ("small: MLP 10-20-1, batch 8, AdamW", functools.partial(mlp, (10, 20, 1), 8), 300, 21, None),
]


# -- on a GPU ----------------------------------------------------------------------------------------------------------

PEAKS = {"H100": 989e12, "H200": 989e12, "GH200": 989e12, "B200": 2250e12, "A100": 312e12, "4090": 165e12}  # bfloat16


def gpt2(torch: Any, batch: int = 16) -> tuple[Callable[[], float], int, float]:
    """A step of a model with GPT-2's 124 M parameters; the tokens in it, and its floating point operations."""
    torch.manual_seed(0)
    symbols, length, width, heads, depth = 50304, 1024, 768, 12, 12
    model = decoder(torch, symbols, length, width, heads, depth, tied=True)
    theirs = torch is not pullback
    where = "cuda" if theirs else "cpu"  # ours is moved to the GPU by the engine
    if theirs:
        model = model.cuda()
    x, y = (torch.randint(0, symbols, (batch, length), device=where) for _ in range(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1, **({"fused": True} if theirs else {}))

    def loss_of(x: Any, y: Any) -> Any:
        with torch.autocast(where, torch.bfloat16):
            return torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())

    forward = torch.compile(loss_of) if theirs else loss_of

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    count = sum(p.numel() for p in model.parameters()) - length * width  # positions take part in no product
    flops = batch * length * (6 * count + 6 * depth * width * length)  # causal: half of the scores
    run = step if theirs else pullback.compile(step, engine="xla", device="cuda", keep_grads=False)
    return lambda: float(run(x, y).item()), batch * length, flops


def on_gpu(table: Table, name: str) -> None:
    if jax.default_backend() != "gpu":
        print(f"(no row for {name}: JAX finds no GPU)")
        return
    kind = jax.devices()[0].device_kind
    peak = next((flops for part, flops in PEAKS.items() if part in kind), None)
    steps = {"pullback": gpt2(pullback)}
    try:
        import torch
    except ImportError:
        torch = None
    if torch is not None and torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        steps["torch.compile"] = gpt2(torch)
    for run, _, _ in steps.values():
        for _ in range(5):
            run()
    rounds = []
    for _ in range(11):
        took = []
        for run, _, _ in steps.values():
            start = time.perf_counter()
            for _ in range(5):
                run()
            took.append((time.perf_counter() - start) / 5)
        rounds.append(took)
    figures = []
    for (who, (_, tokens, flops)), took in zip(steps.items(), zip(*rounds, strict=True), strict=True):
        s = statistics.median(took)
        used = f", {flops / s / peak:.1%} of the peak" if peak else ""
        figures.append(f"{who} {s * 1e3:.1f} ms, {tokens / s:,.0f} tokens/s{used}")
    if len(steps) == 2:
        table.row(f"{name}, {kind}", "; ".join(figures), statistics.median(a / b for a, b in rounds), 1.05)
    else:
        print(f"(no ratio for {name}: PyTorch with CUDA is not here) {figures[0]}")


def agree(name: str, a: Step, b: Step) -> None:
    """The first losses of both, or an end to it: they must do the same work."""
    losses = [(a(), b()) for _ in range(ALL)]
    if not np.allclose(*zip(*losses, strict=True), rtol=ONE, atol=0):
        sys.exit(f"{name}: not the same step, its losses are {losses}")


def main() -> int:
    table = Table(__doc__, "JAX")
    for name, workload, calls, rounds, bar in COMPARISONS:
        if table.wants(name):
            a, b = workload()
            agree(name, a, b)
            table.compare(name, a, b, calls, rounds, bar)
    if table.wants(name := "GPT-2, 124 M parameters, 16 x 1024 tokens, bfloat16"):
        on_gpu(table, name)
    return table.status()


if __name__ == "__main__":
    sys.exit(main())
