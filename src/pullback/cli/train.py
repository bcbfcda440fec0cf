"""`pullback train`: pretrain a language model, from text to a folder that generates."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import PullbackError
from . import generate


def main(argv: Sequence[str]) -> int:
    """Prepare, train, report; 1 if the model was to beat the baselines and did not, 2 if there is no model."""
    from ..lm.pretrain import CONFIG, Pretraining
    from ..lm.recipe import Recipe, add_flags, from_flags

    parser = argparse.ArgumentParser(
        prog="pullback train",
        description="Pretrain a language model. Without any flag: a small one, on Python's own sources.",
    )
    parser.add_argument("config", nargs="?", help="a TOML file with the same settings as the flags, which go before it")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder, if there is one")
    parser.add_argument("--play", action="store_true", help="at the end, on a terminal, prompt the model")
    add_flags(parser)
    given = vars(parser.parse_args(argv))
    config, resume, play = given.pop("config"), given.pop("resume"), given.pop("play")
    folder = given.get("folder", Recipe.folder)
    try:
        flags = from_flags(given)
        begun = Path(folder) / CONFIG
        if config is None and resume and begun.exists():
            config = begun
        recipe = Recipe(**flags) if config is None else Recipe.read(config, **flags)
        folder = recipe.folder
        run = Pretraining(recipe, resume=resume)
        run.fit()
        good = run.report()
    except PullbackError as error:
        print(f"pullback train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nstopped; go on from the last checkpoint: pullback train --resume --folder {folder}", file=sys.stderr)
        return 130
    if play and sys.stdin.isatty() and sys.stdout.isatty():
        generate.main([folder])
    return 0 if good else 1
