"""Where arrays can lie: the CPU, and the devices that JAX finds. JAX is imported when somebody asks for one of those.

Names are PyTorch's: `cpu`, `cuda:1`, `tpu:0`; and `xla:0`, which is whatever device JAX would choose, be it a CPU.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

from .errors import PullbackError, fail
from .modes import MODES

KINDS = ("cpu", "cuda", "tpu", "xla")
CURRENT = {"cuda": 0, "tpu": 0, "xla": 0}  # which one a name without a number means
CHECKED: dict[tuple[str, int], str] = {}  # devices that are there


def parsed(where: Any) -> tuple[str, int | None]:
    """`cuda:1` is ("cuda", 1); refused if there can be no such device."""
    if type(where) is int:
        where = f"cuda:{where}"
    kind, colon, number = str(where).partition(":")
    if kind not in KINDS or (colon and not number.isdigit()):
        fail(PullbackError, f"there is no device {str(where)!r} here", f"use one of: {', '.join(KINDS)}")
    return kind, int(number) if number else None


def named(where: Any) -> str:
    """The full name of a device that is there, `cuda:0` for "cuda"; refused if it is not."""
    kind, index = parsed(where)
    if kind == "cpu":
        return "cpu"
    place = kind, CURRENT[kind] if index is None else index
    if place not in CHECKED:
        name = f"{kind}:{place[1]}"
        if "jax" not in sys.modules and not installed("jax"):
            fail(
                PullbackError,
                f"there is no device {name!r} here: devices other than the CPU are JAX's, which is not installed",
                'pip install "pullback[xla]", or "pullback[cuda]" for NVIDIA GPUs',
            )
        elsewhere().device_of(name)
        CHECKED[place] = name
    return CHECKED[place]


def elsewhere() -> Any:
    """What knows arrays on devices."""
    return importlib.import_module("pullback.engines.xla.array")


def can_have(kind: str) -> bool:
    """Could JAX find a device of this kind? Answered without importing it, as far as that goes."""
    if "jax" in sys.modules:
        return True
    if not installed("jax"):
        return False
    return kind == "xla" or installed("jax_plugins" if kind == "cuda" else "libtpu")


@functools.cache
def installed(package: str) -> bool:
    """Could it be imported?"""
    return importlib.util.find_spec(package) is not None


def count(kind: str) -> int:
    """How many devices of a kind there are."""
    return len(elsewhere().devices(kind)) if can_have(kind) else 0


def place_of(array: Any) -> str:
    """The name of the device that an array lies on."""
    name: str = getattr(array, "device", "cpu")
    return name


def moved(array: Any, where: str) -> Any:
    """A copy of an array in the memory of a device."""
    if hasattr(array, "moved"):  # a symbol, or on a device already
        return array.moved(where)
    return array.copy() if where == "cpu" else elsewhere().place(array, where)


def common(op: Any, inputs: Sequence[Any]) -> str:
    """The device that an op's inputs lie on; single numbers of the CPU, and indices, may come along."""
    where = "cpu"
    for x in inputs:
        if hasattr(x, "shape") and (here := place_of(x)) != where:
            if where != "cpu" and here != "cpu":
                refuse(where, here)
            where = here if where == "cpu" else where
    if where == "cpu" or MODES.backward or op.family in ("random", "control"):
        return where
    for i, x in enumerate(inputs):
        along = op.name in ("take_at", "put_at") and i > 0
        if hasattr(x, "shape") and x.shape and not along and place_of(x) == "cpu":
            refuse(where, "cpu")
    return where


def refuse(one: str, other: str) -> None:
    """An op cannot take inputs from two devices."""
    fail(
        PullbackError,
        f"Expected all tensors to be on the same device, but found at least two devices, {one} and {other}!",
        "move one of them with .to(device)",
    )
