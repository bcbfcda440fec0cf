"""What compile() itself costs: capturing a step, and the way of a repeated call around the engine.

    python benchmarks/capture.py            the table
    python benchmarks/capture.py --check    the table, and exit 1 if a bar is missed

The engine here computes nothing and hands back, for each piece of state, the memory that it has: what an engine that
updates in place does. So what is measured is the conditions, the fetching of arrays, and the writing of results.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from side_by_side import Table, readable  # before NumPy: it sets the number of threads

import pullback
from pullback import nn
from pullback.engines import interpreter
from pullback.program.program import Program


class InPlace:
    """An engine whose run takes no time."""

    def __init__(self, program: Program) -> None:
        self.first = interpreter.Interpreter(program)
        self.outputs = len(program.outputs)
        self.state = [write.input for write in program.writes]
        self.results: list[Any] = []

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        if not self.results:
            self.results = self.first(inputs)[: self.outputs]
        return self.results + [inputs[i] for i in self.state if i is not None]


def mlp(layers: int) -> Any:
    """A step with 2 * layers parameter tensors."""
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(layers)])
    optimizer = pullback.optim.SGD(model.parameters(), lr=1e-3)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    return step


def transformer(layers: int) -> Any:
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.1, batch_first=True, norm_first=True)
    body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    embed, head = nn.Embedding(100, 64), nn.Linear(64, 100)
    model = nn.ModuleList([embed, body, head])
    optimizer = pullback.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = pullback.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        logits = head(body(embed(x)))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        return loss

    return step


def call_time(layers: int, keep_grads: bool) -> float:
    step, x = pullback.compile(mlp(layers), engine="numpy", keep_grads=keep_grads), pullback.randn(2, 4)
    for _ in range(3):
        step(x)
    times = []
    gc.disable()
    for _ in range(30):
        start = time.perf_counter()
        for _ in range(50):
            step(x)
        times.append((time.perf_counter() - start) / 50)
    gc.enable()
    return statistics.median(times)


def main() -> int:
    table = Table(__doc__)
    if table.wants("capture"):
        times = []
        for _ in range(3):
            step = pullback.compile(transformer(12), engine="numpy")
            x = pullback.randint(0, 100, (2, 16))
            start = time.perf_counter()
            program = step.capture(x, x)
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times)
        name = "capture of a 12-layer Transformer's step, in seconds"
        table.row(name, f"{readable(seconds)}, {len(program)} instructions", seconds, 1.5)
    build, interpreter.build = interpreter.build, lambda program, **options: InPlace(program)  # type: ignore[assignment]
    for parameters, bar in ((30, 15.0), (300, 60.0)):
        for keep in (True, False):
            name = f"call, {parameters} parameter tensors, gradients {'kept' if keep else 'not kept'}, in us"
            if table.wants(name):
                us = call_time(parameters // 2, keep) * 1e6
                table.row(name, f"{us:.1f} us", us, bar)
    interpreter.build = build
    return table.status()


if __name__ == "__main__":
    sys.exit(main())
