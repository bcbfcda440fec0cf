"""Training steps of small networks, and an engine that lies."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

import pullback as torch
import pullback.nn as nn
import pullback.nn.functional as F
from pullback.engines.interpreter import Interpreter
from pullback.program.call import compiled
from pullback.program.program import Program

Step = tuple[Callable[..., Any], tuple[Any, ...]]


def mlp() -> Step:
    """Batch norm, dropout, clipping, AdamW and a schedule."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        return loss

    return step, (torch.randn(8, 6), torch.randint(0, 3, (8,)))


def cnn() -> Step:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(36, 3)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> dict[str, Any]:
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        optimizer.step()
        return {"loss": loss, "correct": (logits.argmax(1) == y).sum()}

    return step, (torch.randn(4, 1, 6, 6), torch.randint(0, 3, (4,)))


class Reader(nn.Module):
    """An LSTM that goes on from where it was."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm, self.out = nn.Embedding(10, 4, padding_idx=0), nn.LSTM(4, 6), nn.Linear(6, 10)
        self.state: Any = None
        self.seen = 0

    def forward(self, tokens: Any) -> Any:
        y, state = self.lstm(self.embed(tokens), self.state)
        self.state = tuple(s.detach() for s in state)
        return self.out(y)


def lstm() -> Step:
    torch.manual_seed(2)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def step(tokens: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens[:-1]).flatten(0, 1), tokens[1:].flatten())
        loss.backward()
        optimizer.step()
        return loss

    return step, (torch.randint(0, 10, (5, 3)),)


def attention() -> Step:
    torch.manual_seed(3)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
    head = nn.Linear(8, 2)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-2)

    def step(x: Any, target: Any) -> Any:
        optimizer.zero_grad()
        loss = F.mse_loss(head(model(x)), target)
        loss.backward()
        optimizer.step()
        return loss

    return step, (torch.randn(2, 5, 8), torch.randn(2, 5, 2))


STEPS = [mlp, cnn, lstm, attention]


def lie(monkeypatch: pytest.MonkeyPatch, op: str, how: Callable[[Any], Any] = lambda y: y * 1.01) -> None:
    """An engine called "lying": the interpreter, but what one op gives is changed."""

    def build(program: Program, **options: Any) -> Interpreter:
        engine = Interpreter(program)
        engine.work = [
            ((lambda *xs, real=real, **params: how(real(*xs, **params))) if real.name == op else real, *rest)  # type: ignore[misc]
            for real, *rest in engine.work
        ]
        return engine

    module = types.ModuleType("lying_engine")
    module.build = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lying_engine", module)
    monkeypatch.setitem(compiled.ENGINES, "lying", "lying_engine")
