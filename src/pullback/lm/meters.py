"""What a pretraining run shows while it goes: share of the machine's rate, memory, bits per byte, samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..train import Callback
from .model import LanguageModel
from .speed import flops_per_token, now, product_rate
from .tokenfile import TokenFile
from .tokenizer import Tokenizer
from .windows import bits_per_byte

FORMS = {  # how values are shown
    "machine": "{:.0%} of the machine",
    "memory": "{:,.0f} MiB",
    "valid_loss": "held out {:.3f}",
    "valid_perplexity": "perplexity {:.1f}",
    "valid_bits_per_byte": "{:.3f} bits/byte",
}


class Meters(Callback):
    """Adds `machine`, the part of the matrix products' rate that training reaches, and `memory`, in MiB."""

    def __init__(self, model: LanguageModel, length: int, engine: Any) -> None:
        self.flops, self.engine, self.rate = flops_per_token(model, length), engine, 0.0

    def on_fit_start(self, trainer: Any) -> None:
        self.rate = product_rate(self.engine)

    def on_step_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        logs["machine"] = self.flops * logs["tokens_per_second"] / self.rate
        logs["memory"] = now() / 2**20


class Validation(Callback):
    """Adds perplexity and bits per byte to what validation found."""

    def __init__(self, file: TokenFile) -> None:
        self.file = file

    def on_validation_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        loss = logs.get("valid_cross_entropy", logs["valid_loss"])
        found = {"valid_perplexity": math.exp(min(loss, 700)), "valid_bits_per_byte": bits_per_byte(loss, self.file)}
        logs |= found
        trainer.logs |= found


class Samples(Callback):
    """Prints how the model goes on with a prompt, every so many steps; another prompt each time."""

    def __init__(self, prompts: list[str], tokenizer: Tokenizer, every: int, say: Callable[[str], None]) -> None:
        self.prompts, self.tokenizer, self.every, self.say = prompts, tokenizer, every, say

    def on_step_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        if self.every and self.prompts and trainer.step % self.every == 0 and trainer.step != trainer.total:
            prompt = self.prompts[trainer.step // self.every % len(self.prompts)]
            text = sample(trainer.model, self.tokenizer, prompt, 48, seed=trainer.step)
            self.say(f"--- step {trainer.step}\n{text}\n---")


def sample(model: LanguageModel, tokenizer: Tokenizer, prompt: str, tokens: int, seed: int = 0) -> str:
    """How the model goes on: the prompt and what follows. Random numbers of its own: training goes on as if without."""
    ids = [tokenizer.end_id, *tokenizer.encode(prompt)]
    room = model.config.max_position_embeddings - len(ids)
    how = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "stop": tokenizer.end_id, "seed": seed}
    out = model.generate([ids], max_new_tokens=min(tokens, room), **how)
    return tokenizer.decode(out[0].tolist()[1:], skip_special=True)
