"""`pullback cache`: what the native engine has built and keeps; `--clear` forgets it."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import Any


def main(arguments: Sequence[str]) -> int:
    """Print what is there, or clear it."""
    parser = argparse.ArgumentParser(prog="pullback cache", description=__doc__)
    parser.add_argument("--clear", action="store_true", help="forget all of it; what is needed is built again")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    build: Any = import_module("pullback.engines.native.build")
    if options.clear:
        count = build.clear()
        print(json.dumps({"cleared": count}) if options.json else f"{count} libraries cleared from {build.folder()}")
        return 0
    found = report(build)
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    return 0


def report(build: Any) -> dict[str, Any]:
    """Its folder, how many libraries it has, their size in bytes, and how many there are of each kind."""
    kinds: Counter[str] = Counter()
    size = 0
    for path in build.entries():
        try:
            size += sum(p.stat().st_size for p in (path, path.with_suffix(".c")) if p.exists())
        except OSError:
            continue  # another process has just cleared it away
        kinds[path.name.rpartition("-")[0]] += 1
    return {"folder": str(build.folder()), "libraries": sum(kinds.values()), "bytes": size, "limit": build.LIMIT,
            "kinds": dict(kinds.most_common())}  # fmt: skip


def as_text(found: dict[str, Any]) -> str:
    """A line a fact."""
    kinds = ", ".join(f"{count} {name}" for name, count in found["kinds"].items())
    lines = [
        f"folder     {found['folder']}",
        f"libraries  {found['libraries']}" + (f": {kinds}" if kinds else ""),
        f"size       {found['bytes'] / 2**20:.1f} MiB of at most {found['limit'] >> 20} MiB",
    ]
    return "\n".join(lines)
