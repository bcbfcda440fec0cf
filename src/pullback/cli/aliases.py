"""`torch` as another name for pullback: the same modules, and a note of every name asked for that is not there."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

import pullback

from .._refusals import REFUSED
from ..errors import LIBRARY, PACKAGE
from ..tensor import Tensor

PLACE = str(Path(__file__).with_name("torch_here"))  # has a `torch` to be found by the processes a script starts
APART = ("torchvision", "torchaudio", "torchtext")  # PyTorch's companions


class Missing:
    """A name that is not there: where it was asked for first, how often, and why it is not."""

    def __init__(self, name: str, where: tuple[str, int], reason: str) -> None:
        self.name, self.first, self.last, self.reason = name, where, where, reason
        self.count = 0


MISSING: dict[str, Missing] = {}


def note(name: str, frame: FrameType | None, reason: str = "") -> None:
    """`name` was asked for by the program's line that `frame` is at; pullback and Python themselves may ask freely."""
    while frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is None or _is_ours(frame.f_code.co_filename):
        return
    where = frame.f_code.co_filename, frame.f_lineno
    entry = MISSING.setdefault(name, Missing(name, where, reason))
    entry.count += 1
    entry.last = where


def _is_ours(file: str) -> bool:
    library = file.startswith(LIBRARY) and "site-packages" not in file
    return file.startswith((PACKAGE, "<frozen")) or library


class Finder(MetaPathFinder, Loader):
    """Finds pullback's module under PyTorch's name."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        first, _, rest = fullname.partition(".")
        if first in APART:
            self.refuse(fullname, f"{first} is not part of pullback")
        if first != "torch":
            return None
        if rest and find_spec(f"pullback.{rest}") is None:
            self.refuse(fullname, REFUSED.get(rest.partition(".")[0], "pullback has no such module"))
        return ModuleSpec(fullname, self)

    def refuse(self, name: str, reason: str) -> NoReturn:
        note(name, sys._getframe(2), reason)  # past find_spec
        raise ModuleNotFoundError(f"No module named {name!r}: {reason}", name=name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module("pullback" + spec.name.removeprefix("torch"))
        self.own = module.__spec__
        return watch(module)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own  # the import system has just put another one there


class Watched(ModuleType):
    """A module that takes note of names it does not have."""

    def __getattr__(self, name: str) -> Any:
        shown = self.__name__.replace("pullback", "torch", 1)
        own = vars(self).get("__getattr__")  # the module's, which may say why
        try:
            if own is not None:
                return own(name)
            raise AttributeError(f"module {shown!r} has no attribute {name!r}", name=name, obj=self)
        except AttributeError as error:
            frame = sys._getframe(1)
            if not name.startswith("__") and not frame.f_code.co_filename.startswith("<frozen importlib"):
                note(f"{shown}.{name}", frame, str(error).partition(": ")[2])
            raise


def watch(module: ModuleType) -> ModuleType:
    """Take note of what a module is asked for in vain."""
    if type(module) is ModuleType:
        module.__class__ = Watched
    return module


def _no_such_method(self: Tensor, name: str) -> NoReturn:
    if not name.startswith("__"):
        note(f"torch.Tensor.{name}", sys._getframe(1))
    raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}", name=name, obj=self)


def install() -> None:
    """From here on, in this process and those it starts, `torch` is pullback."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torch", *APART)]:
        del sys.modules[name]
    sys.meta_path.insert(0, Finder())
    for name, module in list(sys.modules.items()):
        if name == "pullback" or name.startswith("pullback."):
            watch(module)
    Tensor.__getattr__ = _no_such_method  # type: ignore[method-assign]
    sys.modules["torch"] = pullback
    if PLACE not in sys.path:
        sys.path.insert(1, PLACE)  # multiprocessing hands sys.path on, subprocess the environment
    path = os.environ.get("PYTHONPATH", "")
    if PLACE not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = PLACE + (os.pathsep + path if path else "")
