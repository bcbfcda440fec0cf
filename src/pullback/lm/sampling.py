"""From logits to the next token: Hugging Face's warpers, in its order, and a draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentError, fail
from ..functions import PUBLIC
from ..nn import functional
from ..random import Generator
from ..tensor import Tensor

arange, minimum, rand, tensor, where = (PUBLIC[name] for name in ("arange", "minimum", "rand", "tensor", "where"))
NEVER = -float("inf")  # the score of a token that is not drawn


def penalised(scores: Tensor, seen: Tensor, penalty: Any) -> Tensor:
    """Tokens that were there before are less likely: arXiv:1909.05858."""
    return where(seen, where(scores < 0, scores * penalty, scores / penalty), scores)


def likeliest(scores: Tensor, k: int) -> Tensor:
    """Only the k largest scores, and what is equal to the last of them."""
    kth = scores.topk(min(k, scores.shape[-1]), dim=-1).values[..., -1:]
    return scores.masked_fill(scores < kth, NEVER)


def nucleus(scores: Tensor, rest: Any) -> Tensor:
    """Without the least likely tokens, whose probabilities sum to no more than `rest` = 1 - top_p. One always stays."""
    rising = scores.sort(dim=-1).values
    out = functional.softmax(rising, dim=-1).cumsum(-1) <= rest
    least = minimum(rising.masked_fill(out, -NEVER).amin(-1, keepdim=True), rising[:, -1:])
    return scores.masked_fill(scores < least, NEVER)


def drawn(scores: Tensor, generator: Generator) -> Tensor:
    """A token of each row, with the probabilities softmax(scores): where their running sum first exceeds a number drawn
    between 0 and all of it."""
    sums = functional.softmax(scores, dim=-1).double().cumsum(-1)
    goal = rand(scores.shape[0], 1, generator=generator).double() * sums[:, -1:]
    return (sums <= goal).sum(-1, keepdim=True)


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            fail(
                ArgumentError,
                f"temperature is {self.temperature}",
                "use a number above 0, or 0 for the likeliest token",
            )
        if self.top_k is not None and self.top_k < 0:
            fail(ArgumentError, f"top_k is {self.top_k}", "use how many tokens to draw from, or None for all")
        if self.top_p is not None and not 0 <= self.top_p <= 1:
            fail(ArgumentError, f"top_p is {self.top_p}", "use a probability between 0 and 1")
        if not self.repetition_penalty > 0:
            fail(
                ArgumentError,
                f"repetition_penalty is {self.repetition_penalty}",
                "use 1 for none, more for fewer repeats",
            )

    @property
    def draws(self) -> bool:
        return self.do_sample and self.temperature > 0

    @property
    def kind(self) -> tuple[Any, ...]:
        """What a step is captured for; the other numbers are tensors, which may change from call to call."""
        penalty = self.repetition_penalty != 1
        if not self.draws:
            return False, None, False, penalty
        return True, self.top_k or None, self.top_p is not None and self.top_p < 1, penalty


class Chooser:
    """A Sampling at work in a step that is captured once: its numbers, and the tokens each row has had, are state."""

    def __init__(self, batch: int, vocabulary: int) -> None:
        self.temperature, self.rest, self.penalty = tensor(1.0), tensor(0.0), tensor(1.0)
        self.seen = tensor(False).expand(batch, vocabulary).clone()
        self.generator = Generator()

    def begin(self, sampling: Sampling, prompts: list[list[int]]) -> None:
        """For new prompts."""
        self.temperature.fill_(sampling.temperature or 1.0)
        self.rest.fill_(1 - (1.0 if sampling.top_p is None else sampling.top_p))
        self.penalty.fill_(sampling.repetition_penalty)
        if sampling.repetition_penalty != 1:
            self.seen.fill_(False)
            for row, prompt in enumerate(prompts):
                self.seen[row, prompt] = True

    def __call__(self, scores: Tensor, kind: tuple[Any, ...]) -> Tensor:
        """The next token of each row, as a column; -1 where scores are not numbers. `kind` is the Sampling's."""
        draws, top_k, top_p, penalty = kind
        scores = scores.float()
        if penalty:
            scores = penalised(scores, self.seen, self.penalty)
        if not draws:
            token = scores.argmax(-1, keepdim=True)
        else:
            scores = scores / self.temperature
            if top_k is not None:
                scores = likeliest(scores, top_k)
            if top_p:
                scores = nucleus(scores, self.rest)
            token = drawn(scores, self.generator)
        if penalty:
            self.seen |= arange(self.seen.shape[1]) == token  # no index could be wrong: so state is written in place
        return where(scores.amax(-1, keepdim=True).isfinite(), token, -1)
