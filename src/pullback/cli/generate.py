"""`pullback generate FOLDER [PROMPT]`: text from a model, as it is made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, PullbackError, fail


def main(arguments: Sequence[str]) -> int:
    """Continue a prompt, or one after the other on a terminal."""
    parser = argparse.ArgumentParser(
        prog="pullback generate",
        description="Text from the model of a training run, or of a folder as Hugging Face's tools write it."
        " Without a prompt: asks for one after the other on a terminal, or reads one from a pipe.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="a run of `pullback train`, or a folder with config.json")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="how the text begins; with --chat, the question")
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="at most so many (256)")
    parser.add_argument("--temperature", type=float, default=0.8, help="lower is likelier, higher is bolder (0.8)")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens only")
    parser.add_argument(
        "--top-p", type=float, default=0.95, metavar="P", help="draw from the likeliest that make up P (0.95)"
    )
    parser.add_argument("--repetition-penalty", type=float, default=1.0, help="above 1: repeat less (1)")
    parser.add_argument("--greedy", action="store_true", help="always the likeliest token")
    parser.add_argument("--seed", type=int, help="the same text each time; without it, another one")
    parser.add_argument("--chat", action="store_true", help="a conversation, for models that were taught ChatML")
    parser.add_argument("--engine", help="what computes: native, numpy or xla")
    options = parser.parse_args(arguments)
    try:
        talk = Talk(options)
        if options.prompt is None and sys.stdin.isatty():
            talk.loop()
        else:
            talk.answer(sys.stdin.read() if options.prompt is None else options.prompt)
    except PullbackError as error:
        print(f"pullback generate: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


class Talk:
    """A model, its tokenizer, and what has been said."""

    def __init__(self, options: Any) -> None:
        from ..lm.exchange import from_pretrained
        from ..lm.tokenizer import Tokenizer
        from ..random import Generator

        given = Path(options.folder)
        if not given.is_dir():
            fail(
                ArgumentError,
                f"there is no folder {options.folder!r}",
                "name a run of `pullback train`, or a model's folder",
            )
        run = (given / "config.toml").exists()  # of `pullback train`
        folder = given / "model" if run else given
        if not (folder / "config.json").is_file():
            if run:
                fail(
                    ArgumentError,
                    f"the run in {given} has no model yet",
                    f"finish it: pullback train {given / 'config.toml'} --resume",
                )
            fail(
                ArgumentError, f"{given} has no config.json, so there is no model in it", "name the folder that has it"
            )
        if not (folder / "tokenizer.json").is_file():
            fail(
                ArgumentError, f"{folder} has no tokenizer.json, so text cannot become tokens", "put the model's there"
            )
        self.tokenizer, self.model, self.options = Tokenizer.load(folder), from_pretrained(folder), options
        self.messages: list[dict[str, str]] = []
        ends = self.tokenizer.end_id, self.tokenizer.eos_id
        self.stop = list(dict.fromkeys(token for token in ends if token is not None))
        # A run's documents stand behind a token that ends them; other models have a token that begins a text.
        begin = None if run else self.tokenizer.bos_id
        self.begin = self.tokenizer.end_id if begin is None else begin
        self.generator = Generator()
        if options.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(options.seed)

    def loop(self) -> None:
        """One prompt after the other, until the input ends; Ctrl-C ends an answer."""
        print("Ctrl-C ends a text, Ctrl-D ends this.", file=sys.stderr)
        while True:
            try:
                prompt = input("> ")
            except (EOFError, KeyboardInterrupt):
                print()
                return
            if not prompt:
                continue
            try:
                self.answer(prompt)
            except KeyboardInterrupt:
                print()
            except PullbackError as error:
                print(f"pullback generate: {error}", file=sys.stderr)

    def answer(self, prompt: str) -> None:
        """Print what the model makes of a prompt, piece by piece."""
        chat = self.options.chat
        tokens = self.asked(prompt) if chat else self.begun(prompt)
        said = "" if chat else prompt
        print(said, end="", flush=True)
        answer = []
        try:
            for piece in self.tokenizer.stream(self.made(tokens), skip_special=True):
                print(piece, end="", flush=True)
                answer.append(piece)
        finally:
            print()
            if chat:
                self.messages += [
                    {"role": "user", "content": prompt},
                    {"role": "assistant", "content": "".join(answer)},
                ]

    def begun(self, prompt: str) -> list[int]:
        """The tokens of a text that is to go on."""
        tokens = self.tokenizer.encode(prompt)
        return tokens if self.begin is None else [self.begin, *tokens]

    def asked(self, prompt: str) -> list[int]:
        """The tokens of the conversation; the oldest turns go if there is no room for them."""
        while True:
            tokens = self.tokenizer.encode_chat([*self.messages, {"role": "user", "content": prompt}])
            if not self.messages or len(tokens) + self.options.max_new_tokens <= self.limit:
                return tokens
            del self.messages[:2]

    @property
    def limit(self) -> int:
        return self.model.config.max_position_embeddings

    def made(self, tokens: list[int]) -> Iterator[int]:
        """The tokens that follow, without those that end the text."""
        from ..lm.generate import stream

        options, room = self.options, self.limit - len(tokens)
        if room < 1:
            what = f"the prompt has {len(tokens)} tokens, and the model has room for {self.limit}"
            fail(ArgumentError, what, "shorten it")
        for token in stream(
            self.model,
            tokens,
            min(options.max_new_tokens, room),
            do_sample=not options.greedy,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            repetition_penalty=options.repetition_penalty,
            stop=self.stop,
            generator=self.generator,
            engine=options.engine,
        ):
            if token not in self.stop:
                yield token
