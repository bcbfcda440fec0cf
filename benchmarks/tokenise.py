"""Making a token file, and calling the `tokenizers` library on the same documents in memory, in one process.

python benchmarks/tokenise.py            the table
python benchmarks/tokenise.py --check    the table, and exit 1 if a bar is missed
python benchmarks/tokenise.py "10 MB"    a tenth of the text
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from itertools import count
from pathlib import Path

import numpy as np
from side_by_side import Table
from tokenizers import Tokenizer as Library

from pullback.lm.documents import Documents
from pullback.lm.tokenise import Progress, tokenise
from pullback.lm.tokenizer import Tokenizer

BAR = 1.2
SIZES = {"100 MB of text": 100_000_000, "10 MB of text": 10_000_000}


def texts_of(size: int) -> list[str]:
    """The standard library's sources in a shuffled order, and again in another one until there are so many bytes."""
    library, order = list(Documents("stdlib")), random.Random(0)
    texts, total = list[str](), 0
    for round in count():
        order.shuffle(library)
        for document in library:
            texts.append(f"# {round}\n{document.text}")
            total += len(document.data)
            if total >= size:
                return texts
    raise AssertionError("count() ends")


def quiet(progress: Progress) -> None:
    """Nothing is shown while time is measured."""


def main() -> int:
    table = Table(__doc__, theirs="tokenizers")
    wanted = {name: size for name, size in SIZES.items() if table.wants(name)}
    tokenizer = Tokenizer.train(document.text for document in Documents("stdlib"))
    for name, size in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            texts, runs = texts_of(size), count()
            source = Path(folder, "texts.jsonl")
            with open(source, "w", encoding="utf-8") as file:
                file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
            tokenizer.save(folder)
            library = Library.from_file(f"{folder}/tokenizer.json")

            def ours(source: Path = source, folder: str = folder, runs: count[int] = runs) -> None:
                tokenise(source, tokenizer, f"{folder}/{next(runs)}", held_out=0, progress=quiet)

            def theirs(texts: list[str] = texts, library: Library = library) -> list[np.ndarray]:
                encodings = library.encode_batch_fast(texts, add_special_tokens=False)
                return [np.array(encoding.ids, np.uint16) for encoding in encodings]

            table.compare(name, ours, theirs, calls=1, rounds=3, bar=BAR)
            train = Path(folder, "0", "train.tokens.bin")
            library_tokens = sum(map(len, theirs())) + len(texts) + 1  # and the end tokens
            assert np.fromfile(train, np.uint16).size == library_tokens, "both have made the same tokens"
    return table.status()


if __name__ == "__main__":
    sys.exit(main())
