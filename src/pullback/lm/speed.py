"""How fast training goes: operations of a token, and the rate at which this machine multiplies matrices."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from ..functions import PUBLIC
from ..modes import no_grad
from ..program import compile
from .model import LanguageModel


def flops_per_token(model: LanguageModel, length: int) -> float:
    """Forward and backward: 6 for each weight of a matrix, and 12 n for each pair of tokens that see each other."""
    config = model.config
    idle = 0 if config.tie_word_embeddings else model.embed.weight.numel()  # looked up, not multiplied by
    attention = config.num_hidden_layers * config.num_attention_heads * config.head_size
    return 6.0 * (model.active - idle) + 12.0 * attention * (length + 1) / 2


def product_rate(engine: Any, size: int = 1024, rounds: int = 5) -> float:
    """Operations a second of a float32 matrix product: the best of a few."""
    a = PUBLIC["ones"](size, size)

    def product() -> Any:
        return a @ a

    product = product if engine is None else compile(product, engine=None if engine is True else engine)
    best = float("inf")
    with no_grad():
        for _ in range(rounds + 1):  # the first one builds
            began = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


def memory() -> int:
    """The most bytes that this process has held."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def now() -> int:
    """Bytes that this process holds; the most so far where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return memory()
