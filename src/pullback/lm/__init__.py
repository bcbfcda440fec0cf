"""Language models of MiniMind's family: text, tokenizer, model, pretraining, generation, exchange."""

from __future__ import annotations

from .config import PRESETS, Config, Yarn, preset
from .documents import Documents
from .exchange import from_pretrained, save_pretrained
from .generate import generate
from .model import Cache, LanguageModel
from .pretrain import Pretraining, pretrain
from .recipe import Recipe
from .tokenfile import TokenFile
from .tokenise import tokenise
from .tokenizer import Tokenizer
from .windows import Windows, bits_per_byte

__all__ = [
    "Cache", "Config", "LanguageModel", "PRESETS", "Yarn", "preset",
    "Documents", "TokenFile", "Tokenizer", "Windows", "bits_per_byte", "tokenise",
    "Pretraining", "Recipe", "pretrain",
    "generate", "from_pretrained", "save_pretrained",
]  # fmt: skip
