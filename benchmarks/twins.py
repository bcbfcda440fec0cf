"""The workloads as JAX's users write them: pure functions, value_and_grad, optax and jit, state donated."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax


def trained(loss_of: Callable[..., Any], params: Any, optimizer: Any) -> Callable[..., Any]:
    """batch -> loss, which updates the parameters."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, *batch: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, *batch)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    params = jax.tree.map(jnp.array, params)
    state = optimizer.init(params)

    def run(*batch: Any) -> float:
        nonlocal params, state
        params, state, loss = step(params, state, *batch)
        return float(loss.item())

    return run


def linear(params: Any, name: str, x: Any) -> Any:
    y = x @ params[f"{name}_weight"].T
    return y + params[f"{name}_bias"] if f"{name}_bias" in params else y


def nll(logits: Any, y: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def perceptron(params: Any, x: Any) -> Any:
    count = len(params) // 2
    for i in range(count):
        x = linear(params, str(2 * i), x)
        x = jax.nn.relu(x) if i < count - 1 else x
    return x


def tiny(params: Any) -> Any:
    return lambda params, x, y: jnp.mean((perceptron(params, x) - y) ** 2), params, optax.sgd(0.01)


def mlp(params: Any) -> Any:
    return lambda params, x, y: nll(perceptron(params, x), y), params, optax.adamw(1e-3, weight_decay=1e-2)


wide = mlp


def vae(params: Any) -> Any:
    key = jax.random.key(0)

    def loss_of(params: Any, x: Any) -> Any:
        h = jax.nn.relu(linear(params, "enter", x))
        mean, logvar = linear(params, "mean", h), linear(params, "spread", h)
        noise = jax.random.normal(jax.random.fold_in(key, x[0, 0].view(jnp.int32)), mean.shape)
        z = mean + noise * jnp.exp(0.5 * logvar)
        logits = linear(params, "leave", jax.nn.relu(linear(params, "widen", z)))
        misfit = optax.sigmoid_binary_cross_entropy(logits, x).sum()
        return (misfit - 0.5 * jnp.sum(1 + logvar - mean**2 - jnp.exp(logvar))) / x.shape[0]

    return loss_of, params, optax.adam(1e-3)


def transformer(params: Any) -> Any:
    width, depth, heads, groups, batch, length = 512, 4, 8, 4, 4, 256
    size = width // heads
    cos, sin = (jnp.asarray(params.pop(name)) for name in ("cos", "sin"))

    def norm(params: Any, name: str, x: Any) -> Any:
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * params[f"{name}_weight"]

    def rotated(x: Any) -> Any:
        return x * cos + jnp.concatenate((-x[..., size // 2 :], x[..., : size // 2]), -1) * sin

    def attention(q: Any, k: Any, v: Any) -> Any:
        q = q.reshape(batch, length, groups, heads // groups, size)
        s = jnp.einsum("btgrd,bsgd->bgrts", q, k) * size**-0.5
        p = jax.nn.softmax(jnp.where(jnp.tri(length, dtype=bool), s, -jnp.inf))
        return jnp.einsum("bgrts,bsgd->btgrd", p, v).reshape(batch * length, width)

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        h = params["embed_weight"][x.reshape(-1)]
        for i in range(depth):
            at = f"blocks_{i}"
            n = norm(params, f"{at}_norm1", h)
            q, k, v = (linear(params, f"{at}_{p}", n).reshape(batch, length, -1, size) for p in "qkv")
            h = h + linear(params, f"{at}_out", attention(rotated(q), rotated(k), v))
            n = norm(params, f"{at}_norm2", h)
            h = h + linear(
                params, f"{at}_down", jax.nn.silu(linear(params, f"{at}_gate", n)) * linear(params, f"{at}_up", n)
            )
        return nll(norm(params, "norm", h) @ params["embed_weight"].T, y.reshape(-1))

    return loss_of, params, optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(3e-4, weight_decay=1e-2))


def resnet(params: Any) -> Any:
    """Channels last. The running statistics of batch normalisation take part in no loss: they are left out."""
    params = {name: x for name, x in params.items() if not name.endswith(("running_mean", "running_var", "tracked"))}
    params = {name: np.ascontiguousarray(x.transpose(2, 3, 1, 0)) if x.ndim == 4 else x for name, x in params.items()}

    def conv(params: Any, name: str, x: Any, stride: int = 1) -> Any:
        w = params[f"{name}_weight"]
        pad = [(w.shape[0] // 2,) * 2] * 2
        return jax.lax.conv_general_dilated(x, w, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def norm(params: Any, name: str, x: Any) -> Any:
        mean, square = x.mean((0, 1, 2)), (x * x).mean((0, 1, 2))
        scale = jax.lax.rsqrt(square - mean * mean + 1e-5) * params[f"{name}_weight"]
        return x * scale + (params[f"{name}_bias"] - mean * scale)

    def block(params: Any, at: int, x: Any, stride: int) -> Any:
        h = jax.nn.relu(norm(params, f"{at}_norm1", conv(params, f"{at}_conv1", x, stride)))
        short = norm(params, f"{at}_short_1", conv(params, f"{at}_short_0", x, stride)) if stride > 1 else x
        return jax.nn.relu(norm(params, f"{at}_norm2", conv(params, f"{at}_conv2", h)) + short)

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        x = jax.nn.relu(norm(params, "1", conv(params, "0", x)))
        for at, stride in ((3, 1), (4, 2), (5, 2)):
            x = block(params, at, x, stride)
        return nll(linear(params, "8", x.mean((1, 2))), y)

    return loss_of, params, optax.sgd(0.1, momentum=0.9)


def lstm(params: Any) -> Any:
    params["bias"] = params.pop("lstm_bias_ih_l0") + params.pop("lstm_bias_hh_l0")

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        def cell(state: Any, a: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(a + h @ params["lstm_weight_hh_l0"].T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        entries = params["embed_weight"][x.T] @ params["lstm_weight_ih_l0"].T + params["bias"]
        zero = jnp.zeros((x.shape[0], 256))
        _, h = jax.lax.scan(cell, (zero, zero), entries)
        return nll(linear(params, "head", h), y.T)

    return loss_of, params, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


TWINS = {f.__name__: f for f in (tiny, mlp, vae, transformer, resnet, lstm)} | {"wide": wide}
