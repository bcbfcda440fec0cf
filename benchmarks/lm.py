"""Training a language model on a CPU: pullback.lm on the native engine, and the same model in PyTorch.

    python benchmarks/lm.py            the table
    python benchmarks/lm.py --check    the table, and exit 1 if a bar is missed

The model is `minimind2-small`, 25.83 M parameters, on 2 x 512 tokens; a step is all of it: forward, backward,
clipping, AdamW. Each of them runs in a process of its own with two threads, from the same weights and on the same
batch, in rounds that alternate; PyTorch with its fused optimizer, eager and with torch.compile over forward and loss.
The first losses of all must agree, those in bfloat16 roughly.
"""

from __future__ import annotations

import os
import statistics
import sys
from typing import Any

from compiled import Peer, answer_calls, gemm_rate, weights
from side_by_side import THREADS, Table, readable

PEERS = ("pullback", "torch", "torch.compile", "pullback bf16", "torch.compile bf16")
BATCH, LENGTH, ROUNDS, BAR = 2, 512, 7, 1.03


def ours(bf16: bool) -> tuple[Any, Any]:
    import numpy as np

    import pullback
    from pullback.lm import LanguageModel, preset
    from pullback.lm.speed import flops_per_token

    pullback.set_num_threads(THREADS)
    pullback.manual_seed(0)
    model = LanguageModel(preset("minimind2-small"))
    x, y = (pullback.randint(0, 6400, (BATCH, LENGTH)) for _ in range(2))
    if not bf16:
        state = {named(k): v.detach().numpy().copy() for k, v in model.state_dict().items()}
        np.savez(weights("lm"), x=x.numpy(), y=y.numpy(), **state)
    parameters = list(model.parameters())
    optimizer = pullback.optim.AdamW(parameters, lr=3e-4)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        with pullback.autocast("cpu", pullback.bfloat16, enabled=bf16):
            loss = model.loss(x, y)
        loss.backward()
        pullback.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss

    compiled = pullback.compile(step, engine="native")
    return lambda: compiled(x, y).item(), lambda: flops_per_token(model, LENGTH) * BATCH * LENGTH


def named(name: str) -> str:
    """The same tensor in workloads.language_model."""
    return name.replace("layers.", "blocks.").replace("attention.", "").replace("feed.", "")


def theirs(compiled: bool, bf16: bool) -> tuple[Any, Any]:
    import numpy as np
    import torch
    from workloads import language_model

    torch.set_num_threads(THREADS)
    step = language_model(torch, depth=8, groups=2, batch=BATCH, length=LENGTH, fused=True)
    given = np.load(weights("lm"))
    state = step.model.state_dict()
    step.model.load_state_dict({k: torch.from_numpy(given[k]) if k in given else v for k, v in state.items()})
    batch = [torch.from_numpy(given[k]) for k in ("x", "y")]

    def loss_of(x: Any, y: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return step.loss_of(x, y)

    run = step.run(torch, torch.compile(loss_of) if compiled else loss_of)
    return lambda: run(*batch).item(), lambda: 0


def main() -> int:
    if "--peer" in sys.argv:
        peer = sys.argv[sys.argv.index("--peer") + 1]
        answer_calls(*(ours("bf16" in peer) if "pullback" in peer else theirs("compile" in peer, "bf16" in peer)))
        return 0
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULLBACK_BENCH"] = folder
        table = Table(__doc__, "PyTorch, torch.compile")
        peers = {peer: Peer(peer, "lm", __file__) for peer in PEERS}
        agree({peer: p.begun["losses"] for peer, p in peers.items()})
        for p in peers.values():
            p.run(1)
        rounds = [{peer: p.run(1)["took"] for peer, p in peers.items()} for _ in range(ROUNDS)]
        peaks = {peer: p.run(1)["peak"] for peer, p in peers.items()}
        for p in peers.values():
            p.run(0)
    took = {peer: statistics.median(r[peer] for r in rounds) for peer in PEERS}
    rate = gemm_rate()
    for kind, bar in (("", BAR), (" bf16", 0.0)):
        mine, *others = (peer for peer in PEERS if peer.endswith("bf16") == bool(kind))
        best = min(others, key=took.__getitem__)
        share = peers[mine].begun["flops"] / took[mine] / rate
        speeds = (f"{p} {readable(took[p])} = {BATCH * LENGTH / took[p]:,.0f} tokens/s" for p in (mine, *others))
        ratio = statistics.median(r[best] / r[mine] for r in rounds)
        table.row(f"step{kind}", f"{', '.join(speeds)}; {share:.0%} of the float32 GEMM rate", ratio, bar, least=True)
    figures = ", ".join(f"{p} {peaks[p] / 1024:.0f} MiB" for p in PEERS)
    table.row("peak memory", figures, peaks["pullback"] / peaks["torch"], 1.0)
    return table.status()


def agree(losses: dict[str, list[float]]) -> None:
    """The first losses of all, or an end to it."""
    mine = losses["pullback"]
    for peer, their in losses.items():
        loose = 3e-2 if "bf16" in peer else 2e-3
        if any(abs(a - b) > loose * abs(a) for a, b in zip(mine, their, strict=True)):
            sys.exit(f"not the same step: losses {mine}, of {peer} {their}")


if __name__ == "__main__":
    sys.exit(main())
