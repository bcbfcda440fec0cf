"""Training steps as a PyTorch user writes them: `torch` is pullback or PyTorch itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple


class Step(NamedTuple):
    """A model, what computes its loss of a batch, its optimizer, and whether gradients are clipped."""

    model: Any
    loss_of: Callable[..., Any]
    optimizer: Any
    batch: tuple[Any, ...]
    clip: float | None = None

    def run(self, torch: Any, loss_of: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """The step: batch -> loss."""
        parameters, optimizer, clip = list(self.model.parameters()), self.optimizer, self.clip
        loss_of = loss_of or self.loss_of

        def step(*batch: Any) -> Any:
            optimizer.zero_grad()
            loss = loss_of(*batch)
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            return loss

        return step


def classifier(torch: Any, sizes: tuple[int, ...], batch: int) -> tuple[Any, Any, Any, Any]:
    nn = torch.nn
    layers = [part for n, m in itertools.pairwise(sizes) for part in (nn.Linear(n, m), nn.ReLU())]
    model, criterion = nn.Sequential(*layers[:-1]), nn.CrossEntropyLoss()
    return (
        model,
        lambda x, y: criterion(model(x), y),
        torch.randn(batch, sizes[0]),
        torch.randint(0, sizes[-1], (batch,)),
    )


def tiny(torch: Any, **options: Any) -> Step:
    nn = torch.nn
    model, criterion = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 1)), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, **options)
    return Step(model, lambda x, y: criterion(model(x), y), optimizer, (torch.randn(32, 10), torch.randn(32, 1)))


def mlp(torch: Any, **options: Any) -> Step:
    model, loss_of, x, y = classifier(torch, (784, 300, 100, 10), 128)
    return Step(model, loss_of, torch.optim.AdamW(model.parameters(), lr=1e-3, **options), (x, y))


def wide(torch: Any, **options: Any) -> Step:
    model, loss_of, x, y = classifier(torch, (1024, 2048, 2048, 1000), 256)
    return Step(model, loss_of, torch.optim.AdamW(model.parameters(), lr=1e-3, **options), (x, y))


def vae(torch: Any, **options: Any) -> Step:
    nn, functional = torch.nn, torch.nn.functional

    class VAE(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.mean, self.spread = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
            self.widen, self.leave = nn.Linear(20, 400), nn.Linear(400, 784)

        def forward(self, x: Any) -> Any:
            h = functional.relu(self.enter(x))
            mean, logvar = self.mean(h), self.spread(h)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
            return self.leave(functional.relu(self.widen(z))), mean, logvar

    model = VAE()

    def loss_of(x: Any) -> Any:
        logits, mean, logvar = model(x)
        misfit = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (misfit - 0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())) / x.shape[0]

    return Step(model, loss_of, torch.optim.Adam(model.parameters(), lr=1e-3, **options), (torch.rand(128, 784),))


def transformer(torch: Any, **options: Any) -> Step:
    """16 M parameters: width 512, 4 layers, 8 heads over 4 of keys, SwiGLU of 1408, RoPE, 6400 symbols, tied."""
    return language_model(torch, depth=4, groups=4, batch=4, length=256, **options)


def language_model(torch: Any, depth: int, groups: int, batch: int, length: int, **options: Any) -> Step:
    nn, functional = torch.nn, torch.nn.functional
    width, heads, inner, symbols = 512, 8, 1408, 6400
    size = width // heads

    def rotated(x: Any, cos: Any, sin: Any) -> Any:
        half = torch.cat((-x[..., size // 2 :], x[..., : size // 2]), dim=-1)
        return x * cos + half * sin

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
            self.q, self.k, self.v = (nn.Linear(width, n * size, bias=False) for n in (heads, groups, groups))
            self.out = nn.Linear(width, width, bias=False)
            self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
            self.down = nn.Linear(inner, width, bias=False)

        def forward(self, x: Any, cos: Any, sin: Any) -> Any:
            b, t, _ = x.shape
            h = self.norm1(x)
            q, k, v = (
                self.q(h).view(b, t, heads, size),
                self.k(h).view(b, t, groups, size),
                self.v(h).view(b, t, groups, size),
            )
            q, k = rotated(q, cos, sin), rotated(k, cos, sin)
            a = functional.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True
            )
            x = x + self.out(a.transpose(1, 2).reshape(b, t, width))
            h = self.norm2(x)
            return x + self.down(functional.silu(self.gate(h)) * self.up(h))

    class Decoder(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(symbols, width)
            self.blocks = nn.ModuleList([Block() for _ in range(depth)])
            self.norm, self.head = nn.RMSNorm(width, eps=1e-5), nn.Linear(width, symbols, bias=False)
            nn.init.normal_(self.embed.weight, std=0.02)
            self.head.weight = self.embed.weight
            angles = torch.outer(torch.arange(length).float(), 1e6 ** (-torch.arange(0, size, 2).float() / size))
            angles = torch.cat((angles, angles), dim=-1)[:, None, :]
            self.register_buffer("cos", angles.cos())
            self.register_buffer("sin", angles.sin())

        def forward(self, x: Any) -> Any:
            h = self.embed(x)
            for block in self.blocks:
                h = block(h, self.cos, self.sin)
            return self.head(self.norm(h))

    model = Decoder()
    x, y = torch.randint(0, symbols, (batch, length)), torch.randint(0, symbols, (batch, length))
    return Step(model, lambda x, y: functional.cross_entropy(model(x).flatten(0, 1), y.flatten()),
                torch.optim.AdamW(model.parameters(), lr=3e-4, **options), (x, y), clip=1.0)  # fmt: skip


def resnet(torch: Any, **options: Any) -> Step:
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, n: int, m: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.norm1 = nn.Conv2d(n, m, 3, stride, 1, bias=False), nn.BatchNorm2d(m)
            self.conv2, self.norm2 = nn.Conv2d(m, m, 3, 1, 1, bias=False), nn.BatchNorm2d(m)
            self.short = nn.Identity()
            if stride > 1:
                self.short = nn.Sequential(nn.Conv2d(n, m, 1, stride, bias=False), nn.BatchNorm2d(m))

        def forward(self, x: Any) -> Any:
            h = functional.relu(self.norm1(self.conv1(x)))
            return functional.relu(self.norm2(self.conv2(h)) + self.short(x))

    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    criterion = nn.CrossEntropyLoss()
    batch = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **options)
    return Step(model, lambda x, y: criterion(model(x), y), optimizer, batch)


def lstm(torch: Any, **options: Any) -> Step:
    """A character model: 96 symbols, windows of 64, one layer of 256."""
    nn, functional = torch.nn, torch.nn.functional

    class CharModel(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(96, 64), nn.LSTM(64, 256, batch_first=True)
            self.head = nn.Linear(256, 96)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(self.embed(x))[0])

    model = CharModel()
    x, y = torch.randint(0, 96, (32, 64)), torch.randint(0, 96, (32, 64))
    return Step(model, lambda x, y: functional.cross_entropy(model(x).flatten(0, 1), y.flatten()),
                torch.optim.Adam(model.parameters(), lr=1e-3, **options), (x, y), clip=1.0)  # fmt: skip


WORKLOADS = {f.__name__: f for f in (tiny, mlp, wide, vae, transformer, resnet, lstm)}
