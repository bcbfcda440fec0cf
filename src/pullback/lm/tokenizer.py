"""Text to tokens and back: byte-level BPE, trained here or read from a tokenizer.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, KindError, RangeError, fail
from ..io.binary import writing
from .extras import need

END, START, STOP = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # of a document; of a message, and its end

# Which tokens have these roles where no tokenizer_config.json says so: the first that there is.
ROLES = {
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", START),
    "eos": (STOP, "</s>", "<|eot_id|>", "<|end_of_text|>", "<eos>", END),
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", END),
}
ENDS = (END, "<|end_of_text|>", "</s>", "<eos>")  # what ends a document; else it is eos

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


class Tokenizer:
    """A tokenizer of the `tokenizers` library, with the ids of the tokens that mean something.

    `bos_id`, `eos_id` and `pad_id` are those of its configuration, or what names suggest; None where there is none.
    `end_id` is the token after a document's last one; at `stop_ids`, a generated text is over.
    """

    def __init__(self, serialised: str, config: Mapping[str, Any] | None = None) -> None:
        """From the text of a tokenizer.json, and the contents of a tokenizer_config.json."""
        self._marked = _restored(serialised)
        self.config = dict(config or {})
        self._vocabulary: dict[str, int] = self._marked.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self._vocabulary.values(), default=-1) + 1  # rows that an embedding needs
        self.bos_id, self.eos_id, self.pad_id = (self._role(role) for role in ROLES)
        end = self._first(ENDS)
        self.end_id = self.eos_id if end is None else end
        self.stop_ids = [id for id in dict.fromkeys((self.eos_id, self.end_id)) if id is not None]

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, fingerprint={self.fingerprint[:12]!r})"

    # -- made, saved, loaded -----------------------------------------------------------------------------------------

    @staticmethod
    def train(
        texts: Iterable[str], vocab_size: int = 6400, special_tokens: Sequence[str] = SPECIAL, *, progress: bool = False
    ) -> Tokenizer:
        """Byte-level BPE: the 256 bytes, then the most frequent pair of tokens made one, again and again.

        The special tokens have the ids 0, 1, 2 ... The same texts, in any order, give the same tokenizer; few texts may
        give a smaller one than `vocab_size`.
        """
        tokenizers = need("tokenizers", "a tokenizer")
        byte_level = tokenizers.pre_tokenizers.ByteLevel
        if isinstance(texts, str):
            fail(KindError, "Tokenizer.train takes texts, but was given one text", "put it in a list")
        least = len(special_tokens) + 256
        if vocab_size < least or len(set(special_tokens)) < len(special_tokens):
            fail(
                ArgumentError,
                f"no vocabulary of {vocab_size} tokens with the special tokens {list(special_tokens)}",
                f"use vocab_size >= {least}: the special tokens, each once, and the 256 bytes",
            )
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = byte_level(add_prefix_space=False)
        model.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(special_tokens),
            initial_alphabet=byte_level.alphabet(),
            show_progress=progress,
        )
        counted = _Counted(texts)
        model.train_from_iterator(counted, trainer)
        if not counted.count:
            fail(ArgumentError, "Tokenizer.train was given no text to learn from")
        return Tokenizer(model.to_str())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tokenizer:
        """Read a tokenizer.json, or a folder with one and, beside it, perhaps a tokenizer_config.json."""
        given = Path(path)
        file = given / "tokenizer.json" if given.is_dir() else given
        if not file.is_file():
            fail(ArgumentError, f"there is no tokenizer at {file.absolute()}", "name a tokenizer.json, or its folder")
        config = file.with_name("tokenizer_config.json")
        try:
            settings = json.loads(config.read_text("utf-8")) if config.is_file() else {}
            return Tokenizer(file.read_text("utf-8"), settings)
        except ValueError as error:
            fail(ArgumentError, f"{file.absolute()} or its tokenizer_config.json cannot be read: {error}")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json and tokenizer_config.json; `transformers.AutoTokenizer` loads them as well."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = {id: token for token, id in self._vocabulary.items()}
        config = self.config or {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{f"{role}_token": names.get(getattr(self, f"{role}_id")) for role in ROLES},
            "clean_up_tokenization_spaces": False,
            **({"chat_template": CHATML} if self._chats else {}),
        }
        for name, text in (
            ("tokenizer", self._marked.to_str(pretty=True)),
            ("tokenizer_config", json.dumps(config, indent=2)),
        ):
            with writing(folder / f"{name}.json") as file:
                file.write(text.encode())

    def __reduce__(self) -> Any:
        return Tokenizer, (self._marked.to_str(), self.config)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer as it is saved: the same for two that give the same tokens for the same reasons."""
        return hashlib.sha256(self._marked.to_str().encode()).hexdigest()

    # -- text and tokens -----------------------------------------------------------------------------------------------

    def encode(self, text: str, special: bool = False) -> list[int]:
        """The tokens of a text, and no others. Where it spells a special token, that is text, unless `special`."""
        return self.encode_batch([text], special)[0]

    def encode_batch(self, texts: Sequence[str], special: bool = False) -> list[list[int]]:
        """As `encode`, for many texts on all cores."""
        return [one.ids for one in self._encodings(texts, special)]

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of these tokens. Bytes that are no UTF-8 become U+FFFD."""
        return self._marked.decode(self._checked(ids), skip_special_tokens=skip_special)

    def stream(self, ids: Iterable[int], skip_special: bool = False) -> Iterator[str]:
        """The text of tokens that come one by one, in pieces of whole characters."""
        pieces = Pieces(self, skip_special)
        for id in ids:
            if piece := pieces.push(id):
                yield piece
        if piece := pieces.finish():
            yield piece

    def id(self, token: str) -> int | None:
        """The id of a token by its name."""
        return self._vocabulary.get(token)

    # -- conversations -------------------------------------------------------------------------------------------------

    def chat(self, messages: Iterable[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation of {"role": ..., "content": ...} as ChatML."""
        turns = [f"{START}{text}{STOP}\n" for text in self._turns(messages)]
        return "".join(turns) + (f"{START}assistant\n" if add_generation_prompt else "")

    def encode_chat(self, messages: Iterable[Mapping[str, str]], add_generation_prompt: bool = True) -> list[int]:
        """The tokens of `chat`. What a message says stays text, also where it spells a special token."""
        texts = [part for turn in self._turns(messages) for part in (turn, "\n")]
        opening = ["assistant\n"] if add_generation_prompt else []
        start, stop = self._vocabulary[START], self._vocabulary[STOP]
        result: list[int] = []
        for i, ids in enumerate(self.encode_batch(texts + opening)):
            result += ids if i % 2 else [start, *ids, stop]
        return result[:-1] if opening else result  # the answer's end is not there yet

    def _turns(self, messages: Iterable[Mapping[str, str]]) -> list[str]:
        if not self._chats:
            fail(ArgumentError, f"this tokenizer has no tokens {START} and {STOP}, which ChatML is made of")
        turns = []
        for i, message in enumerate(messages):
            for key in ("role", "content"):
                if not isinstance(message, Mapping) or key not in message:
                    fail(ArgumentError, f"message {i} of the conversation has no {key!r}: {message!r:.200}")
                _check_text(message[key], f"the {key} of message {i}")
            turns.append(f"{message['role']}\n{message['content']}")
        return turns

    # -- within --------------------------------------------------------------------------------------------------------

    @cached_property
    def _plain(self) -> Any:
        """The same tokenizer, to which special tokens are text."""
        plain = _restored(self._marked.to_str())
        plain.encode_special_tokens = True
        return plain

    def _encodings(self, texts: Sequence[str], special: bool = False) -> list[Any]:
        """What the library gives for each text; its `ids` are made into a list each time they are asked for."""
        if not all(isinstance(text, str) for text in texts):  # pairs would be taken for two texts
            _check_texts(texts)
        try:
            model = self._marked if special else self._plain
            return model.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:
            _check_texts(texts)
            raise

    @property
    def _chats(self) -> bool:
        return START in self._vocabulary and STOP in self._vocabulary

    def _role(self, role: str) -> int | None:
        key = f"{role}_token"
        if key not in self.config:
            return self._first(ROLES[role])
        token = self.config[key]
        return self._first([token["content"] if isinstance(token, dict) else token])

    def _first(self, names: Iterable[str]) -> int | None:
        return next((self._vocabulary[name] for name in names if name in self._vocabulary), None)

    def _checked(self, ids: Any) -> list[int]:
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        for id in ids:
            if not 0 <= id < self.vocab_size:
                fail(RangeError, f"{id} is no token of this vocabulary, whose ids are 0 to {self.vocab_size - 1}")
        return ids


class Pieces:
    """Decodes tokens one by one: `push` gives the text that is certain by now, `finish` what is left at the end."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = False) -> None:
        self.tokenizer, self.skip_special = tokenizer, skip_special
        self.known: list[int] = []  # the last piece's tokens: some decoders need to see what comes before
        self.open: list[int] = []  # tokens since then, whose text is not out yet

    def push(self, id: int) -> str:
        """The text up to this token, as far as it was not given yet; empty within a character."""
        self.open += self.tokenizer._checked([id])
        text = self._text()
        if not text or text.endswith("\ufffd"):
            return ""
        self.known, self.open = self.open, []
        return text

    def finish(self) -> str:
        """What is left: the bytes of a character that did not become whole."""
        text = self._text()
        self.known, self.open = [], []
        return text

    def _text(self) -> str:
        before = self.tokenizer.decode(self.known, self.skip_special)
        return self.tokenizer.decode(self.known + self.open, self.skip_special)[len(before) :]


class _Counted:
    """Goes through texts once, and knows how many there were."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts, self.count = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            _check_text(text, f"text {self.count}")
            self.count += 1
            yield text


def _restored(serialised: str) -> Any:
    """A tokenizer that cuts nothing off and fills nothing up, whatever its file says."""
    try:
        model = need("tokenizers", "a tokenizer").Tokenizer.from_str(serialised)
    except Exception as error:  # the library raises no other class
        if type(error) is not Exception:
            raise
        raise ValueError(f"it is no tokenizer ({error})") from error
    model.no_truncation()
    model.no_padding()
    return model


def _check_texts(texts: Sequence[Any]) -> None:
    for i, text in enumerate(texts):
        _check_text(text, f"text {i}")


def _check_text(text: Any, name: str) -> None:
    if not isinstance(text, str):
        fail(KindError, f"{name} is {type(text).__name__}, not a str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        fail(ArgumentError, f"{name} has half of a surrogate pair at character {error.start}, which is no text")
