"""Pretraining, from text to a model: documents -> tokenizer -> tokens -> windows -> Trainer -> report."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..amp import autocast
from ..data.loader import DataLoader
from ..dtypes import bfloat16
from ..errors import ArgumentError, fail
from ..optim.adamw import AdamW
from ..optim.lr_scheduler.steps import LambdaLR
from ..random import manual_seed
from ..tensor import Tensor
from ..train import Trainer, display
from .baselines import NGram, xz_bits_per_byte
from .documents import Documents
from .exchange import save_pretrained
from .meters import FORMS, Meters, Samples, Validation, sample
from .model import IGNORED, LanguageModel
from .recipe import Recipe
from .tokenfile import TokenFile
from .tokenise import tokenise
from .tokenizer import Tokenizer
from .windows import Windows, bits_per_byte

CONFIG = "config.toml"
TOKENIZER_TEXT = 2**25  # bytes of text that a tokenizer is trained on, at most
SCORED = 64  # rows in a batch of validation, at most


def pretrain(recipe: Recipe | None = None, *, resume: bool = False, **settings: Any) -> Pretraining:
    """Pretrain as a recipe says, with some settings changed; what `pullback train` runs."""
    run = Pretraining((recipe or Recipe()).but(**settings), resume=resume)
    run.fit()
    run.report()
    return run


class Pretraining:
    """One run: its data, its model, its Trainer."""

    def __init__(self, recipe: Recipe, *, resume: bool = False) -> None:
        self.recipe, self.resume, self.folder = recipe, resume, Path(recipe.folder)
        if not resume and (self.folder / CONFIG).exists():
            fail(
                ArgumentError, f"{self.folder} has a run already", "go on with it (--resume), or name another --folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer()
        self.train, self.held_out = tokenise(
            self._documents(), self.tokenizer, recipe.tokens or self.folder / "tokens", held_out=recipe.held_out
        )
        if not len(self.held_out):
            what = f"of {len(self.train)} documents none is held out (held_out = {recipe.held_out})"
            fail(ArgumentError, what, "choose a smaller held_out: it is one document in so many")
        manual_seed(recipe.seed)
        self.model = LanguageModel(self._shape())
        self.trainer = self._trainer()
        recipe.write(self.folder / CONFIG)
        self.say()

    # -- what a run is made of -----------------------------------------------------------------------------------------

    def _documents(self) -> Documents:
        return Documents(self.recipe.data, key=self.recipe.key)

    def _tokenizer(self) -> Tokenizer:
        """The one given, that of the run, or one trained on the text that will be learned from."""
        own = self.folder / "tokenizer"
        if self.recipe.tokenizer is not None:
            return Tokenizer.load(self.recipe.tokenizer)
        if (own / "tokenizer.json").exists():
            return Tokenizer.load(own)
        size = self.recipe.shape.vocab_size
        print(f"tokenizer  {size:,} tokens, learned from {', '.join(self.recipe.data)} ...", flush=True)
        tokenizer = Tokenizer.train(self._texts(), size)
        tokenizer.save(own)
        return tokenizer

    def _texts(self) -> Iterator[str]:
        size = 0
        for document in self._documents():
            if not document.held_out(self.recipe.held_out):
                yield document.text
                size += len(document.data)
                if size > TOKENIZER_TEXT:
                    return

    def _shape(self) -> Any:
        """The recipe's, with rows in the embedding for every token."""
        shape, tokens = self.recipe.shape, self.tokenizer.vocab_size
        if tokens > shape.vocab_size and "vocab_size" in self.recipe.model:
            what = f"the tokenizer has {tokens} tokens, and the model room for {shape.vocab_size}"
            fail(ArgumentError, what, "leave out vocab_size, or use another tokenizer")
        return shape if "vocab_size" in self.recipe.model else shape.but(vocab_size=tokens)

    def _windows(self, file: TokenFile) -> Windows:
        return Windows(file, self.recipe.length, packed=self.recipe.packed, segments=self.recipe.segments)

    def _trainer(self) -> Trainer:
        recipe = self.recipe
        train, held_out = self._windows(self.train), self._windows(self.held_out)
        if len(train) < recipe.batch:
            what = f"the data are {len(train)} rows of {recipe.length} tokens, fewer than a batch of {recipe.batch}"
            fail(ArgumentError, what, "give more data, or a smaller batch or length")
        optimizer = AdamW(
            decayed(self.model, recipe.weight_decay), lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), eps=1e-8
        )
        shown = display(FORMS)
        samples = Samples(recipe.prompts, self.tokenizer, recipe.sample_every, shown.say)
        return Trainer(
            self.model,
            optimizer,
            losses,
            DataLoader(train, batch_size=recipe.batch, shuffle=True, drop_last=True),
            DataLoader(held_out, batch_size=min(recipe.batch, SCORED)),
            steps=recipe.steps,
            accumulate=recipe.accumulate,
            count=labels,
            clip=recipe.clip,
            autocast=autocast("cpu", bfloat16) if recipe.bf16 else None,
            scheduler=LambdaLR(optimizer, warm_cosine(recipe.steps, recipe.warmup, recipe.final)),
            scheduler_per="step",
            valid_every=recipe.valid_every,
            callbacks=[Validation(self.held_out), samples, Meters(self.model, recipe.length, self.engine)],
            progress=shown,
            folder=self.folder,
            checkpoint_every=recipe.checkpoint_every,
            keep=recipe.keep,
            log_every=recipe.log_every,
            on_nonfinite=recipe.on_nonfinite,
            compile=self.engine,
            rate=("tokens", labels),
        )

    @property
    def engine(self) -> Any:
        """As Trainer and compile have it: None runs op by op."""
        return {"auto": True, "eager": None}.get(self.recipe.engine, self.recipe.engine)

    # -- what it does --------------------------------------------------------------------------------------------------

    def say(self) -> None:
        """What is to be trained, on what."""
        recipe, config = self.recipe, self.model.config
        train, held = self.train, self.held_out
        rows, size = recipe.accumulate * recipe.batch, sum(p.numel() for p in self.model.parameters())
        each = f", {self.model.active:,} of them for each token" if config.num_experts else ""
        lines = [
            f"data       {train.bytes / 1e6:,.1f} MB in {len(train):,} documents: {train.labels:,} tokens"
            f" of {self.tokenizer.vocab_size:,} kinds",
            f"held out   {held.bytes / 1e6:,.2f} MB in {len(held):,} documents: {held.labels:,} tokens",
            f"model      {recipe.preset}: {size:,} parameters{each}; {config.num_hidden_layers} layers"
            f" of {config.hidden_size}",
            f"training   {recipe.steps:,} steps of {rows} x {recipe.length} tokens: {self.seen:,} tokens,"
            f" {self.seen / train.labels:.2f} of the data",
        ]
        print("\n".join(lines), flush=True)

    @property
    def seen(self) -> int:
        """Tokens that are learned from in the whole run."""
        return self.recipe.steps * self.recipe.accumulate * self.recipe.batch * self.recipe.length

    def fit(self) -> dict[str, Any]:
        """Train, and leave the model where `pullback generate` and `transformers` find it."""
        self.trainer.fit(resume=self.resume)
        save_pretrained(self.model, self.folder / "model", self.tokenizer)
        return self.trainer.logs

    def score(self) -> dict[str, float]:
        """Loss, perplexity and bits per byte of the held-out documents."""
        loss = self.trainer.logs.get("valid_cross_entropy", self.trainer.logs.get("valid_loss"))
        if loss is None:
            loss = self.trainer.evaluate(self.trainer.valid or ())["loss"]
        return {"loss": loss, "perplexity": math.exp(loss), "bits_per_byte": bits_per_byte(loss, self.held_out)}

    def report(self) -> bool:
        """Print how good the model is, samples, and where all is; False if an order-3 model of bytes is better."""
        score, good = self.score(), True
        print(
            f"\nheld out   loss {score['loss']:.3f}   perplexity {score['perplexity']:.1f}"
            f"   {score['bits_per_byte']:.3f} bits per byte"
        )
        if self.recipe.baselines:
            held = self._bytes(self.held_out, self.held_out.bytes)
            known = self._bytes(self.train, round(self.seen * self.train.bytes / max(self.train.labels, 1)))
            ngram, xz = NGram(known).bits_per_byte(held), xz_bits_per_byte(known, held)
            good = score["bits_per_byte"] < ngram
            print(
                f"           {ngram:.3f} for an order-3 model of bytes, {xz:.3f} for xz,"
                f" both on {len(known) / 1e6:.1f} MB, as many as the model has seen"
            )
        for seed, prompt in enumerate(self.recipe.prompts[:3]):
            print(f"\n--- {prompt!r}\n{sample(self.model, self.tokenizer, prompt, 96, seed)}")
        print(
            f"\ncurves     {self.folder / 'curves.png'}, {self.folder / 'log.jsonl'}\n"
            f"model      {self.folder / 'model'}, as transformers reads it; checkpoints in {self.folder}\n"
            f'try        pullback generate {self.folder} "import"\n'
            f"           pullback train --data FILES --folder runs/mine\n"
            f"           pullback train --preset minimind2-small --folder runs/small"
        )
        if not good:
            print("\nThe model has not become better than the order-3 model: more --steps, or a larger model?")
        return good

    def _bytes(self, file: TokenFile, most: int) -> bytes:
        """Text of a token file's documents, those of one folder not all together."""
        parts, size = [], 0
        for i in random.Random(0).sample(range(len(file)), len(file)):
            if size >= most:
                break
            parts.append(self.tokenizer.decode(file.document(i)).encode())
            size += len(parts[-1])
        return b"".join(parts)[:most]


# -- parts -------------------------------------------------------------------------------------------------------------


def losses(model: LanguageModel, batch: Any) -> dict[str, Tensor]:
    """Of a batch (tokens, labels), or (tokens, labels, segments)."""
    return model.losses(*batch)


def labels(batch: Any) -> Tensor:
    """How many labels the batch's mean is over."""
    return (batch[1] != IGNORED).sum()


def decayed(model: LanguageModel, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices decay; norms and biases do not."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def warm_cosine(steps: int, warmup: float, final: float) -> Any:
    """step -> factor: up from 0 in a part `warmup` of the steps, then down a half cosine to `final`."""
    warm = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        part = min(1.0, (step - warm) / max(1, steps - warm))
        return final + (1 - final) * (1 + math.cos(math.pi * part)) / 2

    return factor
