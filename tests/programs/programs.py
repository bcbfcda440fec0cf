"""Programs as PyTorch users write them: each takes the module it calls `torch`, returns what it found and printed."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

PROGRAMS: dict[str, Callable[[Any], dict[str, Any]]] = {}


def program(f: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    PROGRAMS[f.__name__] = f
    return f


def numbers(*shape: int, seed: int = 0) -> Any:
    """Numbers between -1 and 1 without order, the same everywhere."""
    n = math.prod(shape)
    return np.cos(np.arange(n) ** 2 + 0.7 * np.arange(n) + seed).reshape(shape).astype(np.float32)


@program
def linear_regression(torch: Any) -> dict[str, Any]:
    x = torch.from_numpy(numbers(50, 1))
    y = 3 * x + 0.8 + 0.1 * torch.tensor(numbers(50, 1, seed=1))
    w, b = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    lines = []
    for epoch in range(20):
        loss = ((x @ w + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.3 * w.grad
            b -= 0.3 * b.grad
        w.grad.zero_()
        b.grad = None
        if epoch % 10 == 0:
            lines.append(f"epoch {epoch:3d}: loss {loss.item():.4f}, {loss:.2f}")
    ones = torch.cat([x, torch.ones_like(x)], dim=1)
    return {"w": w, "b": b, "printed": lines, "lstsq": torch.linalg.lstsq(ones, y).solution, "repr": repr(w)}


@program
def mlp_with_adam(torch: Any) -> dict[str, Any]:
    F = torch.nn.functional
    x, t = torch.tensor(numbers(24, 4)), torch.arange(24) % 3
    ps = [torch.tensor(numbers(*s, seed=i) / 2, requires_grad=True) for i, s in enumerate([(8, 4), (8,), (3, 8), (3,)])]
    first, second = [torch.zeros_like(p) for p in ps], [torch.zeros_like(p) for p in ps]
    for step in range(1, 11):
        logits = F.linear(torch.tanh(F.linear(x, ps[0], ps[1])), *ps[2:])
        loss = F.cross_entropy(logits, t, label_smoothing=0.1)
        grads = torch.autograd.grad(loss, ps)
        norm = torch.norm(torch.stack([g.norm() for g in grads]))
        with torch.no_grad():
            for p, g, m, v in zip(ps, grads, first, second, strict=True):
                g = g * torch.clamp(0.5 / (norm + 1e-6), max=1.0)
                m.lerp_(g, 0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                p.addcdiv_(m, (v.sqrt() / math.sqrt(1 - 0.999**step)).add_(1e-8), value=-0.01 / (1 - 0.9**step))
    hits = (logits.argmax(dim=1) == t).sum().item()
    return {"loss": loss, "norm": norm, "weights": ps, "hits": hits}


@program
def convolutional_net(torch: Any) -> dict[str, Any]:
    F = torch.nn.functional

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c1 = torch.nn.Parameter(torch.tensor(numbers(4, 1, 3, 3)))
            self.c2 = torch.nn.Parameter(torch.tensor(numbers(5, 4, 3, 3, seed=2) / 3))
            self.gain, self.bias = (torch.nn.Parameter(make(5)) for make in (torch.ones, torch.zeros))
            self.register_buffer("mean", torch.zeros(5))
            self.register_buffer("var", torch.ones(5))
            self.fc = torch.nn.Parameter(torch.tensor(numbers(10, 20, seed=3) / 4))

        def forward(self, x: Any) -> Any:
            x = F.max_pool2d(F.relu(F.conv2d(x, self.c1, padding=1)), 2)
            x = F.conv2d(x, self.c2, stride=2, padding=1)
            x = F.batch_norm(x, self.mean, self.var, self.gain, self.bias, training=self.training)
            return F.log_softmax(F.linear(x.view(x.size(0), -1), self.fc), dim=-1)

    net = Net()
    x, y = torch.tensor(numbers(6, 1, 8, 8, seed=4)), torch.tensor([1, 2, 3, 9, 0, 5])
    loss = F.nll_loss(net(x), y)
    loss.backward()
    net.eval()
    with torch.no_grad():
        out = net(x)
    return {
        "loss": loss,
        "grads": {name: p.grad for name, p in net.named_parameters()},
        "running": [net.mean, net.var],
        "eval": out,
        "printed": [str(net), str(list(net.state_dict())), f"{sum(p.numel() for p in net.parameters())} parameters"],
    }


@program
def causal_attention(torch: Any) -> dict[str, Any]:
    F = torch.nn.functional
    B, T, C, heads = 2, 5, 8, 2
    x = torch.tensor(numbers(B, T, C), requires_grad=True)
    weight = torch.tensor(numbers(3 * C, C, seed=1), requires_grad=True)
    q, k, v = (t.view(B, T, heads, C // heads).transpose(1, 2) for t in F.linear(x, weight).split(C, dim=2))
    scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
    mask = torch.triu(torch.full((T, T), float("-inf")), diagonal=1)
    y = F.softmax(scores + mask, dim=-1) @ v
    torch.testing.assert_close(y, F.scaled_dot_product_attention(q, k, v, is_causal=True))
    masked = scores.masked_fill(torch.tril(torch.ones(T, T)) == 0, float("-inf")).softmax(-1)
    y.transpose(1, 2).contiguous().view(B, T, C).pow(2).sum().backward()
    return {"y": y, "same": torch.allclose(masked @ v, y), "grads": [x.grad, weight.grad], "printed": [str(mask)]}


@program
def rotary_embedding(torch: Any) -> dict[str, Any]:
    freqs = 1.0 / (10000.0 ** (torch.arange(0, 8, 2)[:4].float() / 8))
    angles = torch.outer(torch.arange(6), freqs)
    cos, sin = angles.cos(), angles.sin()
    x = torch.tensor(numbers(2, 6, 8), requires_grad=True)
    a, b = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    y = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).type_as(x)
    out = torch.empty_like(x)
    out[..., 0::2] = x[..., ::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., ::2] * sin + x[..., 1::2] * cos
    (out * y.detach() ** 2).sum().backward()
    return {"y": y, "out": out, "grad": x.grad, "printed": [str(cos), str(y.shape), f"{y.dtype}"]}


@program
def cached_decoding(torch: Any) -> dict[str, Any]:
    keys = torch.zeros(2, 3, 8, 4)
    tokens = torch.zeros(2, 0, dtype=torch.long)
    outs = []

    @torch.no_grad()
    def step(i: int) -> Any:
        q = torch.tensor(numbers(2, 3, 1, 4, seed=i))
        position = torch.tensor([i])
        keys[:, :, position] = 2 * q
        seen = torch.arange(8) <= position.unsqueeze(-1)
        return (q @ keys.mT).masked_fill(~seen, -torch.inf).softmax(-1) @ keys

    for i in range(4):
        outs.append(step(i))
        chosen = outs[-1].sum((1, 2)).argmax(dim=-1, keepdim=True)
        tokens = torch.cat((tokens, chosen), dim=1)
    return {"out": torch.cat(outs, dim=2), "keys": keys, "tokens": tokens.tolist(), "printed": [str(tokens[:, -2:])]}


@program
def lstm_cell(torch: Any) -> dict[str, Any]:
    w, u = torch.tensor(numbers(20, 3) / 2, requires_grad=True), torch.tensor(numbers(20, 5, seed=1) / 2)
    u.requires_grad_()
    h = c = torch.zeros(2, 5)
    states = []
    for t, x in enumerate(torch.tensor(numbers(6, 2, 3, seed=2))):
        i, f, g, o = (x @ w.t() + h @ u.t()).chunk(4, 1)
        c = torch.sigmoid(f) * c + i.sigmoid() * g.tanh()
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
        if t == 2:
            h, c = h.detach(), c.detach()  # truncated backpropagation through time
    torch.stack(states).pow(2).mean().backward()
    return {"states": torch.stack(states), "grads": [w.grad, u.grad]}


@program
def word_vectors(torch: Any) -> dict[str, Any]:
    F = torch.nn.functional
    inside, outside = (torch.tensor(numbers(20, 4, seed=s), requires_grad=True) for s in (0, 1))
    centre, context = torch.tensor([1, 5, 5, 7]), torch.tensor([2, 6, 9, 1])
    negative = torch.tensor([[0, 3, 4], [8, 8, 2], [19, 1, 0], [7, 6, 5]])
    v, n = F.embedding(centre, inside), outside[negative]
    near = F.logsigmoid((v * outside[context]).sum(dim=1))
    far = F.logsigmoid(-torch.bmm(n, v.unsqueeze(2)).squeeze(2)).sum(1)
    loss = -(near + far).mean()
    loss.backward()
    best = F.cosine_similarity(inside[1][None], inside, dim=1).topk(3)
    return {"loss": loss, "grads": [inside.grad, outside.grad], "best": best.indices.tolist(), "printed": [str(best)]}


@program
def variational_autoencoder(torch: Any) -> dict[str, Any]:
    F = torch.nn.functional
    x, noise = torch.tensor(numbers(5, 6)).abs(), torch.tensor(numbers(5, 2, seed=1))
    enc, dec = torch.tensor(numbers(4, 6, seed=2), requires_grad=True), torch.tensor(numbers(6, 2, seed=3))
    dec.requires_grad_(True)
    mu, logvar = F.linear(x, enc).chunk(2, dim=-1)
    z = mu + noise * torch.exp(0.5 * logvar)
    bce = F.binary_cross_entropy(torch.sigmoid(F.linear(z, dec)), x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    (bce + kld).backward()
    printed = [f"{bce.item():.3f} + {kld:.3f}", "{:>10.2f}".format(bce)]  # noqa: UP032
    return {"bce": bce, "kld": kld, "grads": [enc.grad, dec.grad], "printed": printed}


@program
def gradient_penalty(torch: Any) -> dict[str, Any]:
    F = torch.nn.functional
    w1, w2 = torch.tensor(numbers(8, 2), requires_grad=True), torch.tensor(numbers(1, 8, seed=1), requires_grad=True)
    mixed = torch.tensor(numbers(6, 2, seed=2)).requires_grad_(True)
    score = F.linear(F.softplus(F.linear(mixed, w1)), w2).squeeze(-1)
    (g,) = torch.autograd.grad(
        outputs=score, inputs=mixed, grad_outputs=torch.ones_like(score), create_graph=True, only_inputs=True
    )
    penalty = ((g.norm(2, dim=1) - 1) ** 2).mean()
    penalty.backward()
    x, v = torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([1.0, 0.0, -1.0])
    (first,) = torch.autograd.grad((x**3).sum() + x.prod(), x, create_graph=True)
    (hvp,) = torch.autograd.grad(first @ v, x)
    return {"penalty": penalty, "grads": [w1.grad, w2.grad], "hvp": hvp, "needs": [g.requires_grad, hvp.requires_grad]}


@program
def policy_gradient(torch: Any) -> dict[str, Any]:
    F = torch.nn.functional
    logits = torch.tensor(numbers(6, 4), requires_grad=True)
    actions, rewards = torch.tensor([0, 1, 3, 2, 2, 0]), [1.0, 0.0, 2.0, -1.0, 0.5, 3.0]
    returns: list[float] = []
    for r in rewards[::-1]:
        returns.insert(0, r + 0.99 * (returns[0] if returns else 0.0))
    G = torch.tensor(returns)
    G = (G - G.mean()) / (G.std() + np.finfo(np.float32).eps.item())
    logp = F.log_softmax(logits, dim=-1)
    chosen = logp.gather(1, actions.unsqueeze(1)).squeeze(1)
    ratio = (chosen - logp.detach()[torch.arange(6), actions] + 0.3 * G).exp()
    loss = -torch.min(ratio * G, ratio.clamp(0.8, 1.2) * G).mean() + 0.01 * (logp.exp() * logp).sum(-1).mean()
    loss.backward()
    torch.manual_seed(0)
    drawn = torch.multinomial(logp.exp(), num_samples=1)
    sure = torch.multinomial(torch.tensor([0.0, 1.0, 0.0]), 3, replacement=True)
    values = logits.detach().max(1)
    printed = [str(drawn.shape), str(drawn.dtype), str(sure), str(values), str(values.indices.view(1, -1))]
    return {"loss": loss, "grad": logits.grad, "returns": G, "printed": printed}


@program
def beam_search(torch: Any) -> dict[str, Any]:
    F = torch.nn.functional
    table = torch.tensor(3 * numbers(7, 7))
    sequences, scores = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1)
    for _ in range(4):
        candidates = scores.unsqueeze(1) + F.log_softmax(table[sequences[:, -1]], dim=-1)
        scores, flat = candidates.view(-1).topk(3)
        beam = torch.div(flat, 7, rounding_mode="floor")
        sequences = torch.cat([sequences[beam], (flat % 7)[:, None]], dim=1)
    logits = table[:2].clone()
    logits[logits < logits.topk(3).values[:, [-1]]] = -float("Inf")
    ordered, order = torch.sort(table[:2], descending=True)
    drop = ordered.softmax(-1).cumsum(-1) > 0.6
    drop[..., 1:] = drop[..., :-1].clone()
    drop[..., 0] = False
    kept = table[:2].masked_fill(drop.scatter(1, order, drop), float("-inf"))
    return {
        "sequences": sequences,
        "scores": scores,
        "kept": kept.softmax(-1),
        "printed": [str(logits), str(sequences)],
    }


@program
def k_means_and_pca(torch: Any) -> dict[str, Any]:
    x = torch.tensor(numbers(30, 3))
    x[:10] += 4
    x[10:20, 0] -= 5
    centres = x[[0, 12, 25]].clone()
    for _ in range(3):
        nearest = ((x[:, None, :] - centres[None, :, :]) ** 2).sum(-1).argmin(dim=1)
        centres = torch.stack([x[nearest == k].mean(dim=0) for k in range(3)])
    counts = torch.zeros(3).scatter_add_(0, nearest, torch.ones(30))
    sums = torch.zeros(3, 3).index_add_(0, nearest, x)
    u, s, vh = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    ranked = torch.unique(nearest, return_counts=True)
    return {
        "centres": centres,
        "means": sums / counts[:, None],
        "s": s,
        "rebuilt": (u * s) @ vh,
        "distances": torch.cdist(x[:4], centres),
        "printed": [str(ranked), str(centres), str((s**2 / (s**2).sum()).cumsum(0))],
    }


@program
def gaussian_process(torch: Any) -> dict[str, Any]:
    x = torch.linspace(0, 5, 8, dtype=torch.double)
    y = torch.sin(x)
    length, scale = (torch.tensor(v, dtype=torch.double, requires_grad=True) for v in (0.7, 1.3))

    def kernel(a: Any, b: Any) -> Any:
        return scale**2 * torch.exp(-0.5 * (a[:, None] - b[None, :]) ** 2 / length**2)

    L = torch.linalg.cholesky(kernel(x, x) + 1e-2 * torch.eye(8, dtype=torch.double))
    alpha = torch.cholesky_solve(y[:, None], L)
    nll = 0.5 * (y[None] @ alpha).squeeze() + L.diagonal().log().sum() + 4 * math.log(2 * math.pi)
    nll.backward()
    with torch.no_grad():
        new = torch.tensor([0.3, 2.2, 4.9], dtype=torch.float64)
        half = torch.linalg.solve_triangular(L, kernel(x, new), upper=False)
        mean, cov = kernel(x, new).T @ alpha, kernel(new, new) - half.T @ half
    return {"nll": nll, "grads": [length.grad, scale.grad], "mean": mean, "cov": cov, "printed": [str(mean)]}


@program
def functions_of_ones_own(torch: Any) -> dict[str, Any]:
    class Clamp(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, low: float, high: float) -> Any:
            ctx.save_for_backward(x)
            ctx.low, ctx.high = low, high
            return x.clamp(low, high)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            grad = grad.clone()
            grad[(x < ctx.low) | (x > ctx.high)] = 0
            return grad, None, None

    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return (x > 0).float()

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return torch.nn.functional.hardtanh(grad)

    x = torch.tensor([-1.5, 0.3, 2.0], requires_grad=True)
    seen: list[Any] = []
    y = Clamp.apply(x, -1, 1) * 3
    y.retain_grad()
    handle = y.register_hook(lambda g: seen.append(g.clone()))
    (y.sum() + 4 * Sign.apply(x).sum() + (x + (x.round() - x).detach()).pow(2).sum()).backward()
    handle.remove()
    return {"grads": [x.grad, y.grad, *seen], "printed": [str(Clamp.apply(x, -1, 1)), y.grad_fn.name()]}


@program
def state_of_modules(torch: Any) -> dict[str, Any]:
    nn = torch.nn

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Parameter(torch.zeros(2))

        def forward(self, x: Any) -> Any:
            return x + self.b

        def extra_repr(self) -> str:
            return f"dim={self.b.numel()}"

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.arange(4.0).view(2, 2))
            self.register_buffer("step", torch.tensor(0))
            self.inner = Inner()

        def forward(self, x: Any) -> Any:
            return self.inner(x @ self.w)

    m = Outer()
    m.w = nn.Parameter(m.w.detach() + 1)  # stays the first
    file = io.BytesIO()
    torch.save({"model": m.state_dict(), "epoch": 3, "history": [1.0, 2.5]}, file)
    file.seek(0)
    saved = torch.load(file, map_location="cpu")
    saved["model"]["w"] *= 2
    report = m.load_state_dict(saved["model"])
    average, thawed = copy.deepcopy(m), pickle.loads(pickle.dumps(torch.arange(3)))
    for p, q in zip(average.parameters(), m.parameters(), strict=True):
        p.requires_grad_(False)
        p.lerp_(q + 1, 0.5)
    seen: list[Any] = []
    handle = m.inner.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    m(torch.ones(1, 2)).sum().backward()
    handle.remove()
    printed = [
        str(m),
        str(list(m.state_dict().items())),
        str(report),
        str(list(saved)),
        str([n for n, _ in m.named_modules()]),
    ]
    return {"average": list(average.parameters()), "seen": seen, "grad": m.w.grad, "thawed": thawed, "printed": printed}


@program
def checkpointed_blocks(torch: Any) -> dict[str, Any]:
    w = torch.tensor(numbers(4, 4), requires_grad=True)
    x = torch.tensor(numbers(2, 4, seed=1), requires_grad=True)
    run = torch.utils.checkpoint.checkpoint

    def block(h: Any) -> Any:
        return torch.tanh(h @ w)

    y = run(block, run(block, x, use_reentrant=False), use_reentrant=False)
    y.pow(2).sum().backward()
    return {"y": y, "grads": [x.grad, w.grad]}


@program
def shared_with_numpy(torch: Any) -> dict[str, Any]:
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    t = torch.from_numpy(a)
    t[0, 0] = 42
    n = t.numpy()
    n += 1
    rows = [(i, row.tolist()) for i, row in enumerate(t)]
    first, second = t.max(dim=1)
    batch, width = t.shape
    picked = [[10, 20, 30][torch.tensor(1)], *range(torch.tensor(2))]
    types = [torch.tensor(v).dtype for v in (1, 1.5, True, np.float64(2), np.arange(3))]
    mixed = [(t.int() / 2).dtype, (t.half() + t.double()).dtype, (t > 1).sum().dtype, (t.long() + 1.5).dtype]
    return {
        "a": a.tolist(),
        "rows": rows,
        "max": [first, second],
        "picked": picked,
        "shape": [batch, width],
        "mean": float(np.mean(np.asarray(t))),
        "printed": [str(types), str(mixed), f"{t[0, 0]}", f"{t.shape[1:]}"],
    }


@program
def printing(torch: Any) -> dict[str, Any]:
    inf, nan = float("inf"), float("nan")
    shown = [
        torch.tensor([1.0, 2.5, 3]),
        torch.tensor(3.14159),
        torch.tensor([]),
        torch.zeros(0, 3),
        torch.tensor([], dtype=torch.long),
        torch.tensor([True, False]),
        torch.tensor([1e-5, 1.0]),
        torch.tensor([1.0, 1e4]),
        torch.tensor([nan, 1.5, -inf]),
        torch.tensor([[0.0, -inf], [0.0, 0.0]]),
        torch.arange(1200),
        torch.arange(24.0).view(2, 3, 4),
        torch.arange(3000.0).view(30, 100) / 7,
        torch.arange(40.0) + 0.5,
        torch.arange(100).view(4, 25),
        torch.tensor([1.5, 2.25], dtype=torch.bfloat16),
        torch.arange(14).to(torch.uint8),
        (torch.arange(40.0) + 0.5).requires_grad_(),
        torch.full((11,), 0.5, requires_grad=True) * 1,
        torch.nn.Parameter(torch.ones(2)),
        torch.tensor([3.0, 1.0]).sort(),
        torch.linalg.slogdet(torch.eye(2)),
        torch.Size([1, 2]),
        torch.float32,
        torch.device("cpu"),
        torch.finfo(torch.bfloat16),
        torch.iinfo(torch.int32),
        [torch.tensor(1)],
        {"a": torch.ones(2)},
        torch.ones(1).type(),
    ]
    torch.set_printoptions(precision=2, sci_mode=False, linewidth=40)
    shown.append(str(torch.tensor([1e-6, 123.456]).repeat(4)))
    torch.set_printoptions(profile="default")
    formats = [f"{torch.tensor(2.5)}", f"{torch.tensor(2.5):.1f}", f"{torch.tensor(5):05d}", "%.3f" % torch.tensor(2.5)]  # noqa: UP031
    return {"printed": [str(v) for v in shown] + formats}
