"""`pullback run SCRIPT.py [ARGS]`: a PyTorch script, unmodified, on pullback.

`torch` and all its parts are pullback's modules. Arguments, `__main__`, exit codes and tracebacks are as with
`python SCRIPT.py`. What the script asked of torch in vain is listed at the end, on stderr.
"""

from __future__ import annotations

import argparse
import atexit
import io
import os
import runpy
import signal
import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from types import TracebackType

from . import aliases


def main(arguments: Sequence[str]) -> int:
    """Run a script, or with -m a module."""
    parser = argparse.ArgumentParser(
        prog="pullback run",
        usage="pullback run SCRIPT.py [ARGS ...] | pullback run -m MODULE [ARGS ...]",
        description="Run a PyTorch script, unmodified, on pullback; list the names it used that do not exist.",
    )
    if not arguments or arguments[0] in ("-h", "--help"):
        parser.parse_args(arguments or ["--help"])
    if arguments[0] == "-m":
        if len(arguments) < 2:
            parser.error("-m needs the name of a module")
        return finish(lambda: run_module(arguments[1], arguments[2:]))
    if arguments[0].startswith("-"):
        parser.error(f"there is no option {arguments[0]}; options of the script go after its name")
    return finish(lambda: run_script(arguments[0], arguments[1:]))


def run_script(path: str, arguments: Sequence[str]) -> None:
    """As `python path arguments`."""
    if not os.path.isfile(path):
        print(f"pullback run: can't open file {path!r}", file=sys.stderr)
        raise SystemExit(2)
    full = os.path.abspath(path)
    sys.argv[:] = [path, *arguments]
    set_first_path(os.path.dirname(os.path.realpath(path)))
    aliases.install()
    main_module = types.ModuleType("__main__")
    main_module.__dict__.update(__file__=full, __builtins__=__builtins__, __cached__=None)
    main_module.__loader__ = SourceFileLoader("__main__", full)
    sys.modules["__main__"] = main_module
    with io.open_code(full) as file:
        code = compile(file.read(), full, "exec", dont_inherit=True)
    exec(code, main_module.__dict__)


def run_module(name: str, arguments: Sequence[str]) -> None:
    """As `python -m name arguments`."""
    sys.argv[:] = [name, *arguments]
    set_first_path(os.getcwd())
    aliases.install()
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def set_first_path(place: str) -> None:
    """Imports look there first, instead of where the command was found; not if Python was told to be safe (-P)."""
    if not sys.flags.safe_path:
        sys.path[0] = place


def finish(program: Callable[[], None]) -> int:
    """Run it to its end, whichever that is, and say what was missing."""
    error: BaseException | None = None
    try:
        program()
    except SystemExit:
        report(None)
        raise
    except BaseException as raised:
        error = raised
        tb = raised.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename == __file__:
            tb = tb.tb_next
        sys.excepthook(type(raised), raised.with_traceback(tb), tb)
    report(error)
    if isinstance(error, KeyboardInterrupt):  # as Python ends: by the signal itself, after its last duties
        atexit._run_exitfuncs()
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 0 if error is None else 1


def report(error: BaseException | None) -> None:
    """What was asked of torch in vain: what stopped the script first, then what it looked for and did without."""
    stopped: set[tuple[str, int]] = set()
    while error is not None:
        if isinstance(error, (AttributeError, ImportError)):
            stopped |= lines_of(error.__traceback__)
        error = error.__cause__ or error.__context__
    fatal = [m for m in aliases.MISSING.values() if m.last in stopped]
    others = [m for m in aliases.MISSING.values() if m not in fatal]
    for heading, names in (("missing from pullback", fatal), ("looked for, and not in pullback", others)):
        if names:
            print(f"\npullback run: {heading}", file=sys.stderr)
        width = max((len(m.name) for m in names), default=0)
        for m in names:
            times = f"{m.count} time{'s' * (m.count != 1)}"
            place = f"{os.path.relpath(m.first[0])}:{m.first[1]}"
            print(f"  {m.name:{width}}  {times}, first at {place}  {m.reason}".rstrip(), file=sys.stderr)


def lines_of(tb: TracebackType | None) -> set[tuple[str, int]]:
    """(file, line) of each level of a traceback."""
    found = set()
    while tb is not None:
        found.add((tb.tb_frame.f_code.co_filename, tb.tb_lineno))
        tb = tb.tb_next
    return found
