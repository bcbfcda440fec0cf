"""From C to functions: the machine's compiler, and a cache of what it has built, by content."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ...errors import PullbackError, fail

SOURCES = Path(__file__).parent / "c"
FLAGS = ("-O3", "-march=native", "-std=c11", "-fPIC", "-shared", "-fopenmp-simd", "-ffp-contract=off", "-fno-math-errno",
         "-fno-trapping-math", "-fvisibility=default", "-Wno-psabi", "-Wno-unknown-pragmas")  # fmt: skip
LIMIT = 512 << 20  # bytes that the cache may take


@cache
def compiler() -> tuple[str, ...] | None:
    """The C compiler: what CC says, the machine's own, or the one of the `ziglang` package."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name.split()[0]):
            return tuple(name.split())
    return (sys.executable, "-m", "ziglang", "cc") if find_spec("ziglang") else None


@cache
def machine() -> str:
    """What a build depends on beside its source: the processor's features, the compiler, the system."""
    features = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        features = next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    command = compiler() or ()
    version = subprocess.run([*command, "--version"], capture_output=True, text=True).stdout if command else ""
    return "\n".join([platform.machine(), platform.system(), features, *command, version])


def folder() -> Path:
    """The cache."""
    base = (
        os.environ.get("PULLBACK_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pullback"
    )
    return Path(base) / "native"


def flags() -> tuple[str, ...]:
    return (
        FLAGS
        if not os.environ.get("PULLBACK_DEBUG")
        else (*FLAGS, "-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=undefined")
    )


def built(text: str, name: str = "step") -> Path:
    """The library of a C source; built now if it is not in the cache."""
    headers = "".join(path.read_text() for path in sorted(SOURCES.glob("*.h")))
    key = hashlib.sha256("\0".join([text, headers, machine(), *flags()]).encode()).hexdigest()[:32]
    path = folder() / f"{name}-{key}.so"
    if path.exists():
        os.utime(path)  # used last
        return path
    command = compiler()
    if command is None:
        fail(PullbackError, "the native engine needs a C compiler, and there is none on this machine",
             'install gcc or clang, or pip install "pullback[native]", which brings one')  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-")
    except OSError:  # a cache that cannot be written to
        path = Path(tempfile.gettempdir()) / f"pullback-{os.getuid()}" / path.name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            return path
        place = tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-")
    with place as here:
        source, library = Path(here) / f"{name}.c", Path(here) / path.name
        source.write_text(text)
        done = subprocess.run(
            [*command, *flags(), "-I", str(SOURCES), "-o", str(library), str(source), "-lm", "-lpthread"],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            fail(PullbackError, f"the C compiler {' '.join(command)} did not take what the native engine wrote:\n{done.stderr[:4000]}",
                 'use engine="numpy", and report this')  # fmt: skip
        source.replace(path.with_suffix(".c"))
        library.replace(path)  # at once: another process sees all of it or nothing
    trim()
    return path


def trim() -> None:
    """Forget what was not used for the longest time."""
    files = (
        sorted(folder().glob("*.so"), key=lambda path: path.stat().st_mtime, reverse=True) if folder().exists() else []
    )
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > LIMIT:
            path.unlink(missing_ok=True)
            path.with_suffix(".c").unlink(missing_ok=True)


@cache
def library(family: str) -> ctypes.CDLL:
    """A family of kernels, c/<family>.c, whose functions every step may call."""
    if family != "runtime":
        library("runtime")
    return ctypes.CDLL(str(built((SOURCES / f"{family}.c").read_text(), family)), mode=ctypes.RTLD_GLOBAL)
