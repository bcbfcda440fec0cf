"""Text from a language model: `model.generate`, with Hugging Face's names, and the same token by token.

The prompt fills a Cache; then each token is one call of a compiled step, which runs the model on the last token and
chooses the next. Prompts are padded on their left to a few lengths, and caches have a few: what has been captured for
one prompt does for most others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import index
from typing import Any

from ..dtypes import int64
from ..errors import ArgumentError, KindError, PullbackError, RangeError, ShapeError, fail
from ..functions import PUBLIC
from ..modes import Aside, no_grad
from ..program.call.compiled import compile as compile_
from ..random import Generator, default_generator
from ..tensor import Tensor
from .model import Cache, LanguageModel
from .sampling import Chooser, Sampling

tensor = PUBLIC["tensor"]

SHORTEST, LONGEST = 16, 512  # tokens of a prompt that go through the model at a time
DECODERS, STEPS = 4, 16  # of a model, and of a decoder, that are kept for the next call
NO_PAD = 0  # what fills up rows, if no token is named that ends them


# -- sizes -------------------------------------------------------------------------------------------------------------


def rounded(n: int, least: int) -> int:
    """The next power of two, or beyond LONGEST the next multiple of that."""
    if n > LONGEST:
        return -(-n // LONGEST) * LONGEST
    return max(least, 1 << (n - 1).bit_length())


def piece(n: int, limit: int) -> int:
    """How many tokens go through the model at a time, for a prompt of n."""
    return min(rounded(n, SHORTEST), LONGEST, limit)


# -- steps that are kept -----------------------------------------------------------------------------------------------


class Decoder:
    """A cache for some rows of some length, and the steps that have been captured for it."""

    def __init__(self, model: LanguageModel, batch: int, length: int, compiled: Callable[[Any], Any]) -> None:
        weight = model.embed.weight
        self.model, self.compiled = model, compiled
        self.cache = Cache(model.config, batch, length, dtype=weight.dtype)
        self.choose = Chooser(batch, weight.shape[0])
        self.steps = Aside()

    def begin(self, rows: list[list[int]], width: int, sampling: Sampling) -> None:
        """An empty cache for prompts that end together, `width` tokens from its beginning."""
        for x in (*self.cache.keys, *self.cache.values, self.cache.position):
            x.zero_()
        self.cache.start.copy_(tensor([width - len(row) for row in rows]))
        self.choose.begin(sampling, rows)

    def step(self, size: int, kind: tuple[Any, ...] | None) -> Callable[[Tensor], Tensor]:
        """What takes `size` tokens of each row and gives the one that follows; without a kind, all tokens' scores."""
        found = self.steps.pop((size, kind), None)
        if found is None:
            found = self.compiled(self.made(kind))
        keep(self.steps, (size, kind), found, STEPS)
        return found

    def made(self, kind: tuple[Any, ...] | None) -> Callable[[Tensor], Tensor]:
        model, cache, choose = self.model, self.cache, self.choose

        @no_grad()
        def step(tokens: Tensor) -> Tensor:
            scores = model.head(model.hidden(tokens, cache)[0][:, -1])
            return scores if kind is None else choose(scores, kind)

        return step


def keep(kept: Aside, key: Any, x: Any, most: int) -> None:
    """Keep the latest."""
    kept[key] = x
    while len(kept) > most:
        del kept[next(iter(kept))]


# -- what is asked for -------------------------------------------------------------------------------------------------


def rows_of(tokens: Any) -> list[list[int]]:
    """Prompts as lists: from a tensor (rows, length) or (length,), a list of tokens, or a list of such lists."""
    try:
        rows = [listed(row) for row in listed(tokens)]
        if not rows or not isinstance(rows[0], (list, tuple)):
            rows = [rows]
        return [list(map(index, row)) for row in rows]
    except TypeError:
        what = "a prompt is a row of whole numbers, and several are a list of rows"
        fail(KindError, what, "give a tensor of int64 and shape (rows, length), or lists of tokens")


def listed(x: Any) -> Any:
    """Arrays as lists."""
    return x.tolist() if hasattr(x, "tolist") else x


def checked(model: LanguageModel, rows: list[list[int]], new: int, special: set[int]) -> None:
    config = model.config
    longest = max(map(len, rows))
    if not min(map(len, rows)):
        fail(
            ArgumentError,
            "a prompt is empty, so there is nothing to continue",
            "begin with the token that begins a text",
        )
    if new < 0:
        fail(ArgumentError, f"max_new_tokens is {new}", "use how many tokens to make, at most")
    if longest + new > (limit := config.max_position_embeddings):
        what = f"a prompt of {longest} tokens and {new} new ones are more than the {limit} the model has positions for"
        fail(ShapeError, what, f"shorten the prompt, or use max_new_tokens <= {max(0, limit - longest)}")
    for token in {*special, *(token for row in rows for token in row)}:
        if not 0 <= token < config.vocab_size:
            fail(RangeError, f"there is no token {token}", f"the model has those from 0 to {config.vocab_size - 1}")


def ended(stop: int | Sequence[int] | None) -> list[int]:
    """The tokens that end a row."""
    return [] if stop is None else [stop] if isinstance(stop, int) else list(stop)


def filler(stops: list[int], pad: int | None) -> int:
    """The token that fills rows up: the one named, else the first that ends them."""
    return next(iter(stops), NO_PAD) if pad is None else pad


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    """Without dropout; each part is in its mode again afterwards."""
    training = [part for part in model.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


# -- generation --------------------------------------------------------------------------------------------------------


def steps(
    model: LanguageModel,
    tokens: Any,
    max_new_tokens: int = 20,
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
    seed: int | None = None,
    generator: Generator | None = None,
    engine: str | None = None,
    compile: bool = True,
) -> Iterator[list[int]]:
    """The next token of each row, until all have stopped; the arguments are those of `generate`."""
    rows, stops = rows_of(tokens), ended(stop)
    sampling = Sampling(do_sample, temperature, top_k, top_p, repetition_penalty)
    if seed is not None and generator is not None:
        fail(ArgumentError, "both a seed and a generator were given", "give one of them")
    source = generator or (default_generator if seed is None else Generator().manual_seed(seed))
    pad = filler(stops, pad_token_id)
    checked(model, rows, max_new_tokens, {*stops, pad})
    size = piece(max(map(len, rows)), model.config.max_position_embeddings)
    width = -(-max(map(len, rows)) // size) * size

    dtype, length = model.embed.weight.dtype, rounded(width + max_new_tokens, 64)
    compiled = partial(compile_, engine=engine, disable=not compile)
    key = len(rows), length, dtype, engine, compile
    # While it is in use it is nobody else's: another stream may begin before this one has ended.
    decoder: Decoder = model._decoders.pop(key, None) or Decoder(model, len(rows), length, compiled)
    ahead = tensor([[pad] * (width - len(row)) + row for row in rows], dtype=int64)
    going = [True] * len(rows)
    random = decoder.choose.generator.set_state(source.get_state())
    try:
        with evaluating(model):
            decoder.begin(rows, width, sampling)
            last = None
            for _ in range(max_new_tokens):
                if last is None:
                    fill = decoder.step(size, None)
                    scores = [fill(ahead[:, i : i + size].contiguous()) for i in range(0, width, size)][-1]
                    last = decoder.choose(scores, sampling.kind)
                    step = decoder.step(1, sampling.kind)
                else:
                    last = step(last)
                new = [row[0] for row in last.tolist()]
                if min(new) < 0:
                    fail(PullbackError, "the model's logits are not numbers", "look for NaN in its weights")
                new = [token if go else pad for token, go in zip(new, going, strict=True)]
                going = [go and token not in stops for token, go in zip(new, going, strict=True)]
                yield new
                if not any(going):
                    break
    finally:
        source.set_state(random.get_state())
        keep(model._decoders, key, decoder, DECODERS)


def stream(model: LanguageModel, tokens: Any, max_new_tokens: int = 20, **options: Any) -> Iterator[int]:
    """The tokens that follow one prompt, each as soon as it is there; with the arguments of `generate`."""
    if len(rows_of(tokens)) > 1:
        fail(
            ArgumentError,
            "stream() continues one prompt, but was given several",
            "use generate(), or stream() for each",
        )
    for (token,) in steps(model, tokens, max_new_tokens, **options):
        yield token


def generate(
    model: LanguageModel,
    tokens: Any,
    max_new_tokens: int = 20,
    *,
    streamer: Callable[[list[int]], Any] | None = None,
    **options: Any,
) -> Tensor:
    """Prompts and what follows them, as a tensor (rows, length).

    `tokens` is a tensor (rows, length), or a list of prompts, which may have different lengths: they are padded on
    the left, and each gives what it would give alone. As in Hugging Face's `generate`, the likeliest token is taken
    unless `do_sample`; then `temperature` (0 is the likeliest token again), `top_k`, `top_p` and `repetition_penalty`
    say how one is drawn. A row ends with a token of `stop`; `pad_token_id`, by default the first of these, fills it up.
    The same `seed` gives the same tokens; without one, or a `generator`, numbers come from the default generator.
    `streamer` is called with each new token of all rows. `engine` says what runs the steps, as in `compile`;
    `compile=False` runs them eagerly.
    """
    rows = rows_of(tokens)
    made: list[list[int]] = []
    for new in steps(model, rows, max_new_tokens, **options):
        made.append(new)
        if streamer is not None:
            streamer(new)
    longest, pad = max(map(len, rows)), filler(ended(options.get("stop")), options.get("pad_token_id"))
    ahead = [[pad] * (longest - len(row)) + row for row in rows]
    return tensor([row + [new[i] for new in made] for i, row in enumerate(ahead)], dtype=int64)


__all__ = ["generate", "stream"]
