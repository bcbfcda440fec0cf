"""From C to functions: the machine's compiler, and a cache of what it has built, by content.

What is built depends on the source, what it includes, the flags, the compiler and the processor's features: all of that
is in the file's name. So a cache that another machine has filled is of no use to this one, and does no harm.

Of a family of kernels, c/<family>.c, only the functions that a step calls are built. `KERNEL` makes each an inline
function there, of which a compiler makes nothing unless it is declared once more; those that are wanted are. A library
has some of a family's functions, and is found by the name of each: function-key.so is a link to it.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import PullbackError, fail, warn

SOURCES = Path(__file__).parent / "c"
FLAGS = (
    "-std=gnu11", "-O3", "-fPIC", "-shared", "-pipe", "-fopenmp-simd",
    "-ffp-contract=off",  # a product and a sum are rounded as NumPy rounds them
    "-fno-math-errno", "-fno-trapping-math",  # nobody reads errno or the exception flags
    "-w",
)  # fmt: skip
DEBUG = ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=undefined", "-fno-sanitize-recover=undefined")
BY_HAND = {
    "gemm": "-O2",
    "attention": "-O2",
}  # whose inner loops are vectors already: -O3 takes longer, and finds nothing
WANTED = '#define KERNEL inline __attribute__((noinline, visibility("default")))\n'
TOGETHER = 2  # functions of a family in one library: more of them are built side by side
LIMIT = 512 << 20  # bytes that the cache may take
STALE = 3600  # seconds after which what a killed build has left behind is cleared away


# -- the compiler ------------------------------------------------------------------------------------------------------


@cache
def compiler() -> tuple[str, ...] | None:
    """The C compiler: what CC says, the machine's own, or the one of the `ziglang` package."""
    asked = os.environ.get("CC", "").split()
    if asked and shutil.which(asked[0]):
        return tuple(asked)
    if asked:
        warn(f"there is no {asked[0]}, which CC names: the native engine looks for another C compiler")
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return (name,)
    return (sys.executable, "-m", "ziglang", "cc") if find_spec("ziglang") else None


@cache
def available() -> bool:
    """Can steps be built and called here? If not, that is said, once."""
    if sys.platform == "win32" or platform.python_implementation() != "CPython":
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False  # objects lie in another way
    try:
        runtime, x = library("runtime"), np.zeros(1)
    except PullbackError as error:
        warn(f"compiled steps are run by NumPy, which is slower: {error}")
        return False
    runtime.pb_data.argtypes, runtime.pb_data.restype = (ctypes.py_object, ctypes.c_int64), ctypes.c_void_p
    return bool(runtime.pb_data([x], 0) == x.ctypes.data)


@cache
def machine() -> str:
    """What a build depends on beside its source: the processor's features, the compiler, the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "") or processor()
    command = compiler() or ()
    return "\n".join([platform.machine(), platform.system(), features, *command, version(command)])


def processor() -> str:
    """Its name, where /proc does not say what it can do."""
    if platform.system() != "Darwin":
        return platform.processor()
    return subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True).stdout


def version(command: Sequence[str]) -> str:
    """Of a compiler; it is of no matter if it does not say."""
    try:
        return subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""


def debugging() -> bool:
    """PULLBACK_DEBUG=1: sanitizers, and each value in memory of its own."""
    return os.environ.get("PULLBACK_DEBUG", "0") not in ("", "0")


def flags(name: str) -> tuple[str, ...]:
    """For a library of this name."""
    native = "-march=native" if platform.machine() in ("x86_64", "AMD64", "i686") else "-mcpu=native"
    system = ("-undefined", "dynamic_lookup") if platform.system() == "Darwin" else ()
    zig = ("-fno-sanitize=undefined",) if "ziglang" in (compiler() or ()) else ()  # which it would turn on
    return (*FLAGS, native, *system, *zig, *(DEBUG if debugging() else [BY_HAND[name]] if name in BY_HAND else ()))


# -- the cache ---------------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where what was built is kept: PULLBACK_CACHE, or the user's cache."""
    if asked := os.environ.get("PULLBACK_CACHE"):
        return Path(asked) / "native"
    home = os.path.expanduser("~")
    if cache := os.environ.get("XDG_CACHE_HOME") or (os.path.isabs(home) and os.path.join(home, ".cache")):
        return Path(cache) / "pullback" / "native"
    return spare()  # a user without a home


def spare() -> Path:
    """Where it is kept if there is no room for it there."""
    return Path(tempfile.gettempdir()) / f"pullback-{os.getuid() if hasattr(os, 'getuid') else 0}"


def places() -> Iterator[Path]:
    """Folders that can be written to, the cache first. Of those that anybody may make, only our own."""
    for place in (folder(), spare()):
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            about = place.stat()
            if place == spare() and hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o22):
                continue
            with tempfile.TemporaryFile(dir=place):
                yield place
        except OSError:
            continue


def entries(place: Path | None = None) -> list[Path]:
    """The libraries in the cache, those used last first."""
    found = []
    for path in (place or folder()).glob("*.so"):
        try:
            found.append((path.lstat().st_mtime, path))
        except OSError:
            continue  # another process has just cleared it away
    return [path for _, path in sorted(found, reverse=True) if not path.is_symlink()]


def trim(place: Path | None = None, limit: int = LIMIT) -> int:
    """Forget what was not used for the longest time, and what killed builds have left; what stays, in bytes."""
    place, total = place or folder(), 0
    for path in entries(place):
        try:
            size = sum(p.stat().st_size for p in (path, path.with_suffix(".c")) if p.exists())
        except OSError:
            continue
        if total + size > limit:
            forget(path)
        else:
            total += size
    for path in place.glob("*.so"):
        if path.is_symlink() and not path.exists():
            path.unlink(missing_ok=True)
    for left in place.glob(".building-*"):
        try:
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue
    return total


def clear() -> int:
    """Forget all of it; returns how many libraries there were."""
    found = 0
    for place in (folder(), spare()):
        found += len(entries(place))
        trim(place, limit=-1)
        for left in place.glob(".building-*"):
            shutil.rmtree(left, ignore_errors=True)
    return found


def forget(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".c").unlink(missing_ok=True)


def touch(path: Path) -> None:
    """It was used now."""
    with suppress(OSError):  # a cache that cannot be written to
        os.utime(path)


# -- sources and their names -------------------------------------------------------------------------------------------


class Unit(NamedTuple):
    """A library to be built: its name, its C, and the functions by which it is found."""

    name: str
    text: str
    links: Sequence[str] = ()  # names of files


def unit_text(family: str, functions: Sequence[str]) -> str:
    """Some functions of a family."""
    return f'{WANTED}#include "{family}.c"\n' + "".join(f"extern __typeof({f}) {f};\n" for f in functions)


@cache
def included(name: str) -> str:
    """A file of c/ and the files there that it includes."""
    text = (SOURCES / name).read_text()
    parts = dict.fromkeys(re.findall(r'^ *# *include "([^"]+)"', text, re.MULTILINE))
    return "\0".join([text, *map(included, parts)])


@cache
def environment(flags: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join([machine(), *flags]).encode()).hexdigest()


@cache
def key(text: str, environment: str) -> str:
    """What a text, with what it includes, is called."""
    parts = dict.fromkeys(re.findall(r'^ *# *include "([^"]+)"', text, re.MULTILINE))
    return hashlib.sha256("\0".join([text, *map(included, parts), environment]).encode()).hexdigest()[:32]


def named(name: str, text: str, family: str = "") -> str:
    """The file of a library, or of a function of a family."""
    return f"{name}-{key(text, environment(flags(family or name)))}.so"


def find(name: str) -> Path | None:
    """A file in the cache, wherever that has room."""
    return next((path for place in (folder(), spare()) if (path := place / name).exists() and ours(path)), None)


def ours(path: Path) -> bool:
    """Nothing is loaded that another user has put in the folder for temporary files."""
    return (
        path.parent != spare()
        or not hasattr(os, "getuid")
        or path.stat().st_uid == path.parent.stat().st_uid == os.getuid()
    )


# -- building ----------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The compiler did not compile."""


def build(units: Sequence[Unit]) -> list[Path]:
    """Build libraries side by side, in the cache or, if there is no room, elsewhere; returns where they are."""
    if not units:
        return []
    command = compiler()
    if command is None:
        fail(PullbackError, "the native engine needs a C compiler, and there is none on this machine",
             'install gcc or clang, or pip install "pullback[native]", which brings one')  # fmt: skip
    trouble = [f"neither {folder()} nor {spare()} can be written to"]
    for place in places():
        try:
            with ThreadPoolExecutor(min(len(units), os.cpu_count() or 1)) as pool:
                made = list(pool.map(make, units, repeat(place), repeat(command)))
            trim(place)
            return made
        except Refused as refused:
            fail(PullbackError, f"{' '.join(command)} does not compile what the native engine has written\n{refused}",
                 'use another compiler (CC=...), or engine="numpy"')  # fmt: skip
        except OSError as error:
            trouble.append(f"what is compiled cannot be kept in {place}: {error}")
    fail(PullbackError, trouble[-1], "make room there, or name another folder: PULLBACK_CACHE=/some/folder")


def make(unit: Unit, place: Path, command: Sequence[str]) -> Path:
    """Compile; the library comes to its place at once, so that another process sees all of it or nothing."""
    path = place / named(unit.name, unit.text)
    with tempfile.TemporaryDirectory(dir=place, prefix=".building-", ignore_cleanup_errors=True) as here:
        source, library = Path(here) / path.with_suffix(".c").name, Path(here) / path.name
        source.write_text(unit.text)
        done = subprocess.run(
            [*command, *flags(unit.name), "-I", str(SOURCES), "-o", str(library), str(source), "-lm", "-lpthread"],
            capture_output=True, text=True, env={**os.environ, "TMPDIR": here},
        )  # fmt: skip
        if "No space left" in done.stderr:
            raise OSError(errno.ENOSPC, "No space left on device")
        if done.returncode or not library.exists():
            raise Refused(done.stderr[:4000] or f"(it ended with code {done.returncode}, and said nothing)")
        source.replace(path.with_suffix(".c"))
        library.replace(path)
        for link in unit.links:
            (Path(here) / link).symlink_to(path.name)
            (Path(here) / link).replace(place / link)
    return path


# -- loading -----------------------------------------------------------------------------------------------------------

LOADED: dict[str, ctypes.CDLL] = {}  # by function; and "runtime"
LOCK = threading.Lock()


def forked() -> None:
    """A child has none of its parent's threads, one of which may have been building."""
    global LOCK
    LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forked)


def load(kernels: Mapping[str, str] | None = None, step: str = "") -> ctypes.CDLL | None:
    """Kernels, each with its family, which from then on every step may call; and a step's own library."""
    with LOCK:
        wanted = {f: family for f, family in (kernels or {}).items() if f not in LOADED}
        files = {f: named(f, unit_text(family, [f]), family) for f, family in wanted.items()}
        runtime = Unit("runtime", '#include "runtime.c"\n')
        if "runtime" not in LOADED:
            files["runtime"] = named(*runtime[:2])
        if step:
            files["step"] = named("step", step)
        found = {name: find(file) for name, file in files.items()}
        units = [Unit("step", step)] if step and found["step"] is None else []
        families: dict[str, list[str]] = {}
        for f, family in wanted.items():
            if found[f] is None:
                families.setdefault(family, []).append(f)
        for family, missing in sorted(families.items()):
            for k in range(0, len(missing), TOGETHER):
                some = sorted(missing)[k : k + TOGETHER]
                units.append(Unit(family, unit_text(family, some), [files[f] for f in some]))
        if "runtime" in files and found["runtime"] is None:
            units.append(runtime)
        build(units)
        for name in sorted(files, key=lambda name: (name != "runtime", name == "step")):
            opened = opened_or_built(name, files[name], step, wanted)
            if name == "step":
                return opened
            LOADED[name] = opened
    return None


def opened_or_built(name: str, file: str, step: str, families: Mapping[str, str]) -> ctypes.CDLL:
    """A library; once more, if another process has just cleared it away, or if the file is damaged."""
    mode = ctypes.DEFAULT_MODE if name == "step" else ctypes.RTLD_GLOBAL
    for again in (True, False):
        path = find(file)
        try:
            if path is None:
                raise OSError(f"{file} is gone")
            opened = ctypes.CDLL(str(path.resolve()), mode=mode)
            touch(path)
            return opened
        except OSError as error:
            if not again:
                fail(PullbackError, f"what the native engine has built cannot be loaded: {error}",
                     'clear the cache: pullback cache --clear; or use engine="numpy"')  # fmt: skip
            if path is not None and os.access(path.parent, os.W_OK):
                forget(path.resolve())
                path.unlink(missing_ok=True)
            if name == "step":
                build([Unit("step", step)])
            elif name == "runtime":
                build([Unit("runtime", '#include "runtime.c"\n')])
            else:
                build([Unit(families[name], unit_text(families[name], [name]), [file])])
    raise AssertionError


def library(name: str) -> ctypes.CDLL:
    """The runtime."""
    load()
    return LOADED[name]
