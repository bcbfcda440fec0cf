"""Whole training steps on a CPU: pullback's native engine, PyTorch eager, torch.compile, and jax.jit with optax.

    python benchmarks/compiled.py            the table
    python benchmarks/compiled.py --check    the table, and exit 1 if a bar is missed
    python benchmarks/compiled.py mlp vae    only these workloads

Each of them runs in a process of its own, with two threads, from the same weights and on the same batch; rounds of
calls go to one process after the other while the rest sleep, so that the machine's speed, which drifts, is the same for
all. Every call waits for its loss, and the first losses of all must agree.

The peers are written as their best users would: PyTorch with its fused optimizers, torch.compile over forward and loss
(which compiles their backward too), JAX as pure functions under one jit with donated state, channels last and tokens
flattened. JAX leaves no gradients behind; the others do, in `.grad`.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from side_by_side import THREADS, Table, readable

ROUNDS, LOSSES = 15, 4
PAUSE = 0.25  # seconds between turns: threads of the one before still spin for some of that
PEERS = ("pullback", "torch", "torch.compile", "jax")
# workload, what it is, seconds that a round takes at most, bar: best peer's time / ours, seconds to the first step
BARS = [
    ("tiny", "MLP 10-20-1, batch 32, SGD", 0.1, 4.0, 1.0),
    ("mlp", "MLP 784-300-100-10, batch 128, AdamW", 0.1, 1.4, 1.0),
    ("wide", "MLP 1024-2048-2048-1000, batch 256, AdamW", 0.4, 1.03, 1.0),
    ("vae", "VAE 784-400-20, batch 128, Adam", 0.1, 1.3, 1.0),
    ("transformer", "Transformer, 16 M parameters, 4 x 256 tokens, clipping, AdamW", 0.8, 1.03, 3.0),
    ("resnet", "ResNet 32-64-128 with BatchNorm, 32 x 3 x 32 x 32, SGD with momentum", 0.4, 0.75, 3.0),
    ("lstm", "LSTM 64-256, 32 x 64 steps, clipping, Adam", 0.3, 0.8, 3.0),
]


# -- one process for each peer -----------------------------------------------------------------------------------------


def weights(name: str) -> Path:
    return Path(os.environ["PULLBACK_BENCH"]) / f"{name}.npz"


def ours(name: str) -> tuple[Any, Any]:
    import numpy as np
    from workloads import WORKLOADS

    import pullback

    pullback.set_num_threads(THREADS)
    pullback.manual_seed(0)
    step = WORKLOADS[name](pullback)
    state = {k: np.array(v.detach().numpy()) for k, v in step.model.state_dict().items()}
    np.savez(weights(name), **state, **{f"batch{k}": x.numpy() for k, x in enumerate(step.batch)})
    compiled = pullback.compile(step.run(pullback), engine="native")
    return lambda: compiled(*step.batch).item(), lambda: compiled.program.cost().total.flops


def torchs(name: str, compiled: bool) -> tuple[Any, Any]:
    import numpy as np
    import torch
    from workloads import WORKLOADS

    torch.set_num_threads(THREADS)
    step = WORKLOADS[name](torch, fused=True)
    given = np.load(weights(name))
    step.model.load_state_dict({k: torch.from_numpy(given[k]) for k in step.model.state_dict()})
    batch = [torch.from_numpy(given[f"batch{k}"]) for k in range(len(step.batch))]
    run = step.run(torch, torch.compile(step.loss_of) if compiled else None)
    return lambda: run(*batch).item(), lambda: 0


def jaxs(name: str) -> tuple[Any, Any]:
    import jax.numpy as jnp
    import numpy as np
    from twins import TWINS, trained

    given = dict(np.load(weights(name)))
    batch = [given.pop(f"batch{k}") for k in range(len([k for k in given if k.startswith("batch")]))]
    batch = [x.astype(np.int32) if x.dtype == np.int64 else x for x in batch]
    given.pop("head.weight", None) if name == "transformer" else None
    params = {k.replace(".", "_"): v for k, v in given.items()}
    if name == "resnet":
        batch[0] = np.ascontiguousarray(batch[0].transpose(0, 2, 3, 1))
    run = trained(*TWINS[name](params))
    on_device = [jnp.asarray(x) for x in batch]
    return lambda: run(*on_device), lambda: 0


def serve(peer: str, name: str) -> None:
    """The process of a peer."""
    answer_calls(
        *(ours(name) if peer == "pullback" else jaxs(name) if peer == "jax" else torchs(name, "compile" in peer))
    )


def answer_calls(step: Any, flops: Any) -> None:
    """Answer, a line for each: the first step and its losses, then `n`, which is so many calls."""
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    losses = [step()]
    first = time.perf_counter() - begun
    losses += [step() for _ in range(LOSSES - 1)]
    answer({"first": first, "losses": losses, "flops": flops(), "base": base})
    for line in sys.stdin:
        calls = int(line)
        if not calls:
            break
        begun = time.perf_counter()
        for _ in range(calls):
            step()
        took = (time.perf_counter() - begun) / calls
        answer({"took": took, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})


def answer(x: Any) -> None:
    sys.stdout.write(json.dumps(x) + "\n")
    sys.stdout.flush()


class Peer:
    """A process that answers."""

    def __init__(self, peer: str, name: str, script: str = __file__) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS)}
        self.process = subprocess.Popen([sys.executable, script, "--peer", peer, name], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=env)  # fmt: skip
        self.begun = self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.process.args}: ended with status {self.process.wait()}")

    def run(self, calls: int) -> Any:
        assert self.process.stdin is not None
        time.sleep(PAUSE)
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        return self.read() if calls else self.process.wait()


# -- the table ---------------------------------------------------------------------------------------------------------


def gemm_rate() -> float:
    """Floating point operations a second in large float32 products, through NumPy's BLAS."""
    import numpy as np

    a, b = (np.random.default_rng(i).standard_normal((1024, 1024), np.float32) for i in range(2))
    took = []
    for _ in range(12):
        start = time.perf_counter()
        a @ b
        took.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(took)


def compare(table: Table, name: str, what: str, limit: float, bar: float, first_bar: float) -> None:
    peers = {peer: Peer(peer, name) for peer in PEERS}
    agree(name, {peer: p.begun["losses"] for peer, p in peers.items()})
    calls = {}
    for peer, p in peers.items():
        p.run(2)
        calls[peer] = max(1, int(limit / p.run(2)["took"]))
    rounds = [{peer: p.run(calls[peer])["took"] for peer, p in peers.items()} for _ in range(ROUNDS)]
    peaks = {peer: p.run(1)["peak"] for peer, p in peers.items()}
    for p in peers.values():
        p.run(0)
    took = {peer: statistics.median(r[peer] for r in rounds) for peer in PEERS}
    best = min(PEERS[1:], key=lambda peer: took[peer])
    ratio = statistics.median(r[best] / r["pullback"] for r in rounds)
    share = peers["pullback"].begun["flops"] / took["pullback"] / gemm_rate()
    first = {peer: p.begun["first"] for peer, p in peers.items()}
    figures = ", ".join(f"{peer} {readable(took[peer])}" for peer in PEERS)
    table.row(f"{what}: step", f"{figures}; {share:.0%} of the GEMM rate", ratio, bar, least=True)
    figures = ", ".join(f"{peer} {readable(first[peer])}" for peer in PEERS)
    table.row(f"{what}: first step, in s", figures, first["pullback"], first_bar)
    figures = ", ".join(f"{peer} {peaks[peer] / 1024:.0f} MiB" for peer in PEERS)
    table.row(f"{what}: peak memory", figures, peaks["pullback"] / peaks["torch"], 1.0)


def agree(name: str, losses: dict[str, list[float]]) -> None:
    """The first losses of all, or an end to it; where noise is drawn, the first ones roughly."""
    mine = losses["pullback"]
    loose = 0.03 if name == "vae" else 2e-3
    for peer, theirs in losses.items():
        if any(abs(a - b) > loose * abs(a) for a, b in zip(mine, theirs, strict=True)):
            sys.exit(f"{name}: not the same step: losses {mine}, of {peer} {theirs}")


def main() -> int:
    if "--peer" in sys.argv:
        serve(*sys.argv[sys.argv.index("--peer") + 1 :])
        return 0
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULLBACK_BENCH"] = folder
        table = Table(__doc__, "PyTorch, torch.compile, JAX")
        for name, what, limit, bar, first in BARS:
            if table.wants(name):
                compare(table, name, what, limit, bar, first)
        return table.status()


if __name__ == "__main__":
    sys.exit(main())
