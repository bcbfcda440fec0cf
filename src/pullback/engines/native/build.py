"""From C to functions: the machine's compiler, and a cache of what it has built, by content.

What is built depends on the source, the headers, the flags, the compiler and the processor's features: all of that is in
the file's name. So a cache that another machine has filled is of no use to this one, and does no harm.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ...errors import PullbackError, fail, warn

SOURCES = Path(__file__).parent / "c"
FLAGS = (
    "-std=gnu11", "-O3", "-march=native", "-fPIC", "-shared", "-fopenmp-simd",
    "-ffp-contract=off",  # a product and a sum are rounded as NumPy rounds them
    "-fno-math-errno", "-fno-trapping-math",  # nobody reads errno or the exception flags
    "-Wno-psabi", "-Wno-unknown-pragmas",
)  # fmt: skip
DEBUG = ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=undefined", "-fno-sanitize-recover=undefined")
LIMIT = 512 << 20  # bytes that the cache may take
STALE = 3600  # seconds after which what a killed build has left behind is cleared away


# -- the compiler ------------------------------------------------------------------------------------------------------


@cache
def compiler() -> tuple[str, ...] | None:
    """The C compiler: what CC says, the machine's own, or the one of the `ziglang` package."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name.split()[0]):
            return tuple(name.split())
    return (sys.executable, "-m", "ziglang", "cc") if find_spec("ziglang") else None


@cache
def available() -> bool:
    """Is there a compiler? If not, that is said, once."""
    if compiler() is None:
        warn(
            "there is no C compiler on this machine: compiled steps are run by NumPy, which is slower\n"
            '  install gcc or clang, or pip install "pullback[native]", which brings one'
        )
    return compiler() is not None


@cache
def machine() -> str:
    """What a build depends on beside its source: the processor's features, the compiler, the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    command = compiler() or ()
    version = subprocess.run([*command, "--version"], capture_output=True, text=True).stdout if command else ""
    return "\n".join([platform.machine(), platform.system(), features, *command, version])


def debugging() -> bool:
    """PULLBACK_DEBUG=1: sanitizers, and each value in memory of its own."""
    return os.environ.get("PULLBACK_DEBUG", "0") not in ("", "0")


def flags() -> tuple[str, ...]:
    system = ("-undefined", "dynamic_lookup") if platform.system() == "Darwin" else ()
    return (*FLAGS, *system, *(DEBUG if debugging() else ()))


# -- the cache ---------------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where what was built is kept: PULLBACK_CACHE, or the user's cache."""
    home = os.environ.get("PULLBACK_CACHE")
    base = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pullback"
    return base / "native"


def writable() -> Path:
    """The cache, or where it cannot be written to, a folder of this user's that lives as long as the machine runs."""
    for place in (folder(), Path(tempfile.gettempdir()) / f"pullback-{os.getuid() if hasattr(os, 'getuid') else 0}"):
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=place):
                return place
        except OSError:
            continue
    fail(PullbackError, f"neither {folder()} nor {tempfile.gettempdir()} can be written to",
         "say where compiled steps may be kept: PULLBACK_CACHE=/some/folder")  # fmt: skip


def entries() -> list[Path]:
    """The libraries in the cache, those used last first."""
    found = [(path.stat().st_mtime, path) for path in folder().glob("*.so")] if folder().exists() else []
    return [path for _, path in sorted(found, reverse=True)]


def trim(limit: int = LIMIT) -> int:
    """Forget what was not used for the longest time; returns the bytes that stay."""
    total = 0
    for path in entries():
        size = path.stat().st_size
        if total + size > limit:
            path.unlink(missing_ok=True)
            path.with_suffix(".c").unlink(missing_ok=True)
        else:
            total += size
    for left in folder().glob(".building-*"):
        if time.time() - left.stat().st_mtime > STALE:
            shutil.rmtree(left, ignore_errors=True)
    return total


@cache
def headers() -> str:
    """What sources may include."""
    return "".join(path.read_text() for path in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.inc")]))


def path_of(text: str, name: str) -> Path:
    key = hashlib.sha256("\0".join([text, headers(), machine(), *flags()]).encode()).hexdigest()[:32]
    return folder() / f"{name}-{key}.so"


def built(sources: Mapping[str, str]) -> dict[str, Path]:
    """The library of each C source, by name; what is not in the cache is built, side by side."""
    found = {name: path_of(text, name) for name, text in sources.items()}
    missing = [name for name, path in found.items() if not path.exists()]
    for name in found.keys() - set(missing):
        touch(found[name])
    if missing:
        place = writable()
        for name in missing:
            found[name] = place / found[name].name
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(lambda name: make(sources[name], found[name]), [n for n in missing if not found[n].exists()]))
        if place == folder():
            trim()
    return found


def touch(path: Path) -> None:
    """It was used now."""
    try:
        os.utime(path)
    except OSError:
        pass  # a cache that cannot be written to


def make(text: str, path: Path) -> None:
    """Compile; the library comes to its place at once, so that another process sees all of it or nothing."""
    command = compiler()
    if command is None:
        fail(PullbackError, "the native engine needs a C compiler, and there is none on this machine",
             'install gcc or clang, or pip install "pullback[native]", which brings one')  # fmt: skip
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as here:
        source, library = Path(here) / path.with_suffix(".c").name, Path(here) / path.name
        try:
            source.write_text(text)
            done = subprocess.run(
                [*command, *flags(), "-I", str(SOURCES), "-o", str(library), str(source), "-lm", "-lpthread"],
                capture_output=True,
                text=True,
            )
        except OSError as error:
            fail(PullbackError, f"what is compiled could not be written to {path.parent}: {error}",
                 "make room there, or name another folder: PULLBACK_CACHE=/some/folder")  # fmt: skip
        if done.returncode:
            fail(PullbackError,
                 f"{' '.join(command)} did not compile what the native engine wrote:\n{done.stderr[:4000]}",
                 'use engine="numpy", and report this')  # fmt: skip
        source.replace(path.with_suffix(".c"))
        library.replace(path)


# -- loading -----------------------------------------------------------------------------------------------------------

LOADED: dict[str, ctypes.CDLL] = {}


def load(families: list[str], step: str = "") -> ctypes.CDLL | None:
    """Families of kernels, c/<family>.c, whose functions every step may call; and a step's own library."""
    wanted = [family for family in ("runtime", *families) if family not in LOADED]
    sources = {family: (SOURCES / f"{family}.c").read_text() for family in dict.fromkeys(wanted)}
    paths = built({**sources, **({"step": step} if step else {})})
    for family in sources:
        LOADED[family] = ctypes.CDLL(str(paths[family]), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(paths["step"])) if step else None


def library(family: str) -> ctypes.CDLL:
    """One family."""
    load([family])
    return LOADED[family]
