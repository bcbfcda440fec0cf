"""The command line: `pullback COMMAND ...`. A command is a module here with `main(arguments) -> exit code`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from ..version import __version__

COMMANDS = {  # each is the module of that name, imported when it is asked for
    "cache": "what the native engine has built and keeps; --clear forgets it",
    "doctor": "what is installed here, and which engine runs",
    "generate": "text from a language model",
    "train": "pretrain a language model",
    "run": "run a PyTorch script, unmodified, on pullback",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is returned."""
    width = max(map(len, COMMANDS)) + 2
    parser = argparse.ArgumentParser(
        prog="pullback",
        description="Backpropagation you can see through.",
        epilog="commands:\n" + "\n".join(f"  {name:{width}}{what}" for name, what in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pullback {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="see pullback COMMAND --help")
    given = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(given[:1])  # the rest is the command's own
    module = import_module(f".{options.command}", __name__)
    return int(module.main(given[1:]))
