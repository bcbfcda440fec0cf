"""Programs in words: numbers with units, `f32[3, 4]`, parameters as Python writes them, tables; and empty pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..dtypes import dtype
from ..errors import PullbackError, fail
from .program import Instruction, Line, Program, Value


def human(n: float) -> str:
    """`1.2 M`"""
    for unit in ("", " k", " M", " G", " T"):
        if n < 999.5:
            return f"{n:.0f}" if not unit else f"{n:.3g}{unit}"
        n /= 1000
    return f"{n:.3g} P"


def size(n: float) -> str:
    """`1.5 MiB`"""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"


def short(d: Any) -> str:
    """`f32`, `bf16`, `i64`, `u8`, `bool`"""
    name: str = d.name
    for long, letter in (("bfloat", "bf"), ("float", "f"), ("uint", "u"), ("int", "i")):
        name = name.replace(long, letter)
    return name


def form(v: Value) -> str:
    """`f32[3, 4]`, and the strides where the elements do not follow one another."""
    text = f"{short(v.dtype)}[{', '.join(map(str, v.shape))}]"
    return text if in_order(v) else f"{text} strides ({', '.join(map(str, v.strides))})"


def in_order(value: Value) -> bool:
    """Do the elements follow one another in memory?"""
    step = value.dtype.itemsize
    for n, stride in zip(reversed(value.shape), reversed(value.strides), strict=True):
        if n > 1 and stride != step and value.size:
            return False
        step *= n
    return True


def item(x: Any, in_key: bool = False) -> str:
    """A parameter, as short as it can be said."""
    if isinstance(x, slice):
        limits = ["" if n is None else str(n) for n in (x.start, x.stop)]
        text = ":".join(limits if x.step is None else [*limits, str(x.step)])
        return text if in_key else f"[{text}]"
    if isinstance(x, tuple) and (in_key or any(y is ... or isinstance(y, slice) for y in x)):
        return f"[{', '.join(item(y, True) for y in x)}]"
    if isinstance(x, (tuple, list)):
        inner = ", ".join(map(item, x))
        return f"[{inner}]" if isinstance(x, list) else f"({inner}{',' if len(x) == 1 else ''})"
    if isinstance(x, dict):
        pairs = [f"{name}={item(y, name == 'key')}" for name, y in x.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(x, (np.dtype, dtype)):
        return short(x)
    if isinstance(x, np.ndarray):
        return f"{short(x.dtype)}{list(x.shape)}"
    if isinstance(x, Program):
        return f"<{x.name}: {len(x)} instructions>"
    return "..." if x is ... else str(x) if isinstance(x, np.generic) else repr(x)


def options(instruction: Instruction) -> list[str]:
    """The parameters that are not at their defaults: `dim=1`."""
    defaults = instruction.op.defaults
    return [
        f"{name}={item(x, name == 'key')}"
        for name, x in instruction.params.items()
        if name not in defaults or not _is(x, defaults[name])
    ]


def _is(x: Any, default: Any) -> bool:
    return type(x) is type(default) and not isinstance(x, np.ndarray) and bool(x == default)


def place(line: Line) -> str:
    """`train.py:12`"""
    file, here = line.file, os.getcwd() + os.sep
    return f"{file.removeprefix(here) if file.startswith(here) else os.path.basename(file)}:{line.number}"


def table(cells: Sequence[tuple[str, ...]], left: int = 1) -> str:
    """Rows in columns below their titles; the first `left` columns stand on the left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        sides = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(sides).rstrip())
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def figure(what: str, width: float, height: float) -> Any:
    """An empty picture; matplotlib is an extra."""
    if find_spec("matplotlib") is None:
        fail(PullbackError, f"drawing {what} needs matplotlib", "install it: pip install 'pullback[train]'")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
