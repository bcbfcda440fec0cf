"""`python -m pullback.ops.document`: the table of all ops, written from their records (`make docs`)."""

from __future__ import annotations

import ast
import pathlib
import sys

from . import OPS
from .record import Op

HEAD = """# The ops

Written by `make docs` from the records in `src/pullback/ops/`; do not edit. For each op: what it computes, how a
cotangent `g` of the result is pulled back to each input, and what is kept for that from the forward pass. Un-broadcasting
and dtype conversion of cotangents are the tape's job and do not appear in rules.
"""


def rules_of(record: Op, source: ast.Module) -> dict[str, str]:
    """The pullback rules of an op as they stand in its file: input -> text."""
    for call in ast.walk(source):
        if not isinstance(call, ast.Call) or not call.args or not isinstance(call.args[0], ast.Constant):
            continue
        if call.args[0].value != record.name:
            continue
        for keyword in call.keywords:
            if keyword.arg == "vjp" and isinstance(keyword.value, ast.Dict):
                keys = [k.value for k in keyword.value.keys if isinstance(k, ast.Constant)]
                return {str(k): _text(v) for k, v in zip(keys, keyword.value.values, strict=False)}
            if keyword.arg == "vjp_all":
                return {", ".join(record.inputs): _text(keyword.value)}
    return {}


def _text(rule: ast.expr) -> str:
    return ast.unparse(rule.body if isinstance(rule, ast.Lambda) else rule)


def saved(record: Op) -> str:
    """The arrays that the rules name, and so keep."""
    rules = [*record.vjp.values(), *([record.vjp_all] if record.vjp_all else [])]
    names: dict[str, None] = {}
    for rule in rules:
        for kind, which in rule.sources:
            if kind == "input":
                names[record.inputs[which]] = None
            elif kind == "inputs":
                names[record.inputs[0]] = None
            elif kind == "output":
                names[f"out{which or ''}"] = None
    return ", ".join(names) or "nothing"


def document() -> str:
    """The page."""
    folder = pathlib.Path(__file__).parent
    sources = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))}
    homes: dict[str, list[tuple[Op, dict[str, str]]]] = {}
    for record in OPS.values():
        home = next((stem for stem, tree in sources.items() if _defines(tree, record.name)), "other")
        homes.setdefault(home, []).append((record, rules_of(record, sources[home]) if home in sources else {}))
    lines = [HEAD]
    for stem in sorted(homes):
        summary = (ast.get_docstring(sources[stem]) or "").partition("\n")[0] if stem in sources else ""
        lines += [f"## {stem}", "", summary, "", "| op | computes | pullback of g | keeps |", "|---|---|---|---|"]
        for record, rules in homes[stem]:
            text = "<br>".join(f"{name}: `{rule}`" for name, rule in rules.items())
            if not record.differentiable:
                text = "none: not differentiable"
            elif not rules:
                text = "that of its decomposition"
            cells = [f"`{record.name}`", record.formula, text, saved(record) if record.differentiable else ""]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _defines(tree: ast.Module, name: str) -> bool:
    return any(
        isinstance(c, ast.Call) and c.args and isinstance(c.args[0], ast.Constant) and c.args[0].value == name
        for c in ast.walk(tree)
    )


if __name__ == "__main__":
    pathlib.Path(*sys.argv[1:] or ["docs/ops.md"]).write_text(document(), encoding="utf-8")
