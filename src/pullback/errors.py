"""What went wrong, at which line of the user's, and what to do about it."""

from __future__ import annotations

import linecache
import os
import sys
import warnings
from types import CodeType
from typing import NoReturn

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep  # Python's own

# A place in the user's program. It is kept as (code, instruction) because that costs a tenth of a
# microsecond; file and line are looked up only when somebody asks.
Position = tuple[CodeType, int]


class PullbackError(RuntimeError):
    """The base of pullback's own errors; a RuntimeError, as PyTorch's are."""


class ShapeError(PullbackError, ValueError):
    """The shapes do not fit together."""


class ArgumentError(PullbackError, ValueError):
    """An argument has a value that means nothing here."""


class KindError(PullbackError, TypeError):
    """An argument is of a class that means nothing here."""


class DTypeError(PullbackError, TypeError):
    """An op was given a data type it has no meaning for."""


class RangeError(PullbackError, IndexError):
    """An index or a dimension points outside the tensor."""


class LinAlgError(PullbackError):
    """A matrix cannot be inverted or factored."""


class GradientError(PullbackError):
    """The graph cannot give the gradient asked for."""


def here(skip: int = 0) -> Position:
    """The innermost line that is not pullback's own; `skip` callers are known to be."""
    frame = sys._getframe(1 + skip)
    while frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def users_line() -> Position:
    """As `here`, and past the standard library as well, through which copy and pickle call back."""
    frame = sys._getframe(1)
    written = "<string>"  # a dataclass's __init__, which is text compiled in the module of its class
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith((PACKAGE, LIBRARY))
        or (frame.f_code.co_filename == written and frame.f_globals.get("__name__", "").startswith("pullback."))
    ):
        if "site-packages" in frame.f_code.co_filename and not frame.f_code.co_filename.startswith(PACKAGE):
            break
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def locate(position: Position) -> tuple[str, int, str]:
    """(file, line number, the line's text) of a position."""
    code, instruction = position
    lines = list(code.co_positions())
    line = lines[instruction // 2][0] if 0 <= instruction // 2 < len(lines) else None
    number = line if line is not None else code.co_firstlineno
    return code.co_filename, number, linecache.getline(code.co_filename, number).strip()


def show(position: Position | None) -> str:
    """`train.py:12: loss = model(x).sum()`, for messages."""
    if position is None:
        return "an unknown line"
    file, line, text = locate(position)
    name = os.path.relpath(file) if os.path.isabs(file) and file.startswith(os.getcwd() + os.sep) else file
    return f"{name}:{line}: {text}" if text else f"{name}:{line}"


def fail(kind: type[PullbackError], what: str, todo: str = "", **places: Position | None) -> NoReturn:
    """Raise `kind`: what happened, the lines that matter, and what to do."""
    lines = [what]
    lines += [f"  {label.replace('_', ' ')} {show(place)}" for label, place in places.items() if place is not None]
    if "at" not in places:
        lines.append(f"  at {show(users_line())}")
    if todo:
        lines.append(f"  {todo}")
    raise kind("\n".join(lines))


def warn(text: str) -> None:
    """Warn, at the user's line."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)
