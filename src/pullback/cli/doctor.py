"""`pullback doctor`: what is installed here, and which engine runs."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from .. import devices
from ..engines import eager
from ..engines.numpy.blas import get_threads
from ..version import __version__

REQUIRED = ("numpy", "ml_dtypes")
OPTIONAL = ("rich", "matplotlib", "tensorboard", "safetensors", "tokenizers", "jax", "ziglang", "scipy-openblas32")
FEATURES = ("SSE42", "AVX", "F16C", "FMA3", "AVX2", "AVX512F", "AVX512_SKX", "AVX512_SPR", "NEON", "ASIMDHP", "SVE")
COMPILERS = ("cc", "gcc", "clang")


def main(arguments: Sequence[str]) -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="pullback doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    found = report()
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    return 0


def report() -> dict[str, Any]:
    """All of it, as plain values."""
    return {
        "versions": versions(),
        "cpu": cpu(),
        "memory": memory(),
        "blas": blas(),
        "compiler": compiler(),
        "devices": places(),
        "engines": engines(),
    }


def as_text(found: dict[str, Any]) -> str:
    """A line a fact, under a heading for each subject."""
    lines = []
    for subject, facts in found.items():
        lines.append(subject)
        items = facts.items() if isinstance(facts, dict) else [("", facts)]
        for name, value in items:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"  {name:18}{'none' if shown in (None, '') else shown}" if name else f"  {shown}")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """pullback, Python, what is needed and what is optional."""
    found = {"pullback": __version__, "python": f"{platform.python_version()} ({sys.executable})"}
    for name in (*REQUIRED, *OPTIONAL):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed" + ("" if name in REQUIRED else " (optional)")
    return {**found, "system": f"{platform.system()} {platform.release()} {platform.machine()}"}


def cpu() -> dict[str, Any]:
    """The processor, how much of it this process may use, and what its vector units can do."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    known = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    return {
        "model": _first(Path("/proc/cpuinfo"), r"^model name\s*:\s*(.*)$")
        or platform.processor()
        or platform.machine(),
        "cores": f"{os.cpu_count()}, of which this process may use {usable}",
        "features": [name for name in FEATURES if known.get(name)],
    }


def memory() -> dict[str, Any]:
    """In GiB; None where the system does not say."""
    info = Path("/proc/meminfo")
    total, free = (_first(info, rf"^{name}:\s*(\d+) kB") for name in ("MemTotal", "MemAvailable"))
    return {name: kb and f"{int(kb) / 2**20:.1f} GiB" for name, kb in (("total", total), ("available", free))}


def blas() -> dict[str, Any]:
    """What multiplies NumPy's matrices, and with how many threads."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    set_by = [f"{name}={os.environ[name]}" for name in os.environ if re.fullmatch(r"\w+_NUM_THREADS", name)]
    return {"library": f"{built.get('name')} {built.get('version')}", "threads": get_threads(), "environment": set_by}


def compiler() -> dict[str, Any]:
    """The C compiler that would be used: the first found."""
    for name in (*os.environ.get("CC", "").split()[:1], *COMPILERS):
        if path := shutil.which(name):
            asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            return {"path": path, "version": asked.stdout.partition("\n")[0]}
    if util.find_spec("ziglang") is not None:
        return {"path": f"{sys.executable} -m ziglang cc", "version": metadata.version("ziglang")}
    return {"path": None, "version": None}


def places() -> list[str]:
    """The devices that tensors can lie on, apart from `xla`, which is one of them."""
    found = {kind: devices.count(kind) for kind in ("cuda", "tpu")}
    return ["cpu", *[f"{kind}:{i}" for kind, n in found.items() for i in range(n)]]


def engines() -> dict[str, str]:
    """Which there are, and what they compute on."""
    found = {"numpy": "runs: each op is computed by NumPy when it is called (eager)", "native": native()}
    if not devices.can_have("xla"):
        return {**found, "xla": 'not here: pip install "pullback[xla]", or "pullback[cuda]" for NVIDIA GPUs'}
    try:
        kinds = [str(place.device_kind) for place in devices.elsewhere().devices("xla")]
    except Exception as error:  # whatever is wrong with an installation of JAX
        return {**found, "xla": f"does not run: JAX fails with {type(error).__name__}: {error}"}
    what = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
    return {**found, "xla": f"runs: JAX {metadata.version('jax')} on {what}; compile() uses it for tensors on devices"}


def native() -> str:
    """Does the native engine run, and where does it keep what it builds?"""
    build: Any = importlib.import_module("pullback.engines.native.build")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if build.available():
            what = "compile() uses it" + (", and large eager ops do" if eager.used() == "native" else "")
            return f"runs: steps are compiled as C; {what}; built libraries are kept in {build.folder()}"
    return str(said[-1].message).partition("\n")[0] if said else "not here"


def _first(path: Path, pattern: str) -> str | None:
    found = re.search(pattern, path.read_text(), re.MULTILINE) if path.exists() else None
    return found and found[1]
